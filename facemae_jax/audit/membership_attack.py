"""The membership attack: was an image among those that the MAE was trained on?

Someone who holds the MAE and a candidate image hides patches of it and looks how well they are painted: images that were trained on
are painted better. The score is minus the mean squared error of hidden patches, averaged over several masks. Score and threshold
attack: Yeom, Giacomelli, Fredrikson, Jha, "Privacy Risk in Machine Learning: Analyzing the Connection to Overfitting", IEEE CSF 2018.

Out of scope: calibration by reference models (the difference to a model trained without the image), which finds more; and an attack on released
images alone, without the MAE. Members and non-members must come from one distribution: between two face sets of different
origin the attack also measures how these sets differ.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from facemae_jax.keys import image_keys, keys_for
from facemae_jax.losses.pixels import VARIANCE_FLOOR
from facemae_jax.mesh import batch_sharding, check_batch, put_batch, replicated
from facemae_jax.metrics.bootstrap import DRAWS, Statistic, bootstrap
from facemae_jax.metrics.membership import membership
from facemae_jax.models.mae import Mae
from facemae_jax.models.masking import patchify, random_mask
from facemae_jax.models.scaling import to_unit
from facemae_jax.types import FacemaeError, Mask, Tree

MASKS = 16


def mae_losses(
    params: Tree,
    model: Mae,
    images_nHWC: np.ndarray,
    *,
    mesh: Mesh,
    batch: int,
    masks: int = MASKS,
    seed: int = 0,
    norm_pix: bool = False,
) -> np.ndarray:
    """How badly the MAE paints what it does not see of each image, under several masks.

    The masks are the same for all images, so that none has easier ones, and an image's losses do not depend on its place.

    Args:
        params: of the MAE.
        model: with the number of visible patches in its config, built with the same mesh (or none).
        images_nHWC: uint8; every process brings all of them.
        mesh: images are split over it.
        batch: images per step over all devices; a shorter tail is padded, its padding dropped.
        masks: M.
        seed: of the masks.
        norm_pix: the MAE was trained with ``norm_pix_loss``; its targets are normalised patches.

    Returns:
        ``losses_nM``, float32, in squared units of −1…1; the same on every process.

    Raises:
        FacemaeError: a model that hides nothing; a batch that does not divide over the mesh.
    """
    c = model.config
    if not 0 < c.visible < c.patches:
        raise FacemaeError(
            f"mae.visible={c.visible} of {c.patches} patches leaves nothing to paint, so a membership attack has nothing to look at: "
            "choose fewer."
        )
    check_batch(mesh, batch, "audit.batch")
    keys_M = image_keys(keys_for(seed, 0, ("membership",))["membership"], masks)
    mask = random_mask(keys_M, patches=c.patches, visible=c.visible, focus=c.mask_focus)

    def losses(params: Tree, images_BHWC: jax.Array, mask: Mask) -> jax.Array:
        units_BHWC = to_unit(images_BHWC)
        target_BNP = patchify(units_BHWC, c.patch)
        if norm_pix:
            mean, variance = target_BNP.mean(axis=-1, keepdims=True), target_BNP.var(axis=-1, keepdims=True)
            target_BNP = (target_BNP - mean) / jnp.sqrt(variance + VARIANCE_FLOOR)

        def of_mask(one: Mask) -> jax.Array:
            visible_BV = jnp.broadcast_to(one.visible_BV[None], (len(images_BHWC), c.visible))
            output: Any = model.apply({"params": params}, units_BHWC, visible_BV)
            error_BN = jnp.mean((patchify(output.pixels_BHWC, c.patch) - target_BNP) ** 2, axis=-1)
            return jnp.where(one.hidden_BN[None], error_BN, 0.0).sum(axis=1) / (c.patches - c.visible)

        return jax.lax.map(of_mask, mask).T

    whole_copy = replicated(mesh)
    program = jax.jit(losses, in_shardings=(whole_copy, batch_sharding(mesh), whole_copy), out_shardings=whole_copy)
    params = jax.device_put(params, whole_copy)
    rows = batch // jax.process_count()
    found = [np.zeros((0, masks), np.float32)]
    for start in range(0, len(images_nHWC), batch):
        whole = np.zeros((batch, *images_nHWC.shape[1:]), images_nHWC.dtype)
        part = images_nHWC[start : start + batch]
        whole[: len(part)] = part
        mine = whole[rows * jax.process_index() : rows * (jax.process_index() + 1)]
        found.append(np.asarray(program(params, put_batch(mesh, mine), mask))[: len(part)])
    return np.concatenate(found)


def weighted_tpr(scores_n: np.ndarray, member_n: np.ndarray, fpr: float) -> Statistic:
    """The largest true-positive rate whose false-positive rate is at most ``fpr``, as a function of ``weights_Rn``.

    Equal scores are always decided together. NaN for weights that leave no member, or no non-member.
    """
    values_u, tie_n = np.unique(-np.asarray(scores_n, np.float64), return_inverse=True)
    order = np.argsort(tie_n, kind="stable")
    starts_u = np.searchsorted(tie_n[order], np.arange(len(values_u)))
    member_n = np.asarray(member_n, bool)[order]

    def statistic(weights_Rn: np.ndarray) -> np.ndarray:
        weights_Rn = np.asarray(weights_Rn, np.float64)[:, order]
        nobody_R1 = np.zeros((len(weights_Rn), 1))
        right_Ru, wrong_Ru = (
            np.hstack([nobody_R1, np.cumsum(np.add.reduceat(weights_Rn * kind, starts_u, axis=1), axis=1)])
            for kind in (member_n, ~member_n)
        )
        last_R1 = (wrong_Ru <= fpr * wrong_Ru[:, -1:]).sum(axis=1, keepdims=True) - 1  # weights are whole numbers
        tpr_R = np.take_along_axis(right_Ru, last_R1, axis=1)[:, 0]
        members_R = np.where(wrong_Ru[:, -1] > 0, right_Ru[:, -1], 0)
        return np.divide(tpr_R, members_R, out=np.full(len(tpr_R), np.nan), where=members_R > 0)

    return statistic


def membership_attack(
    losses_nM: np.ndarray,
    member_n: np.ndarray,
    identities_n: np.ndarray,
    *,
    level: float = 0.95,
    draws: int = DRAWS,
    seed: int = 0,
) -> dict[str, Any]:
    """Tell images that were trained on from others by how well they are painted.

    Args:
        losses_nM: of :func:`mae_losses`, members and non-members together.
        member_n: bool, whether the MAE was trained on the image.
        identities_n: the person of each image, numbered over both sets together.
        level, draws, seed: of the intervals, over people.

    Returns:
        All of ``metrics.membership`` (``auc``, ``interval`` of it, ``level``, ``tpr_at_fpr``, ``roc``, ``members``, ``non_members``), and
        ``tpr_interval`` {"0.1": [low, high], …}, ``chance`` {"auc": 0.5, "tpr_at_fpr"}, ``masks``, ``loss``
        {"members", "non_members"}: {"mean", "std"}.

    Raises:
        FacemaeError: as ``metrics.membership``.
    """
    losses_nM, member_n = np.asarray(losses_nM, np.float64), np.asarray(member_n, bool)
    loss_n = losses_nM.mean(axis=1)
    options: dict[str, Any] = dict(level=level, draws=draws, seed=seed)
    figures = membership(-loss_n, member_n, identities_n, **options)
    # As for the AUC: people with members, without, and with both are drawn apart, each with all images.
    inverse_n = np.unique(identities_n, return_inverse=True)[1]
    strata_K = sum(2**at * (np.bincount(inverse_n, weights=kind) > 0) for at, kind in enumerate((member_n, ~member_n)))
    intervals = {
        fpr: list(
            bootstrap(
                weighted_tpr(-loss_n, member_n, float(fpr)),
                inverse_n,
                strata_n=np.asarray(strata_K)[inverse_n],
                **options,
            )
        )
        for fpr in figures["tpr_at_fpr"]
    }
    return figures | {
        "tpr_interval": intervals,
        "chance": {"auc": 0.5, "tpr_at_fpr": {fpr: float(fpr) for fpr in figures["tpr_at_fpr"]}},
        "masks": losses_nM.shape[1],
        "loss": {
            name: {"mean": float(part.mean()), "std": float(part.std())}
            for name, part in (("members", loss_n[member_n]), ("non_members", loss_n[~member_n]))
        },
    }
