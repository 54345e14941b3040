import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from facemae_jax.models.vit import SIZES, Block, Stack, positions_2d, stack, unstack

WIDTH, DEPTH, HEADS = 16, 2, 2


def test_positions_by_hand():
    # Width 8: the first four numbers are of the column, the last four of the row; rates 1 and 1/100.
    positions = positions_2d(8, 3)
    assert positions.shape == (9, 8) and positions.dtype == np.float32

    def encode(at):
        return [np.sin(at), np.sin(at / 100), np.cos(at), np.cos(at / 100)]

    for row in range(3):
        for column in range(3):
            np.testing.assert_allclose(positions[3 * row + column], encode(column) + encode(row), rtol=1e-6)


def test_positions_are_all_different():
    positions = positions_2d(16, 14)
    apart = np.linalg.norm(positions[:, None] - positions[None], axis=-1) + 9 * np.eye(196)
    assert apart.min() > 0.1


def tokens(batch=2, count=5):
    return np.random.default_rng(0).normal(size=(batch, count, WIDTH)).astype(np.float32)


@pytest.fixture(scope="module")
def params():
    """Of an unrolled stack; biases and scales matter, as they would not at their start."""
    random = np.random.default_rng(1)
    shapes = jax.eval_shape(Stack(DEPTH, HEADS).init, jax.random.key(0), tokens())["params"]
    return jax.tree.map(lambda leaf: 0.3 * random.normal(size=leaf.shape).astype(np.float32), shapes)


@pytest.fixture(scope="module")
def block():
    return jax.jit(Block(HEADS).apply)


def test_block_by_hand(params, block):
    """Attention and perceptron written out once more, in float64."""
    p = jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), params["block_0"])
    x = tokens().astype(np.float64)

    def norm(x, of):
        centred = x - x.mean(-1, keepdims=True)
        scaled = centred / np.sqrt((centred**2).mean(-1, keepdims=True) + 1e-6)
        return scaled * of["scale"] + of["bias"]

    def dense(x, of):
        return x @ of["kernel"] + of["bias"]

    def gelu(x):
        return x * 0.5 * (1 + np.vectorize(math.erf)(x / 2**0.5))

    # Queries, keys and values lie one after another, heads inside each.
    q, k, v = np.moveaxis(dense(norm(x, p["norm1"]), p["qkv"]).reshape(2, 5, 3, HEADS, WIDTH // HEADS), 2, 0)
    weights = np.exp(np.einsum("bihd,bjhd->bhij", q, k) / (WIDTH // HEADS) ** 0.5)
    mixed = np.einsum("bhij,bjhd->bihd", weights / weights.sum(-1, keepdims=True), v).reshape(2, 5, WIDTH)
    x = x + dense(mixed, p["proj"])
    x = x + dense(gelu(dense(norm(x, p["norm2"]), p["fc1"])), p["fc2"])
    np.testing.assert_allclose(block({"params": params["block_0"]}, tokens()), x, atol=1e-5)


def passes(model, params, x):
    """Output, and the gradients of a loss of it: of the parameters and of the tokens."""
    target = np.random.default_rng(2).normal(size=x.shape).astype(np.float32)

    def loss(params, x):
        output = model.apply({"params": params}, x)
        return jnp.mean((output - target) ** 2), output

    (of_params, of_tokens), output = jax.jit(jax.grad(loss, (0, 1), has_aux=True))(params, x)
    return output, of_params, of_tokens


@pytest.fixture(scope="module")
def plain(params):
    return passes(Stack(DEPTH, HEADS), params, tokens())


def test_layers_are_applied_in_order(params, plain, block):
    x = tokens()
    for layer in range(DEPTH):
        x = block({"params": params[f"block_{layer}"]}, x)
    np.testing.assert_allclose(plain[0], x, atol=1e-5)


@pytest.mark.parametrize(
    ("remat", "scan", "keep"),
    [(True, False, "nothing"), (False, True, "nothing"), (True, True, "nothing"), (True, True, "dots")],
)
def test_remat_and_scan_change_no_number(params, plain, remat, scan, keep):
    model = Stack(DEPTH, HEADS, remat=remat, scan=scan, remat_keep=keep)
    output, of_params, of_tokens = passes(model, stack(params) if scan else params, tokens())
    found = (output, unstack(of_params), of_tokens)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5), found, plain)


def test_remat_recomputes():
    products = []
    for remat, keep in ((False, "nothing"), (True, "nothing"), (True, "dots")):
        model = Stack(DEPTH, HEADS, remat=remat, remat_keep=keep)
        abstract = jax.eval_shape(model.init, jax.random.key(0), tokens())["params"]
        program = jax.make_jaxpr(jax.grad(lambda p, m=model: m.apply({"params": p}, tokens()).sum()))(abstract)
        products.append(str(program).count("dot_general["))
    assert products[1] >= products[0] + 4 * DEPTH  # of the six matrix products in each layer
    assert products[0] < products[2] <= products[0] + 2 * DEPTH  # the two of the attention, which have batches


def test_scanned_layers_begin_differently_and_as_stacked_ones():
    scanned, plain = (
        jax.eval_shape(Stack(DEPTH, HEADS, scan=scan).init, jax.random.key(0), tokens())["params"]
        for scan in (True, False)
    )
    assert jax.tree.map(jnp.shape, scanned) == jax.tree.map(jnp.shape, jax.eval_shape(stack, plain))

    def first_kernels(key):  # alone, so that nothing else is compiled
        return Stack(DEPTH, HEADS, scan=True).init(key, tokens())["params"]["blocks"]["qkv"]["kernel"]

    kernels = jax.jit(first_kernels)(jax.random.key(0))
    assert kernels.shape == (DEPTH, WIDTH, 3 * WIDTH) and np.abs(kernels[0] - kernels[1]).max() > 0.1
    # Xavier counts the inputs of one layer, not of all: uniform of variance 2 / (16 + 48).
    np.testing.assert_allclose(np.std(kernels), (2 / 64) ** 0.5, rtol=0.1)


def test_stacking_is_undone_anywhere_in_the_tree():
    layers = {f"block_{n}": {"fc1": {"kernel": np.full((2, 3), float(n))}} for n in range(12)}  # block_10 after block_9
    tree = {
        "encoder": layers,
        "norm": {"scale": np.ones(3)},
        "decoder": {"inner": layers | {"bias": np.ones(2)}, "token": np.zeros(1)},
    }
    stacked = stack(tree)
    assert set(stacked["encoder"]) == {"blocks"} and set(stacked["decoder"]["inner"]) == {"blocks", "bias"}
    np.testing.assert_array_equal(stacked["encoder"]["blocks"]["fc1"]["kernel"][:, 0, 0], np.arange(12))
    back = unstack(stacked)
    assert jax.tree.structure(back) == jax.tree.structure(tree)
    jax.tree.map(np.testing.assert_array_equal, back, tree)


def test_bfloat16_computes_and_parameters_stay_float32(params, plain):
    model = Stack(DEPTH, HEADS, dtype="bfloat16")
    fresh = jax.eval_shape(model.init, jax.random.key(0), tokens())
    assert {leaf.dtype for leaf in jax.tree.leaves(fresh)} == {jnp.dtype("float32")}
    halved = jnp.asarray(tokens(), jnp.bfloat16)
    output = jax.jit(model.apply)({"params": params}, halved)
    assert output.dtype == jnp.bfloat16
    difference = np.abs(np.asarray(output, np.float32) - plain[0]) / np.abs(plain[0]).max()
    assert 1e-4 < difference.max() < 0.03  # eight bits of precision, not more and not less


def test_order_of_tokens_is_carried_by_nothing_but_positions(params, block):
    order, variables = np.array([3, 0, 4, 1, 2]), {"params": params["block_0"]}
    moved = block(variables, tokens()[:, order])
    np.testing.assert_allclose(moved, block(variables, tokens())[:, order], atol=1e-5)


@pytest.mark.parametrize(
    ("size", "millions"), [("tiny", 5.34), ("small", 21.29), ("base", 85.05), ("large", 302.3), ("huge", 629.7)]
)
def test_parameters_of_named_sizes(size, millions):
    # Of the layers alone: 12·width² + 13·width each.
    width, depth, heads = SIZES[size]
    shapes = jax.eval_shape(Stack(depth, heads, scan=True).init, jax.random.key(0), jnp.zeros((1, 1, width)))
    count = sum(leaf.size for leaf in jax.tree.leaves(shapes))
    assert count == depth * (12 * width**2 + 13 * width)
    np.testing.assert_allclose(count / 1e6, millions, rtol=2e-3)


def test_pin_is_applied_to_activations():
    seen = []

    def pin(x):
        seen.append(x.shape)
        return x

    jax.eval_shape(Stack(DEPTH, HEADS, pin=pin).init, jax.random.key(0), tokens())
    assert seen == [tokens().shape] * 2 * DEPTH
