import jax
import jax.numpy as jnp
import numpy as np
import pytest

from facemae_jax.models import iresnet
from facemae_jax.models.iresnet import IResNet, PRelu, Unit, batch_norm


def pictures(count=4, size=32, seed=0):
    return np.random.default_rng(seed).uniform(-1, 1, (count, size, size, 3)).astype(np.float32)


def born(model, *inputs):
    """Variables by hand: no weight of 0 or 1 hides a mistake, and variances are positive."""
    random = np.random.default_rng(1)
    shapes = jax.eval_shape(lambda key: model.init(key, *inputs, train=False), jax.random.key(0))

    def fill(path, leaf):
        if path[-1].key == "var":
            return random.uniform(0.5, 2, leaf.shape).astype(np.float32)
        return random.normal(0, 0.3, leaf.shape).astype(np.float32)

    return jax.tree.map_with_path(fill, shapes)


def test_prelu_bends_below_zero_by_one_slope_per_channel():
    x = np.array([[-2.0, -2.0], [3.0, 3.0]], np.float32)
    slope = {"params": {"slope": np.array([0.25, -1.0], np.float32)}}
    np.testing.assert_array_equal(PRelu().apply(slope, x), [[-0.5, 2], [3, 3]])
    fresh = jax.eval_shape(PRelu().init, jax.random.key(0), jnp.zeros((2, 4, 4, 8)))
    assert fresh["params"]["slope"].shape == (8,)
    np.testing.assert_array_equal(PRelu().init(jax.random.key(0), x)["params"]["slope"], 0.25)


def by_hand(p, s, x, stride):
    """The unit from its description: BN–conv–BN–PReLU–conv–BN, and a projection beside it where the shape changes."""

    def norm(x, name):
        return (x - s[name]["mean"]) / np.sqrt(s[name]["var"] + 1e-5) * p[name]["scale"] + p[name]["bias"]

    def conv(x, name, stride):
        kernel = p[name]["kernel"]
        pad = len(kernel) // 2
        return jax.lax.conv_general_dilated(
            x, kernel, (stride, stride), [(pad, pad)] * 2, dimension_numbers=("NHWC", "HWIO", "NHWC")
        )

    y = norm(conv(norm(x, "bn1"), "conv1", 1), "bn2")
    y = np.where(y >= 0, y, p["prelu"]["slope"] * y)
    y = norm(conv(y, "conv2", stride), "bn3")
    if "downsample_conv" in p:
        x = norm(conv(x, "downsample_conv", stride), "downsample_bn")
    return x + y


@pytest.mark.parametrize(("stride", "features", "projected"), [(1, 3, False), (2, 3, True), (1, 5, True)])
def test_unit_by_hand(stride, features, projected):
    unit, x = Unit(features, stride), pictures(2, 8)
    variables = born(unit, x)
    assert ("downsample_conv" in variables["params"]) == projected
    with jax.numpy_rank_promotion("allow"):
        expected = by_hand(variables["params"], variables["batch_stats"], x, stride)
    found = jax.jit(lambda v, x: unit.apply(v, x, train=False))(variables, x)
    assert found.shape == (2, 8 // stride, 8 // stride, features)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(("depth", "millions"), [(18, 24.03), (34, 34.14), (50, 43.59), (100, 65.16)])
def test_parameters_are_those_of_arcface_torch(depth, millions):
    model = IResNet(depth)
    abstract = jax.eval_shape(lambda key: model.init(key, jnp.zeros((1, 112, 112, 3)), train=False), jax.random.key(0))
    params = abstract["params"]
    assert params["fc"]["kernel"].shape == (25088, 512)
    assert "scale" not in params["features"]  # fixed at 1 there, as in the reference
    np.testing.assert_allclose(sum(leaf.size for leaf in jax.tree.leaves(params)) / 1e6, millions, rtol=0.01)
    units = sum(name.startswith("layer") for name in params)
    assert 2 * units + 2 == depth  # two convolutions in each, the stem, fc


@pytest.mark.parametrize(("size", "side"), [(16, 1), (48, 3), (112, 7)])
def test_any_size_that_divides_by_16(size, side):
    model, images = IResNet(18, embedding=64), jnp.zeros((2, size, size, 3))
    variables = jax.eval_shape(lambda key: model.init(key, images, train=False), jax.random.key(0))
    assert variables["params"]["fc"]["kernel"].shape == (side * side * 512, 64)
    found = jax.eval_shape(lambda v: model.apply(v, images, train=False), variables)
    assert found.shape == (2, 64) and found.dtype == jnp.float32


def test_bfloat16_computes_while_parameters_and_output_stay_float32():
    model, images = IResNet(18, embedding=64, dtype=jnp.bfloat16), jnp.zeros((2, 16, 16, 3))
    variables = jax.eval_shape(lambda key: model.init(key, images, train=False), jax.random.key(0))
    assert {leaf.dtype for leaf in jax.tree.leaves(variables)} == {jnp.dtype("float32")}
    found, kept = jax.eval_shape(lambda v: model.apply(v, images, train=False, capture_intermediates=True), variables)
    assert found.dtype == jnp.float32
    for part in (kept["intermediates"]["conv1"], kept["intermediates"]["layer2_0"]):
        assert part["__call__"][0].dtype == jnp.bfloat16


@pytest.fixture(scope="module")
def small():
    """The same network with few and narrow layers."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(iresnet, "WIDTHS", (4, 4, 8, 8))
        patch.setattr(iresnet, "DEPTHS", {18: (1, 1, 1, 1)})
        model = IResNet(18, embedding=6)
        variables = born(model, pictures())

        def evaluate(variables, images):
            return model.apply(variables, images, train=False, capture_intermediates=True)

        yield variables, jax.jit(evaluate)


def test_head_flattens_rows_then_columns_then_channels(small):
    variables, evaluate = small
    embeddings, kept = evaluate(variables, pictures())
    maps = np.asarray(kept["intermediates"]["bn2"]["__call__"][0])
    assert maps.shape == (4, 2, 2, 8)
    flat = np.stack([maps[:, r, c, k] for r in range(2) for c in range(2) for k in range(8)], axis=1)
    fc, last = variables["params"]["fc"], variables["batch_stats"]["features"]
    raw = flat @ fc["kernel"] + fc["bias"][None]
    expected = (raw - last["mean"][None]) / np.sqrt(last["var"] + 1e-5)[None]
    np.testing.assert_allclose(
        embeddings, expected + variables["params"]["features"]["bias"][None], rtol=1e-4, atol=1e-4
    )


def test_stem_keeps_the_resolution_and_each_stage_halves_it(small):
    variables, evaluate = small
    kept = evaluate(variables, pictures())[1]["intermediates"]
    shapes = [kept[name]["__call__"][0].shape[1:] for name in ("conv1", "layer1_0", "layer2_0", "layer3_0", "layer4_0")]
    assert shapes == [(32, 32, 4), (16, 16, 4), (8, 8, 4), (4, 4, 8), (2, 2, 8)]


def test_evaluation_looks_at_each_image_alone(small):
    variables, evaluate = small
    others = pictures(seed=3)
    others[1] = pictures()[1]
    np.testing.assert_allclose(evaluate(variables, others)[0][1], evaluate(variables, pictures())[0][1], atol=1e-5)


def test_statistics_follow_with_momentum_nine_tenths():
    norm, x = (
        batch_norm(True, jnp.float32, None),
        np.random.default_rng(0).normal(2, 3, (8, 4, 4, 5)).astype(np.float32),
    )
    start = {"mean": np.full(5, 1.0, np.float32), "var": np.full(5, 7.0, np.float32)}
    weights = {"scale": np.full(5, 2.0, np.float32), "bias": np.full(5, 0.5, np.float32)}
    y, after = norm.apply({"params": weights, "batch_stats": start}, x, mutable=["batch_stats"])
    mean, var = x.mean((0, 1, 2)), x.var((0, 1, 2))
    np.testing.assert_allclose(after["batch_stats"]["mean"], 0.9 + 0.1 * mean, rtol=1e-5)
    np.testing.assert_allclose(after["batch_stats"]["var"], 6.3 + 0.1 * var, rtol=1e-4)
    grid = (1, 1, 1, 5)
    np.testing.assert_allclose(
        y, (x - mean.reshape(grid)) / np.sqrt(var + 1e-5).reshape(grid) * 2 + 0.5, rtol=1e-3, atol=1e-3
    )
