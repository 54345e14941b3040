"""What each ONNX operator means, as differentiable JAX. Reading files is in ``models.onnx_read``, order in ``models.onnx_graph``.

Images flow channels-last inside, because that is what XLA computes fastest on CPUs, TPUs and (with convolutions) GPUs; an
operator that names axes gets the published channels-first form first. Source: the ONNX operator specification, opset 7 to 21.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from facemae_jax.types import FacemaeError


class Value(NamedTuple):
    """A tensor on its way; with ``last`` its channels were moved from axis 1 to the end."""

    array: Any
    last: bool = False


Attributes = dict[str, Any]
Operator = Callable[[list[Value], Attributes], Value]


def first(value: Value) -> jax.Array:
    """The tensor as the file means it: channels at axis 1."""
    return jnp.moveaxis(value.array, -1, 1) if value.last else value.array


def channels_last(value: Value) -> jax.Array:
    """The tensor with its channels at the end."""
    return value.array if value.last else jnp.moveaxis(jnp.asarray(value.array), 1, -1)


def _paddings(
    given: Attributes, sizes: list[int], kernel: list[int], strides: list[int], dilations: list[int]
) -> list[tuple[int, int]]:
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
    pads = _paddings(given, list(x.shape[1:3]), [rows, columns], strides, dilations)
    if (rows, columns) == (1, 1) and groups == 1 and not any(map(any, pads)):
        y = x[:, :: strides[0], :: strides[1]] @ kernel_OIHW[:, :, 0, 0].T  # a plain matrix product
    elif groups == x.shape[-1] == outputs:
        taps_HWC = jnp.moveaxis(jnp.asarray(kernel_OIHW)[:, 0], 0, -1)
        y = _depthwise(x, taps_HWC, tuple(strides), tuple(dilations), tuple(pads))
    else:
        y = jax.lax.conv_general_dilated(
            x, jnp.transpose(jnp.asarray(kernel_OIHW), (2, 3, 1, 0)), strides, pads, rhs_dilation=dilations,
            dimension_numbers=("NHWC", "HWIO", "NHWC"), feature_group_count=groups,
        )  # fmt: skip
    if len(inputs) > 2:
        y = y + inputs[2].array.reshape(1, 1, 1, outputs)
    return Value(y, True)


Pads = tuple[tuple[int, int], ...]


@functools.partial(jax.custom_vjp, nondiff_argnums=(2, 3, 4))
def _depthwise(x_BHWC: jax.Array, taps_HWC: jax.Array, strides: tuple, dilations: tuple, pads: Pads) -> jax.Array:
    """One filter per channel, as a sum over its taps: on CPUs several times faster than XLA's grouped convolution."""
    padded = jnp.pad(x_BHWC, ((0, 0), *pads, (0, 0)))
    windows = _windows(padded.shape, taps_HWC.shape, strides, dilations)
    parts = [padded[window] * taps_HWC[row, column][None, None, None] for row, column, window in windows]
    return functools.reduce(jnp.add, parts)


def _windows(shape: tuple, taps: tuple, strides: tuple, dilations: tuple) -> list[tuple[int, int, tuple]]:
    """(row, column, where in the padded image that tap reads) of every tap."""
    counts = [(shape[axis + 1] - (taps[axis] - 1) * dilations[axis] - 1) // strides[axis] + 1 for axis in (0, 1)]
    result = []
    for row in range(taps[0]):
        for column in range(taps[1]):
            starts = (row * dilations[0], column * dilations[1])
            cuts = [slice(a, a + (n - 1) * s + 1, s) for a, n, s in zip(starts, counts, strides, strict=True)]
            result.append((row, column, (slice(None), *cuts, slice(None))))
    return result


def _depthwise_forward(x_BHWC, taps_HWC, strides, dilations, pads):
    return _depthwise(x_BHWC, taps_HWC, strides, dilations, pads), (x_BHWC, taps_HWC)


def _depthwise_backward(strides, dilations, pads, kept, g_BHWC):
    """The gradient of the image is again such a sum, of the spread-out gradient with the filter turned round."""
    x_BHWC, taps_HWC = kept
    padded = jnp.pad(x_BHWC, ((0, 0), *pads, (0, 0)))
    spread = [(0, 0, 0)]
    for axis in (0, 1):
        reach = (taps_HWC.shape[axis] - 1) * dilations[axis]
        covered = (g_BHWC.shape[axis + 1] - 1) * strides[axis] + 1 + reach
        rest = padded.shape[axis + 1] - covered  # columns that no window reached
        low, high = pads[axis]
        spread.append((reach - low, reach - high + rest, strides[axis] - 1))
    wide = jax.lax.pad(g_BHWC, jnp.zeros((), g_BHWC.dtype), [*spread, (0, 0, 0)])
    gx_BHWC = _depthwise(wide, taps_HWC[::-1, ::-1], (1, 1), dilations, ((0, 0), (0, 0)))
    windows = _windows(padded.shape, taps_HWC.shape, strides, dilations)
    gt = jnp.stack([jnp.sum(padded[window] * g_BHWC, axis=(0, 1, 2)) for _, _, window in windows])
    return gx_BHWC, gt.reshape(taps_HWC.shape)


_depthwise.defvjp(_depthwise_forward, _depthwise_backward)


def _along_channels(value: Value, vector: Any) -> jax.Array:
    """A vector over channels in the shape that multiplies ``value``."""
    rank = value.array.ndim
    shape = [1] * rank
    shape[rank - 1 if value.last or rank == 1 else 1] = -1
    return jnp.reshape(vector, shape)


def batch_normalization(inputs: list[Value], given: Attributes) -> Value:
    """(x − mean) / √(variance + ε) · scale + bias with the stored statistics."""
    x, (scale, bias, mean, variance) = inputs[0], (value.array for value in inputs[1:5])
    factor = scale / jnp.sqrt(variance + given.get("epsilon", 1e-5))
    return x._replace(array=x.array * _along_channels(x, factor) + _along_channels(x, bias - mean * factor))


def prelu(inputs: list[Value], given: Attributes) -> Value:
    """x where x ≥ 0, slope · x elsewhere; the slope has any shape that broadcasts to x.

    A vector that fits the channels and not the columns is one slope per channel, as exports from before opset 7 mean it.
    """
    x, slope = inputs[0], inputs[1].array
    rank, shape = x.array.ndim, tuple(slope.shape)
    channels, columns = x.array.shape[-1 if x.last else 1], x.array.shape[-2 if x.last else -1]
    each = shape[-(rank - 1) :] == (channels, *[1] * (rank - 2)) and slope.size == channels
    if slope.size == 1:
        bent = x.array * jnp.reshape(slope, (1,) * rank)
    elif each or (shape == (channels,) and channels != columns):
        bent = x.array * _along_channels(x, slope)
    else:
        x = Value(first(x))
        bent = x.array * _broadcast(slope, rank)
    return x._replace(array=jnp.where(x.array >= 0, x.array, bent))


def _broadcast(array: Any, rank: int) -> jax.Array:
    return jnp.reshape(array, (1,) * (rank - np.ndim(array)) + tuple(np.shape(array)))


def _elementwise(function: Callable[[Any, Any], Any]) -> Operator:
    def apply(inputs: list[Value], given: Attributes) -> Value:
        a, b = inputs
        if a.last and b.last:
            return Value(function(a.array, b.array), True)
        x, y = first(a), first(b)
        rank = max(jnp.ndim(x), jnp.ndim(y))
        z = function(_broadcast(x, rank), _broadcast(y, rank))
        # Stay channels-last where an image meets a constant.
        return Value(jnp.moveaxis(z, 1, -1), True) if rank == 4 and (a.last or b.last) else Value(z)

    return apply


def _unary(function: Callable[[Any], Any]) -> Operator:
    return lambda inputs, given: inputs[0]._replace(array=function(inputs[0].array))


def flatten(inputs: list[Value], given: Attributes) -> Value:
    """All axes before ``axis`` into one, all others into a second."""
    x, axis = first(inputs[0]), given.get("axis", 1)
    axis += x.ndim if axis < 0 else 0
    return Value(x.reshape(int(np.prod(x.shape[:axis])), -1))


def gemm(inputs: list[Value], given: Attributes) -> Value:
    """alpha · A·B + beta · C, with optional transposes."""
    a, b = first(inputs[0]), first(inputs[1])
    product = (a.T if given.get("transA") else a) @ (b.T if given.get("transB") else b)
    product = given.get("alpha", 1.0) * product
    if len(inputs) > 2:
        product = product + given.get("beta", 1.0) * _broadcast(inputs[2].array, 2)
    return Value(product)


def matmul(inputs: list[Value], given: Attributes) -> Value:
    """A·B as numpy.matmul."""
    return Value(jnp.matmul(first(inputs[0]), first(inputs[1])))


def layer_normalization(inputs: list[Value], given: Attributes) -> Value:
    """(x − mean) / √(variance + ε) · scale, and + bias if there is one, over the axes from ``axis`` on."""
    x, rank = first(inputs[0]), jnp.ndim(inputs[0].array)
    axes = tuple(range(given.get("axis", -1) % rank, rank))
    centred = x - jnp.mean(x, axes, keepdims=True)
    variance = jnp.mean(centred**2, axes, keepdims=True)
    y = centred * jax.lax.rsqrt(variance + given.get("epsilon", 1e-5)) * _broadcast(inputs[1].array, rank)
    return Value(y + _broadcast(inputs[2].array, rank) if len(inputs) > 2 else y)


def softmax(inputs: list[Value], given: Attributes) -> Value:
    """Shares along the last axis; along others the meaning changed with opset 13."""
    x = first(inputs[0])
    if given.get("axis", -1 if x.ndim == 2 else None) not in (-1, x.ndim - 1):
        raise FacemaeError(
            f"Softmax over axis {given.get('axis')} of {x.ndim} is not supported: only the last axis is."
        )
    return Value(jax.nn.softmax(x, axis=-1))


def reshape(inputs: list[Value], given: Attributes) -> Value:
    """To a constant shape; 0 copies a length, −1 is inferred; the batch axis stays free."""
    x, wanted = first(inputs[0]), [int(n) for n in np.asarray(inputs[1].array)]
    if not given.get("allowzero"):
        wanted = [x.shape[axis] if n == 0 else n for axis, n in enumerate(wanted)]
    if -1 not in wanted and np.prod(wanted[1:]) * x.shape[0] == x.size:
        wanted[0] = x.shape[0]  # exported with a fixed batch
    return Value(x.reshape(wanted))


def transpose(inputs: list[Value], given: Attributes) -> Value:
    """Axes in the order ``perm``, reversed by default."""
    return Value(jnp.transpose(first(inputs[0]), given.get("perm")))


def concat(inputs: list[Value], given: Attributes) -> Value:
    """Along ``axis``."""
    if all(value.last for value in inputs) and given["axis"] in (1, -3):
        return Value(jnp.concatenate([value.array for value in inputs], axis=-1), True)
    return Value(jnp.concatenate([first(value) for value in inputs], axis=given["axis"]))


def global_average_pool(inputs: list[Value], given: Attributes) -> Value:
    """Mean over rows and columns, both kept with length 1."""
    return Value(jnp.mean(channels_last(inputs[0]), axis=(1, 2), keepdims=True), True)


def _pool(name: str) -> Operator:
    def apply(inputs: list[Value], given: Attributes) -> Value:
        x, kernel = channels_last(inputs[0]), list(given["kernel_shape"])
        strides, dilations = list(given.get("strides", [1, 1])), list(given.get("dilations", [1, 1]))
        if given.get("ceil_mode"):
            raise FacemaeError(f"{name} with ceil_mode=1 is not supported: export the model with ceil_mode=0.")
        pads = [(0, 0), *_paddings(given, list(x.shape[1:3]), kernel, strides, dilations), (0, 0)]
        window, steps, apart = (1, *kernel, 1), (1, *strides, 1), (1, *dilations, 1)

        def reduce(array: Any, start: float, operation: Any) -> Any:
            return jax.lax.reduce_window(array, start, operation, window, steps, pads, window_dilation=apart)

        if name == "MaxPool" and max(dilations) > 1:  # reduce_window has no gradient there
            padded = jnp.pad(x, pads, constant_values=-jnp.inf)
            windows = _windows(padded.shape, tuple(kernel), tuple(strides), tuple(dilations))
            return Value(functools.reduce(jnp.maximum, [padded[window] for _, _, window in windows]), True)
        if name == "MaxPool":
            return Value(reduce(x, -jnp.inf, jax.lax.max), True)
        counted = jnp.full_like(x[:1, :, :, :1], 1.0)
        if given.get("count_include_pad"):
            return Value(reduce(x, 0.0, jax.lax.add) / float(np.prod(kernel)), True)
        return Value(reduce(x, 0.0, jax.lax.add) / reduce(counted, 0.0, jax.lax.add), True)

    return apply


OPERATORS: dict[str, Operator] = {
    "Add": _elementwise(jnp.add),
    "Sub": _elementwise(jnp.subtract),
    "Mul": _elementwise(jnp.multiply),
    "Div": _elementwise(jnp.divide),
    "AveragePool": _pool("AveragePool"),
    "BatchNormalization": batch_normalization,
    "Concat": concat,
    "Conv": convolution,
    "Dropout": _unary(lambda x: x),  # evaluation mode
    "Erf": _unary(jax.lax.erf),
    "Flatten": flatten,
    "Gemm": gemm,
    "GlobalAveragePool": global_average_pool,
    "Identity": _unary(lambda x: x),
    "LayerNormalization": layer_normalization,
    "MatMul": matmul,
    "MaxPool": _pool("MaxPool"),
    "PRelu": prelu,
    "Relu": _unary(jax.nn.relu),
    "Reshape": reshape,
    "Sigmoid": _unary(jax.nn.sigmoid),
    "Softmax": softmax,
    "Transpose": transpose,
}
