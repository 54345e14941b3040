import jax
import jax.numpy as jnp
import numpy as np
import pytest

from facemae_jax.models import mobilefacenet
from facemae_jax.models.mobilefacenet import Bottleneck, Layer, MobileFaceNet
from facemae_jax.types import FacemaeError

BATCH, SIZE, LENGTH = 4, 32, 6


def pictures(count=BATCH, size=SIZE, channels=3, seed=0):
    return np.random.default_rng(seed).uniform(-1, 1, (count, size, size, channels)).astype(np.float32)


def born(model, images):
    """Variables by hand: no weight of 0 or 1 hides a mistake, variances are positive, and the image is not lost on the way."""
    random = np.random.default_rng(1)
    shapes = jax.eval_shape(lambda key: model.init(key, images, train=False), jax.random.key(0))

    def fill(path, leaf):
        if path[-1].key in ("var", "scale"):
            return random.uniform(0.5, 2, leaf.shape).astype(np.float32)
        if path[-1].key == "kernel":
            return random.normal(0, 1.5 * np.prod(leaf.shape[:-1]) ** -0.5, leaf.shape).astype(np.float32)
        return random.normal(0, 0.3, leaf.shape).astype(np.float32)

    return jax.tree.map_with_path(fill, shapes)


def shapes_of(model, size=112):
    return jax.eval_shape(lambda key: model.init(key, jnp.zeros((2, size, size, 3)), train=False), jax.random.key(0))


def count(tree):
    return sum(leaf.size for leaf in jax.tree.leaves(tree))


# Table 1 of the paper. A layer with PReLU has 3 numbers per channel beside its kernel (scale, bias, slope), a linear one 2.
def bottleneck(inside, before, after):
    return before * inside + 3 * inside + 9 * inside + 3 * inside + inside * after + 2 * after


STEM = 27 * 64 + 3 * 64 + 9 * 64 + 3 * 64
BODY = (
    5 * bottleneck(128, 64, 64)
    + bottleneck(256, 64, 128)
    + 6 * bottleneck(256, 128, 128)
    + bottleneck(512, 128, 128)
    + 2 * bottleneck(256, 128, 128)
)
END = 128 * 512 + 3 * 512 + 49 * 512 + 2 * 512


@pytest.mark.parametrize(("length", "total"), [(128, 1_003_136), (512, 1_200_512)])
def test_parameters_of_the_paper(length, total):
    params = shapes_of(MobileFaceNet(length))["params"]
    assert count(params) == STEM + BODY + END + 512 * length + 2 * length == total
    assert sum(name.startswith("stage") for name in params) == 15
    assert params["everywhere"]["conv"]["kernel"].shape == (7, 7, 1, 512)
    assert count(shapes_of(MobileFaceNet(length), size=64)["params"]) == total - (49 - 16) * 512


@pytest.mark.parametrize(("size", "side"), [(16, 1), (48, 3), (112, 7)])
def test_any_size_that_divides_by_16(size, side):
    model = MobileFaceNet(LENGTH)
    variables = shapes_of(model, size)
    assert variables["params"]["everywhere"]["conv"]["kernel"].shape[:2] == (side, side)
    found = jax.eval_shape(lambda v: model.apply(v, jnp.zeros((2, size, size, 3)), train=False), variables)
    assert found.shape == (2, LENGTH) and found.dtype == jnp.float32


@pytest.mark.parametrize("shape", [(2, 40, 40, 3), (2, 100, 100, 3), (2, 32, 16, 3)])
def test_other_sizes_are_refused(shape):
    with pytest.raises(FacemaeError, match=f"{shape[1]}×{shape[2]}: choose a data.image_size that divides by 16"):
        jax.eval_shape(
            lambda key: MobileFaceNet(LENGTH).init(key, jnp.zeros(shape), train=False), jax.random.key(0)
        )  # fmt: skip


def test_maps_shrink_as_in_the_paper():
    model = MobileFaceNet(128)
    variables = shapes_of(model)
    _, kept = jax.eval_shape(
        lambda v: model.apply(v, jnp.zeros((2, 112, 112, 3)), train=False, capture_intermediates=True), variables
    )
    names = ("stem", "stem_depthwise", "stage1_0", "stage1_4", "stage2_0", "stage3_5", "stage4_0", "stage5_1", "last")
    shapes = [kept["intermediates"][name]["__call__"][0].shape[2:] for name in names]
    assert shapes == [(56, 64), (56, 64), (28, 64), (28, 64), (14, 128), (14, 128), (7, 128), (7, 128), (7, 512)]
    assert kept["intermediates"]["everywhere"]["__call__"][0].shape == (2, 1, 1, 512)


def normed(x, p, s):
    return (x - s["mean"]) / np.sqrt(s["var"] + 1e-5) * p["scale"] + p["bias"]


def convolved(x, kernel, stride=1, padding=None, groups=1):
    pad = len(kernel) // 2 if padding is None else padding
    return jax.lax.conv_general_dilated(
        x, kernel, (stride, stride), [(pad, pad)] * 2, dimension_numbers=("NHWC", "HWIO", "NHWC"),
        feature_group_count=groups,
    )  # fmt: skip


@pytest.mark.parametrize(("stride", "features", "added"), [(1, 4, True), (2, 4, False), (1, 6, False)])
def test_bottleneck_by_hand(stride, features, added):
    """Widen–depthwise–narrow, PReLU after the first two, nothing after the last; the input is added where shapes agree."""
    unit, x = Bottleneck(2, features, stride), pictures(2, 8, channels=4)
    variables = born(unit, x)
    p, s = variables["params"], variables["batch_stats"]
    assert "prelu" not in p["project"]
    with jax.numpy_rank_promotion("allow"):
        y = x
        for name, step, groups in (("expand", 1, 1), ("depthwise", stride, 8)):
            y = normed(convolved(y, p[name]["conv"]["kernel"], step, groups=groups), p[name]["bn"], s[name]["bn"])
            y = np.where(y >= 0, y, p[name]["prelu"]["slope"] * y)
        y = normed(convolved(y, p["project"]["conv"]["kernel"]), p["project"]["bn"], s["project"]["bn"])
    found = jax.jit(lambda v, x: unit.apply(v, x, train=False))(variables, x)
    assert found.shape == (2, 8 // stride, 8 // stride, features)
    np.testing.assert_allclose(found, y + x if added else y, rtol=1e-4, atol=1e-4)


def test_the_global_layer_weighs_every_place_by_itself():
    layer, x = Layer(5, 3, depthwise=True, linear=True, padding=0), pictures(2, 3, channels=5)
    variables = born(layer, x)
    kernel = variables["params"]["conv"]["kernel"]  # 3 × 3 × 1 × 5
    sums = (x * kernel.reshape(1, 3, 3, 5)).sum((1, 2), keepdims=True)
    with jax.numpy_rank_promotion("allow"):
        expected = normed(sums, variables["params"]["bn"], variables["batch_stats"]["bn"])
    found = layer.apply(variables, x, train=False)
    assert found.shape == (2, 1, 1, 5)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)


@pytest.fixture(scope="module")
def small():
    """The same network with few and narrow layers: evaluated, and trained with gradients of every parameter."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(mobilefacenet, "BOTTLENECKS", ((2, 4, 2, 2), (2, 6, 1, 2), (2, 6, 1, 2)))
        patch.setattr(mobilefacenet, "STEM", 4)
        patch.setattr(mobilefacenet, "LAST", 8)
        model, dropping = MobileFaceNet(LENGTH), MobileFaceNet(LENGTH, dropout=0.5)
        variables = born(model, pictures())
        target = np.random.default_rng(2).normal(size=(BATCH, LENGTH)).astype(np.float32)

        def loss(params, images, key):
            given = {"params": params, "batch_stats": variables["batch_stats"]}
            trained, after = dropping.apply(given, images, train=True, mutable=["batch_stats"], rngs={"dropout": key})
            return jnp.sum(trained * target), (trained, after["batch_stats"])

        yield (
            variables,
            jax.jit(lambda v, x: model.apply(v, x, train=False)),
            jax.jit(jax.grad(loss, has_aux=True)),
        )


def test_evaluation_looks_at_each_image_alone(small):
    variables, evaluate, _ = small
    whole, others = evaluate(variables, pictures()), pictures(seed=3)
    others[1] = pictures()[1]
    assert whole.shape == (BATCH, LENGTH) and whole.dtype == jnp.float32
    np.testing.assert_allclose(evaluate(variables, others)[1], whole[1], atol=1e-5)
    np.testing.assert_allclose(evaluate(variables, pictures()[:2]), whole[:2], atol=1e-5)
    assert np.abs(evaluate(variables, others)[0] - whole[0]).max() > 0.01


def test_training_moves_statistics_and_reaches_every_parameter(small):
    variables, evaluate, train = small
    gradients, (trained, stats) = train(variables["params"], pictures(), jax.random.key(0))
    assert trained.dtype == jnp.float32 and np.abs(trained - evaluate(variables, pictures())).max() > 0.1
    for (path, gradient), weight in zip(
        jax.tree.leaves_with_path(gradients), jax.tree.leaves(variables["params"]), strict=True
    ):
        assert gradient.shape == weight.shape and np.isfinite(gradient).all(), path
        # The bias of a linear layer is taken away again by the norm of the next one.
        if "project/bn/bias" not in jax.tree_util.keystr(path, simple=True, separator="/"):
            assert np.abs(gradient).max() > 1e-5, path
    for (path, after), before in zip(
        jax.tree.leaves_with_path(stats), jax.tree.leaves(variables["batch_stats"]), strict=True
    ):
        assert np.abs(after - before).max() > 1e-3, path
    moved = evaluate(variables | {"batch_stats": stats}, pictures())
    assert np.abs(moved - evaluate(variables, pictures())).max() > 1e-3


def test_dropout_follows_its_key(small):
    variables, _, train = small
    first, again, other = (train(variables["params"], pictures(), jax.random.key(seed))[1][0] for seed in (0, 0, 1))
    np.testing.assert_array_equal(first, again)
    assert np.abs(first - other).max() > 0.1


def test_bfloat16_computes_while_parameters_and_output_stay_float32():
    model, images = MobileFaceNet(LENGTH, jnp.bfloat16), jnp.zeros((2, 32, 32, 3))
    variables = shapes_of(model, 32)
    assert {leaf.dtype for leaf in jax.tree.leaves(variables)} == {jnp.dtype("float32")}
    found, kept = jax.eval_shape(lambda v: model.apply(v, images, train=False, capture_intermediates=True), variables)
    assert found.dtype == jnp.float32
    for name in ("stem", "stage2_0", "everywhere", "fc"):
        assert kept["intermediates"][name]["__call__"][0].dtype == jnp.bfloat16
