import jax
import jax.numpy as jnp
import numpy as np
import pytest

from facemae_jax.mesh import batch_sharding, make_mesh, replicated
from facemae_jax.models import vit_recognizer
from facemae_jax.models.vit import Stack, VitSize
from facemae_jax.models.vit_recognizer import SIZES, VitRecognizer
from facemae_jax.train.optimizer import decayed
from facemae_jax.types import FacemaeError

BATCH, SIZE, LENGTH = 8, 24, 6  # nine tokens


def pictures(count=BATCH, size=SIZE, seed=0):
    """Every two images are brighter than the two before: parts of this batch have other statistics than the whole."""
    random = np.random.default_rng(seed)
    steps = np.linspace(-0.8, 0.8, -(-count // 2)).repeat(2)[:count].reshape(count, 1, 1, 1)
    return (random.uniform(-0.2, 0.2, (count, size, size, 3)) + steps).astype(np.float32)


def shapes_of(model, size=112):
    return jax.eval_shape(lambda key: model.init(key, jnp.zeros((2, size, size, 3)), train=False), jax.random.key(0))


@pytest.mark.parametrize(
    ("size", "dim", "depth", "heads", "total"),
    [("tiny", 256, 12, 8, 22_554_368), ("small", 512, 12, 8, 89_672_192), ("base", 512, 24, 8, 127_500_800)],
)
def test_parameters_by_hand(size, dim, depth, heads, total):
    params, tokens = shapes_of(VitRecognizer(size))["params"], 14 * 14
    body = (8 * 8 * 3 * dim + dim) + tokens * dim + depth * (12 * dim**2 + 13 * dim) + dim
    head = tokens * dim * dim + dim + dim * 512 + 2 * 512
    assert sum(leaf.size for leaf in jax.tree.leaves(params)) == body + head == total
    assert SIZES[size] == (dim, depth, heads) and params["position_1ND"].shape == (1, 196, dim)
    assert len(params["encoder"]) == depth


@pytest.mark.parametrize(("size", "tokens"), [(8, 1), (64, 64), (120, 225)])
def test_any_size_that_divides_by_8(size, tokens):
    model = VitRecognizer("tiny", LENGTH)
    variables = shapes_of(model, size)
    assert variables["params"]["fc1"]["kernel"].shape == (tokens * 256, 256)
    found = jax.eval_shape(lambda v: model.apply(v, jnp.zeros((2, size, size, 3)), train=False), variables)
    assert found.shape == (2, LENGTH) and found.dtype == jnp.float32


@pytest.mark.parametrize("shape", [(2, 108, 108, 3), (2, 100, 100, 3), (2, 32, 16, 3)])
def test_other_sizes_are_refused(shape):
    with pytest.raises(
        FacemaeError, match=f"vit_tiny .* {shape[1]}×{shape[2]}: choose a data.image_size that divides by 8"
    ):
        jax.eval_shape(lambda key: VitRecognizer("tiny").init(key, jnp.zeros(shape), train=False), jax.random.key(0))


@pytest.fixture(scope="module")
def small():
    """The same network with one narrow layer, variables that hide no mistake, and its compiled uses."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(vit_recognizer, "SIZES", {"tiny": VitSize(16, 1, 2)})
        model, dropping = VitRecognizer("tiny", LENGTH), VitRecognizer("tiny", LENGTH, dropout=0.5)
        random = np.random.default_rng(1)

        def fill(path, leaf):
            if path[-1].key == "var":
                return random.uniform(0.5, 2, leaf.shape).astype(np.float32)
            return random.normal(0, 0.3, leaf.shape).astype(np.float32)

        variables = jax.tree.map_with_path(fill, shapes_of(model, SIZE))
        target = random.normal(size=(BATCH, LENGTH)).astype(np.float32)

        def loss(params, stats, images, key):
            given = {"params": params, "batch_stats": stats}
            trained, after = dropping.apply(given, images, train=True, mutable=["batch_stats"], rngs={"dropout": key})
            return jnp.sum(trained * target), (trained, after["batch_stats"])

        yield (
            variables,
            jax.jit(lambda v, x: model.apply(v, x, train=False, capture_intermediates=True)),
            jax.jit(jax.grad(loss, has_aux=True)),
        )


def train(small, key=0, images=None, mesh=None):
    """(gradients, (embeddings, new statistics)); with a mesh, images are split over its devices."""
    variables, _, step = small
    images = pictures() if images is None else images
    if mesh is not None:
        variables, images = jax.device_put(variables, replicated(mesh)), jax.device_put(images, batch_sharding(mesh))
    return step(variables["params"], variables["batch_stats"], images, jax.random.key(key))


def test_forward_by_hand(small):
    """Patches in rows, positions, blocks, a norm of each token, all tokens in a row, two products with a norm behind each."""
    variables, evaluate, _ = small
    p, s = variables["params"], variables["batch_stats"]
    images = pictures()
    patches = [
        images[:, 8 * row : 8 * row + 8, 8 * column : 8 * column + 8].reshape(BATCH, -1)
        for row in range(3)
        for column in range(3)
    ]

    def normed(x, of):
        return (x - s[of]["mean"]) / np.sqrt(s[of]["var"] + 1e-5) * p[of]["scale"] + p[of].get("bias", 0)

    with jax.numpy_rank_promotion("allow"):
        tokens = np.stack(patches, 1) @ p["patch_embed"]["kernel"] + p["patch_embed"]["bias"] + p["position_1ND"]
        tokens = np.asarray(Stack(1, 2).apply({"params": p["encoder"]}, tokens))
        centred = tokens - tokens.mean(-1, keepdims=True)
        tokens = centred / np.sqrt((centred**2).mean(-1, keepdims=True) + 1e-6)
        tokens = tokens * p["encoder_norm"]["scale"]
        x = normed(tokens.reshape(BATCH, 9 * 16) @ p["fc1"]["kernel"], "bn1")
        expected = normed(x @ p["fc2"]["kernel"], "features")
    np.testing.assert_allclose(evaluate(variables, images)[0], expected, rtol=1e-3, atol=1e-3)


def test_evaluation_looks_at_each_image_alone(small):
    variables, evaluate, _ = small
    whole, others = evaluate(variables, pictures())[0], pictures(seed=3)
    others[1] = pictures()[1]
    np.testing.assert_allclose(evaluate(variables, others)[0][1], whole[1], atol=1e-4)
    np.testing.assert_allclose(evaluate(variables, pictures()[:2])[0], whole[:2], atol=1e-4)
    assert np.abs(evaluate(variables, others)[0][0] - whole[0]).max() > 0.01


def test_training_moves_statistics_and_reaches_every_parameter(small):
    variables, evaluate, _ = small
    gradients, (trained, stats) = train(small)
    assert trained.dtype == jnp.float32 and np.abs(trained - evaluate(variables, pictures())[0]).max() > 0.1
    for (path, gradient), weight in zip(
        jax.tree.leaves_with_path(gradients), jax.tree.leaves(variables["params"]), strict=True
    ):
        assert gradient.shape == weight.shape and np.isfinite(gradient).all(), path
        assert np.abs(gradient).max() > 1e-5, path
    for (path, after), before in zip(
        jax.tree.leaves_with_path(stats), jax.tree.leaves(variables["batch_stats"]), strict=True
    ):
        assert np.abs(after - before).max() > 1e-3, path
    moved = evaluate(variables | {"batch_stats": stats}, pictures())[0]
    assert np.abs(moved - evaluate(variables, pictures())[0]).max() > 1e-3


@pytest.mark.parametrize(("data", "fsdp"), [(8, 1), (4, 2)])
def test_statistics_are_global_over_devices(small, data, fsdp):
    (_, (one, stats)), (_, (many, found)) = train(small), train(small, mesh=make_mesh(data, fsdp))
    np.testing.assert_allclose(many, one, rtol=1e-3, atol=1e-3)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4), found, stats)


def test_dropout_follows_its_key(small):
    first, again, other = (train(small, key)[1][0] for key in (0, 0, 1))
    np.testing.assert_array_equal(first, again)
    assert np.abs(first - other).max() > 0.1


def test_fresh_positions_are_small_and_do_not_decay():
    model = VitRecognizer("tiny", LENGTH)
    chosen = decayed(shapes_of(model, SIZE)["params"])
    assert chosen["fc1"]["kernel"] and not chosen["position_1ND"]
    position = jax.jit(
        lambda key: model.init(key, jnp.zeros((1, SIZE, SIZE, 3)), train=False)["params"]["position_1ND"]
    )
    assert float(position(jax.random.key(0)).std()) == pytest.approx(0.02, rel=0.2)


def test_bfloat16_computes_while_parameters_and_output_stay_float32():
    model, images = VitRecognizer("tiny", LENGTH, jnp.bfloat16), jnp.zeros((2, SIZE, SIZE, 3))
    variables = shapes_of(model, SIZE)
    assert {leaf.dtype for leaf in jax.tree.leaves(variables)} == {jnp.dtype("float32")}
    found, kept = jax.eval_shape(lambda v: model.apply(v, images, train=False, capture_intermediates=True), variables)
    assert found.dtype == jnp.float32
    for name, dtype in (
        ("patch_embed", "bfloat16"),
        ("encoder", "bfloat16"),
        ("encoder_norm", "float32"),
        ("fc1", "bfloat16"),
    ):
        assert kept["intermediates"][name]["__call__"][0].dtype == jnp.dtype(dtype)
