"""What the ONNX operators mean that slide a window over an image: convolution and pooling."""

from __future__ import annotations

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from facemae_jax.models.onnx_depthwise import depthwise, windows
from facemae_jax.models.onnx_value import Attributes, Operator, Value, channels_last
from facemae_jax.types import FacemaeError


def paddings(
    given: Attributes, sizes: list[int], kernel: list[int], strides: list[int], dilations: list[int]
) -> list[tuple[int, int]]:
    """(before, after) of every spatial axis, given outright or by ``auto_pad``."""
    automatic = given.get("auto_pad", "NOTSET")
    if automatic in ("NOTSET", ""):
        pads = given.get("pads", [0] * (2 * len(kernel)))
        return list(zip(pads[: len(kernel)], pads[len(kernel) :], strict=True))
    if automatic == "VALID":
        return [(0, 0)] * len(kernel)
    result = []
    for size, k, stride, dilation in zip(sizes, kernel, strides, dilations, strict=True):
        total = max((-(-size // stride) - 1) * stride + (k - 1) * dilation + 1 - size, 0)
        small = total // 2
        result.append((small, total - small) if automatic == "SAME_UPPER" else (total - small, small))
    return result


def convolution(inputs: list[Value], given: Attributes) -> Value:
    """Conv with groups, strides, dilations and paddings, over two spatial axes."""
    x, kernel_OIHW = channels_last(inputs[0]), inputs[1].array
    outputs, _, rows, columns = kernel_OIHW.shape
    groups, strides = given.get("group", 1), list(given.get("strides", [1, 1]))
    dilations = list(given.get("dilations", [1, 1]))
    pads = paddings(given, list(x.shape[1:3]), [rows, columns], strides, dilations)
    if (rows, columns) == (1, 1) and groups == 1 and not any(map(any, pads)):
        y = x[:, :: strides[0], :: strides[1]] @ kernel_OIHW[:, :, 0, 0].T  # a plain matrix product
    elif groups == x.shape[-1] == outputs:
        taps_HWC = jnp.moveaxis(jnp.asarray(kernel_OIHW)[:, 0], 0, -1)
        y = depthwise(x, taps_HWC, tuple(strides), tuple(dilations), tuple(pads))
    else:
        y = jax.lax.conv_general_dilated(
            x, jnp.transpose(jnp.asarray(kernel_OIHW), (2, 3, 1, 0)), strides, pads, rhs_dilation=dilations,
            dimension_numbers=("NHWC", "HWIO", "NHWC"), feature_group_count=groups,
        )  # fmt: skip
    if len(inputs) > 2:
        y = y + inputs[2].array.reshape(1, 1, 1, outputs)
    return Value(y, True)


def global_average_pool(inputs: list[Value], given: Attributes) -> Value:
    """Mean over rows and columns, both kept with length 1."""
    return Value(jnp.mean(channels_last(inputs[0]), axis=(1, 2), keepdims=True), True)


def pool(name: str) -> Operator:
    """MaxPool or AveragePool, over two spatial axes."""

    def apply(inputs: list[Value], given: Attributes) -> Value:
        x, kernel = channels_last(inputs[0]), list(given["kernel_shape"])
        strides, dilations = list(given.get("strides", [1, 1])), list(given.get("dilations", [1, 1]))
        if given.get("ceil_mode"):
            raise FacemaeError(f"{name} with ceil_mode=1 is not supported: export the model with ceil_mode=0.")
        pads = [(0, 0), *paddings(given, list(x.shape[1:3]), kernel, strides, dilations), (0, 0)]
        window, steps, apart = (1, *kernel, 1), (1, *strides, 1), (1, *dilations, 1)

        def reduce(array: Any, start: float, operation: Any) -> Any:
            return jax.lax.reduce_window(array, start, operation, window, steps, pads, window_dilation=apart)

        if name == "MaxPool" and max(dilations) > 1:  # reduce_window has no gradient there
            padded = jnp.pad(x, pads, constant_values=-jnp.inf)
            places = windows(padded.shape, tuple(kernel), tuple(strides), tuple(dilations))
            return Value(functools.reduce(jnp.maximum, [padded[window] for _, _, window in places]), True)
        if name == "MaxPool":
            return Value(reduce(x, -jnp.inf, jax.lax.max), True)
        counted = jnp.full_like(x[:1, :, :, :1], 1.0)
        if given.get("count_include_pad"):
            return Value(reduce(x, 0.0, jax.lax.add) / float(np.prod(kernel)), True)
        return Value(reduce(x, 0.0, jax.lax.add) / reduce(counted, 0.0, jax.lax.add), True)

    return apply
