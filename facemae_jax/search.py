"""Exact search among embeddings: the k best of a gallery, and the rank of given gallery images, in bounded memory.

Gallery and queries go through the device block by block, so at most block × block scores exist at a time. Nothing is
approximate: products are float32 at the highest precision. Scores that are equal are ordered by position, the lower first.
What a rank means for privacy is the business of ``audit``.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from facemae_jax.types import Array, FacemaeError

CHUNK = 64  # scores of which only the largest is looked at first


@jax.jit
def _scores(queries_qE: Array, gallery_gE: Array, first: Array, size: Array, exclude_q: Array) -> Array:
    """``scores_qg`` of one block pair; −inf for padding and for each query's excluded position."""
    scores_qg = jnp.matmul(queries_qE, gallery_gE.T, precision=jax.lax.Precision.HIGHEST)
    position_g = first + jnp.arange(gallery_gE.shape[0])
    left_out_qg = (position_g >= size)[None, :] | (position_g[None, :] == exclude_q[:, None])
    return jnp.where(left_out_qg, -jnp.inf, scores_qg)


@partial(jax.jit, static_argnames="k")
def _block_best(scores_qg: Array, k: int) -> tuple[Array, Array]:
    """The k best of a block and their columns, equal scores by column.

    The k best lie in the k chunks with the largest maxima (ties: the earlier chunk), so most scores are read once, by a
    maximum, and only k · CHUNK of them are sorted.
    """
    queries, columns = scores_qg.shape
    chunks = columns // CHUNK
    if columns % CHUNK or k >= chunks:
        return jax.lax.top_k(scores_qg, k)
    scores_qcC = scores_qg.reshape(queries, chunks, CHUNK)
    _, chunk_qk = jax.lax.top_k(scores_qcC.max(axis=-1), k)
    chunk_qk = jnp.sort(chunk_qk, axis=1)  # ascending columns, so that top_k breaks ties by position
    candidates_qkC = jnp.take_along_axis(scores_qcC, chunk_qk[:, :, None], axis=1)
    best_qk, where_qk = jax.lax.top_k(candidates_qkC.reshape(queries, k * CHUNK), k)
    return best_qk, jnp.take_along_axis(chunk_qk, where_qk // CHUNK, axis=1) * CHUNK + where_qk % CHUNK


@jax.jit
def _merge(best_qk: Array, position_qk: Array, scores_qk: Array, column_qk: Array, first: Array) -> tuple[Array, Array]:
    """The k best of what was found before and of a new block; the earlier positions stand first and win ties."""
    both_qm = jnp.concatenate([best_qk, scores_qk], axis=1)
    position_qm = jnp.concatenate([position_qk, column_qk.astype(jnp.int32) + first], axis=1)
    best_qk, where_qk = jax.lax.top_k(both_qm, best_qk.shape[1])
    return best_qk, jnp.take_along_axis(position_qm, where_qk, axis=1)


@jax.jit
def _own_scores(own_qR: Array, scores_qg: Array, targets_qR: Array, first: Array) -> Array:
    """Fill in the scores of those targets that lie in this block."""
    column_qR = targets_qR - first
    inside_qR = (column_qR >= 0) & (column_qR < scores_qg.shape[1])
    found_qR = jnp.take_along_axis(scores_qg, jnp.clip(column_qR, 0, scores_qg.shape[1] - 1), axis=1)
    return jnp.where(inside_qR, found_qR, own_qR)


@jax.jit
def _count_ahead(ahead_qR: Array, scores_qg: Array, own_qR: Array, targets_qR: Array, first: Array) -> Array:
    """Add how many images of this block stand before each target."""
    position_g = (first + jnp.arange(scores_qg.shape[1]))[None, :]

    def of_one(column: tuple[Array, Array]) -> Array:
        own_q, target_q = column
        ahead_qg = (scores_qg > own_q[:, None]) | ((scores_qg == own_q[:, None]) & (position_g < target_q[:, None]))
        return ahead_qg.sum(axis=1, dtype=jnp.int32)

    return ahead_qR + jax.lax.map(of_one, (own_qR.T, targets_qR.T)).T


def _check(queries_QE: np.ndarray, gallery_GE: np.ndarray) -> None:
    if queries_QE.ndim != 2 or gallery_GE.ndim != 2 or queries_QE.shape[1] != gallery_GE.shape[1]:
        raise FacemaeError(
            f"Embeddings of queries {queries_QE.shape} and gallery {gallery_GE.shape} do not fit: both must be "
            "(images, length) of one recognizer."
        )
    for name, embeddings in (("queries", queries_QE), ("gallery", gallery_GE)):
        if not np.isfinite(embeddings).all():
            raise FacemaeError(f"Embeddings of the {name} hold NaN or infinity: look at the recognizer that made them.")


def _padded(rows: np.ndarray, first: int, block: int, fill: float = 0) -> jax.Array:
    """Rows ``first : first + block``, padded with ``fill`` to a whole block: one shape, one compilation."""
    part = rows[first : first + block]
    widths = [(0, block - len(part))] + [(0, 0)] * (rows.ndim - 1)
    return jnp.asarray(np.pad(part, widths, constant_values=fill))


def _fitting(block: int, size: int) -> int:
    """The block, or less for fewer images; a multiple of CHUNK where it can be."""
    return min(block, -(-size // CHUNK) * CHUNK)


def _blocks(queries_qE: Array, gallery_GE: np.ndarray, exclude_q: Array, block: int) -> Iterator[tuple[Array, Array]]:
    """(scores_qg, first position) for every block of the gallery, always by the same program and so with the same bits."""
    size = jnp.int32(len(gallery_GE))
    for start in range(0, len(gallery_GE), block):
        first = jnp.int32(start)
        yield _scores(queries_qE, _padded(gallery_GE, start, block), first, size, exclude_q), first


def top_k(
    queries_QE: np.ndarray,
    gallery_GE: np.ndarray,
    k: int,
    *,
    block: int = 4096,
    exclude_Q: np.ndarray | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """The k gallery rows with the largest inner product, for every query.

    Args:
        queries_QE, gallery_GE: float32; unit norm makes the score a cosine.
        k: at most the gallery (less one with ``exclude_Q``).
        block: rows per block, of queries and of gallery; memory grows with its square.
        exclude_Q: one gallery position per query that is not searched; −1 for none.

    Returns:
        ``scores_Qk`` float32, descending, and ``positions_Qk`` int32; equal scores in ascending order of position.

    Raises:
        FacemaeError: lengths that differ, k out of range, embeddings that are not finite.
    """
    queries_QE, gallery_GE = np.asarray(queries_QE, np.float32), np.asarray(gallery_GE, np.float32)
    _check(queries_QE, gallery_GE)
    searchable = len(gallery_GE) - (exclude_Q is not None)
    if not 1 <= k <= searchable:
        raise FacemaeError(f"k={k} of a search must lie between 1 and the {searchable} images that can be found.")
    exclude_Q = np.full(len(queries_QE), -1, np.int32) if exclude_Q is None else np.asarray(exclude_Q, np.int32)
    rows, columns = _fitting(block, len(queries_QE)), _fitting(block, len(gallery_GE))
    found: list[tuple[np.ndarray, np.ndarray]] = []
    for start in range(0, len(queries_QE), rows):
        queries_qE, exclude_q = _padded(queries_QE, start, rows), _padded(exclude_Q, start, rows, -1)
        best_qk = jnp.full((rows, k), -jnp.inf)
        position_qk = jnp.full((rows, k), -1, jnp.int32)
        for scores_qg, first in _blocks(queries_qE, gallery_GE, exclude_q, columns):
            best_qk, position_qk = _merge(best_qk, position_qk, *_block_best(scores_qg, min(k, columns)), first)
        found.append((np.asarray(best_qk), np.asarray(position_qk)))
    scores_Qk, positions_Qk = (np.concatenate(parts)[: len(queries_QE)] for parts in zip(*found, strict=True))
    return scores_Qk, positions_Qk


def rank_of(
    queries_QE: np.ndarray,
    gallery_GE: np.ndarray,
    targets: np.ndarray,
    *,
    block: int = 4096,
    exclude_Q: np.ndarray | None = None,
) -> np.ndarray:
    """The rank, from 1, of given gallery rows in the full ranking of each query, by counting what stands before them.

    The gallery passes twice: once for the scores of the targets, once to count.

    Args:
        queries_QE, gallery_GE, block, exclude_Q: as for :func:`top_k`; an excluded row takes no rank.
        targets: gallery positions, ``targets_Q`` or ``targets_QR`` (several per query); −1 is padding.

    Returns:
        int32 of the shape of ``targets``; 0 in padding.

    Raises:
        FacemaeError: as :func:`top_k`; a target outside the gallery, or one that is excluded.
    """
    queries_QE, gallery_GE = np.asarray(queries_QE, np.float32), np.asarray(gallery_GE, np.float32)
    _check(queries_QE, gallery_GE)
    targets = np.asarray(targets, np.int32)
    targets_QR = targets.reshape(len(queries_QE), -1)
    exclude_Q = np.full(len(queries_QE), -1, np.int32) if exclude_Q is None else np.asarray(exclude_Q, np.int32)
    if targets_QR.max(initial=-1) >= len(gallery_GE) or ((targets_QR == exclude_Q[:, None]) & (targets_QR >= 0)).any():
        raise FacemaeError(
            f"A target of a ranking is excluded, or lies outside the gallery of {len(gallery_GE)} images."
        )
    rows, columns = _fitting(block, len(queries_QE)), _fitting(block, len(gallery_GE))
    ranks: list[np.ndarray] = []
    for start in range(0, len(queries_QE), rows):
        queries_qE, exclude_q = _padded(queries_QE, start, rows), _padded(exclude_Q, start, rows, -1)
        targets_qR = _padded(targets_QR, start, rows, -1)
        own_qR = jnp.full(targets_qR.shape, jnp.inf)  # nothing stands before padding
        for scores_qg, first in _blocks(queries_qE, gallery_GE, exclude_q, columns):
            own_qR = _own_scores(own_qR, scores_qg, targets_qR, first)
        ahead_qR = jnp.zeros(targets_qR.shape, jnp.int32)
        for scores_qg, first in _blocks(queries_qE, gallery_GE, exclude_q, columns):
            ahead_qR = _count_ahead(ahead_qR, scores_qg, own_qR, targets_qR, first)
        ranks.append(np.asarray(jnp.where(targets_qR >= 0, ahead_qR + 1, 0)))
    return np.concatenate(ranks)[: len(queries_QE)].reshape(targets.shape)
