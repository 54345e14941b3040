"""Convolution with one filter per channel, fast on CPUs and differentiable; and which places each tap of a window reads."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp

Pads = tuple[tuple[int, int], ...]


@functools.partial(jax.custom_vjp, nondiff_argnums=(2, 3, 4))
def depthwise(x_BHWC: jax.Array, taps_HWC: jax.Array, strides: tuple, dilations: tuple, pads: Pads) -> jax.Array:
    """One filter per channel, as a sum over its taps: on CPUs several times faster than XLA's grouped convolution."""
    padded = jnp.pad(x_BHWC, ((0, 0), *pads, (0, 0)))
    places = windows(padded.shape, taps_HWC.shape, strides, dilations)
    parts = [padded[window] * taps_HWC[row, column][None, None, None] for row, column, window in places]
    return functools.reduce(jnp.add, parts)


def windows(shape: tuple, taps: tuple, strides: tuple, dilations: tuple) -> list[tuple[int, int, tuple]]:
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
    return depthwise(x_BHWC, taps_HWC, strides, dilations, pads), (x_BHWC, taps_HWC)


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
    gx_BHWC = depthwise(wide, taps_HWC[::-1, ::-1], (1, 1), dilations, ((0, 0), (0, 0)))
    places = windows(padded.shape, taps_HWC.shape, strides, dilations)
    gt = jnp.stack([jnp.sum(padded[window] * g_BHWC, axis=(0, 1, 2)) for _, _, window in places])
    return gx_BHWC, gt.reshape(taps_HWC.shape)


depthwise.defvjp(_depthwise_forward, _depthwise_backward)
