import jax
import jax.numpy as jnp
import numpy as np
import pytest

from facemae_jax.mesh import batch_sharding, make_mesh, replicated
from facemae_jax.models.cpu_net import WIDTHS, CpuNet

BATCH, SIZE, LENGTH = 16, 16, 8


def pictures(seed=0):
    """Every two images are brighter than the two before: parts of this batch have other statistics than the whole."""
    random = np.random.default_rng(seed)
    steps = np.linspace(-0.8, 0.8, BATCH // 2).repeat(2).reshape(BATCH, 1, 1, 1)
    return (random.uniform(-0.2, 0.2, (BATCH, SIZE, SIZE, 3)) + steps).astype(np.float32)


@pytest.fixture(scope="module")
def variables():
    random = np.random.default_rng(1)
    shapes = jax.eval_shape(lambda key: CpuNet(LENGTH).init(key, pictures(), train=False), jax.random.key(0))

    def fill(path, leaf):
        if path[-1].key == "var":
            return random.uniform(0.5, 2, leaf.shape).astype(np.float32)
        return random.normal(0, 0.3, leaf.shape).astype(np.float32)

    return jax.tree.map_with_path(fill, shapes)


def trained(variables, images):
    """Embeddings, new statistics, and what enters the first and the last norm."""
    output, after = CpuNet(LENGTH).apply(
        variables, images, train=True, mutable=["batch_stats", "intermediates"], capture_intermediates=True
    )
    kept = after["intermediates"]
    return output, after["batch_stats"], (kept["down0"]["__call__"][0], kept["fc"]["__call__"][0])


@pytest.fixture(scope="module")
def on_one(variables):
    return jax.jit(trained)(variables, pictures())


@pytest.fixture(scope="module")
def evaluate():
    return jax.jit(lambda variables, images: CpuNet(LENGTH).apply(variables, images, train=False))


def test_statistics_are_of_the_whole_batch(variables, on_one):
    _, stats, (first, last) = on_one
    for name, entering, axes in (("bn0", first, (0, 1, 2)), ("features", last, 0)):
        before, entering = variables["batch_stats"][name], np.asarray(entering, np.float64)
        expected = 0.9 * before["mean"] + 0.1 * entering.mean(axes)
        np.testing.assert_allclose(stats[name]["mean"], expected, rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(stats[name]["var"], 0.9 * before["var"] + 0.1 * entering.var(axes), rtol=1e-3)


@pytest.mark.parametrize(("data", "fsdp"), [(8, 1), (4, 2)])
def test_statistics_are_global_over_devices(variables, on_one, data, fsdp):
    mesh = make_mesh(data, fsdp)
    spread = jax.device_put(variables, replicated(mesh)), jax.device_put(pictures(), batch_sharding(mesh))
    output, stats, _ = jax.jit(trained)(*spread)
    np.testing.assert_allclose(output, on_one[0], rtol=1e-4, atol=1e-4)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5), stats, on_one[1])


def test_training_and_evaluation_differ_and_evaluation_looks_at_each_image_alone(variables, on_one, evaluate):
    whole = evaluate(variables, pictures())
    assert whole.shape == (BATCH, LENGTH) and whole.dtype == jnp.float32
    assert np.abs(whole - on_one[0]).max() > 0.1
    others = pictures(seed=3)
    others[1] = pictures()[1]
    np.testing.assert_allclose(evaluate(variables, others)[1], whole[1], atol=1e-5)


def test_evaluation_follows_the_statistics(variables, evaluate, on_one):
    moved = variables | {"batch_stats": on_one[1]}
    assert np.abs(evaluate(moved, pictures()) - evaluate(variables, pictures())).max() > 1e-3


def test_dropout_in_training_only(variables):
    network = CpuNet(LENGTH, dropout=0.5)

    def train(key):
        return network.apply(variables, pictures(), train=True, mutable=["batch_stats"], rngs={"dropout": key})[0]

    dropping = jax.jit(train)
    first, again, other = (dropping(jax.random.key(seed)) for seed in (0, 0, 1))
    np.testing.assert_array_equal(first, again)
    assert np.abs(first - other).max() > 0.1
    abstract = jax.eval_shape(lambda v: network.apply(v, pictures(), train=False), variables)  # asks for no key
    assert abstract.shape == (BATCH, LENGTH)


@pytest.mark.parametrize(("size", "side"), [(16, 1), (48, 3), (112, 7)])
def test_any_size_that_divides_by_16(size, side):
    images = jnp.zeros((2, size, size, 3))
    abstract = jax.eval_shape(lambda key: CpuNet(32).init(key, images, train=False), jax.random.key(0))
    assert abstract["params"]["fc"]["kernel"].shape == (side * side * WIDTHS[-1], 32)
    found = jax.eval_shape(lambda v: CpuNet(32).apply(v, images, train=False), abstract)
    assert found.shape == (2, 32)


def test_parameters_of_the_default_at_112():
    # Convolutions (27·16 + 9·(16·32 + 32² + 32·64 + 64² + 64·128 + 128²)), norms and slopes of each, fc and its norm.
    convolutions = 27 * 16 + 9 * (16 * 32 + 32**2 + 32 * 64 + 64**2 + 64 * 128 + 128**2)
    norms = 3 * (16 + 2 * (32 + 64 + 128))
    fc = 7 * 7 * 128 * 128 + 128 + 128
    abstract = jax.eval_shape(
        lambda key: CpuNet().init(key, jnp.zeros((1, 112, 112, 3)), train=False), jax.random.key(0)
    )
    assert sum(leaf.size for leaf in jax.tree.leaves(abstract["params"])) == convolutions + norms + fc
