"""What each ONNX operator means, as differentiable JAX. Reading files is in ``models.onnx_read``, order in ``models.onnx_graph``.

Images flow channels-last inside, because that is what XLA computes fastest on CPUs, TPUs and (with convolutions) GPUs; an
operator that names axes gets the published channels-first form first. Source: the ONNX operator specification, opset 7 to 21.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from facemae_jax.models.onnx_value import Attributes, Operator, Value, first
from facemae_jax.models.onnx_windows import convolution, global_average_pool, pool
from facemae_jax.types import FacemaeError


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


OPERATORS: dict[str, Operator] = {
    "Add": _elementwise(jnp.add),
    "Sub": _elementwise(jnp.subtract),
    "Mul": _elementwise(jnp.multiply),
    "Div": _elementwise(jnp.divide),
    "AveragePool": pool("AveragePool"),
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
    "MaxPool": pool("MaxPool"),
    "PRelu": prelu,
    "Relu": _unary(jax.nn.relu),
    "Reshape": reshape,
    "Sigmoid": _unary(jax.nn.sigmoid),
    "Softmax": softmax,
    "Transpose": transpose,
}
