"""The rank of given gallery images in the full ranking of each query, exactly, by counting what stands before them.

The counting is spread over the devices and goes block by block as in ``best``; what a rank means for privacy is the business of ``audit``.
"""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh
from jax.sharding import PartitionSpec as P

from facemae_jax.mesh import AXES
from facemae_jax.search.gallery import Gallery, excluded, in_blocks, own_devices, place, scores_of, table_of
from facemae_jax.types import Array, FacemaeError


def rank_of(
    queries_QE: np.ndarray,
    gallery_GE: np.ndarray,
    targets: np.ndarray,
    *,
    block: int = 4096,
    exclude_Q: np.ndarray | None = None,
    mesh: Mesh | None = None,
) -> np.ndarray:
    """The rank, from 1, of given gallery rows in the full ranking of each query; equal scores by position, the lower first.

    The gallery passes once to count, and before that, for the scores of the targets, those of its blocks in which targets lie:
    queries are ordered by their targets, so that these are few where each query has one target or its targets are neighbours.

    Args:
        queries_QE, gallery_GE, block, exclude_Q, mesh: as for :func:`top_k`; an excluded row takes no rank.
        targets: gallery positions, ``targets_Q`` or ``targets_QR`` (several per query); −1 is padding.

    Returns:
        int32 of the shape of ``targets``; 0 in padding. The same on every process of the mesh.

    Raises:
        FacemaeError: as :func:`top_k`; a target outside the gallery, or one that is excluded.
    """
    queries_QE = table_of(queries_QE, "queries")
    gallery = place(np.asarray(gallery_GE, np.float32), mesh or own_devices(), block, queries_QE.shape[1])
    targets = np.asarray(targets, np.int32)
    targets_QR = targets.reshape(len(queries_QE), -1) if targets.size else targets.reshape(len(queries_QE), 0)
    exclude_Q = excluded(exclude_Q, len(queries_QE))
    if targets_QR.max(initial=-1) >= gallery.size or ((targets_QR == exclude_Q[:, None]) & (targets_QR >= 0)).any():
        raise FacemaeError(f"A target of a ranking is excluded, or lies outside the gallery of {gallery.size} images.")
    if not targets.size:
        return np.zeros(targets.shape, np.int32)
    # A block of queries counts for as many targets as its fullest query has: alike ones come together.
    packed_QR = np.argsort(targets_QR < 0, axis=1, kind="stable")
    left_QR = np.take_along_axis(targets_QR, packed_QR, axis=1)
    order_Q = np.lexsort((left_QR[:, 0], (left_QR >= 0).sum(axis=1)))
    tables = (queries_QE[order_Q], exclude_Q[order_Q], left_QR[order_Q])
    counted_QR = np.concatenate(list(in_blocks(gallery, block, tables, (0, -1, -1), ranks_in)))
    ranks_QR = np.empty_like(counted_QR)
    np.put_along_axis(ranks_QR, packed_QR[order_Q], counted_QR, axis=1)
    result_QR = np.empty_like(ranks_QR)
    result_QR[order_Q] = ranks_QR
    return result_QR.reshape(targets.shape)


def ranks_in(gallery: Gallery, queries_qE: Array, exclude_q: Array, targets_qR: Array) -> Array:
    """``ranks_qR`` of one block of queries, on every device; targets stand before padding in each row."""
    rows = gallery.rows_GE, gallery.first_d, gallery.count_d
    return ranks_program(queries_qE, exclude_q, targets_qR, *rows, mesh=gallery.mesh, columns=gallery.columns)


@partial(jax.jit, static_argnames=("mesh", "columns"))
def ranks_program(
    queries_qE: Array,
    exclude_q: Array,
    targets_qR: Array,
    rows_GE: Array,
    first_d: Array,
    count_d: Array,
    *,
    mesh: Mesh,
    columns: int,
) -> Array:
    """The compiled count of one block of queries; arguments as in :class:`Gallery` and :func:`rank_of`."""

    @partial(
        jax.shard_map, mesh=mesh, in_specs=(P(), P(), P(), P(AXES), P(AXES), P(AXES)), out_specs=P(), check_vma=True
    )
    def count_all(
        queries_qE: Array, exclude_q: Array, targets_qR: Array, rows_gE: Array, first_1: Array, count_1: Array
    ) -> Array:
        (first,), (count,) = first_1, count_1
        blocks = rows_gE.shape[0] // columns
        most = (targets_qR >= 0).sum(axis=1).max()
        rows_bgE = rows_gE.reshape(blocks, columns, -1)

        def step(counting: Array, state: tuple[Array, ...], block_gE: Array) -> tuple[tuple[Array, ...], None]:
            row, *found = state
            start = first + row
            inside_qR = (targets_qR >= start) & (targets_qR < jnp.minimum(start + columns, first + count))

            def look(own_qR: Array, ahead_qR: Array) -> tuple[Array, Array]:
                scores_qg, position_g = scores_of(queries_qE, exclude_q, block_gE, row, first, count)
                column_qR = jnp.clip(targets_qR - start, 0, columns - 1)
                own_qR = jnp.where(inside_qR, jnp.take_along_axis(scores_qg, column_qR, axis=1), own_qR)
                number_of = partial(_ahead, scores_qg, position_g, own_qR, targets_qR)
                stop = jnp.where(counting, most, 0)
                return own_qR, jax.lax.fori_loop(0, stop, number_of, ahead_qR)

            found = jax.lax.cond(counting | inside_qR.any(), look, lambda *same: same, *found)
            return (row + columns, *found), None

        def passes(state: tuple[Array, Array], counting: Array) -> tuple[tuple[Array, Array], None]:
            """One loop for both passes, so that a target's own score and the scores beside it come from the same program: the same bits."""
            own_qR, ahead_qR = state
            own_qR = jax.lax.pcast(own_qR, AXES, to="varying")
            (_, own_qR, ahead_qR), _ = jax.lax.scan(partial(step, counting), (jnp.int32(0), own_qR, ahead_qR), rows_bgE)
            return (jax.lax.pmax(own_qR, AXES), ahead_qR), None

        own_qR = jnp.full(targets_qR.shape, -jnp.inf)
        ahead_qR = jax.lax.pcast(jnp.zeros(targets_qR.shape, jnp.int32), AXES, to="varying")
        (_, ahead_qR), _ = jax.lax.scan(passes, (own_qR, ahead_qR), jnp.array([False, True]))
        return jax.lax.psum(ahead_qR, AXES)

    return jnp.where(targets_qR >= 0, count_all(queries_qE, exclude_q, targets_qR, rows_GE, first_d, count_d) + 1, 0)


def _ahead(
    scores_qg: Array, position_g: Array, own_qR: Array, targets_qR: Array, number: Array, ahead_qR: Array
) -> Array:
    """``ahead_qR`` with what this block holds before target ``number`` of each query added."""
    own_q1 = jax.lax.dynamic_slice_in_dim(own_qR, number, 1, axis=1)
    target_q1 = jax.lax.dynamic_slice_in_dim(targets_qR, number, 1, axis=1)
    before_qg = (scores_qg > own_q1) | ((scores_qg == own_q1) & (position_g[None, :] < target_q1))
    more_q1 = before_qg.sum(axis=1, keepdims=True, dtype=jnp.int32)
    so_far_q1 = jax.lax.dynamic_slice_in_dim(ahead_qR, number, 1, axis=1)
    return jax.lax.dynamic_update_slice_in_dim(ahead_qR, so_far_q1 + more_q1, number, axis=1)
