import functools
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.sharding import PartitionSpec
from tiny_tasks import MAE, ROWS, Painter, faces, mesh_of, recognizer, teacher

from facemae_jax.keys import keys_for
from facemae_jax.losses.relation import relation_loss
from facemae_jax.mesh import AXES, put_batch
from facemae_jax.models.mae import Mae
from facemae_jax.models.scaling import to_unit
from facemae_jax.train import step as steps
from facemae_jax.train.mae_task import Guide, MaeLoss, mae_task
from facemae_jax.train.step import abstract_state, init_state, make_train_step
from facemae_jax.train.task import Task
from facemae_jax.types import FacemaeError

# Adam divides a gradient that is zero but for rounding by its own size: parameters are compared after plain momentum.
SGD = optax.sgd(0.1, momentum=0.9)
SEED = 3


def painted(mesh, group):
    return mae_task(Mae(MAE, mesh), MaeLoss(irm_weight=2.0, irm_group=group), guides=[Guide(teacher())], mesh=mesh)


TASKS = {
    "mae": functools.partial(painted, group=0),
    "mae, groups of 4": functools.partial(painted, group=4),
    "recognizer": recognizer,
}


def numpied(tree):
    return jax.tree.map(np.array, tree)  # a copy: the state is donated


@functools.cache
def run(name, mesh_name):
    """Three steps of a task on a mesh, and all that the tests below ask about them."""
    mesh = mesh_of(mesh_name)
    task, traces = TASKS[name](mesh), []

    def loss(*arguments):
        traces.append(1)
        return task.loss(*arguments)

    state = init_state(task, SGD, mesh=mesh, seed=SEED)
    step = make_train_step(task._replace(loss=loss), SGD, mesh=mesh, seed=SEED)
    found = SimpleNamespace(born=numpied(state), frozen=numpied(task.frozen), born_at=shardings(state))
    given = state
    state, metrics = step(state, put_batch(mesh, faces()))
    found.donated = [leaf.is_deleted() for leaf in jax.tree.leaves(given)]
    found.metrics, found.state, found.at = numpied(metrics), numpied(state), shardings(state)
    for seed in (1, 2):
        state, _ = step(state, put_batch(mesh, faces(seed=seed)))
    found.traces, found.steps = len(traces), int(state.step)
    found.frozen_after = numpied(task.frozen)
    return found


def shardings(tree):
    return jax.tree.map(lambda leaf: leaf.sharding, tree)


def assert_near(left, right, relative=0.0):
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=relative, atol=1e-5), left, right)


def assert_equal(left, right):
    jax.tree.map(np.testing.assert_array_equal, left, right)


@pytest.mark.parametrize(
    ("name", "mesh_name"),
    [
        pytest.param("mae", "8x1", marks=pytest.mark.slow),
        ("mae", "4x2"),
        ("mae, groups of 4", "4x2"),  # a device has 2 images: groups cross devices
        ("recognizer", "8x1"),
        ("recognizer", "4x2"),
    ],
)
def test_a_step_is_the_same_on_every_mesh(name, mesh_name):
    one, many = run(name, "1"), run(name, mesh_name)
    assert_equal(many.born, one.born)
    # Sums over several devices are taken in another order: of a gradient's norm of 56, 1e-5 would be less than three units in the last place.
    assert_near(many.metrics, one.metrics, relative=1e-6)
    assert_near(many.state, one.state)
    # All of it moved by much more than the tolerance, running statistics as well.
    assert one.metrics["grad_norm"] > 1
    for part in ("params", "extra"):
        for before, after in zip(
            jax.tree.leaves(getattr(one.born, part)), jax.tree.leaves(getattr(one.state, part)), strict=True
        ):
            assert np.abs(after - before).max() > 1e-4
    assert bool(jax.tree.leaves(one.state.extra)) == (name == "recognizer")


def test_groups_are_another_loss_than_the_whole_batch():
    assert abs(run("mae", "1").metrics["irm"] - run("mae, groups of 4", "1").metrics["irm"]) > 1e-3


@pytest.mark.parametrize("name", ["mae", "recognizer"])
def test_a_step_is_traced_once_and_takes_the_state_it_is_given(name):
    found = run(name, "4x2")
    assert (found.traces, found.steps) == (1, 3)
    assert all(found.donated)


def test_the_teacher_stays_as_it_was():
    found = run("mae", "4x2")
    assert_equal(found.frozen_after, found.frozen)
    assert jax.tree.leaves(found.frozen)
    names = {name for name in found.state.params}
    assert names == {"patch_embed", "cls_token", "encoder_norm", "encoder", "decoder_embed", "decoder_norm"} | {
        "mask_token",
        "decoder_pred",
    }


@pytest.mark.parametrize("name", ["mae", "recognizer"])
def test_large_parameters_and_their_moments_are_split_over_fsdp(name):
    found = run(name, "4x2")
    sizes = jax.tree.leaves(jax.tree.map(np.size, found.born.params))
    split = [not where.is_fully_replicated for where in jax.tree.leaves(found.born_at.params)]
    assert any(split) and not all(split)
    if name == "mae":
        assert split == [size >= 2**14 for size in sizes]
        block = found.born_at.params["encoder"]["block_0"]
        assert block["fc1"]["kernel"].spec == PartitionSpec(None, "fsdp")  # 64 × 256: the larger dimension
        assert block["fc2"]["kernel"].spec == PartitionSpec("fsdp")
    else:
        assert found.born_at.params["centres_KE"].spec == PartitionSpec(AXES)  # 24 people over 8 devices
        assert found.born_at.params["network"]["fc"]["kernel"].spec == PartitionSpec("fsdp")
        assert all(where.is_fully_replicated for where in jax.tree.leaves(found.born_at.extra))
    (trace,) = [part.trace for part in found.born_at.opt_state if hasattr(part, "trace")]
    assert trace == found.born_at.params
    assert found.at == found.born_at  # a step changes no placement, so it is compiled once


def test_each_device_holds_its_part_of_a_large_parameter():
    mesh = mesh_of("4x2")
    task = Task(init=lambda key: {"params": {"w": jax.random.normal(key, (128, 128))}}, loss=None)
    adam = optax.adamw(1e-3)
    state = init_state(task, adam, mesh=mesh, seed=0)
    moments = [leaf for leaf in jax.tree.leaves(state.opt_state) if leaf.ndim == 2]
    assert len(moments) == 2
    for leaf in (state.params["w"], *moments):
        assert {shard.data.shape for shard in leaf.addressable_shards} == {(64, 128)}
    wanted = abstract_state(task, adam, mesh=mesh)
    assert shardings(wanted) == shardings(state)
    assert jax.tree.map(lambda x: (x.shape, x.dtype), wanted) == jax.tree.map(lambda x: (x.shape, x.dtype), state)


def probe(*names):
    """A task that tells its randomness: one number drawn from each key; ``extra`` counts the passes."""

    def loss(params, extra, frozen, batch, keys):
        value = jnp.mean(to_unit(batch.images_BHWC).mean(axis=(1, 2, 3)) * params["w"])
        drawn = {name: jax.random.uniform(key) for name, key in keys.items()}
        return value, (drawn, {"passes": extra["passes"] + 1.0})

    return Task(lambda key: {"params": {"w": jnp.ones(())}, "passes": jnp.zeros(())}, loss, names)


def drawn(seed, steps, mesh_name, *names, accumulate=1, rows=ROWS):
    mesh = mesh_of(mesh_name)
    state = init_state(probe(*names), SGD, mesh=mesh, seed=seed)
    step = make_train_step(probe(*names), SGD, mesh=mesh, seed=seed, accumulate=accumulate)
    told = []
    for number in range(steps):
        state, metrics = step(state, put_batch(mesh, faces(rows, seed=number)))
        told.append({name: float(metrics[name]) for name in names})
    return told, state


def test_keys_follow_from_seed_step_and_name_alone():
    expected = [
        {name: float(jax.random.uniform(key)) for name, key in keys_for(5, step, ("mask", "dropout")).items()}
        for step in range(2)
    ]
    told, _ = drawn(5, 2, "1", "mask", "dropout")
    assert told == expected
    assert drawn(5, 2, "4x2", "dropout", rows=8)[0] == [{"dropout": told["dropout"]} for told in expected]
    assert drawn(6, 1, "1", "mask")[0][0]["mask"] != expected[0]["mask"]
    assert len({value for told in expected for value in told.values()}) == 4


def test_each_micro_batch_has_its_own_keys_and_updates_the_statistics():
    (told,), state = drawn(5, 1, "8x1", "mask", accumulate=2)
    key = keys_for(5, 0, ("mask",))["mask"]
    draws = [float(jax.random.uniform(jax.random.fold_in(key, micro))) for micro in range(2)]
    assert told["mask"] == pytest.approx(sum(draws) / 2)
    assert float(state.extra["passes"]) == 2


def accumulated(loss, accumulate, mesh_name="8x1", rows=2 * ROWS):
    """One step with every patch visible, so that no mask tells a micro-batch from a batch."""
    mesh = mesh_of(mesh_name)
    model = Painter(MAE.__class__(**(MAE.to_dict() | {"visible": MAE.patches})))
    task = mae_task(model, loss, guides=[Guide(teacher())], mesh=mesh)
    state = init_state(task, SGD, mesh=mesh, seed=SEED)
    born = numpied(state.params)
    step = make_train_step(task, SGD, mesh=mesh, seed=SEED, accumulate=accumulate)
    state, metrics = step(state, put_batch(mesh, faces(rows)))
    return model, born, numpied(state.params), numpied(metrics)


def test_accumulated_gradients_of_a_mean_are_those_of_the_whole_batch():
    _, _, params, metrics = accumulated(MaeLoss(), 1)
    _, _, parts, of_parts = accumulated(MaeLoss(), 4)
    assert_near(parts, params)
    assert_near(of_parts, metrics)


def test_accumulated_relations_are_those_of_each_micro_batch():
    model, born, params, metrics = accumulated(MaeLoss(pixel_weight=0.0, irm_weight=1.0), 2)
    images, frozen = to_unit(faces(2 * ROWS).images_BHWC), teacher()
    visible = jnp.broadcast_to(jnp.arange(MAE.patches)[None], (len(images), MAE.patches))

    def by_hand(params):
        real = frozen.apply(frozen.params, images)
        mine = frozen.apply(frozen.params, model.apply({"params": params}, images, visible).pixels_BHWC)
        # Micro-batch m holds every second image from m on.
        return (relation_loss(real[0::2], mine[0::2]) + relation_loss(real[1::2], mine[1::2])) / 2, (real, mine)

    (expected, (real, mine)), grads = jax.jit(jax.value_and_grad(by_hand, has_aux=True))(born)
    assert_near(metrics["irm"], expected)
    assert_near(params, jax.tree.map(lambda p, g: p - 0.1 * g, born, grads))
    assert_near(metrics["grad_norm"], optax.global_norm(grads))  # of the painter alone, without the teacher
    assert abs(relation_loss(real, mine) - expected) > 1e-4  # the graph of the whole batch is another


@pytest.mark.parametrize(("rows", "accumulate"), [(12, 1), (24, 2), (8, 2)])
def test_a_batch_that_does_not_divide_is_refused(rows, accumulate):
    with pytest.raises(FacemaeError, match=f"{rows} images does not divide into {accumulate} micro-batches over 8"):
        mesh = mesh_of("8x1")
        step = make_train_step(probe(), SGD, mesh=mesh, seed=0, accumulate=accumulate)
        step(init_state(probe(), SGD, mesh=mesh, seed=0), faces(rows))


def test_kernel_gradients_are_not_left_to_ynnpack_on_cpus():
    options = steps.compiler_options("cpu")
    x, k = jnp.ones((128, 28, 28, 32)), jnp.ones((3, 3, 32, 32))  # large enough for YNNPACK to be chosen

    def loss(k):
        convolved = jax.lax.conv_general_dilated(x, k, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC"))
        return jnp.sum(convolved**2)

    text = jax.jit(jax.grad(loss), compiler_options=options).lower(k).compile().as_text()
    assert "convolution(" in text and "ynn_fusion" not in text
    assert steps.compiler_options("gpu") is None and steps.compiler_options("tpu") is None


def test_an_xla_without_the_option_compiles_the_step_all_the_same(monkeypatch):
    monkeypatch.setattr(steps, "CPU_OPTIONS", {"xla_cpu_no_such_option": "x"})
    steps.compiler_options.cache_clear()
    assert steps.compiler_options("cpu") is None
    steps.compiler_options.cache_clear()


def test_another_error_of_the_compiler_is_not_taken_for_an_unknown_option(monkeypatch):
    def refuse(*_args, **_more):
        raise jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: out of memory")

    monkeypatch.setattr(steps.jax, "jit", refuse)
    steps.compiler_options.cache_clear()
    with pytest.raises(jax.errors.JaxRuntimeError, match="out of memory"):
        steps.compiler_options("cpu")
    steps.compiler_options.cache_clear()


def test_the_step_is_compiled_with_its_options(monkeypatch):
    real, told = jax.jit, []
    monkeypatch.setattr(
        steps.jax, "jit", lambda f, **more: told.append(more.get("compiler_options")) or real(f, **more)
    )
    make_train_step(recognizer(mesh_of("1")), SGD, mesh=mesh_of("1"), seed=SEED)
    assert told[-1] == steps.CPU_OPTIONS
