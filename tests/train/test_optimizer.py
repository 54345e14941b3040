import math

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from facemae_jax.chain import settings
from facemae_jax.models.iresnet import PRelu, batch_norm, conv
from facemae_jax.models.mae import Mae, MaeConfig
from facemae_jax.train.optimizer import decayed, make_optimizer, schedule, total_steps
from facemae_jax.types import FacemaeError

LR = 0.1


def fields(**changes):
    """A section optim without warm-up, so that the first step has the full rate; without clip and decay unless asked."""
    optim = settings.load("configs/base.py").mae.optim
    optim.update(dict(learning_rate=LR, warmup=0.0, weight_decay=0.0, clip=0.0, epochs=1.0, batch=10) | changes)
    return optim


def updates(optim, params, grads, steps=100):
    """What the optimizer adds to ``params`` for each of the gradients in turn."""
    optimizer = make_optimizer(optim, steps)
    state, found = optimizer.init(params), []
    for grad in grads:
        update, state = optimizer.update(grad, state, params)
        params = optax.apply_updates(params, update)
        found.append(update)
    return found


@pytest.mark.parametrize(
    ("epochs", "images", "batch", "expected"),
    [
        (1.0, 20, 10, 2),
        (1.0, 21, 10, 3),  # the rest of a pass is a step too
        (2.5, 10, 10, 3),
        (1e-9, 10, 10, 1),  # never none
        (40.0, 100_000, 256, 15_625),
        (1.1, 100, 10, 11),  # 1.1 · 100 is a hair above 110 in binary: no step more for that
    ],
)
def test_steps_are_rounded_up(epochs, images, batch, expected):
    assert total_steps(fields(epochs=epochs, batch=batch), images) == expected


def test_the_rate_rises_linearly_from_0_and_falls_as_a_cosine():
    rate = schedule(fields(warmup=0.2, final_learning_rate=0.02), steps=50)
    for step in range(11):  # 0.2 · 50 steps of warm-up
        assert rate(step) == pytest.approx(LR * step / 10, abs=1e-8)
    for step in range(10, 51):
        expected = 0.02 + (LR - 0.02) * 0.5 * (1 + math.cos(math.pi * (step - 10) / 40))
        assert rate(step) == pytest.approx(expected, abs=1e-7)
    assert rate(50) == pytest.approx(0.02) and rate(1000) == pytest.approx(0.02)


def test_without_warm_up_the_first_step_has_the_full_rate():
    rate = schedule(fields(warmup=0.0), steps=8)
    assert rate(0) == pytest.approx(LR) and rate(4) == pytest.approx(LR / 2) and rate(8) == pytest.approx(0.0, abs=1e-8)


def test_warm_up_may_take_the_whole_run():
    rate = schedule(fields(warmup=1.0), steps=4)
    np.testing.assert_allclose([rate(step) for step in range(5)], LR * np.arange(5) / 4, rtol=1e-6)


class Network(nn.Module):
    """The layers that a recognizer is made of."""

    @nn.compact
    def __call__(self, images_BHWC):
        x = PRelu(name="prelu")(batch_norm(True, jnp.float32, "bn")(conv(4, 3, 2, jnp.float32, "conv")(images_BHWC)))
        return nn.Dense(8, name="fc")(x.reshape(len(x), -1))


def test_only_matrices_and_kernels_decay():
    sizes = dict(width=8, depth=2, heads=2, decoder_width=8, decoder_depth=1, decoder_heads=2, scan=True)
    mae = Mae(MaeConfig(image_size=8, patch=4, visible=1, **sizes))  # scan stacks biases into matrices
    images = jnp.zeros((1, 8, 8, 3))
    params = {
        "mae": jax.eval_shape(mae.init, jax.random.key(0), images, jnp.zeros((1, 1), jnp.int32))["params"],
        "network": jax.eval_shape(Network().init, jax.random.key(0), images)["params"],
        "centres_KE": jnp.zeros((5, 8)),
    }
    named = {
        jax.tree_util.keystr(path, simple=True, separator="/"): leaf
        for path, leaf in jax.tree_util.tree_flatten_with_path(decayed(params))[0]
    }
    kept = {name for name in named if name.rpartition("/")[2] in ("kernel", "centres_KE")}
    assert {name for name, decays in named.items() if decays} == kept
    # The list of what does not decay is not empty by a typing error.
    free = {name.rpartition("/")[2] for name in named.keys() - kept}
    assert free == {"bias", "scale", "slope", "cls_token", "mask_token"}
    assert "mae/encoder/blocks/qkv/bias" in named and "network/conv/kernel" in kept
    # Either reason is enough: the name, as where scan stacks vectors, or the single dimension.
    matrix, vector = jnp.zeros((2, 3)), jnp.zeros(3)
    params = dict.fromkeys(("bias", "scale", "slope", "token", "position", "kernel"), matrix) | {"gain": vector}
    assert decayed(params) == dict.fromkeys(params, False) | {"kernel": True}


def test_adamw_by_hand():
    params = {"kernel": jnp.array([[1.0, -2.0]]), "bias": jnp.array([3.0])}
    first = {"kernel": jnp.array([[0.5, -0.25]]), "bias": jnp.array([2.0])}
    second = {"kernel": jnp.array([[1.0, 0.75]]), "bias": jnp.array([-1.0])}
    found = updates(fields(weight_decay=0.5, betas=(0.9, 0.95)), params, [first, second])
    # At the first step the corrected moments are g and g²: the size of the gradient does not matter.
    np.testing.assert_allclose(found[0]["kernel"], [[-LR * (1 + 0.5 * 1.0), -LR * (-1 + 0.5 * -2.0)]], rtol=1e-6)
    np.testing.assert_allclose(found[0]["bias"], [-LR], rtol=1e-6)  # no decay
    mean = (0.1 * -1.0 + 0.9 * 0.1 * 2.0) / (1 - 0.9**2)
    square = (0.05 * 1.0 + 0.95 * 0.05 * 4.0) / (1 - 0.95**2)
    rate = LR * 0.5 * (1 + math.cos(math.pi / 100))
    np.testing.assert_allclose(found[1]["bias"], [-rate * mean / math.sqrt(square)], rtol=1e-5)


def test_sgd_by_hand():
    params = {"kernel": jnp.array([[1.0, -2.0]]), "bias": jnp.array([3.0])}
    grads = {"kernel": jnp.array([[0.5, -0.25]]), "bias": jnp.array([2.0])}
    optim = fields(optimizer="sgd", weight_decay=0.5, momentum=0.9)
    found = updates(optim, params, [grads, grads], steps=10**9)  # so long that the rate stays
    # The decay is part of the gradient, and so of the momentum.
    np.testing.assert_allclose(found[0]["kernel"], [[-LR * (0.5 + 0.5 * 1.0), -LR * (-0.25 + 0.5 * -2.0)]], rtol=1e-6)
    np.testing.assert_allclose(found[0]["bias"], [-LR * 2.0], rtol=1e-6)
    np.testing.assert_allclose(found[1]["bias"], [-LR * (2.0 + 0.9 * 2.0)], rtol=1e-6)  # Nesterov would give more
    plain = updates(fields(optimizer="sgd", momentum=0.0), params, [grads, grads], steps=10**9)
    np.testing.assert_allclose(plain[1]["bias"], [-LR * 2.0], rtol=1e-6)


def test_the_gradient_is_clipped_by_its_norm_over_all_parameters():
    params = {"kernel": jnp.zeros((1, 2)), "bias": jnp.zeros(1)}
    grads = {"kernel": jnp.array([[6.0, 0.0]]), "bias": jnp.array([8.0])}  # of norm 10
    sgd = dict(optimizer="sgd", momentum=0.0)
    (clipped,) = updates(fields(clip=2.0, **sgd), params, [grads])
    np.testing.assert_allclose(clipped["kernel"], [[-LR * 1.2, 0.0]], rtol=1e-6)
    np.testing.assert_allclose(clipped["bias"], [-LR * 1.6], rtol=1e-6)
    for clip in (0.0, 10.5):  # off, and not reached
        (whole,) = updates(fields(clip=clip, **sgd), params, [grads])
        np.testing.assert_allclose(whole["bias"], [-LR * 8.0], rtol=1e-6)
    # The clip comes before the decay, which is no part of the norm.
    (decayed_too,) = updates(
        fields(clip=2.0, weight_decay=0.5, **sgd), {"kernel": jnp.full((1, 2), 4.0), "bias": jnp.zeros(1)}, [grads]
    )
    np.testing.assert_allclose(decayed_too["kernel"], [[-LR * (1.2 + 2.0), -LR * 2.0]], rtol=1e-6)


def test_another_optimizer_is_refused_with_the_choices():
    with pytest.raises(FacemaeError, match="optim.optimizer=lion: choose adamw or sgd"):
        make_optimizer(fields(optimizer="lion"), 10)
