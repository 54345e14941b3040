"""Points of a grid in one workdir: what is shared, resumed, failed, split over shards; through the door, with stages that only count."""

import csv
import errno
import json
import shutil
import threading
import time

import jax
import pytest
from sweep_fakes import Fakes
from two_processes import as_two

from facemae_jax.chain import graph, grid, locks, settings, sweep, sweep_command, sweep_files
from facemae_jax.report import sweep_page
from facemae_jax.train.loop import Interrupted
from facemae_jax.types import FacemaeError

GRID = "--grid=mae.mask_ratio=0.5,0.75,0.9;seed=0,1"
POINTS = [(seed, ratio) for ratio in (0.5, 0.75, 0.9) for seed in (0, 1)]


@pytest.fixture
def fakes(monkeypatch):
    monkeypatch.setattr(graph, "STAGES", found := Fakes())
    monkeypatch.setattr(locks, "CLAIM_EVERY", 0.01)
    monkeypatch.setattr(sweep_page, "render", lambda **given: "\n".join(given["notes"]))  # drawing takes its time
    return found


def read(workdir, name="sweep.json"):
    (folder,) = workdir.glob("sweep-*")
    return json.loads((folder / name).read_text())


def states(workdir):
    return [point["state"] for point in read(workdir, "points.json")["points"]]


def test_shared_stages_are_made_once_and_the_tables_hold_every_point(fakes, enter, tmp_path):
    code, out, err = enter("sweep", tmp_path, GRID)
    assert code == 0, err
    assert sorted(fakes.made) == sorted(
        [("train-teacher", seed, None) for seed in (0, 1)]
        + [(verb, seed, ratio) for verb in ("train-mae", "verify", "audit") for seed, ratio in POINTS]
    )
    assert "point 2 of 6 (mae.mask_ratio=0.5 seed=1): 4 stages to make" in out
    assert "point 4 of 6 (mae.mask_ratio=0.75 seed=1): 3 stages to make" in out
    (folder,) = tmp_path.glob("sweep-*")
    assert {path.name for path in folder.iterdir()} == {
        "points.json", "sweep.json", "sweep.csv", "sweep.md", "report.html",
    }  # fmt: skip
    lines = list(csv.DictReader((folder / "sweep.csv").open()))
    assert len(lines) == 6 * 3 * 2
    assert list(lines[0])[:6] == ["point", "mae.mask_ratio", "seed", "variant", "judge", "independent"]
    assert "6 of 6 points are complete" in out and str(folder / "report.html") in out
    ours = [g for g in read(tmp_path)["settings"] if g["variant"] == "reconstruction" and g["judge"] == "teacher"]
    assert [g["setting"] for g in ours] == [{"mae.mask_ratio": ratio} for ratio in (0.5, 0.75, 0.9)]
    assert ours[1]["utility"]["mean"] == pytest.approx(0.805) and ours[1]["n"] == 2
    assert ours[1]["utility"]["std"] == pytest.approx(0.01 / 2**0.5)


def test_started_again_it_makes_nothing(fakes, enter, tmp_path):
    enter("sweep", tmp_path, GRID)
    before = len(fakes.made)
    (folder,) = tmp_path.glob("sweep-*")
    files = {path.name: path.read_bytes() for path in folder.iterdir()}
    code, out, _ = enter("sweep", tmp_path, GRID)
    assert code == 0 and len(fakes.made) == before and out.count(": complete") == 6
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == files


def test_a_finished_chain_is_the_point_that_it_is(fakes, enter, tmp_path):
    for verb in fakes:
        assert enter(verb, tmp_path)[0] == 0
    assert len(fakes.made) == 4
    enter("sweep", tmp_path, GRID)
    assert fakes.made.count(("train-mae", 0, 0.75)) == 1 and len(fakes.made) == 2 + 3 * 6


@pytest.mark.parametrize(
    ("stop", "expected"), [(KeyboardInterrupt(), 130), (Interrupted("saved", 15), 143), (SystemExit(9), None)]
)
def test_stopped_in_the_middle_and_started_again_it_repeats_nothing(fakes, enter, tmp_path, stop, expected):
    def before(verb, seed, ratio):
        if (verb, seed, ratio) == ("verify", 1, 0.75):
            raise stop

    fakes.before = before
    if expected is None:
        with pytest.raises(SystemExit):
            enter("sweep", tmp_path, GRID)
    else:
        assert enter("sweep", tmp_path, GRID)[0] == expected
    assert states(tmp_path) == ["complete"] * 3 + ["missing"] * 3
    fakes.before = lambda *_: None
    code, out, _ = enter("sweep", tmp_path, GRID)
    assert code == 0 and states(tmp_path) == ["complete"] * 6
    assert "point 4 of 6 (mae.mask_ratio=0.75 seed=1): 2 stages to make" in out
    assert len(fakes.made) == len(set(fakes.made)) == 2 + 3 * 6


@pytest.mark.parametrize(
    ("fault", "told"),
    [
        (FacemaeError("nobody is left."), "nobody is left."),
        (MemoryError("too large\nsecond line"), "MemoryError: too large"),
    ],
)
def test_a_failed_point_is_told_and_the_others_go_on(fakes, enter, tmp_path, fault, told):
    def before(verb, seed, ratio):
        if (verb, seed, ratio) == ("train-mae", 1, 0.75):
            raise fault

    fakes.before = before
    code, out, err = enter("sweep", tmp_path, GRID)
    assert code == 1 and f"point 4 (mae.mask_ratio=0.75 seed=1) failed: {told}\n" in err and "Traceback" not in err
    assert states(tmp_path) == ["complete"] * 3 + ["failed"] + ["complete"] * 2
    assert read(tmp_path, "points.json")["points"][3]["error"] == told
    assert "5 of 6 points are complete" in out and told in next(tmp_path.glob("sweep-*/sweep.md")).read_text()
    page = next(tmp_path.glob("sweep-*/report.html")).read_text()
    assert "Point 4" in page and told not in page  # an error may name a place
    group = next(g for g in read(tmp_path)["settings"] if g["setting"] == {"mae.mask_ratio": 0.75})
    assert group["n"] == 1 and group["utility"]["std"] is None
    # The next call tries it again, and forgets.
    fakes.before = lambda *_: None
    assert enter("sweep", tmp_path, GRID)[0] == 0
    assert states(tmp_path) == ["complete"] * 6 and len(fakes.made) == len(set(fakes.made))
    assert not list(tmp_path.glob("sweep-*/failed/*"))


@pytest.mark.parametrize(
    ("text", "field"),
    [
        ("mae.mask_ratio=0.5,0.9;seed=0,1", "mae.mask_ratio"),
        ("irm.kind=cosine,euclidean;mae.irm_weight=0,2", "mae.irm_weight"),
        ("mae.width+mae.heads=(64,2),(128,4);seed=0,1", None),
        ("mae.mask_ratio=0.5;data.resize=true,false;seed=0,1", None),
    ],
)
def test_points_are_joined_along_numbers_that_change_alone(text, field):
    assert sweep_files.along(grid.read_grid(text, settings.load("configs/demo.py"))) == field


def test_a_failure_is_forgotten_when_another_call_made_the_point(fakes, enter, tmp_path):
    def before(verb, seed, ratio):
        if verb == "audit":
            raise FacemaeError("nobody is left.")

    fakes.before = before
    assert enter("sweep", tmp_path, "--grid=seed=0,1", "--shard=1/2")[0] == 1
    fakes.before = lambda *_: None
    assert enter("audit", tmp_path)[0] == 0
    assert enter("sweep", tmp_path, "--grid=seed=0,1", "--shard=2/2")[0] == 0
    assert [(p["state"], p["error"]) for p in read(tmp_path, "points.json")["points"]] == [("complete", "")] * 2


def test_a_point_that_contradicts_itself_is_told_before_any_work(fakes, enter, tmp_path):
    fakes.before = lambda *at: told_first.append(at)
    told_first = []
    code, out, err = enter("sweep", tmp_path, "--grid=mae.mask_ratio=0.5,1.5")
    assert code == 1 and "point 2 (mae.mask_ratio=1.5) cannot be run: --config.mae.mask_ratio=1.5: must be" in err
    assert states(tmp_path) == ["complete", "failed"] and len(told_first) == 4
    code, _, err = enter("sweep", tmp_path / "other", "--grid=mae.mask_ratio=1.5,2.5")
    assert code == 2 and "no point of the grid can be run" in err


def test_a_full_disk_ends_the_sweep(fakes, enter, tmp_path):
    def before(verb, seed, ratio):
        raise OSError(errno.ENOSPC, "No space left on device", "x")

    fakes.before = before
    code, _, err = enter("sweep", tmp_path, GRID)
    assert code == 2 and "the disk is full" in err and "point 2" not in err


def test_points_that_are_the_same_are_told(fakes, enter, tmp_path):
    code, _, err = enter("sweep", tmp_path, "--grid=verify.count=80,100")  # no fake reads it
    assert code == 0 and "points 1, 2 give the same results" in err and len(fakes.made) == 4


def test_a_shard_makes_its_points_and_tells_which_are_missing(fakes, enter, tmp_path):
    code, out, _ = enter("sweep", tmp_path, GRID, "--shard=2/4")
    assert code == 0 and "point 6 of 6, 2 of 2 of this shard" in out
    assert states(tmp_path) == ["missing", "complete", "missing", "missing", "missing", "complete"]
    assert "Point 1 (mae.mask_ratio=0.5 seed=0) is not there yet." in out and "2 of 6 points" in out
    for number in (1, 3, 4):
        enter("sweep", tmp_path, GRID, f"--shard={number}/4")
    assert states(tmp_path) == ["complete"] * 6 and len(fakes.made) == len(set(fakes.made))
    before = len(fakes.made)
    assert enter("sweep", tmp_path, GRID)[0] == 0 and len(fakes.made) == before  # only gathers


def test_shards_of_other_workdirs_are_gathered_by_copying_what_measures(fakes, enter, tmp_path):
    for number in (1, 2):
        enter("sweep", tmp_path / str(number), GRID, f"--shard={number}/2")
        for directory in [*(tmp_path / str(number)).glob("verify-*"), *(tmp_path / str(number)).glob("audit-*")]:
            shutil.copytree(directory, tmp_path / "all" / directory.name)
    before = len(fakes.made)
    assert enter("sweep", tmp_path / "all", GRID)[0] == 0
    assert len(fakes.made) == before and states(tmp_path / "all") == ["complete"] * 6


def test_shards_at_the_same_time_make_each_stage_once(fakes, tiny, tmp_path):
    config = settings.load(str(tiny))
    fakes.before = lambda *_: time.sleep(0.03)  # so that both want the same teacher
    codes = {}

    def work(shard):
        codes[shard] = sweep_command.serve(
            config, str(tiny), tmp_path, {"grid": "mae.mask_ratio=0.5,0.75,0.9", "shard": shard}
        )

    threads = [threading.Thread(target=work, args=[f"{number}/3"]) for number in (1, 2, 3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert list(codes.values()) == [0, 0, 0]
    assert fakes.made.count(("train-teacher", 0, None)) == 1 and len(fakes.made) == 1 + 3 * 3
    assert states(tmp_path) == ["complete"] * 3


def test_shards_share_a_workdir_with_each_other_alone(fakes, enter, tmp_path):
    with locks.locked(tmp_path, shared=True):
        assert enter("sweep", tmp_path, GRID, "--shard=1/2")[0] == 0
        code, _, err = enter("sweep", tmp_path, GRID)
        assert code == 2 and "is in use by process" in err
    with locks.locked(tmp_path):
        assert enter("sweep", tmp_path, GRID, "--shard=1/2")[0] == 2


def test_a_dry_run_counts_and_writes_nothing(fakes, enter, tmp_path):
    workdir = tmp_path / "w"
    code, out, _ = enter("sweep", workdir, GRID, "--dry-run")
    assert code == 0 and not workdir.exists() and not fakes.made
    assert "2  mae.mask_ratio=0.5 seed=1: makes 4 (train-teacher, train-mae, verify, audit), 0 finished" in out
    assert "3  mae.mask_ratio=0.75 seed=0: makes 3 (train-mae, verify, audit), 0 finished, 1 from earlier points" in out
    assert "20 stages to make, 0 finished ones to reuse" in out and "2 × train-teacher, 6 × train-mae" in out
    enter("sweep", workdir, "--grid=mae.mask_ratio=0.5;seed=0,1")
    before = {path: path.read_bytes() for path in workdir.rglob("*") if path.is_file()}
    code, out, _ = enter("sweep", workdir, "--dry-run", GRID, "--shard=1/2")
    assert "1  mae.mask_ratio=0.5 seed=0: makes 0, 4 finished" in out
    assert "3 of 6 points" in out and "6 stages to make, 4 finished ones" in out and "time, if each" in out
    assert {path: path.read_bytes() for path in workdir.rglob("*") if path.is_file()} == before


def test_pasting_needs_no_permission_where_nothing_is_published(fakes, enter, tmp_path):
    assert enter("sweep", tmp_path, "--grid=reconstruct.composition=full,paste", "--dry-run")[0] == 0
    code, _, err = enter("sweep", tmp_path, "--grid=seed=0,1", "--config.reconstruct.composition=paste")
    assert code == 0, err
    assert enter("audit", tmp_path, "--config.reconstruct.composition=paste")[0] == 2


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((), "--grid is missing"),
        (("--grid=mae.mask_rato=0.5",), "did you mean mae.mask_ratio"),
        ((GRID, "--config.seed=3"), "both set seed"),
        ((GRID, "--shard=3/2"), "--shard=3/2: write i/n"),
        ((GRID, "--shard=2"), "--shard=2: write i/n"),
        ((GRID, "--dry-run=yes"), "--dry-run takes no value"),
        ((GRID, "--dry-rum"), "did you mean --dry-run"),
        ((GRID, "--training=mae"), "--training belongs to the verb plan"),
    ],
)
def test_a_wrong_call_leaves_no_workdir_behind(fakes, enter, tmp_path, arguments, said):
    code, _, err = enter("sweep", tmp_path / "w", *arguments)
    assert code == 2 and said in err
    assert "shard" in said or not (tmp_path / "w").exists()


def test_the_door_knows_the_verb(enter, tmp_path, capsys):
    code, _, err = enter("run", tmp_path / "w", GRID)
    assert code == 2 and "--grid belongs to the verb sweep" in err
    code, out, _ = enter("sweep", tmp_path, "--help")
    assert code == 0 and all(f"--{flag}" in out for flag in sweep_command.FLAGS) and "mask_ratio.py" in out


def test_results_of_other_code_are_told(fakes, enter, tmp_path, monkeypatch):
    enter("sweep", tmp_path, "--grid=seed=0,1")
    monkeypatch.setattr(sweep, "code_commit", lambda: "fedcba987654")
    code, _, err = enter("sweep", tmp_path, "--grid=seed=0,1")
    assert code == 0 and err.count("warning: ") == 1 and "this is fedcba987654" in err


def test_processes_work_on_each_point_together(fakes, tiny, tmp_path, monkeypatch):
    config = settings.load(str(tiny))
    options = {"grid": "mae.mask_ratio=0.5,0.75"}
    found = as_two(monkeypatch, lambda number: sweep_command.serve(config, str(tiny), tmp_path, options))
    assert found == [0, 0] and len(fakes.made) == 1 + 2 * 3  # ALONE stages: the first one's work
    assert states(tmp_path) == ["complete"] * 2


def test_the_first_failure_ends_a_call_of_several_processes(fakes, tiny, tmp_path, monkeypatch):
    def before(verb, seed, ratio):
        if ratio == 0.5:
            raise FacemaeError("nobody is left.")

    fakes.before = before
    config = settings.load(str(tiny))
    options = {"grid": "mae.mask_ratio=0.5,0.75"}
    found = as_two(monkeypatch, lambda number: sweep_command.serve(config, str(tiny), tmp_path, options))
    assert all(isinstance(error, FacemaeError) for error in found) and not any(at[2] == 0.75 for at in fakes.made)
    assert jax.process_count() == 1
