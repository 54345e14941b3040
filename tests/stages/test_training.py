import json
import random
import shutil
import signal
import time

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from command_line import CONFIG, Command
from training_help import SIZE, metrics, settings, write_faces, write_recognizer

from facemae_jax.chain import graph
from facemae_jax.chain import settings as files
from facemae_jax.chain.runner import Chain
from facemae_jax.checkpoint import load_model, save_model
from facemae_jax.data.face_set import open_face_set
from facemae_jax.data.pipeline import Augment
from facemae_jax.mesh import make_mesh
from facemae_jax.models.scaling import to_unit
from facemae_jax.stages import training
from facemae_jax.train.task import Task
from facemae_jax.types import FacemaeError


def line(name):
    """A task with one number to learn, that tells its name."""

    def loss(params, extra, frozen, batch, keys):
        value = jnp.mean((to_unit(batch.images_BHWC).mean(axis=(1, 2, 3)) - params["w"]) ** 2)
        return value, ({name: params["w"]}, {"steps": extra["steps"] + 1.0})

    return Task(lambda key: {"params": {"w": jax.random.normal(key)}, "steps": jnp.zeros(())}, loss)


@pytest.fixture
def faces(tmp_path):
    return open_face_set(write_faces(tmp_path / "import", people=4, images=5) / "faces")


def fit(config, faces, out, tasks=None, **more):
    out.mkdir(exist_ok=True)
    given = dict(config=config, section=config.mae, faces=faces, out=out, label="line") | more
    return training.fit(tasks=tasks or [(1.0, line("w"))], mesh=training.mesh_of(config), **given)


def test_tasks_follow_each_other_on_one_state(tmp_path, monkeypatch, faces):
    config = settings(monkeypatch, mae__optim__epochs=4.0)  # 10 steps of 8 images, of 20 in all
    fitted = fit(config, faces, tmp_path / "out", [(0.28, line("first")), (1.0, line("then"))])
    told = metrics(tmp_path / "out")
    assert ["first" in values for values in told] == [True] * 3 + [False] * 7  # round(0.28 · 10) is 3
    assert float(fitted.state.extra["steps"]) == int(fitted.state.step) == 10
    seconds = fitted.summary.pop("seconds")
    assert seconds >= 0
    assert fitted.summary == dict(images=20, identities=4, steps=10, last=told[-1])
    # One schedule for all of them: the cosine ends with the last step, whatever the task.
    moves = np.abs(np.diff([values.get("first", values.get("then")) for values in told]))
    assert moves[-1] < moves[0] / 2


def test_what_the_batches_are_made_of(tmp_path, monkeypatch, faces):
    asked, original = [], training.train_batches

    def note(faces, **given):
        asked.append(given)
        return original(faces, **given)

    monkeypatch.setattr(training, "train_batches", note)
    changes = dict(seed=7, data__threads=3, mae__augment__flip=False, mae__augment__crop=0.6)
    transform = lambda image, key: image  # noqa: E731
    fit(settings(monkeypatch, **changes), faces, tmp_path / "out", transform=transform)
    assert asked == [
        dict(
            batch=8, seed=7, start_step=0, transform=transform, augment=Augment(flip=False, crop=0.6), threads=3, host=0,
            hosts=1,
        )
    ]  # fmt: skip


class Enough(Exception):
    """All that was wanted has been seen."""


def test_a_process_asks_for_its_own_part_of_the_batches(tmp_path, monkeypatch, faces):
    asked = []

    def begin(*, batches, **_):
        with monkeypatch.context() as patch:
            patch.setattr(jax, "process_index", lambda: 1)
            patch.setattr(jax, "process_count", lambda: 4)
            patch.setattr(training, "train_batches", lambda faces, **given: asked.append(given))
            batches(5)
        raise Enough

    monkeypatch.setattr(training, "train", begin)
    with pytest.raises(Enough):
        fit(settings(monkeypatch), faces, tmp_path / "out")
    assert [(given["start_step"], given["host"], given["hosts"]) for given in asked] == [(5, 1, 4)]


def test_the_seed_decides_how_weights_begin(tmp_path, monkeypatch, faces):
    first = [
        fit(settings(monkeypatch, seed=seed), faces, tmp_path / name) and metrics(tmp_path / name)[0]["w"]
        for seed, name in ((1, "a"), (1, "b"), (2, "c"))
    ]
    assert first[0] == first[1] != first[2]


def test_micro_batches_are_taken_as_the_config_says(tmp_path, monkeypatch, faces):
    config = settings(monkeypatch, mae__optim__batch=16, mae__optim__accumulate=2)  # 2 steps
    assert float(fit(config, faces, tmp_path / "out").state.extra["steps"]) == 4


def test_a_finished_run_is_read_and_not_made_again(tmp_path, monkeypatch, faces):
    def refuse(variables):
        raise AssertionError("a run that has a checkpoint does not begin anew")

    config = settings(monkeypatch)
    before = fit(config, faces, tmp_path / "out")
    again = fit(config, faces, tmp_path / "out", warm=refuse)
    assert float(again.state.params["w"]) == float(before.state.params["w"])
    assert again.summary["last"] == before.summary["last"]


def test_named_weights_begin_a_run(tmp_path, monkeypatch, faces):
    def warm(variables):
        assert set(variables) == {"params", "steps"}
        return {"params": {"w": np.float32(0.625)}, "steps": np.float32(100)}

    fitted = fit(settings(monkeypatch), faces, tmp_path / "out", warm=warm)
    assert metrics(tmp_path / "out")[0]["w"] == 0.625
    assert float(fitted.state.extra["steps"]) == 103 and int(fitted.state.step) == 3


def test_a_checkpoint_belongs_to_the_fingerprint_of_its_stage(tmp_path, monkeypatch, faces):
    out = tmp_path / "stage-0123abcd"
    out.mkdir()
    assert training.fingerprint(out) == "stage-0123abcd"  # a stage that is run without the chain
    (out / "fingerprint").write_text("0123abcd4567")
    assert training.fingerprint(out) == "0123abcd4567"
    fit(settings(monkeypatch), faces, out)
    (out / "fingerprint").write_text("0123abcd9999")
    with pytest.raises(FacemaeError, match="belongs to another run"):
        fit(settings(monkeypatch), faces, out)


def test_a_batch_larger_than_the_faces_is_refused(tmp_path, monkeypatch, faces):
    config = settings(monkeypatch, mae__optim__batch=24)
    with pytest.raises(
        FacemaeError, match="line: optim.batch=24 is more than the 20 images to train on.*smaller batch"
    ):
        fit(config, faces, tmp_path / "out")
    assert list((tmp_path / "out").iterdir()) == []


def test_the_mesh_is_the_one_asked_for(monkeypatch):
    assert training.mesh_of(settings(monkeypatch)) == make_mesh(8, 1)
    assert training.mesh_of(settings(monkeypatch, mesh__data=2, mesh__fsdp=4)) == make_mesh(2, 4)


def test_faces_of_another_size_are_refused(monkeypatch, faces):
    assert training.faces_of_size(faces, settings(monkeypatch)) is faces
    with pytest.raises(FacemaeError, match=f"{SIZE}×{SIZE} pixels, but data.image_size=32"):
        training.faces_of_size(faces, settings(monkeypatch, data__image_size=32))


def test_scratch_has_no_weights_to_begin_with():
    assert training.warm_start("", "mae", "mae.optim.init_from") is None


def test_a_recognizer_begins_with_network_and_statistics_and_its_own_centres(tmp_path):
    write_recognizer(tmp_path / "given", seed=5)
    given, _ = load_model(tmp_path / "given")
    given["batch_stats"]["bn"]["mean"] += 3.0
    save_model(tmp_path / "given" / "model", given, {"kind": "recognizer"})
    fresh = jax.tree.map(np.zeros_like, given)
    mine = {"params": {"network": fresh["params"], "centres_KE": np.ones((3, 8))}, "batch_stats": fresh["batch_stats"]}
    begun = training.warm_start(str(tmp_path / "given"), "recognizer", "teacher.optim.init_from")(mine)
    jax.tree.map(
        np.testing.assert_array_equal,
        begun,
        {"params": {"network": given["params"], "centres_KE": np.ones((3, 8))}, "batch_stats": given["batch_stats"]},
    )


def test_weights_that_are_not_there_are_told(tmp_path):
    with pytest.raises(FacemaeError, match="no model in .*nowhere"):
        training.warm_start(str(tmp_path / "nowhere"), "mae", "mae.optim.init_from")({})


def prepare(tmp_path, **values):
    """A config file, and two workdirs with the same imported faces."""
    config = tmp_path / "small.py"
    config.write_text(CONFIG.format(**values))
    loaded = files.load(str(config))
    Chain(loaded, tmp_path / "whole").run(graph.results(loaded, "import-faces"), with_upstream=False)
    shutil.copytree(tmp_path / "whole", tmp_path / "broken")
    seed = time.time_ns() % 10**6
    print(f"steps and moments of the signals follow from random.Random({seed})")
    return config, random.Random(seed)


@pytest.mark.slow
def test_a_run_that_was_killed_and_stopped_equals_an_unbroken_one(tmp_path):
    """Through the command line: SIGKILL at a random step, SIGTERM at a later one, then to the end."""
    config, at = prepare(tmp_path, epochs=30.0, irm_weight=0.0)
    whole, broken = (Command("train-mae", config, tmp_path / name) for name in ("whole", "broken"))
    whole.finish()

    # Also in the middle of a save: step 9, 18, … are written in the background.
    code, errors = broken.stop(signal.SIGKILL, at.randint(5, 25), at.uniform(0, 0.1))
    assert code == -signal.SIGKILL and "stopped" not in errors
    assert not (broken.stage / "done.json").exists() and not (broken.stage / "model").exists()

    code, errors = broken.stop(signal.SIGTERM, broken.steps() + at.randint(2, 12))
    assert code == 128 + signal.SIGTERM and "Traceback" not in errors and "warning" not in errors
    saved = broken.checkpoints()[-1]
    assert errors.splitlines()[-1] == (
        f"stopped: mae got SIGTERM and saved step {saved} of 60; the same command goes on from there."
    )
    assert broken.steps() == saved < 60 and not (broken.stage / "done.json").exists()

    assert "train-mae: continued in train-mae-" in broken.finish()
    assert broken.result() == whole.result()
    assert (broken.stage / "done.json").is_file()


@pytest.mark.slow
def test_both_tasks_survive_many_kills(tmp_path):
    """The teacher, and the MAE under its relations, over four devices; every kill at another moment."""
    config, at = prepare(tmp_path, epochs=80.0, irm_weight=2.0)
    for verb in ("train-teacher", "train-mae"):
        whole, broken = (Command(verb, config, tmp_path / name, devices=4) for name in ("whole", "broken"))
        whole.finish()
        for _ in range(3):
            code, _ = broken.stop(signal.SIGKILL, broken.steps() + at.randint(2, 12), at.uniform(0, 0.2))
            assert code == -signal.SIGKILL
        broken.finish()
        assert broken.result() == whole.result()
        assert json.loads((broken.stage / "done.json").read_text())["hardware"]["devices"] == 4
