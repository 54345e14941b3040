"""The margin softmax with class centres spread over all devices, dense or over a sample of them (PartialFC).

Each device holds K/devices rows of ``centres_KE`` and computes the logits of the whole global batch against its own rows:
embeddings travel (B·E numbers gathered, their gradient scattered back), centres and logits never do. Source: Deng et al. 2019,
arXiv 1801.07698 (class-parallel softmax); An et al. 2021, arXiv 2010.05222 and 2203.15565 (PartialFC). Take gradients outside.

Centres are padded with zero rows to a multiple of the devices; a padded class has no logit, so its row stays zero.
"""

from __future__ import annotations

import math
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.sharding import Mesh
from jax.sharding import PartitionSpec as P

from facemae_jax.losses.margin import Number, margin_logits, unit
from facemae_jax.mesh import AXES
from facemae_jax.types import FacemaeError

TILE = 128  # samples are a multiple of it: matrix units work in such tiles


class SoftmaxOutput(NamedTuple):
    """``loss_B`` and whether the own class is the nearest one (of those sampled), on every device."""

    loss_B: jax.Array
    right_B: jax.Array


def padded_classes(identities: int, devices: int) -> int:
    """K rounded up to a multiple of the devices."""
    return -(-identities // devices) * devices


def sample_size(identities: int, devices: int, rate: float, batch: int) -> int:
    """Rows that each device samples: max(⌈rate · K/devices⌉, batch), rounded up to tiles, at most all it has.

    The batch bounds the positives of a device from above, so the own class of every image always fits.

    Raises:
        FacemaeError: for a rate outside 0…1.

    >>> sample_size(2_000_000, 8, 0.1, 4096)
    25088
    """
    if not 0.0 < rate <= 1.0:
        raise FacemaeError(f"sample={rate}: give the share of class centres that a step trains, above 0 and at most 1.")
    local = padded_classes(identities, devices) // devices
    wanted = max(math.ceil(round(rate * local, 6)), batch)
    return min(-(-wanted // TILE) * TILE, local)


def sample_rows(key: jax.Array, labels_B: jax.Array, *, identities: int, rate: float, mesh: Mesh) -> jax.Array:
    """Which rows each device trains in this step: the own classes of the batch, filled up with others by chance.

    Args:
        key: of the step; every device folds its number into it.
        labels_B: of the whole global batch, all micro-batches included.
        identities: K, without padding.
        rate: share of the centres of a device.
        mesh: over which centres are spread.

    Returns:
        int32 rows, local to each device and ascending: ``sample_size`` of them per device, one device after the other.
    """
    local = padded_classes(identities, mesh.size) // mesh.size
    count = sample_size(identities, mesh.size, rate, len(labels_B))

    @partial(jax.shard_map, mesh=mesh, in_specs=(P(), P(AXES)), out_specs=P(AXES), check_vma=True)
    def choose(key: jax.Array, labels_b: jax.Array) -> jax.Array:
        device = jax.lax.axis_index(AXES)
        own_B = jax.lax.all_gather(labels_b, AXES, tiled=True) - device * local
        rank_k = jax.random.uniform(jax.random.fold_in(key, device), (local,))
        rank_k = jnp.where(device * local + jnp.arange(local) < identities, rank_k, -1.0)  # padding comes last
        rank_k = rank_k.at[jnp.where((own_B >= 0) & (own_B < local), own_B, local)].set(
            2.0, mode="drop"
        )  # own ones first
        return jnp.sort(jax.lax.top_k(rank_k, count)[1]).astype(jnp.int32)

    return choose(key, labels_B)


def take_rows(whole_KE: jax.Array, rows_S: jax.Array, *, mesh: Mesh) -> jax.Array:
    """The sampled rows of each device: ``part_SE``, spread like the whole."""

    @partial(jax.shard_map, mesh=mesh, in_specs=(P(AXES), P(AXES)), out_specs=P(AXES), check_vma=True)
    def take(whole_kE: jax.Array, rows_s: jax.Array) -> jax.Array:
        return whole_kE[rows_s]

    return take(whole_KE, rows_S)


def put_rows(whole_KE: jax.Array, part_SE: jax.Array, rows_S: jax.Array, *, mesh: Mesh) -> jax.Array:
    """The whole with the sampled rows replaced; every other row is the same, bit for bit."""

    @partial(jax.shard_map, mesh=mesh, in_specs=(P(AXES),) * 3, out_specs=P(AXES), check_vma=True)
    def put(whole_kE: jax.Array, part_sE: jax.Array, rows_s: jax.Array) -> jax.Array:
        return whole_kE.at[rows_s].set(part_sE, unique_indices=True, indices_are_sorted=True)

    return put(whole_KE, part_SE, rows_S)


def sharded_margin_loss(
    embeddings_BE: jax.Array,
    centres_SE: jax.Array,
    labels_B: jax.Array,
    *,
    identities: int,
    mesh: Mesh,
    rows_S: jax.Array | None = None,
    m1: float = 1.0,
    m2: Number = 0.0,
    m3: Number = 0.0,
    scale: float = 64.0,
    dtype: jnp.dtype | str = jnp.float32,
) -> SoftmaxOutput:
    r"""Cross-entropy over classes that no device sees all of: :math:`\log\sum_k e^{l_k} - l_y`, the sum taken over devices.

    Args:
        embeddings_BE: raw, split over the mesh.
        centres_SE: raw, split over the mesh: all of them padded to the devices, or those of ``rows_S``.
        labels_B: own class.
        identities: K, without padding.
        mesh: of batch and centres.
        rows_S: of :func:`sample_rows`, when ``centres_SE`` are only these.
        m1, m2, m3, scale: as in ``margin.margin_logits``.
        dtype: of the product of embeddings and centres; sums are float32.
    """
    local = padded_classes(identities, mesh.size) // mesh.size
    sampled = rows_S is not None
    if not sampled and len(centres_SE) != local * mesh.size:
        raise ValueError(f"{len(centres_SE)} centres, expected {local * mesh.size}: pad them with padded_classes")
    m2_B, m3_B = (jnp.broadcast_to(jnp.asarray(m, jnp.float32), labels_B.shape) for m in (m2, m3))
    no_angle = isinstance(m2, (int, float)) and m2 == 0.0  # so that cosines are not bent by an angle of zero
    rows_S = jnp.zeros(len(centres_SE), jnp.int32) if rows_S is None else rows_S

    @partial(jax.shard_map, mesh=mesh, in_specs=(P(AXES),) * 6, out_specs=P(), check_vma=True)
    def local_part(embeddings_bE, labels_b, m2_b, m3_b, centres_sE, rows_s):
        def everyone(x: jax.Array) -> jax.Array:
            return jax.lax.all_gather(x, AXES, tiled=True)

        first = jax.lax.axis_index(AXES) * local
        rows_s = rows_s if sampled else jnp.arange(local, dtype=jnp.int32)
        own_B = everyone(labels_b) - first  # the own class as a local row; outside 0…local−1 on all devices but one
        here_B = (own_B >= 0) & (own_B < local)
        if sampled:
            column_k = jnp.full(local, -1, jnp.int32).at[rows_s].set(jnp.arange(len(rows_s), dtype=jnp.int32))
            column_B = jnp.where(here_B, column_k[jnp.where(here_B, own_B, 0)], -1)
        else:
            column_B = jnp.where(here_B, own_B, -1)
        units_BE, centres = unit(everyone(embeddings_bE.astype(jnp.float32))), unit(centres_sE.astype(jnp.float32))
        cosines_Bs = jnp.matmul(units_BE.astype(dtype), centres.T.astype(dtype), preferred_element_type=jnp.float32)
        angle = 0.0 if no_angle else everyone(m2_b)
        logits_Bs = margin_logits(cosines_Bs, column_B, m1=m1, m2=angle, m3=everyone(m3_b), scale=scale)
        real_s = first + rows_s < identities
        logits_Bs = jnp.where(real_s[None, :], logits_Bs, -jnp.inf)
        own_Bs = column_B[:, None] == jnp.arange(len(rows_s))[None, :]
        own_logit_B = jax.lax.psum(jnp.sum(jnp.where(own_Bs, logits_Bs, 0.0), axis=1), AXES)
        top_B = jax.lax.pmax(jax.lax.stop_gradient(logits_Bs.max(axis=1)), AXES)
        sum_B = jax.lax.psum(jnp.sum(jnp.exp(logits_Bs - top_B[:, None]), axis=1), AXES)
        cosines_Bs = jax.lax.stop_gradient(cosines_Bs)
        nearest_B = jax.lax.pmax(jnp.where(real_s[None, :], cosines_Bs, -jnp.inf).max(axis=1), AXES)
        own_cosine_B = jax.lax.psum(jnp.sum(jnp.where(own_Bs, cosines_Bs, 0.0), axis=1), AXES)
        return SoftmaxOutput(jnp.log(sum_B) + top_B - own_logit_B, own_cosine_B >= nearest_B)

    return local_part(embeddings_BE, labels_B, m2_B, m3_B, centres_SE, rows_S)
