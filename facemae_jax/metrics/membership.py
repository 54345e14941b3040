"""What a membership attack reaches: can scores tell the images a model was trained on from images it never saw?

0.5 is a blind guess. Source of the attack's measure, true positives at few false ones: Carlini et al., "Membership Inference
Attacks From First Principles", IEEE S&P 2022.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from facemae_jax.metrics.bootstrap import DRAWS, Statistic, bootstrap
from facemae_jax.metrics.verification import area, roc, tar_at_far, thin
from facemae_jax.types import FacemaeError


def weighted_auc(scores_n: np.ndarray, member_n: np.ndarray) -> Statistic:
    """AUC as a function of ``weights_Rn``: the chance that a member scores higher than a non-member, ties counting half.

    NaN for weights that leave no member, or no non-member.
    """
    values_u, tie_n = np.unique(np.asarray(scores_n, np.float64), return_inverse=True)
    order = np.argsort(tie_n, kind="stable")
    starts_u = np.searchsorted(tie_n[order], np.arange(len(values_u)))
    member_n = np.asarray(member_n, bool)[order]

    def statistic(weights_Rn: np.ndarray) -> np.ndarray:
        weights_Rn = np.asarray(weights_Rn, np.float64)[:, order]
        member_Ru = np.add.reduceat(weights_Rn * member_n, starts_u, axis=1)
        other_Ru = np.add.reduceat(weights_Rn * ~member_n, starts_u, axis=1)
        below_Ru = np.cumsum(other_Ru, axis=1) - 0.5 * other_Ru
        pairs_R = member_Ru.sum(axis=1) * other_Ru.sum(axis=1)
        won_R = (member_Ru * below_Ru).sum(axis=1)
        return np.divide(won_R, pairs_R, out=np.full(len(pairs_R), np.nan), where=pairs_R > 0)

    return statistic


def membership(
    scores_n: np.ndarray,
    member_n: np.ndarray,
    identities_n: np.ndarray,
    *,
    level: float = 0.95,
    draws: int = DRAWS,
    seed: int = 0,
) -> dict[str, Any]:
    """All figures of a membership attack.

    Args:
        scores_n: finite; larger means "was trained on".
        member_n: bool, what is true.
        identities_n: the person of each image; the interval resamples people, those with members, without, and with both apart.
        level: of the interval.
        draws: resampled figures.
        seed: of the resampling.

    Returns:
        ``auc``, ``interval`` [low, high] of it, ``level``, ``tpr_at_fpr`` (only rates at which ten false positives are expected),
        ``roc`` {"far", "tar"}, ``members``, ``non_members`` (images).

    Raises:
        FacemaeError: scores that are not finite; no member, or no non-member; fewer than two people.
    """
    scores_n, member_n = np.asarray(scores_n, np.float64), np.asarray(member_n, bool)
    if member_n.all() or not member_n.any():
        raise FacemaeError(
            f"{np.count_nonzero(member_n)} of {len(member_n)} images were trained on: a membership attack needs images of both kinds; "
            "add seen or unseen faces."
        )
    if not np.isfinite(scores_n).all():
        raise FacemaeError(
            f"{np.count_nonzero(~np.isfinite(scores_n))} of {len(scores_n)} membership scores are not finite: look at the model."
        )
    curve = roc(scores_n, member_n)
    inverse_n = np.unique(identities_n, return_inverse=True)[1]
    has_member_K = np.bincount(inverse_n, weights=member_n) > 0
    has_other_K = np.bincount(inverse_n, weights=~member_n) > 0
    strata_n = (has_member_K + 2 * has_other_K)[inverse_n]
    low, high = bootstrap(
        weighted_auc(scores_n, member_n), inverse_n, level=level, draws=draws, seed=seed, strata_n=strata_n
    )
    return {
        "auc": area(curve),
        "interval": [low, high],
        "level": level,
        "tpr_at_fpr": tar_at_far(curve),
        "roc": thin(curve),
        "members": int(member_n.sum()),
        "non_members": int((~member_n).sum()),
    }
