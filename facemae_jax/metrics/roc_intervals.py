"""Intervals over people for what a ROC curve says: TAR at FAR, EER, AUC.

Whoever is drawn again brings all of his scores, mated and non-mated. A thousand exact curves of a million scores would take minutes; here
scores are counted once, per person and between thresholds, and a resampled curve is a weighted sum of counts. Thresholds lie at FAR on
a logarithmic grid, where TAR is read, and at quantiles of the mated scores; what lies between two of them is taken as straight. All resampled
figures are moved by what this leaves out of the exact figure.

Only the person on the left of a non-mated pair is drawn again; whom he is compared with stays.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from facemae_jax.metrics.bootstrap import DRAWS, people_weights, percentile

BY_FAR, BY_MATED = 160, 64  # thresholds


def roc_intervals(
    mated_n: np.ndarray,
    non_mated_m: np.ndarray,
    people: tuple[np.ndarray, np.ndarray],
    figures: dict[str, Any],
    *,
    level: float = 0.95,
    draws: int = DRAWS,
    seed: int = 0,
) -> dict[str, Any]:
    """Percentile intervals of figures of one curve.

    Args:
        mated_n: scores of pairs of one person; larger is more alike.
        non_mated_m: of pairs of two people.
        people: the person of each mated score, and of the left of each non-mated pair.
        figures: the exact ones: ``tar_at_far`` {"0.1": TAR, …}, ``eer``, ``auc``.
        level, draws, seed: as of ``bootstrap``.

    Returns:
        ``tar_at_far`` {"0.1": [low, high], …}, ``eer`` [low, high], ``auc`` [low, high].

    Raises:
        FacemaeError: fewer than two people.
    """
    thresholds_t = _thresholds(mated_n, non_mated_m)
    everybody, person_s = np.unique(np.concatenate(people), return_inverse=True)
    split = np.split(person_s, [len(mated_n)])
    counts_2Kb = [
        _per_person(scores, person, len(everybody), thresholds_t)
        for scores, person in zip((mated_n, non_mated_m), split, strict=True)
    ]
    asked = {f"tar_at_far {far}": float(far) for far in figures["tar_at_far"]}

    def resampled(weights_RK: np.ndarray) -> dict[str, np.ndarray]:
        tar_Rt, far_Rt = (_accepted(weights_RK @ counts_Kb) for counts_Kb in counts_2Kb)
        found = {name: tar_where(far_Rt, tar_Rt, far) for name, far in asked.items()}
        return found | {"eer": error_where_equal(far_Rt, tar_Rt), "auc": area_under(far_Rt, tar_Rt)}

    exact = {f"tar_at_far {far}": tar for far, tar in figures["tar_at_far"].items()}
    exact |= {name: figures[name] for name in ("eer", "auc")}
    nearly = resampled(np.ones((1, len(everybody))))
    parts = [resampled(weights_RK) for weights_RK in people_weights(np.arange(len(everybody)), draws=draws, seed=seed)]
    intervals = {}
    for name, figure in exact.items():
        values_R = np.concatenate([part[name] for part in parts]) + (figure - nearly[name])
        intervals[name] = list(percentile(np.clip(values_R, 0.0, 1.0), level))
    return {
        "tar_at_far": {far: intervals[f"tar_at_far {far}"] for far in figures["tar_at_far"]},
        "eer": intervals["eer"],
        "auc": intervals["auc"],
    }


def tar_where(far_Rt: np.ndarray, tar_Rt: np.ndarray, far: float) -> np.ndarray:
    """``tar_R``: the TAR at one FAR of each curve, linear between its points, both ascending; the largest where several have that FAR."""
    last_R1 = (far_Rt <= far).sum(axis=1, keepdims=True) - 1
    after_R1 = np.minimum(last_R1 + 1, far_Rt.shape[1] - 1)
    (far_R, next_R), (tar_R, more_R) = (
        [np.take_along_axis(curve_Rt, at_R1, axis=1)[:, 0] for at_R1 in (last_R1, after_R1)]
        for curve_Rt in (far_Rt, tar_Rt)
    )
    share_R = np.divide(far - far_R, next_R - far_R, out=np.zeros_like(far_R), where=next_R > far_R)
    return tar_R + share_R * (more_R - tar_R)


def error_where_equal(far_Rt: np.ndarray, tar_Rt: np.ndarray) -> np.ndarray:
    """``eer_R`` of each curve, linear between its points."""
    gap_Rt = far_Rt - (1.0 - tar_Rt)  # rises from −1 to 1
    after_R1 = np.argmax(gap_Rt >= 0, axis=1)[:, None]  # never 0: the first gap is −1
    (gap_R, next_R), (far_R, more_R) = (
        [np.take_along_axis(curve_Rt, at_R1, axis=1)[:, 0] for at_R1 in (after_R1 - 1, after_R1)]
        for curve_Rt in (gap_Rt, far_Rt)
    )
    return far_R - gap_R / (next_R - gap_R) * (more_R - far_R)


def area_under(far_Rt: np.ndarray, tar_Rt: np.ndarray) -> np.ndarray:
    """``auc_R`` of each curve, linear between its points."""
    return (np.diff(far_Rt, axis=1) * (tar_Rt[:, 1:] + tar_Rt[:, :-1])).sum(axis=1) / 2


def _thresholds(mated_n: np.ndarray, non_mated_m: np.ndarray) -> np.ndarray:
    """``thresholds_t``, ascending, each once."""
    count = len(non_mated_m)
    accepted = np.unique(np.ceil(count * np.geomspace(1.0 / count, 1.0, BY_FAR)).astype(np.int64).clip(1, count))
    by_far = np.sort(non_mated_m)[count - accepted]
    by_mated = np.quantile(mated_n, np.linspace(0.0, 1.0, BY_MATED), method="nearest")
    return np.unique(np.concatenate([by_far, by_mated]))


def _per_person(scores_n: np.ndarray, person_n: np.ndarray, people: int, thresholds_t: np.ndarray) -> np.ndarray:
    """float64 ``counts_Kb``: scores of each person between neighbouring thresholds, from the highest down."""
    bins = len(thresholds_t) + 1
    passed_n = np.searchsorted(thresholds_t, scores_n, side="right")  # thresholds that a score reaches
    flat_n = person_n * bins + (bins - 1 - passed_n)
    return np.bincount(flat_n, minlength=people * bins).reshape(people, bins).astype(np.float64)


def _accepted(counts_Rb: np.ndarray) -> np.ndarray:
    """``rate_Rt``: the share that is accepted, from nobody to everybody."""
    sums_Rb = np.cumsum(counts_Rb, axis=1)
    return np.hstack([np.zeros((len(sums_Rb), 1)), sums_Rb / sums_Rb[:, -1:]])
