"""The studies of configs/ablations: each resolves on the configs it may vary, and says what it would make."""

import pytest

from facemae_jax.chain import grid, rules, settings, sweep_command
from facemae_jax.types import FacemaeError

FOLDER = settings.REPOSITORY / "configs" / "ablations"
STUDIES = sorted(path.stem for path in FOLDER.glob("*.py") if path.stem != "base")
# Settings beside the seeds, and the trainings of an MAE that one seed of the demo asks for.
SETTINGS = {
    "mask_ratio": 5, "losses": 4, "relation": 2, "group_size": 4, "composition": 2, "model_size": 3, "unlink_weight": 5, "teacher": 3,
    "trade_off": 3, "people": 4,
}  # fmt: skip
MAES = SETTINGS | {"composition": 1, "people": 1}


def test_all_studies_are_known():
    assert set(STUDIES) == set(SETTINGS)
    assert all(name in sweep_command.help_text() for name in STUDIES)


@pytest.mark.parametrize("name", STUDIES)
def test_a_dry_run_counts_its_points(name, enter, tmp_path):
    code, out, err = enter("sweep", tmp_path / "w", "--dry-run", config=f"configs/ablations/{name}.py")
    assert code == 0 and "cannot be run" not in out + err, err
    assert f"sweep of demo: {3 * SETTINGS[name]} points" in out and f"{3 * MAES[name]} × train-mae" in out
    assert not (tmp_path / "w").exists()


@pytest.mark.parametrize("base", ["celeba_lfw", "celeba_lfw:cpu"])
@pytest.mark.parametrize("name", STUDIES)
def test_a_study_varies_another_config(name, base):
    config = settings.load(f"configs/ablations/{name}.py:{base}")
    plain = settings.load(f"configs/{base.replace('_lfw', '_lfw.py', 1)}")
    if name == "trade_off":  # asks for more of recognizers and audit than the config it varies
        with plain.unlocked():
            plain.recognizer.variants, plain.audit = config.recognizer.variants, config.audit
    assert config == plain
    text = (FOLDER / f"{name}.py").read_text()
    space: dict = {}
    exec(compile(text, name, "exec"), space)
    for values in grid.points(grid.read_grid(space["GRID"], config)):
        if values.get("reconstruct.composition") != "paste":
            point = grid.with_values(config, values)
            rules.check(point)
            rules.resolve(point)


def test_a_dry_run_makes_no_secret(enter, tmp_path):
    secret, workdir = tmp_path / "secret", tmp_path / "w"
    (workdir / "private").mkdir(parents=True)
    for more in ([], [f"--secret-file={secret}"]):
        assert enter("sweep", workdir, "--dry-run", "--grid=seed=0", *more, config="configs/demo.py")[0] == 0
    assert not secret.exists() and not list((workdir / "private").glob("*secret*"))


def test_the_grid_of_the_command_line_goes_first(enter, tmp_path):
    code, out, _ = enter("sweep", tmp_path / "w", "--dry-run", "--grid=seed=5", config="configs/ablations/losses.py")
    assert code == 0 and "sweep of demo: 1 points" in out and "seed=5" in out


def test_an_unknown_config_to_vary_is_told():
    with pytest.raises(FacemaeError, match="there is no configs/dem.py to vary"):
        settings.load("configs/ablations/losses.py:dem")
