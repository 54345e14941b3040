"""One whole chain in small, through the door: what runs, what is reused, what a change or a fault touches."""

import contextlib
import errno
import io
import json
import shutil

import pytest

from facemae_jax import __main__ as door
from facemae_jax.chain import graph, locks, runner


@pytest.fixture(scope="module")
def finished(tiny, tmp_path_factory):
    """A workdir with a finished chain, and what the run said."""
    workdir = tmp_path_factory.mktemp("finished") / "w"
    said = io.StringIO()
    with contextlib.redirect_stdout(said):
        assert door.main(["run", f"--config={tiny}", f"--workdir={workdir}"]) == 0
    return workdir, said.getvalue()


@pytest.fixture
def workdir(finished, tmp_path):
    """A copy of the finished workdir, to change."""
    return shutil.copytree(finished[0], tmp_path / "w")


def contents(workdir):
    """path → bytes of everything but the lock and the compiled programs."""
    files = (path for path in sorted(workdir.rglob("*")) if path.is_file())
    kept = (path for path in files if path.name != "lock" and "compiled" not in path.parts)
    return {path.relative_to(workdir).as_posix(): path.read_bytes() for path in kept}


def stages_said(out, word):
    """The stages that were ``started``, ``continued`` or ``reused``."""
    lines = (line for line in out.splitlines() if line.startswith("[") and f": {word} " in line)
    return [line.split("] ")[1].split(":")[0] for line in lines]


def test_a_run_ends_with_the_table_the_release_and_the_report(finished):
    workdir, said = finished
    table = said[said.rindex("utility: verification accuracy") :]
    assert [line.split()[0] for line in table.splitlines()[3:7]] == ["original", "mask", "blur", "reconstruction"]
    report, release = next(workdir.glob("report-*/report.html")), next(workdir.glob("publish-*/release"))
    assert f"report:  {report}" in table and f"release: {release}" in table
    assert (release / "facemae_faces" / "1.0.0" / "card.md").is_file()
    assert len(stages_said(said, "started")) == 13


def test_done_says_what_was_made_with_what(finished):
    done = json.loads(next(finished[0].glob("train-mae-*/done.json")).read_text())
    assert done["fields"]["mae.irm_weight"] == 2.0 and done["upstream"]["teacher"]["ref"] == "train-teacher"
    assert done["versions"]["jax"] and done["hardware"]["devices"] == 8 and done["seconds"] > 0
    assert str(finished[0]) not in json.dumps(done)  # results may be copied to other places


def test_a_second_run_computes_nothing_and_writes_nothing(enter, workdir):
    before = contents(workdir)
    code, out, _ = enter("run", workdir)
    assert code == 0 and len(stages_said(out, "reused")) == 13
    assert not stages_said(out, "started") and contents(workdir) == before


def test_only_what_a_field_touches_runs_again(enter, workdir):
    code, out, _ = enter("run", workdir, "--config.audit.max_queries=20")
    assert code == 0 and stages_said(out, "started") == ["audit", "report", "publish"]


def test_a_stage_alone_takes_what_is_there(enter, workdir):
    code, out, _ = enter("audit", workdir)
    assert code == 0 and stages_said(out, "reused") == ["audit"]
    code, out, _ = enter("train-recognizer", workdir)
    assert stages_said(out, "reused") == [
        f"train-recognizer/{v}" for v in ("original", "mask", "blur", "reconstruction")
    ]


def test_a_stage_without_its_last_file_counts_for_nothing(enter, workdir):
    next(workdir.glob("verify-*/done.json")).unlink()
    code, out, _ = enter("verify", workdir)
    assert code == 0 and stages_said(out, "continued") == ["verify"]
    assert next(workdir.glob("verify-*/done.json")).is_file()


def test_a_full_disk_leaves_all_that_was_finished(enter, workdir, monkeypatch):
    before = contents(workdir)

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device", "audit.json")

    monkeypatch.setattr(graph.STAGES["audit"], "run", full)
    code, _, err = enter("run", workdir, "--config.audit.seed=1")
    assert code == 2 and "the disk is full while writing audit.json" in err
    after = contents(workdir)
    assert {name: after[name] for name in before} == before
    assert not any(name.startswith("audit-") and name.endswith("done.json") for name in set(after) - set(before))
    monkeypatch.undo()
    code, out, _ = enter("run", workdir, "--config.audit.seed=1")
    assert code == 0 and stages_said(out, "continued") == ["audit"]


def test_reuse_of_results_of_other_code_is_told_once(enter, workdir, monkeypatch):
    monkeypatch.setattr(runner, "code_commit", lambda: "fedcba987654")
    code, _, err = enter("run", workdir)
    assert code == 0 and err.count("warning: ") == 1 and "this is fedcba987654" in err


def test_two_processes_do_not_share_a_workdir(enter, workdir):
    with locks.locked(workdir):
        code, _, err = enter("run", workdir)
    assert code == 2 and "is in use by process" in err
    assert enter("verify", workdir)[0] == 0  # the lock went with its holder


def test_a_missing_input_names_the_command_with_its_settings(enter, workdir):
    code, _, err = enter("reconstruct", workdir, "--config.mae.irm_weight=3.5")
    assert code == 2 and "needs train-mae" in err
    assert "python -m facemae_jax train-mae --config=" in err and "--config.mae.irm_weight=3.5" in err


def test_an_outside_path_that_is_not_there_is_named(enter, tmp_path):
    code, _, err = enter("run", tmp_path / "w", "--config.data.seen=/no/faces", "--config.data.terms=x")
    assert code == 2 and "/no/faces does not exist" in err


def test_the_workdir_is_private_where_it_must_be(finished):
    assert (finished[0] / "private").stat().st_mode & 0o077 == 0
