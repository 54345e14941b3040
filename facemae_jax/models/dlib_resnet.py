"""dlib's face recognition network in JAX: its weights read from dlib's own file, and the same numbers out.

A residual network of 29 convolutions with half of ResNet-34's filters, 5.6 M parameters, for face chips of 150×150
(King 2017, "High quality face recognition with deep metric learning", blog.dlib.net; weights in the public domain). dlib
itself is not needed: it looks at one image per core at a time and holds Python's lock while it does, and a callback of that
length makes the other devices of a mesh give up waiting. Which part of a face is fed is the business of ``dlib_judge``.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from facemae_jax.types import FacemaeError, Tree

CHIP = 150  # pixels a side
EMBEDDING = 128
MEAN_3 = np.array([122.782, 117.001, 104.298], np.float32)  # of the RGB bytes, taken off before division by 256
STEM = 32  # filters of the first convolution, 7×7
# Filters and stride of each residual block: two 3×3 convolutions. A stride of 2 halves the other path by averaging.
BLOCKS = (
    *((32, 1),) * 3,
    *((64, 2), *((64, 1),) * 3),
    *((128, 2), *((128, 1),) * 2),
    *((256, 2), *((256, 1),) * 2),
    (256, 2),
)
SPATIAL = (1, 2)


class Convolution(NamedTuple):
    """One convolution of the network, in the order of the file."""

    size: int
    inputs: int
    filters: int


def convolutions() -> tuple[Convolution, ...]:
    """All 29, from the image on."""
    found, inputs = [Convolution(7, 3, STEM)], STEM
    for filters, _ in BLOCKS:
        found += [Convolution(3, inputs, filters), Convolution(3, filters, filters)]
        inputs = filters
    return tuple(found)


def read_dlib(path: Path) -> Tree:
    """``{"kernels": […HWIO], "biases": […], "head": (256, 128)}``, float32: each affine layer is multiplied into the
    convolution before it.

    The file holds layers from the image on: a tag, then a tensor (five packed integers: version 2 and the shape; then
    float32, little-endian), then settings. A packed integer is a byte with the count of the bytes that follow.

    Raises:
        FacemaeError: for a file that holds no such network, or only a part of it.
    """
    data = path.read_bytes()
    at = 0

    def tensor(tag: bytes, count: int) -> np.ndarray:
        nonlocal at
        found = data.find(bytes([1, len(tag)]) + tag, at)
        at = found + 2 + len(tag)
        if tag == b"fc_2":
            at = _skip(data, at, 2)  # outputs, inputs
        version, shape, start = _header(data, at)
        at = start + 4 * count
        if found < 0 or version != 2 or int(np.prod(shape)) != count or at > len(data):
            raise FacemaeError(
                f"{path} is not dlib's face recognition network, or is cut short: no {tag.decode()} of {count} numbers; "
                "install face-recognition-models again."
            )
        return np.frombuffer(data, "<f4", count, start).astype(np.float32)

    kernels, biases = [], []
    for size, inputs, filters in convolutions():
        weights = size * size * inputs * filters
        both = tensor(b"con_4", weights + filters)
        gain_F, shift_F = np.split(tensor(b"affine_", 2 * filters), 2)
        kernel_FIHW = both[:weights].reshape(filters, inputs, size, size)
        kernels.append(np.ascontiguousarray(kernel_FIHW.transpose(2, 3, 1, 0)) * gain_F)
        biases.append(both[weights:] * gain_F + shift_F)
    head = tensor(b"fc_2", BLOCKS[-1][0] * EMBEDDING).reshape(-1, EMBEDDING)
    return {"kernels": kernels, "biases": biases, "head": head}


def describe(params: Tree, chips_BHWC: jax.Array) -> jax.Array:
    """Face chips (RGB, 0…255, ``(B, 150, 150, 3)``) → ``descriptors_BE``, as dlib's ``compute_face_descriptor`` without jitter.

    Their norm is near 1.3, not 1.
    """
    layers = iter(zip(params["kernels"], params["biases"], strict=True))

    def convolved(x_BHWC: jax.Array, stride: int) -> jax.Array:
        kernel_HWIF, bias_F = next(layers)
        pad = (0, 0) if stride > 1 else (kernel_HWIF.shape[0] // 2,) * 2
        x_BHWC = jax.lax.conv_general_dilated(
            x_BHWC, kernel_HWIF, (stride, stride), (pad, pad), dimension_numbers=("NHWC", "HWIO", "NHWC")
        )
        return x_BHWC + bias_F[None, None, None, :]

    x_BHWC = jax.nn.relu(convolved((chips_BHWC - MEAN_3[None, None, None, :]) / 256.0, 2))
    x_BHWC = jax.lax.reduce_window(x_BHWC, -jnp.inf, jax.lax.max, (1, 3, 3, 1), (1, 2, 2, 1), "VALID")
    for _, stride in BLOCKS:
        inside_BHWC = convolved(jax.nn.relu(convolved(x_BHWC, stride)), 1)
        if stride > 1:
            x_BHWC = jax.lax.reduce_window(x_BHWC, 0.0, jax.lax.add, (1, 2, 2, 1), (1, 2, 2, 1), "VALID") / 4.0
        shape = tuple(map(max, inside_BHWC.shape, x_BHWC.shape))
        x_BHWC = jax.nn.relu(_grown(inside_BHWC, shape) + _grown(x_BHWC, shape))
    return jnp.mean(x_BHWC, axis=SPATIAL) @ params["head"]


def _grown(x_BHWC: jax.Array, shape: tuple[int, ...]) -> jax.Array:
    """Zeros after the last row, column and channel, up to ``shape``: how dlib adds what does not fit."""
    return jnp.pad(x_BHWC, [(0, wanted - had) for wanted, had in zip(shape, x_BHWC.shape, strict=True)])


def _header(data: bytes, at: int) -> tuple[int, list[int], int]:
    """Version and shape of the tensor at ``at``, and where its numbers begin."""
    values = []
    for _ in range(5):
        count = data[at] & 15 if at < len(data) else 0
        values.append(int.from_bytes(data[at + 1 : at + 1 + count], "little"))
        at += 1 + count
    return values[0], values[1:], at


def _skip(data: bytes, at: int, integers: int) -> int:
    for _ in range(integers):
        at += 1 + (data[at] & 15 if at < len(data) else 0)
    return at
