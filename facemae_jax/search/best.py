"""The k best of a gallery for every query, exactly, in memory that does not grow with queries or gallery.

Every device searches its own part of the gallery block by block and keeps the k best so far; one merge over the devices follows.
Equal scores are ordered by position, the lower first.

What it costs, for a million queries in a million images with E = 512 on one accelerator (arithmetic, not measured): the products
are 2·Q·G·E = 1.0e15 FLOP, 15 s at the 67 TFLOP/s of float32 without TF32 of an H100, 13 s at a sixth (six bfloat16 passes make
one float32 product) of the 459 TFLOP/s of a TPU v5p chip; a quarter of that with E = 128. The gallery, 2 GB, is read once per block of
queries: with 4,096 queries (``block=32768``) 0.5 TB, 0.15 s at 3.3 TB/s. The scores, written once and read about twice, are
4·Q·G bytes each time: 12 TB, 4 s.

On two CPU cores (measured, in CPU seconds since others used them too): 100,000 in 100,000 with E = 128 and k = 10 takes 42, of which
the products alone are 30; ``rank_of`` with one target each takes 48.
"""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh
from jax.sharding import PartitionSpec as P

from facemae_jax.mesh import AXES, batch_sharding, replicated
from facemae_jax.search.gallery import CHUNK, Gallery, excluded, in_blocks, own_devices, place, scores_of, table_of
from facemae_jax.types import Array, FacemaeError

NOWHERE = np.iinfo(np.int32).max  # the position of what is not found yet
ONE_BY_ONE = 32  # largest k for which CPUs take the best of a block one by one


def top_k(
    queries_QE: np.ndarray,
    gallery_GE: np.ndarray,
    k: int,
    *,
    block: int = 4096,
    exclude_Q: np.ndarray | None = None,
    mesh: Mesh | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """The k gallery rows with the largest inner product, for every query.

    Args:
        queries_QE: float32, the same on every process of the mesh; unit norm makes the score a cosine.
        gallery_GE: float32; where the mesh spans processes, the slice of this one (slices follow each other by process).
        k: at most the gallery (less one with ``exclude_Q``).
        block: gallery rows per block, with an eighth as many queries; memory grows with its square. Accelerators want 32768.
        exclude_Q: one gallery position per query that is not searched; −1 for none.
        mesh: over whose devices the gallery lies; by default those of this process.

    Returns:
        ``scores_Qk`` float32, descending, and ``positions_Qk`` int32, the same on every process; equal scores in ascending
        order of position.

    Raises:
        FacemaeError: lengths that differ, k out of range, embeddings that are not finite.
    """
    queries_QE = table_of(queries_QE, "queries")
    gallery = place(np.asarray(gallery_GE, np.float32), mesh or own_devices(), block, queries_QE.shape[1])
    searchable = gallery.size - (exclude_Q is not None)
    if not 1 <= k <= searchable:
        raise FacemaeError(f"k={k} of a search must lie between 1 and the {searchable} images that can be found.")
    tables = (queries_QE, excluded(exclude_Q, len(queries_QE)))
    found = list(in_blocks(gallery, block, tables, (0, -1), partial(best_of, k=k)))
    if not found:
        return np.zeros((0, k), np.float32), np.zeros((0, k), np.int32)
    scores_Qk, positions_Qk = (np.concatenate(parts) for parts in zip(*found, strict=True))
    return scores_Qk, positions_Qk


def best_of(gallery: Gallery, queries_qE: Array, exclude_q: Array, *, k: int) -> tuple[Array, Array]:
    """``scores_qk`` and ``positions_qk`` of one block of queries, on every device."""
    rows = gallery.rows_GE, gallery.first_d, gallery.count_d
    one_by_one = k <= ONE_BY_ONE and gallery.mesh.devices.flat[0].platform == "cpu"
    return best_program(
        queries_qE, exclude_q, *rows, mesh=gallery.mesh, columns=gallery.columns, k=k, one_by_one=one_by_one
    )


@partial(jax.jit, static_argnames=("mesh", "columns", "k", "one_by_one"))
def best_program(
    queries_qE: Array,
    exclude_q: Array,
    rows_GE: Array,
    first_d: Array,
    count_d: Array,
    *,
    mesh: Mesh,
    columns: int,
    k: int,
    one_by_one: bool,
) -> tuple[Array, Array]:
    """The compiled search of one block of queries; arguments as in :class:`Gallery` and :func:`top_k`.

    ``one_by_one`` chooses how the best of a block are taken; the result is the same. On two CPU cores ``lax.top_k`` runs on one of
    them, and taking them one by one was faster; on accelerators every round of a loop waits for the host.
    """
    merge = _insert_one_by_one if one_by_one else _insert_by_chunks

    @partial(
        jax.shard_map,
        mesh=mesh,
        in_specs=(P(), P(), P(AXES), P(AXES), P(AXES)),
        out_specs=P(None, AXES),
        check_vma=True,
    )
    def search(queries_qE: Array, exclude_q: Array, rows_gE: Array, first_1: Array, count_1: Array):
        (first,), (count,) = first_1, count_1
        blocks = rows_gE.shape[0] // columns

        def step(state: tuple[Array, Array, Array], block_gE: Array) -> tuple[tuple[Array, Array, Array], None]:
            row, best_qk, position_qk = state
            scores_qg, position_g = scores_of(queries_qE, exclude_q, block_gE, row, first, count)
            return (row + columns, *merge(best_qk, position_qk, scores_qg, position_g[0])), None

        start = jnp.full((len(queries_qE), k), -jnp.inf), jnp.full((len(queries_qE), k), NOWHERE, jnp.int32)
        start = jax.lax.pcast(start, AXES, to="varying")
        (_, *best), _ = jax.lax.scan(step, (jnp.int32(0), *start), rows_gE.reshape(blocks, columns, -1))
        return tuple(best)

    best_qm, position_qm = search(queries_qE, exclude_q, rows_GE, first_d, count_d)
    if mesh.size > 1:  # k of every device, to be ordered anew: each device does its share of the queries
        spread = jax.lax.with_sharding_constraint((-best_qm, position_qm), batch_sharding(mesh))
        negative_qm, position_qm = jax.lax.sort(spread, dimension=1, num_keys=2)
        best_qm, position_qm = -negative_qm[:, :k], position_qm[:, :k]
    return jax.lax.with_sharding_constraint((best_qm, position_qm), replicated(mesh))


def _insert_by_chunks(best_qk: Array, position_qk: Array, scores_qg: Array, first: Array) -> tuple[Array, Array]:
    """The k best of what was found before and of a new block, whose positions count from ``first``.

    The k best of a block lie in the k chunks with the largest maxima (ties: the earlier chunk), so most scores are read once, by a
    maximum, and only k · CHUNK of them are sorted. What was found before stands first and so wins ties.
    """
    queries, columns = scores_qg.shape
    k, chunks = best_qk.shape[1], columns // CHUNK
    if k < chunks:
        scores_qcC = scores_qg.reshape(queries, chunks, CHUNK)
        _, chunk_qk = jax.lax.top_k(scores_qcC.max(axis=-1), k)
        chunk_qk = jnp.sort(chunk_qk, axis=1)  # ascending columns, so that top_k breaks ties by position
        scores_qg = jnp.take_along_axis(scores_qcC, chunk_qk[:, :, None], axis=1).reshape(queries, k * CHUNK)
        within_qkC = chunk_qk[:, :, None] * CHUNK + jnp.arange(CHUNK, dtype=jnp.int32)[None, None, :]
        column_qm = within_qkC.reshape(queries, k * CHUNK)
    else:
        column_qm = jnp.broadcast_to(jnp.arange(columns, dtype=jnp.int32)[None, :], scores_qg.shape)
    both_qm = jnp.concatenate([best_qk, scores_qg], axis=1)
    position_qm = jnp.concatenate([position_qk, column_qm + first], axis=1)
    best_qk, where_qk = jax.lax.top_k(both_qm, k)
    return best_qk, jnp.take_along_axis(position_qm, where_qk, axis=1)


def _insert_one_by_one(best_qk: Array, position_qk: Array, scores_qg: Array, first: Array) -> tuple[Array, Array]:
    """As :func:`_insert_by_chunks`: takes the best of the block, then the next, until none is above any query's k-th best.

    A block late in the gallery holds few such: k · columns / (positions so far) per query on average, so that rounds are few, and each reads
    one number per chunk and one chunk per query.
    """
    queries, columns = scores_qg.shape
    k, chunks = best_qk.shape[1], columns // CHUNK
    scores_qcC = scores_qg.reshape(queries, chunks, CHUNK)
    chunk_1c, within_1C, place_1k = (jnp.arange(n, dtype=jnp.int32)[None, :] for n in (chunks, CHUNK, k))

    def left(state: tuple[Array, ...]) -> Array:
        best_qk, _, top_qc, *_ = state
        return (top_qc.max(axis=1) > best_qk[:, -1]).any()

    def take(state: tuple[Array, ...]) -> tuple[Array, ...]:
        best_qk, position_qk, top_qc, last_q, last_column_q = state
        score_q = top_qc.max(axis=1)
        chunk_q = jnp.where(top_qc == score_q[:, None], chunk_1c, chunks - 1).min(axis=1)
        scores_qC = jnp.take_along_axis(scores_qcC, chunk_q[:, None, None], axis=1)[:, 0, :]
        column_qC = chunk_q[:, None] * CHUNK + within_1C
        # Taken are the scores above the last one taken, and the equal ones up to its column.
        equal_qC = (scores_qC == last_q[:, None]) & (column_qC > last_column_q[:, None])
        open_qC = jnp.where((scores_qC < last_q[:, None]) | equal_qC, scores_qC, -jnp.inf)
        column_q = jnp.where(open_qC == score_q[:, None], column_qC, columns - 1).min(axis=1)
        rest_q = jnp.where(column_qC == column_q[:, None], -jnp.inf, open_qC).max(axis=1)
        top_qc = jnp.where(chunk_1c == chunk_q[:, None], rest_q[:, None], top_qc)
        place_q1 = (best_qk >= score_q[:, None]).sum(
            axis=1, keepdims=True, dtype=jnp.int32
        )  # k: it is not among the best
        inserted = (
            _insert(best_qk, score_q[:, None], place_q1, place_1k),
            _insert(position_qk, (column_q + first)[:, None], place_q1, place_1k),
        )
        return *inserted, top_qc, score_q, column_q

    none_q = jnp.full_like(scores_qg[:, 0], jnp.inf), jnp.full_like(position_qk[:, 0], -1)
    return jax.lax.while_loop(left, take, (best_qk, position_qk, scores_qcC.max(axis=-1), *none_q))[:2]


def _insert(row_qk: Array, new_q1: Array, place_q1: Array, place_1k: Array) -> Array:
    """Each row with its new entry at its place; what stood there and after it moves on, the last one out."""
    moved_qk = jnp.concatenate([row_qk[:, :1], row_qk[:, :-1]], axis=1)
    return jnp.where(place_1k < place_q1, row_qk, jnp.where(place_1k == place_q1, new_q1, moved_qk))
