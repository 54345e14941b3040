"""Where a gallery lies: over all devices of a mesh, in blocks, each process bringing its own slice; and what queries ask of it.

Which rows are found is the business of ``best`` and ``ranks``.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import Mesh

from facemae_jax.mesh import batch_sharding, make_mesh, replicated
from facemae_jax.processes import together
from facemae_jax.types import Array, FacemaeError

CHUNK = 32  # scores of which only the largest is looked at first; blocks are whole chunks
AHEAD = 2  # blocks of queries that are under way at a time


class Gallery(NamedTuple):
    """Embeddings over the devices of ``mesh``: device d holds the positions ``first_d`` to ``first_d + count_d``, then padding."""

    mesh: Mesh
    rows_GE: jax.Array  # float32; every device holds equally many rows, a multiple of ``columns``
    first_d: jax.Array  # int32
    count_d: jax.Array  # int32
    columns: int  # rows of a block
    size: int  # rows without padding, on all devices together


@functools.lru_cache(maxsize=1)
def own_devices() -> Mesh:
    """The devices of this process, which then searches alone."""
    return make_mesh(devices=jax.local_devices())


def place(gallery_GE: np.ndarray, mesh: Mesh, block: int, length: int) -> Gallery:
    """Spread a gallery over the devices of a mesh.

    Args:
        gallery_GE: float32; all of it, or where the mesh spans processes the slice of this one: slices follow each other
            by the number of the process, and need not be equally long.
        mesh: with the axes of ``facemae_jax.mesh``.
        block: rows of a block, at most.
        length: E of the queries.

    Raises:
        FacemaeError: for another length, NaN or infinity, no rows at all; on every process that shares the mesh.
    """
    owners = sorted({device.process_index for device in mesh.devices.flat})
    shared = len(owners) > 1

    def check() -> None:
        _check(gallery_GE, length, "gallery")

    if shared:
        together(check)
        sizes = np.asarray(multihost_utils.process_allgather(np.int64(len(gallery_GE)))).reshape(-1)
        here = jax.process_index()
    else:
        check()
        sizes, here = np.array([len(gallery_GE)]), 0
    if not sizes.sum():
        raise FacemaeError("The gallery of a search holds no image.")
    devices = np.unique([device.process_index for device in mesh.devices.flat], return_counts=True)[1]
    most = int(np.max(-(-sizes // devices)))  # rows of the fullest device
    blocks = -(-most // block)
    columns = _whole_chunks(-(-most // blocks))
    held = blocks * columns
    starts = np.concatenate([[0], np.cumsum(sizes)])
    sharding = batch_sharding(mesh)
    shape = (held * mesh.size, length)
    own = [device for device in mesh.devices.flat if device in sharding.addressable_devices]
    rows, firsts, counts = [], [], []
    for number, device in enumerate(own):
        part_gE = gallery_GE[number * most : (number + 1) * most]
        padded_gE = np.pad(part_gE, ((0, held - len(part_gE)), (0, 0)))
        rows.append(jax.device_put(padded_gE, device))
        firsts.append(jax.device_put(np.full(1, starts[here] + number * most, np.int32), device))
        counts.append(jax.device_put(np.full(1, len(part_gE), np.int32), device))
    whole = jax.make_array_from_single_device_arrays
    return Gallery(
        mesh,
        whole(shape, sharding, rows),
        whole((mesh.size,), sharding, firsts),
        whole((mesh.size,), sharding, counts),
        columns,
        int(sizes.sum()),
    )


def in_blocks(
    gallery: Gallery,
    block: int,
    tables: tuple[np.ndarray, ...],
    fills: tuple[float, ...],
    program: Callable[..., Array],
) -> Iterator[Array]:
    """What ``program(gallery, *parts)`` gives for every block of rows of the tables, as numpy arrays, without padding.

    Args:
        gallery: of :func:`place`.
        block: of the search; an eighth of it are queries.
        tables: arrays of one length, the queries first; the same on every process.
        fills: what pads each of them.
        program: gives a tree of arrays of that many rows, whole on every device.
    """
    size = len(tables[0])
    rows = min(max(block // 8, 1), _whole_chunks(size))
    rows = -(-rows // gallery.mesh.size) * gallery.mesh.size  # so that they can be spread for the last merge
    waiting: list[tuple[int, Array]] = []

    def fetched() -> Array:
        kept, found = waiting.pop(0)
        return jax.tree.map(lambda part: np.asarray(part)[:kept], found)

    for start in range(0, size, rows):
        parts = [_padded(table, start, rows, fill) for table, fill in zip(tables, fills, strict=True)]
        on_devices = [_everywhere(part, gallery.mesh) for part in parts]
        waiting.append((min(rows, size - start), program(gallery, *on_devices)))
        if len(waiting) > AHEAD:
            yield fetched()
    while waiting:
        yield fetched()


def scores_of(
    queries_qE: Array, exclude_q: Array, block_gE: Array, row: Array, first: Array, count: Array
) -> tuple[Array, Array]:
    """``scores_qg`` of one block, and ``position_g``; −inf for padding and for each query's excluded position.

    Args:
        queries_qE, exclude_q: the queries, and one position for each that is not searched.
        block_gE: rows ``row : row + g`` of a device that holds ``count`` positions from ``first``.
        row, first, count: scalars.
    """
    # HIGHEST: float32 products. The default would round to TF32 on GPUs and to bfloat16 on TPUs.
    scores_qg = jnp.matmul(queries_qE, block_gE.T, precision=jax.lax.Precision.HIGHEST)
    row_g = row + jnp.arange(block_gE.shape[0], dtype=jnp.int32)
    position_g = first + row_g
    left_out_qg = (row_g >= count)[None, :] | (position_g[None, :] == exclude_q[:, None])
    return jnp.where(left_out_qg, -jnp.inf, scores_qg), position_g


def table_of(embeddings: np.ndarray, name: str) -> np.ndarray:
    """Queries as float32, checked.

    Raises:
        FacemaeError: not a table, NaN or infinity.
    """
    embeddings = np.asarray(embeddings, np.float32)
    _check(embeddings, embeddings.shape[-1] if embeddings.ndim == 2 else 0, name)
    return embeddings


def excluded(exclude_Q: np.ndarray | None, queries: int) -> np.ndarray:
    """``exclude_Q`` as int32; −1, which is no position, where nothing is left out."""
    return np.full(queries, -1, np.int32) if exclude_Q is None else np.asarray(exclude_Q, np.int32)


def _check(embeddings: np.ndarray, length: int, name: str) -> None:
    if embeddings.ndim != 2 or embeddings.shape[1] != length:
        raise FacemaeError(
            f"Embeddings of the {name} {embeddings.shape} do not fit: queries and gallery must both be (images, length) of "
            f"one recognizer{f', here of length {length}' if length else ''}."
        )
    step = 2**16  # rows; so that the check of a large gallery needs no second one
    if not all(np.isfinite(embeddings[start : start + step]).all() for start in range(0, len(embeddings), step)):
        raise FacemaeError(f"Embeddings of the {name} hold NaN or infinity: look at the recognizer that made them.")


def _whole_chunks(rows: int) -> int:
    return max(-(-rows // CHUNK), 1) * CHUNK


def _padded(rows: np.ndarray, first: int, block: int, fill: float) -> np.ndarray:
    """Rows ``first : first + block``, padded with ``fill`` to a whole block: one shape, one compilation."""
    part = rows[first : first + block]
    widths = [(0, block - len(part))] + [(0, 0)] * (rows.ndim - 1)
    return np.pad(part, widths, constant_values=fill)


def _everywhere(part: np.ndarray, mesh: Mesh) -> jax.Array:
    return jax.make_array_from_callback(part.shape, replicated(mesh), lambda index: part[index])
