import logging
import shutil
import threading
import time
from types import SimpleNamespace

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from checkpoint_help import assert_same, cut, delete, flip

from facemae_jax.checkpoint import Checkpoints, integrity, states
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


def test_closing_waits_for_the_save_and_ends_the_threads(tmp_path, mesh, monkeypatch):
    sums = states.sums

    def slowly(step):
        time.sleep(0.5)  # so that the save is still in flight when the run closes
        return sums(step)

    monkeypatch.setattr(states, "sums", slowly)
    before = set(threading.enumerate())
    with Checkpoints(tmp_path) as checkpoints:
        checkpoints.save(1, state_on(mesh, 1), {}, None)
        during = set(threading.enumerate()) - before
    assert [path.name for path in tmp_path.iterdir()] == ["1"]  # nothing is being written any more
    # Orbax runs each of its coroutines in a fresh event loop (asyncio_utils.run_sync). When such a loop is closed it tells the
    # threads of its pool, "asyncio_0" and so on, to end, but does not wait for them: an idle one may still be on its way out here.
    # A thread that nobody told to end would stay for ever and, being no daemon, keep the process alive.
    left = set(threading.enumerate()) - before
    for thread in left:
        thread.join(60)
    assert during and [thread.name for thread in left if thread.is_alive()] == []


PADDED = r"(^|/)centres_KE$"


def centres_on(mesh, rows):
    """A state whose ``centres_KE`` hold 27 rows of numbers and then zeros, and which an optimizer remembers as well."""

    def make():
        centres = jnp.where(jnp.arange(rows)[:, None] < 27, 1.0 + jnp.arange(rows * 4.0).reshape(rows, 4), 0.0)
        params = {"centres_KE": centres, "kernel": jnp.ones((64, 32))}
        return State(jnp.asarray(1, jnp.int32), params, {}, optax.trace(0.9).init(params))

    return jax.jit(make, out_shardings=shardings_for(jax.eval_shape(make), mesh))()


@pytest.mark.parametrize(("before", "after"), [(32, 27), (27, 32), (28, 32)])
def test_rows_of_padding_come_and_go_with_the_mesh(tmp_path, before, after):
    meshes = {27: make_mesh(1, 1, jax.devices()[:1]), 28: make_mesh(4, 1, jax.devices()[:4]), 32: make_mesh(8, 1)}
    with Checkpoints(tmp_path) as checkpoints:
        checkpoints.save(1, centres_on(meshes[before], before), {}, None)
    wanted = centres_on(meshes[after], after)
    target = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=x.sharding), wanted)
    with Checkpoints(tmp_path) as checkpoints:
        with pytest.raises(FacemaeError, match="centres_KE"):
            checkpoints.restore(target)  # unless that is asked for
        state, _, _ = checkpoints.restore(target, padded=PADDED)
    assert_same(state, wanted)


def test_other_arrays_still_have_to_fit(tmp_path, mesh):
    with Checkpoints(tmp_path) as checkpoints:
        checkpoints.save(1, centres_on(mesh, 32), {}, None)
        wanted = centres_on(mesh, 32)
        for name, shape in (("kernel", (32, 32)), ("centres_KE", (32, 5))):
            target = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=x.sharding), wanted)
            target.params[name] = jax.ShapeDtypeStruct(shape, jnp.float32, sharding=replicated(mesh))
            with pytest.raises(FacemaeError, match=f"params/{name}"):
                checkpoints.restore(target, padded=PADDED)


def one_of_two(monkeypatch, number, answers):
    """From here on the books are kept as by process ``number`` of two, which agree on ``answers``, in this order."""
    monkeypatch.setattr(states, "jax", SimpleNamespace(process_index=lambda: number))
    left, met = list(answers), []
    monkeypatch.setattr(states, "everywhere", lambda good: left.pop(0))
    monkeypatch.setattr(states, "barrier", met.append)
    return met


@pytest.mark.parametrize(
    ("answers", "said"),
    [
        ([False, False, True, True], "the first process found it damaged"),
        ([True, False, True, True], "another process could not read it"),
    ],
)
def test_what_another_process_cannot_read_is_left_by_all(tmp_path, mesh, warnings_said, monkeypatch, answers, said):
    with Checkpoints(tmp_path) as checkpoints:
        for step in (1, 2):
            checkpoints.save(step, state_on(mesh, step), {}, None)
    with Checkpoints(tmp_path) as checkpoints, monkeypatch.context() as patch:
        met = one_of_two(patch, 1, answers)
        state, step, _ = checkpoints.restore(target_on(mesh))
        assert step == 1 and said in warnings_said[0]
        assert_same(state, state_on(mesh, 1))
        # The first moves it aside; nobody looks into the directory again before that.
        assert steps_in(tmp_path) == [1, 2] and len(met) == 1


def test_the_first_process_keeps_the_books(tmp_path, mesh, monkeypatch):
    for number in (0, 1):
        with monkeypatch.context() as patch:
            one_of_two(patch, number, [])
            with Checkpoints(tmp_path / str(number)) as checkpoints:
                checkpoints.save(1, state_on(mesh, 1), {}, None)
        assert (tmp_path / str(number) / "1" / integrity.SUMS).is_file() == (number == 0)


@pytest.mark.parametrize("loss", [float("nan"), float("inf"), -float("inf"), None])
def test_a_loss_that_is_no_number_is_never_the_best(tmp_path, mesh, loss):
    with Checkpoints(tmp_path, keep_latest=1, keep_best=1) as checkpoints:
        for step, told in enumerate((0.5, loss, 0.7), 1):
            checkpoints.save(step, state_on(mesh, step), {}, told)
    assert steps_in(tmp_path) == [1, 3]


def test_padded_rows_keep_their_kind_of_number(tmp_path, mesh):
    with Checkpoints(tmp_path) as checkpoints:
        checkpoints.save(1, centres_on(mesh, 32), {}, None)
        target = jax.tree.map(
            lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=x.sharding), centres_on(mesh, 32)
        )
        target.params["centres_KE"] = jax.ShapeDtypeStruct((32, 4), jnp.bfloat16, sharding=replicated(mesh))
        with pytest.raises(FacemaeError, match="params/centres_KE .* float32, wanted is .* bfloat16"):
            checkpoints.restore(target, padded=PADDED)
