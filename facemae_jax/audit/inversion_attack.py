r"""The inversion attack: a network learns to paint originals back from protected images, and the result is searched with.

Most methods that hide identities can be reversed in part by a network trained on pairs ("Fantômas", arXiv 2210.10651). With x the
original, x̂ the inverted image and e, ê their embeddings by a recognizer that the attacker holds,

.. math:: L = \overline{|x - \hat x|} + w \cdot (1 - e \cdot \hat e) .

How near pixels come says little about identity (arXiv 2309.13038), so both are measured: the peak signal-to-noise ratio, and what
a judge finds with inverted images as queries. Those people are none of the pairs'.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from facemae_jax import logs
from facemae_jax.audit.pair_training import AttackOptim, PairSource, fit_pairs, to_host
from facemae_jax.checkpoint.integrity import digest_of
from facemae_jax.mesh import batch_sharding, pin_batch, put_batch, replicated
from facemae_jax.models.frozen import Frozen
from facemae_jax.models.inverter import Inverter
from facemae_jax.models.scaling import to_uint8, to_unit
from facemae_jax.train.task import Task
from facemae_jax.types import Tree

WIDTHS = (24, 48, 96)
BEST = 100.0  # dB told of images without any error


def inversion_task(
    inverter: Inverter, *, image_size: int, mesh: Mesh, recognizer: Frozen | None = None, feature_weight: float = 0.0
) -> Task:
    """The task: batches are :class:`pair_training.Pairs` with originals.

    Args:
        inverter: the network.
        image_size: pixels.
        mesh: activations are split over it.
        recognizer: whose embeddings the inverted image should bring back; differentiable. Not read at weight 0.
        feature_weight: w.
    """
    guided = recognizer is not None and feature_weight > 0

    def init(key: jax.Array) -> dict[str, Tree]:
        return dict(inverter.init(key, jnp.zeros((mesh.size, image_size, image_size, 3))))

    def loss(params: Tree, extra: Tree, frozen: Tree, batch: Any, keys: dict[str, jax.Array]):
        original_BHWC = to_unit(batch.originals_BHWC)
        found_BHWC: Any = inverter.apply({"params": params}, pin_batch(to_unit(batch.images_BHWC), mesh))
        metrics = {"pixel": jnp.abs(found_BHWC - original_BHWC).mean()}
        value = metrics["pixel"]
        if guided and recognizer is not None:
            real_BE = jax.lax.stop_gradient(recognizer.apply(frozen, original_BHWC))
            metrics["cosine"] = jnp.einsum("be,be->b", real_BE, recognizer.apply(frozen, found_BHWC)).mean()
            value += feature_weight * (1.0 - metrics["cosine"])
        return value, (metrics, extra)

    return Task(init=init, loss=loss, frozen=recognizer.params if guided and recognizer is not None else ())


def train_inverter(
    source: PairSource,
    *,
    optim: AttackOptim,
    seed: int,
    mesh: Mesh,
    threads: int,
    out: Path,
    label: str,
    widths: Sequence[int] = WIDTHS,
    recognizer: Frozen | None = None,
    feature_weight: float = 0.0,
) -> tuple[Inverter, Tree]:
    """The network and its weights (numpy), from pairs with originals of seen people.

    Args:
        source: with ``originals``.
        optim: the budget.
        seed: of the attack.
        mesh: over which it trains.
        threads: that decode.
        out: private folder for its checkpoint.
        label: of the progress bar.
        widths: channels of each level of the U-Net.
        recognizer: as in :func:`inversion_task`.
        feature_weight: as there.

    Raises:
        FacemaeError: images that the network cannot read, and what :func:`fit_pairs` refuses.
    """
    inverter = Inverter(tuple(widths))
    task = inversion_task(
        inverter,
        image_size=source.protected.image_size,
        mesh=mesh,
        recognizer=recognizer,
        feature_weight=feature_weight,
    )
    state = fit_pairs(task, source, optim=optim, seed=seed, mesh=mesh, threads=threads, out=out, label=label)
    return inverter, to_host(state.params, mesh)


def behind(inverter: Inverter, params: Tree, judge: Frozen) -> Frozen:
    """The judge looking at inverted images, for ``embed`` of protected ones; images pass through 8 bits between the two."""

    def apply(both: Tree, images_BHWC: jax.Array) -> jax.Array:
        found_BHWC: Any = inverter.apply({"params": both["inverter"]}, images_BHWC)
        return judge.apply(both["judge"], to_unit(to_uint8(found_BHWC)))

    return Frozen(
        {"inverter": params, "judge": judge.params},
        apply,
        judge.image_size,
        judge.embedding,
        f"{judge.digest} behind {digest_of(params)}",
        f"{judge.name} behind an inverter",
    )


def signal_to_noise(
    inverter: Inverter, params: Tree, source: PairSource, *, batch: int, mesh: Mesh, threads: int, label: str
) -> dict[str, float]:
    """Peak signal-to-noise ratio to the originals in dB, mean over images: ``input`` of protected, ``inverted`` of inverted ones.

    Args:
        inverter: the network.
        params: its weights.
        source: pairs of the attacked people, with originals.
        batch: images at once, over all devices.
        mesh: over which they are split.
        threads: that decode.
        label: of the progress bar.
    """

    def measure(params: Tree, images_BHWC: jax.Array, originals_BHWC: jax.Array, valid_B: jax.Array) -> jax.Array:
        found_BHWC: Any = inverter.apply({"params": params}, to_unit(images_BHWC))
        pairs = (decibels(images_BHWC, originals_BHWC), decibels(to_uint8(found_BHWC), originals_BHWC))
        return jnp.stack([jnp.where(valid_B, ratio_B, 0.0).sum() for ratio_B in pairs])

    split, whole = batch_sharding(mesh), replicated(mesh)
    program = jax.jit(measure, in_shardings=(whole, split, split, split), out_shardings=whole)
    weights = jax.device_put(params, whole)
    sums = np.zeros(2)
    with logs.progress(len(source.protected), label) as bar:
        for pairs, valid_B in source.in_order(batch=batch, threads=threads):
            sent = put_batch(mesh, (pairs.images_BHWC, pairs.originals_BHWC, valid_B))
            sums += np.asarray(program(weights, *sent), np.float64)
            bar.update(int(valid_B.sum()) * jax.process_count())
    given, inverted = (sums / len(source.protected)).tolist()
    return {"input": given, "inverted": inverted}


def decibels(images_BHWC: jax.Array, originals_BHWC: jax.Array) -> jax.Array:
    """``ratio_B``: 10 · log10(255² / mean squared error) of 8-bit images, at most :data:`BEST`."""
    difference = images_BHWC.astype(jnp.float32) - originals_BHWC.astype(jnp.float32)
    error_B = jnp.mean(difference**2, axis=(1, 2, 3))
    return jnp.minimum(BEST, 10.0 * jnp.log10(255.0**2 / jnp.maximum(error_B, 1e-9)))
