"""Instance Relation Matching (IRM): the relations between painted faces should be those between the real ones.

Relations are measured between embeddings by a frozen recognizer. The published text (Wang et al. 2022, arXiv 2205.11090)
defines neither the graph nor the distance; ``cosine``, ``euclidean`` and the groups are this project's reading, each a config switch.
Which recognizer embeds is the business of ``train.mae_task``.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import Mesh
from jax.sharding import PartitionSpec as P

from facemae_jax.mesh import AXES
from facemae_jax.types import FacemaeError

KINDS = ("cosine", "euclidean")
FORMS = ("rows", "gram")
HUBER = 1.0  # beyond this difference of normalised distances the loss grows linearly


def relation_loss(
    real_BE: jax.Array, painted_BE: jax.Array, *, kind: str = "cosine", group: int = 0, form: str = "rows"
) -> jax.Array:
    r"""The loss on one device, or under plain ``jit``; the oracle for :func:`relation_loss_sharded`.

    ``cosine``: with :math:`R_{ij} = e_i\cdot e_j` and :math:`\hat R_{ij} = \hat e_i\cdot\hat e_j`,

    .. math:: L = \frac{1}{B(B-1)} \sum_{i \ne j} (R_{ij} - \hat R_{ij})^2 .

    ``euclidean``: distances :math:`d_{ij} = \|e_i - e_j\|` and :math:`\hat d_{ij}`, each divided by its mean over
    :math:`i \ne j`; L is the mean Huber loss of their differences.

    ``form="gram"`` computes the cosine loss without the B×B block, from D×D products:
    :math:`\sum_{ij} (R-\hat R)^2 = \|E^TE\|^2 - 2\|\hat E^TE\|^2 + \|\hat E^T\hat E\|^2` (Frobenius norms), less the diagonal
    :math:`\sum_i (|e_i|^2 - |\hat e_i|^2)^2`. The three norms cancel when the relations agree, so with M = E − Ê the same sum is
    taken as :math:`\|M^TM\|^2 + 2\langle M^TM, \hat E^T\hat E\rangle + 2\,tr((M^T\hat E)^2) + 4\langle M^TM, M^T\hat E\rangle`, whose
    parts vanish with M, and held at 0 from below.

    Args:
        real_BE: unit embeddings of the real faces; no gradient flows into them.
        painted_BE: unit embeddings of the painted faces, same order.
        kind: cosine | euclidean.
        group: 0 = one graph over the batch; n = one graph for each n consecutive images, averaged. Divides B.
        form: rows | gram (cosine and group 0 only).

    Returns:
        scalar float32.

    Raises:
        FacemaeError: for a group that does not divide B, or an unknown kind or form.

    >>> import jax.numpy as jnp
    >>> real = jnp.array([[1.0, 0.0], [0.0, 1.0]])
    >>> same = jnp.array([[1.0, 0.0], [1.0, 0.0]])
    >>> round(float(relation_loss(real, same)), 4)  # the only relation changed from 0 to 1
    1.0
    >>> round(float(relation_loss(real, real[::-1])), 4)  # both faces moved, their relation did not
    0.0
    """
    size = _group_size(len(real_BE), group, kind, form)
    real_BE = jax.lax.stop_gradient(real_BE.astype(jnp.float32))
    painted_BE = painted_BE.astype(jnp.float32)
    if form == "gram":
        return _finish_gram(_gram_parts(real_BE, painted_BE), len(real_BE))
    rows = jnp.arange(len(real_BE))
    return _rows_loss((real_BE, painted_BE), (real_BE, painted_BE), rows, kind=kind, size=size, total=_plain)


def relation_loss_sharded(
    real_BE: jax.Array,
    painted_BE: jax.Array,
    *,
    mesh: Mesh,
    kind: str = "cosine",
    group: int = 0,
    form: str = "rows",
    chunk: int = 0,
) -> jax.Array:
    """The same loss over a mesh: each device computes its own rows against the gathered embeddings.

    Take the gradient outside. Groups are groups of the global batch, whatever the mesh. Arguments and errors as in
    :func:`relation_loss`; and ``chunk``, the number of own rows taken at a time, which divides B/devices (0 = all at once).

    Memory per device: ``chunk`` × B numbers a few times over (``rows``; the backward pass computes each block again) or E × E
    (``gram``). Moved per step, ``rows``: 2·B·E numbers gathered (real and painted embeddings), B·E scattered back (the gradient of the
    painted ones), and one number (euclidean: as many as groups) summed; ``gram``: 3·E² + 1 summed.
    """
    batch = len(real_BE)
    size = _group_size(batch, group, kind, form)
    own = batch // mesh.size
    if chunk and own % min(chunk, own):
        fits = [n for n in range(1, own + 1) if own % n == 0]
        raise FacemaeError(
            f"irm.chunk={chunk} does not divide the {own} images of a device: choose 0 or one of {fits}."
        )

    def total(x: jax.Array) -> jax.Array:
        return jax.lax.psum(x, AXES)

    @partial(jax.shard_map, mesh=mesh, in_specs=(P(AXES), P(AXES)), out_specs=P(), check_vma=True)
    def local(real_bE: jax.Array, painted_bE: jax.Array) -> jax.Array:
        if form == "gram":
            return _finish_gram(tuple(total(part) for part in _gram_parts(real_bE, painted_bE)), batch)
        gathered = tuple(jax.lax.all_gather(x, AXES, tiled=True) for x in (real_bE, painted_bE))
        rows = jax.lax.axis_index(AXES) * len(real_bE) + jnp.arange(len(real_bE))
        return _rows_loss((real_bE, painted_bE), gathered, rows, kind=kind, size=size, total=total, chunk=chunk)

    return local(jax.lax.stop_gradient(real_BE.astype(jnp.float32)), painted_BE.astype(jnp.float32))


def _group_size(batch: int, group: int, kind: str, form: str) -> int:
    if kind not in KINDS:
        raise FacemaeError(f"irm.kind={kind}: choose one of {', '.join(KINDS)}.")
    if form not in FORMS or (form == "gram" and (kind != "cosine" or group)):
        raise FacemaeError(f"irm.form={form}: choose rows, or gram with irm.kind=cosine and irm.group=0.")
    size = group or batch
    if size < 2 or batch % size:
        raise FacemaeError(
            f"irm.group={group} does not cut the {batch} images of a batch into equal groups of at least 2."
        )
    return size


def _plain(x: jax.Array) -> jax.Array:
    return x


def _rows_loss(own, everyone, rows_b, *, kind, size, total, chunk=0):
    """Sum over own rows of the pairs of one group, then over devices; mean over all pairs of all groups."""
    batch = len(everyone[0])
    pairs, groups = batch * (size - 1), batch // size
    columns_B = jnp.arange(batch)

    def same(rows_c: jax.Array) -> jax.Array:
        return (rows_c[:, None] // size == columns_B[None, :] // size) & (rows_c[:, None] != columns_B[None, :])

    if kind == "cosine":

        def squares(rows_c: jax.Array, real_cE: jax.Array, painted_cE: jax.Array) -> jax.Array:
            difference = _dots(real_cE, everyone[0]) - _dots(painted_cE, everyone[1])
            return jnp.sum(jnp.where(same(rows_c), difference**2, 0.0))

        return total(_added(squares, chunk, rows_b, *own)) / pairs

    def sums(rows_c: jax.Array, real_cE: jax.Array, painted_cE: jax.Array) -> tuple[jax.Array, ...]:
        return tuple(
            jax.ops.segment_sum(jnp.sum(_distances(a_cE, b_BE, same(rows_c)), 1), rows_c // size, num_segments=groups)
            for a_cE, b_BE in zip((real_cE, painted_cE), everyone, strict=True)
        )

    # Distances are divided by the mean of their own group; a group of one point stays 0.
    means = tuple(jnp.maximum(total(sum_g) / (size * (size - 1)), 1e-12) for sum_g in _added(sums, chunk, rows_b, *own))

    def hubers(rows_c: jax.Array, real_cE: jax.Array, painted_cE: jax.Array) -> jax.Array:
        real, painted = (
            _distances(a_cE, b_BE, same(rows_c)) / mean_g[rows_c // size][:, None]
            for a_cE, b_BE, mean_g in zip((real_cE, painted_cE), everyone, means, strict=True)
        )
        difference = jnp.abs(real - painted)
        huber = jnp.where(difference < HUBER, 0.5 * difference**2, HUBER * (difference - 0.5 * HUBER))
        return jnp.sum(jnp.where(same(rows_c), huber, 0.0))

    return total(_added(hubers, chunk, rows_b, *own)) / pairs


def _added(part: Any, chunk: int, *rows: jax.Array) -> Any:
    """``part`` of all rows; with ``chunk``, the sum of its values over that many rows at a time, each computed again backwards."""
    if not chunk or chunk >= len(rows[0]):
        return part(*rows)
    pieces = tuple(x.reshape(len(x) // chunk, chunk, *x.shape[1:]) for x in rows)
    values = jax.lax.map(jax.checkpoint(lambda piece: part(*piece)), pieces)
    return jax.tree.map(lambda x: x.sum(axis=0), values)


def _dots(a_bE: jax.Array, b_BE: jax.Array) -> jax.Array:
    return jnp.matmul(a_bE, b_BE.T, precision=jax.lax.Precision.HIGHEST)


def _distances(a_bE: jax.Array, b_BE: jax.Array, pairs_bB: jax.Array) -> jax.Array:
    """Euclidean distances where ``pairs_bB``, 0 elsewhere; the gradient is 0 where two embeddings coincide."""
    square = jnp.sum(a_bE**2, 1)[:, None] + jnp.sum(b_BE**2, 1)[None, :] - 2.0 * _dots(a_bE, b_BE)
    apart = pairs_bB & (square > 1e-12)
    return jnp.where(apart, jnp.sqrt(jnp.where(apart, square, 1.0)), 0.0)


def _gram_parts(real_bE: jax.Array, painted_bE: jax.Array) -> tuple[jax.Array, ...]:
    """D×D products that add up over devices, with M = E − Ê: MᵀM, MᵀÊ, ÊᵀÊ; and the diagonal Σ(|e|² − |ê|²)²."""

    def product(a: jax.Array, b: jax.Array) -> jax.Array:
        return jnp.matmul(a.T, b, precision=jax.lax.Precision.HIGHEST)

    moved = real_bE - painted_bE
    diagonal = jnp.sum(jnp.sum(moved * (real_bE + painted_bE), 1) ** 2)  # |e|² − |ê|² without its cancellation
    return product(moved, moved), product(moved, painted_bE), product(painted_bE, painted_bE), diagonal


def _finish_gram(parts: tuple[jax.Array, ...], batch: int) -> jax.Array:
    mm, mp, pp, diagonal = parts
    every = jnp.sum(mm**2) + 2.0 * jnp.sum(mm * pp) + 2.0 * jnp.sum(mp * mp.T) + 4.0 * jnp.sum(mm * mp)
    return jnp.maximum(every - diagonal, 0.0) / (batch * (batch - 1))
