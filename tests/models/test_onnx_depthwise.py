"""What a depthwise convolution computes is checked against onnxruntime in test_onnx_ops."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from facemae_jax.models.onnx_value import Value
from facemae_jax.models.onnx_windows import convolution


def array(*shape, seed=0):
    return np.random.default_rng(seed).uniform(-1, 1, shape).astype(np.float32)


DEPTHWISE = [
    # kernel, pads (top, left, bottom, right), strides, dilations
    ((3, 3), (1, 1, 1, 1), (1, 1), (1, 1)),
    ((3, 3), (1, 1, 1, 1), (2, 2), (1, 1)),  # the last row and column are read by no window
    ((2, 3), (0, 2, 1, 0), (3, 2), (2, 1)),
    ((1, 2), (3, 0, 2, 4), (2, 3), (1, 3)),  # pads reach further than the filter
    ((7, 9), (0, 0, 0, 0), (1, 1), (1, 1)),  # one window
    ((1, 1), (0, 0, 0, 0), (4, 4), (1, 1)),
]


@pytest.mark.parametrize(("kernel", "pads", "strides", "dilations"), DEPTHWISE, ids=str)
def test_depthwise_gradient_is_that_of_a_plain_convolution(kernel, pads, strides, dilations):
    x, taps = jnp.asarray(array(2, 4, 7, 9)), jnp.asarray(array(4, 1, *kernel, seed=1))
    given = dict(group=4, pads=list(pads), strides=list(strides), dilations=list(dilations))

    def ours(x, taps):
        y = convolution([Value(x), Value(taps)], given)
        return jnp.moveaxis(y.array, -1, 1)

    def plain(x, taps):
        padding = [(pads[0], pads[2]), (pads[1], pads[3])]
        return jax.lax.conv_general_dilated(x, taps, strides, padding, rhs_dilation=dilations, feature_group_count=4)

    def passes(function):
        value, back = jax.vjp(function, x, taps)
        return value, *back(jnp.asarray(array(*value.shape, seed=2)))

    for found, expected in zip(jax.jit(lambda: passes(ours))(), jax.jit(lambda: passes(plain))(), strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)
