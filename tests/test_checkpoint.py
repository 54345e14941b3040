import logging
import shutil
import threading

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from facemae_jax.checkpoint import Checkpoints, integrity, load_model, model_digest, save_model, states, weights
from facemae_jax.mesh import make_mesh, replicated, shardings_for
from facemae_jax.types import FacemaeError


class State(flax.struct.PyTreeNode):
    step: jax.Array
    params: dict
    extra: dict
    opt_state: tuple


def state_on(mesh, step=0):
    """A small state of the kinds of leaves that a run has; its values follow from ``step``."""

    def make():
        params = {
            "kernel": jnp.arange(64.0 * 32).reshape(64, 32) + step,
            "half": jnp.full((8,), 1 + step, jnp.bfloat16),
        }
        optimizer = optax.chain(optax.clip_by_global_norm(1.0), optax.adamw(1e-3))
        return State(jnp.asarray(step, jnp.int32), params, {}, optimizer.init(params))

    return jax.jit(make, out_shardings=shardings_for(jax.eval_shape(make), mesh, min_size=16))()


def target_on(mesh):
    state = state_on(mesh)
    return jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=x.sharding), state)


def assert_same(left, right):
    assert jax.tree.structure(left) == jax.tree.structure(right)
    for a, b in zip(jax.tree.leaves(left), jax.tree.leaves(right), strict=True):
        assert a.dtype == b.dtype
        np.testing.assert_array_equal(np.asarray(a), np.asarray(b))


@pytest.fixture
def mesh():
    return make_mesh(8, 1)


@pytest.fixture
def warnings_said():
    said = []
    handler = logging.Handler()
    handler.emit = lambda record: said.append(record.getMessage())
    states.LOG.addHandler(handler)
    yield said
    states.LOG.removeHandler(handler)


def steps_in(directory):
    return sorted(int(path.name) for path in directory.iterdir() if path.name.isdigit())


def test_restored_as_saved_on_another_mesh(tmp_path, mesh):
    with Checkpoints(tmp_path / "c") as checkpoints:
        assert checkpoints.restore(target_on(mesh)) is None and checkpoints.latest() is None
        checkpoints.save(3, state_on(mesh, 3), {"fingerprint": "ab", "threads": 2}, 0.5)
    other = make_mesh(4, 2)
    with Checkpoints(tmp_path / "c") as checkpoints:
        assert checkpoints.latest() == 3
        state, step, meta = checkpoints.restore(target_on(other))
    assert (step, meta) == (3, {"fingerprint": "ab", "threads": 2})
    assert_same(state, state_on(other, 3))
    assert state.params["kernel"].addressable_shards[0].data.shape == (32, 32)


def test_rapid_saves_are_all_kept_although_the_state_is_donated(tmp_path, mesh):
    advance = jax.jit(lambda state: jax.tree.map(lambda x: x + jnp.ones((), x.dtype), state), donate_argnums=0)
    state = state_on(mesh, 0)
    with Checkpoints(tmp_path, keep_latest=4) as checkpoints:
        for step in range(1, 5):
            state = advance(state)
            checkpoints.save(step, state, {}, None)  # the one before may still be in flight
        for _ in range(3):
            state = advance(state)
    assert steps_in(tmp_path) == [1, 2, 3, 4]
    with Checkpoints(tmp_path, keep_latest=4) as checkpoints:
        for step in (4, 3, 2, 1):
            restored, found, _ = checkpoints.restore(target_on(mesh))
            assert found == step
            np.testing.assert_array_equal(
                restored.params["kernel"], np.asarray(state_on(mesh, 0).params["kernel"]) + step
            )
            shutil.rmtree(tmp_path / str(step))
            checkpoints._manager.reload()


def test_keeps_the_latest_and_the_best_also_after_a_restart(tmp_path, mesh):
    losses = {1: 0.9, 2: 0.1, 3: float("nan"), 4: None, 5: 0.7}
    with Checkpoints(tmp_path) as checkpoints:
        for step, loss in losses.items():
            checkpoints.save(step, state_on(mesh, step), {}, loss)
    assert steps_in(tmp_path) == [2, 4, 5]
    with Checkpoints(tmp_path) as checkpoints:
        for step, loss in {6: 0.3, 7: 0.8, 8: 0.05}.items():
            checkpoints.save(step, state_on(mesh, step), {}, loss)
        checkpoints.wait()
        assert steps_in(tmp_path) == [7, 8]  # the best is among the latest now
        checkpoints.save(9, state_on(mesh, 9), {}, 1.0)
        checkpoints.save(10, state_on(mesh, 10), {}, 1.0)
    assert steps_in(tmp_path) == [8, 9, 10]


def test_a_step_is_saved_once_and_never_backwards(tmp_path, mesh):
    with Checkpoints(tmp_path) as checkpoints:
        checkpoints.save(2, state_on(mesh, 2), {"first": True}, None)
        checkpoints.save(2, state_on(mesh, 2), {"first": False}, None)
        assert checkpoints.restore(target_on(mesh))[2] == {"first": True}
        with pytest.raises(ValueError, match="ascending"):
            checkpoints.save(1, state_on(mesh, 1), {}, None)


def largest_file(step):
    return max((path for path in step.rglob("*") if path.is_file()), key=lambda path: path.stat().st_size)


def cut(step):
    path = largest_file(step)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    return path.name


def delete(step):
    path = largest_file(step)
    path.unlink()
    return path.name


def flip(step):
    path = largest_file(step)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    return path.name


def lose_the_loss(step):
    (step / "meta" / "metadata").write_text('{"loss": ')
    return "meta/metadata"


@pytest.mark.parametrize("harm", [cut, delete, flip, lose_the_loss])
def test_a_damaged_newest_falls_back_loudly_and_is_replaced(tmp_path, mesh, warnings_said, harm):
    with Checkpoints(tmp_path) as checkpoints:
        for step in (1, 2):
            checkpoints.save(step, state_on(mesh, step), {"at": step}, 0.1)
    name = harm(tmp_path / "2")
    with Checkpoints(tmp_path) as checkpoints:
        state, step, meta = checkpoints.restore(target_on(mesh))
        assert (step, meta) == (1, {"at": 1})
        assert_same(state, state_on(mesh, 1))
        assert str(tmp_path / "2") in warnings_said[0] and name in warnings_said[0]
        assert "falling back to step 1" in warnings_said[1]
        assert checkpoints.latest() == 1 and (tmp_path / "unreadable-2").is_dir()
        checkpoints.save(2, state_on(mesh, 2), {"at": 2}, 0.1)  # what the run does when it comes there again
    with Checkpoints(tmp_path) as checkpoints:
        assert checkpoints.restore(target_on(mesh))[1:] == (2, {"at": 2})


def test_damage_that_only_the_reader_meets_falls_back_too(tmp_path, mesh, warnings_said, monkeypatch):
    with Checkpoints(tmp_path) as checkpoints:
        for step in (1, 2):
            checkpoints.save(step, state_on(mesh, step), {}, None)
    (tmp_path / "2" / "state" / "_METADATA").write_text("{")
    monkeypatch.setattr(states, "damage", lambda step: "")
    with Checkpoints(tmp_path) as checkpoints:
        assert checkpoints.restore(target_on(mesh))[1] == 1
    assert len(warnings_said) == 2


def test_when_none_can_be_read_nothing_is_moved(tmp_path, mesh, warnings_said):
    with Checkpoints(tmp_path) as checkpoints:
        for step in (1, 2):
            checkpoints.save(step, state_on(mesh, step), {}, None)
    for step in (1, 2):
        (tmp_path / str(step) / integrity.SUMS).unlink()
    with Checkpoints(tmp_path) as checkpoints:
        with pytest.raises(FacemaeError, match="none of the checkpoints in .* can be read"):
            checkpoints.restore(target_on(mesh))
    assert steps_in(tmp_path) == [1, 2]


def test_the_rest_of_a_killed_save_is_not_taken_for_a_checkpoint(tmp_path, mesh):
    with Checkpoints(tmp_path) as checkpoints:
        checkpoints.save(1, state_on(mesh, 1), {}, None)
    left = tmp_path / "2.orbax-checkpoint-tmp"
    shutil.copytree(tmp_path / "1", left)
    with Checkpoints(tmp_path) as checkpoints:
        assert checkpoints.latest() == 1
        checkpoints.save(2, state_on(mesh, 2), {}, None)
        checkpoints.wait()
        assert checkpoints.restore(target_on(mesh))[1] == 2
    assert not left.exists()


@pytest.mark.parametrize("change", ["shape", "dtype", "name"])
def test_another_model_is_a_mistake_and_not_damage(tmp_path, mesh, change):
    with Checkpoints(tmp_path) as checkpoints:
        checkpoints.save(1, state_on(mesh, 1), {}, None)
        target = target_on(mesh)
        kernel = target.params["kernel"]
        params = {
            "shape": target.params | {"kernel": kernel.update(shape=(64, 31), sharding=replicated(mesh))},
            "dtype": target.params | {"kernel": kernel.update(dtype=jnp.bfloat16)},
            "name": {"other": kernel, "half": target.params["half"]},
        }[change]
        with pytest.raises(FacemaeError, match=r"does not fit this run \(params/kernel is .*wanted"):
            checkpoints.restore(target.replace(params=params))
    assert steps_in(tmp_path) == [1]


def test_a_full_disk_is_told_as_one(tmp_path, mesh, monkeypatch):
    checkpoints = Checkpoints(tmp_path)
    checkpoints.save(1, state_on(mesh, 1), {}, None)
    checkpoints.wait()
    full = OSError(28, "No space left on device")

    def refuse(*_args, **_kwargs):
        raise full

    with monkeypatch.context() as patch:
        patch.setattr(states, "sums", refuse)
        checkpoints.save(2, state_on(mesh, 2), {}, None)
        with pytest.raises(FacemaeError, match=r"step 2 could not be saved in .*No space left.*make room"):
            checkpoints.wait()
    with Checkpoints(tmp_path) as again:
        assert again.restore(target_on(mesh))[1] == 1


def test_closing_ends_the_threads(tmp_path, mesh):
    with Checkpoints(tmp_path / "warm") as checkpoints:
        checkpoints.save(1, state_on(mesh, 1), {}, None)
    before = set(threading.enumerate())
    with Checkpoints(tmp_path / "c") as checkpoints:
        checkpoints.save(1, state_on(mesh, 1), {}, None)
        checkpoints.restore(target_on(mesh))
    assert [thread for thread in set(threading.enumerate()) - before if not thread.daemon] == []


VARIABLES = {
    "params": {
        "encoder": {"kernel": np.arange(6, dtype=np.float32).reshape(2, 3)},
        "half": np.full((3,), 1.5, jnp.bfloat16),
    },
    "batch_stats": {"empty": {}, "count": np.asarray(7, np.int32)},
}


def test_a_model_comes_back_as_numpy(tmp_path):
    on_devices = jax.device_put(VARIABLES, replicated(make_mesh(4, 2)))
    save_model(tmp_path / "stage" / "model", on_devices, {"kind": "mae", "größe": 16})
    for directory in (tmp_path / "stage" / "model", tmp_path / "stage"):
        variables, description = load_model(directory)
        assert description == {"kind": "mae", "größe": 16}
        assert_same(variables, VARIABLES)
        assert all(type(leaf) is np.ndarray for leaf in jax.tree.leaves(variables))
    assert [path.name for path in (tmp_path / "stage").iterdir()] == ["model"]


def test_sharded_weights_come_back_whole(tmp_path):
    mesh = make_mesh(2, 4)
    kernel = np.arange(64.0 * 8, dtype=np.float32).reshape(64, 8)
    shardings = shardings_for({"kernel": kernel}, mesh, min_size=1)
    save_model(tmp_path / "m", jax.device_put({"kernel": kernel}, shardings), {})
    np.testing.assert_array_equal(load_model(tmp_path / "m")[0]["kernel"], kernel)


def test_the_digest_is_of_the_weights_alone(tmp_path):
    save_model(tmp_path / "a", VARIABLES, {"name": "a"})
    save_model(tmp_path / "b", jax.device_put(VARIABLES), {"name": "b"})
    changed = jax.tree.map(np.copy, VARIABLES)
    changed["params"]["encoder"]["kernel"][1, 2] += 1
    save_model(tmp_path / "c", changed, {"name": "a"})
    digests = [model_digest(tmp_path / name) for name in "abc"]
    assert len(digests[0]) == 64 and digests[0] == digests[1] != digests[2]


def test_the_digest_tells_names_shapes_and_types_apart():
    base = np.zeros(4, np.float32)
    trees = [{"a": base}, {"b": base}, {"a": base.reshape(2, 2)}, {"a": base.view(np.int32)}, {"a": base + 1}]
    assert len({integrity.digest_of(tree) for tree in trees}) == len(trees)


def test_a_killed_save_leaves_no_model_and_does_not_disturb_the_next(tmp_path, monkeypatch):
    def killed(*_args):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(weights.os, "replace", killed)
        with pytest.raises(KeyboardInterrupt):
            save_model(tmp_path / "model", VARIABLES, {})
    assert (tmp_path / "model.partial" / "model.json").is_file()
    with pytest.raises(FacemaeError, match=r"no model in .*model: .*model\.partial is the rest of an interrupted save"):
        load_model(tmp_path / "model")
    with pytest.raises(FacemaeError, match=r"model\.partial is the rest"):
        load_model(tmp_path)
    save_model(tmp_path / "model", VARIABLES, {"second": True})
    assert load_model(tmp_path)[1] == {"second": True}
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


def test_a_model_replaces_an_older_one_whole(tmp_path):
    for number in (1, 2):
        save_model(tmp_path / "m", {f"w{number}": np.ones(3)}, {"number": number})
    variables, description = load_model(tmp_path / "m")
    assert list(variables) == ["w2"] and description == {"number": 2}


def harm_json(model):
    (model / "model.json").write_text("{")


def harm_sum(model):
    (model / "weights.sha256").write_text("0" * 64)


@pytest.mark.parametrize("harm", [flip, cut, delete, harm_json, harm_sum])
def test_damaged_models_are_refused(tmp_path, harm):
    rng = np.random.default_rng(0)
    save_model(tmp_path / "m", {"kernel": rng.normal(size=(64, 64)).astype(np.float32)}, {})
    harm(tmp_path / "m")
    with pytest.raises(FacemaeError, match=str(tmp_path / "m")):
        load_model(tmp_path / "m")


def test_no_model_there(tmp_path):
    with pytest.raises(FacemaeError, match=r"no model in .*nowhere: name a model directory"):
        load_model(tmp_path / "nowhere")
