"""The configs that no test machine can run in full: they resolve, a few steps of their shrunken form train, and their full-size
steps are traced and lowered for eight devices without one large array."""

import importlib
import math

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import PartitionSpec

from facemae_jax.chain import rules, settings
from facemae_jax.data.synthetic import render
from facemae_jax.mesh import AXES, batch_sharding, put_batch, replicated
from facemae_jax.models import recognizer
from facemae_jax.models.frozen import frozen_network
from facemae_jax.models.iresnet import batch_norm, conv
from facemae_jax.models.mae import Mae, mae_config
from facemae_jax.stages.training import mesh_of
from facemae_jax.train import step as steps
from facemae_jax.train.mae_task import Guide, MaeLoss, mae_task
from facemae_jax.train.optimizer import make_optimizer, total_steps
from facemae_jax.train.recognizer_task import Head, Margin, recognizer_task
from facemae_jax.types import Batch, batch_of

CONFIGS = ("casia", "webface4m", "webface42m")
# Everything of a config but its sizes stays: margins, shares, learning rates, dtypes, loss weights.
SMALL = {
    "data.image_size": "32",
    **{f"{part}.network": "cpu" for part in ("teacher", "recognizer")},
    **{f"{part}.embedding": "16" for part in ("teacher", "recognizer")},
    **{f"{part}.optim.batch": "32" for part in ("teacher", "recognizer", "mae")},
    "mae.size": "custom",
    **dict(zip(("mae.width", "mae.depth", "mae.heads"), ("32", "1", "2"), strict=True)),
    **dict(zip(("mae.decoder_width", "mae.decoder_depth", "mae.decoder_heads"), ("16", "1", "2"), strict=True)),
}
RECIPE = ("network", "embedding", "dtype", "dropout", "margin", "head", "augment", "optim")
STEPS, PEOPLE, PICTURES = 20, 32, 4
CLASSES = 2048  # 256 on each device: PartialFC takes 128 of them


class Net(nn.Module):
    """Stands for the CPU-sized recognizer, and compiles in a second."""

    embedding: int
    dtype: jnp.dtype
    dropout: float

    @nn.compact
    def __call__(self, images_BHWC, train):
        x = nn.relu(batch_norm(train, self.dtype, "bn")(conv(8, 5, 4, self.dtype, "conv")(images_BHWC)))
        return nn.Dense(self.embedding, dtype=self.dtype, name="fc")(x.reshape(len(x), -1)).astype(jnp.float32)


@pytest.fixture
def small(monkeypatch):
    """``small(name)``: that config, shrunken."""
    monkeypatch.setitem(recognizer.NETWORKS, "cpu", Net)
    return lambda name: config_of(name, **SMALL)


def config_of(name, **changes):
    config = settings.load(f"configs/{name}.py", list(changes.items()))
    rules.check(config)
    return rules.resolve(config)


def task_of(config, part, identities):
    """A recognizer's task, as ``stages.recognizers`` makes it."""
    section = config[part]
    return recognizer_task(
        recognizer.build(section.network, section.embedding, section.dtype, section.dropout),
        identities=identities,
        embedding=section.embedding,
        image_size=config.data.image_size,
        margin=Margin(**section.margin.to_dict()),
        mesh=mesh_of(config),
        head=Head(**section.head.to_dict()),
    )


def teacher_shapes(config):
    """Shapes of an untrained teacher's variables, and its description."""
    t, size = config.teacher, config.data.image_size
    network, images = recognizer.build(t.network, t.embedding, t.dtype, t.dropout), jnp.zeros((1, size, size, 3))
    shapes = jax.eval_shape(lambda key: network.init(key, images, train=False), jax.random.key(0))
    return shapes, recognizer.described(t.network, t.embedding, t.dtype, t.dropout, size)


def mae_of(config, variables, description):
    """The MAE's task with the teacher, as ``stages.train_mae`` makes it."""
    mesh, m = mesh_of(config), config.mae
    loss = MaeLoss(
        pixel_weight=m.pixel_weight,
        irm_weight=m.irm_weight,
        irm_kind=config.irm.kind,
        irm_group=int(config.irm.group),
        irm_form=config.irm.form,
        irm_chunk=config.irm.chunk,
    )
    assert loss.needs_teacher
    teacher = frozen_network(variables, description, digest="")
    return mae_task(Mae(mae_config(m, config.data.image_size), mesh), loss, guides=[Guide(teacher)], mesh=mesh)


@pytest.mark.parametrize("name", CONFIGS)
def test_the_config_says_what_it_is_for(name):
    config = config_of(name)
    module = importlib.import_module(f"configs.{name}")
    assert (config.data.image_size, config.mae.patch, config.mae.visible) == (112, 8, 49)
    assert config.data.terms.strip()
    assert f"{module.IMAGES:,}" in module.__doc__ and f"{module.IDENTITIES:,}" in module.__doc__
    assert f"--config=configs/{name}.py" in module.__doc__ and " here" in module.__doc__
    both = [
        {name: value for name, value in config[part].items() if name in RECIPE} for part in ("teacher", "recognizer")
    ]
    assert both[0] == both[1] and set(both[0]) == set(RECIPE)  # so that what follows is tried with the teacher alone
    assert config.teacher.network.startswith("iresnet") and config.teacher.dtype == "bfloat16"
    assert config.teacher.margin.scale == 64 and config.teacher.head.dtype == "float32"
    assert config.teacher.optim.optimizer == "sgd" and config.teacher.optim.weight_decay == 5e-4
    assert config.mae.optim.learning_rate == pytest.approx(1.5e-4 * config.mae.optim.batch / 256)
    if name == "webface42m":
        pod = 256
        assert 0.1 <= config.teacher.head.sample <= 0.3
        batches = [config[part].optim.batch for part in ("teacher", "mae", "recognizer")]
        assert not any(batch % pod for batch in (*batches, config.verify.batch, config.audit.batch))


def faces(config, number):
    """One of four batches of rendered people, whose labels lie on all devices."""
    size, rows = config.data.image_size, range(number, PEOPLE * PICTURES, PICTURES)
    pairs = [divmod(row, PICTURES) for row in rows]
    images = [render(who, image, seed=0, size=size, difficulty=0.5) for who, image in pairs]
    return batch_of(np.stack(images), np.array([who * CLASSES // PEOPLE for who, _ in pairs]))


def losses_of(config, part, task):
    """The loss of twenty steps over four batches, by the schedule of the config."""
    mesh, images = mesh_of(config), PEOPLE * PICTURES
    optim = config[part].optim
    with config.unlocked():
        optim.epochs = STEPS * optim.batch / images
    assert total_steps(optim, images) == STEPS and mesh.size == 8
    optimizer = make_optimizer(optim, STEPS)
    state = steps.init_state(task, optimizer, mesh=mesh, seed=config.seed)
    step = steps.make_train_step(task, optimizer, mesh=mesh, seed=config.seed, accumulate=optim.accumulate)
    batches = [put_batch(mesh, faces(config, number)) for number in range(PICTURES)]
    told = []
    for number in range(STEPS):
        state, metrics = step(state, batches[number % PICTURES])
        told.append({name: float(value) for name, value in metrics.items()})
    assert all(np.isfinite(list(metrics.values())).all() for metrics in told)
    return [metrics["loss"] for metrics in told], state


def fell(losses):
    """By how much, from the first to the last pass over the four batches."""
    return 1 - np.mean(losses[-PICTURES:]) / np.mean(losses[:PICTURES])


@pytest.mark.slow
@pytest.mark.parametrize("name", CONFIGS)
def test_a_shrunken_recognizer_trains(name, small):
    config = small(name)
    task = task_of(config, "teacher", CLASSES)
    assert (task.select is not None) == (name == "webface42m")
    losses, _ = losses_of(config, "teacher", task)
    assert fell(losses) > 0.1, losses


@pytest.mark.slow
@pytest.mark.parametrize("name", CONFIGS)
def test_a_shrunken_mae_trains(name, small):
    config = small(name)
    shapes, description = teacher_shapes(config)
    random = np.random.default_rng(1)

    def fill(path, leaf):
        low = 0.5 if path[-1].key == "var" else -0.5
        return random.uniform(low, low + 1, leaf.shape).astype(np.float32)

    losses, state = losses_of(config, "mae", mae_of(config, jax.tree.map_with_path(fill, shapes), description))
    assert fell(losses) > 0.1, losses
    assert ("blocks" in state.params["encoder"]) == (name == "webface42m")


def there():
    """Bytes in all arrays that exist now."""
    return sum(array.nbytes for array in jax.live_arrays())


def lowered(config, part, make_task, frozen, monkeypatch):
    """(abstract state, lowered step): nothing is compiled, nothing that the step works on exists."""
    monkeypatch.setattr(steps, "compiler_options", lambda backend: None)  # they are for a step that is compiled
    mesh, optim, size = mesh_of(config), config[part].optim, config.data.image_size
    optimizer = make_optimizer(optim, 1000)
    state = steps.abstract_state(make_task(frozen), optimizer, mesh=mesh)
    shardings = jax.tree.map(lambda leaf: leaf.sharding, state)
    monkeypatch.setattr(steps, "state_shardings", lambda *_, mesh: shardings)  # as it would be found a second time

    def rows(dtype, *shape):
        return jax.ShapeDtypeStruct((optim.batch, *shape), dtype, sharding=batch_sharding(mesh))

    batch = Batch(rows(jnp.uint8, size, size, 3), rows(jnp.int32), rows(jnp.int32), rows(jnp.bool_))
    frozen = jax.tree.map(lambda s: jax.ShapeDtypeStruct(s.shape, s.dtype, sharding=replicated(mesh)), frozen)

    def step(state, batch, frozen):
        made = steps.make_train_step(make_task(frozen), optimizer, mesh=mesh, seed=0, accumulate=optim.accumulate)
        return made(state, batch)

    before = there()
    found = jax.jit(step).lower(state, batch, frozen)
    assert there() - before < 1 << 20
    after, metrics = found.out_info
    assert jax.tree.map(lambda x: (x.shape, x.dtype), after) == jax.tree.map(lambda x: (x.shape, x.dtype), state)
    assert {(metric.shape, metric.dtype) for metric in metrics.values()} == {((), jnp.dtype("float32"))}
    return state, found.as_text()


def on_a_device(state):
    """Bytes of the state that one device holds."""
    return sum(
        math.prod(leaf.sharding.shard_shape(leaf.shape)) * leaf.dtype.itemsize for leaf in jax.tree.leaves(state)
    )


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "local", "trained"),
    [
        ("casia", 1322, 1322),
        ("webface4m", 25_749, 25_749),
        ("webface42m", 257_489, 25_856),
    ],
)
def test_the_full_recognizer_step_is_lowered_with_all_identities(name, local, trained, monkeypatch):
    config, people = config_of(name), importlib.import_module(f"configs.{name}").IDENTITIES
    state, text = lowered(config, "teacher", lambda _: task_of(config, "teacher", people), (), monkeypatch)
    centres_KE = state.params["centres_KE"]
    assert centres_KE.shape == (8 * local, 512) and 0 <= 8 * local - people < 8
    assert centres_KE.sharding.spec == PartitionSpec(AXES)
    network = sum(leaf.size for leaf in jax.tree.leaves(state.params["network"]))
    # Weights and their momentum, a whole network and an eighth of the centres; statistics are little.
    assert on_a_device(state) == pytest.approx(8 * (network + local * 512), rel=0.01) and on_a_device(state) < 2 << 30
    batch = config.teacher.optim.batch
    assert f"tensor<{batch}x{trained}xf32>" in text  # logits of a device, all that it trains
    assert f"tensor<{batch}x{8 * local}xf32>" not in text
    assert (f"tensor<{batch}x{local}xf32>" in text) == (trained == local)
    assert f"tensor<{batch}x56x56x64xbf16>" in text
    if name == "webface42m":
        assert f"tensor<{trained}x512xf32>" in text


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "width", "millions"),
    [
        ("casia", 768, 111.2),
        ("webface4m", 768, 111.2),
        ("webface42m", 1024, 328.6),
    ],
)
def test_the_full_mae_step_is_lowered_with_its_teacher(name, width, millions, monkeypatch):
    config = config_of(name)
    shapes, description = teacher_shapes(config)
    state, text = lowered(config, "mae", lambda frozen: mae_of(config, frozen, description), shapes, monkeypatch)
    assert sum(leaf.size for leaf in jax.tree.leaves(state.params)) / 1e6 == pytest.approx(millions, rel=0.005)
    batch = config.mae.optim.batch
    assert f"tensor<{batch}x50x{width}xbf16>" in text and f"tensor<{batch}x197x512xbf16>" in text
    assert f"tensor<{batch // 8}x{batch}xf32>" in text  # relations of a device's own rows
    assert f"tensor<{batch}x56x56x64xbf16>" in text  # inside the teacher
