"""How well similarities tell pairs of one person from pairs of two: LFW View-2 accuracy, ROC, AUC, EER, TAR at FAR.

Numbers in, numbers out; which pairs, and whose embeddings, is the business of ``data.pairs`` and ``stages.verify``.
Nothing depends on the order of the pairs, and equal similarities are always decided together.

Source: G. Huang et al., "Labeled Faces in the Wild", 2007: View 2, ten folds; its standard error of the mean.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from sklearn.metrics import auc, roc_curve

from facemae_jax.types import FacemaeError

FARS = (1e-1, 1e-2, 1e-3, 1e-4)
EXPECTED_FALSE_ACCEPTS = 10  # below this many, a rate of false accepts is noise


class Roc(NamedTuple):
    """Every distinct operating point, from "nobody is accepted" (0, 0) to "everybody is" (1, 1)."""

    far_t: np.ndarray  # float64, ascending: share of pairs of two people that are accepted
    tar_t: np.ndarray  # float64, ascending: share of pairs of one person that are accepted
    negatives: int  # pairs of two people


def roc(similarities_n: np.ndarray, same_n: np.ndarray) -> Roc:
    """The operating points of "accept when the similarity is at least t", for every t that makes a difference.

    Args:
        similarities_n: one finite number per pair; larger is more alike.
        same_n: bool, true where both images show one person.

    Raises:
        FacemaeError: a similarity that is not finite; no pair of one person, or none of two.
    """
    similarities_n, same_n = np.asarray(similarities_n, np.float64), np.asarray(same_n, bool)
    positives = check_scores(similarities_n, same_n)
    far_t, tar_t, _ = roc_curve(same_n, similarities_n, drop_intermediate=False)
    return Roc(far_t, tar_t, len(same_n) - positives)


def check_scores(similarities_n: np.ndarray, same_n: np.ndarray) -> int:
    """How many pairs show one person.

    Raises:
        FacemaeError: a similarity that is not finite; no pair of one person, or none of two.
    """
    if not np.isfinite(similarities_n).all():
        raise FacemaeError(
            f"{np.count_nonzero(~np.isfinite(similarities_n))} of {len(similarities_n)} similarities are not finite: "
            "the recognizer gave embeddings with NaN or infinity; look at its training."
        )
    positives = int(np.count_nonzero(same_n))
    if positives in (0, len(same_n)):
        raise FacemaeError(
            f"{positives} of {len(same_n)} pairs show one person: verification needs pairs of one person and of two; "
            "give more identities, or more images of each."
        )
    return positives


def area(curve: Roc) -> float:
    """Area under the ROC curve: the chance that a pair of one person is more alike than a pair of two (ties count half)."""
    return float(auc(curve.far_t, curve.tar_t))


def equal_error_rate(curve: Roc) -> float:
    """Where false accepts and false rejects are equally frequent, linear between the two nearest operating points."""
    gap_t = curve.far_t - (1.0 - curve.tar_t)  # rises from −1 to 1
    after = int(np.argmax(gap_t >= 0))  # never 0: the first gap is −1
    share = -gap_t[after - 1] / (gap_t[after] - gap_t[after - 1])
    return float(curve.far_t[after - 1] + share * (curve.far_t[after] - curve.far_t[after - 1]))


def tar_at_far(curve: Roc, fars: Sequence[float] = FARS) -> dict[str, float]:
    """The largest TAR whose FAR is at most the asked one, without interpolation.

    Only rates at which at least ten false accepts are expected (FAR ≥ 10 / negatives) are given: LFW's 3,000 negative
    pairs support 1e-1 and 1e-2.

    Returns:
        ``{"0.1": TAR, "0.01": TAR, …}``.
    """
    return {
        f"{far:g}": float(curve.tar_t[np.searchsorted(curve.far_t, far, side="right") - 1])
        for far in fars
        if far * curve.negatives >= EXPECTED_FALSE_ACCEPTS
    }


def thin(curve: Roc, points: int = 120) -> dict[str, list[float]]:
    """The curve for a plot with a logarithmic FAR axis: ``{"far": […], "tar": […]}``, both ascending.

    Each point is an operating point of the curve: the last one before a FAR on an even logarithmic grid that starts
    where a single pair of two people is accepted.
    """
    grid = np.geomspace(1.0 / curve.negatives, 1.0, points)
    grid[-1] = 1.0  # geomspace may end just below
    kept = np.unique(np.searchsorted(curve.far_t, grid, side="right") - 1)
    return {"far": curve.far_t[kept].tolist(), "tar": curve.tar_t[kept].tolist()}


def best_threshold(similarities_n: np.ndarray, same_n: np.ndarray) -> float:
    """The threshold with the most right decisions; it lies halfway between two neighbouring similarities.

    Of several equally good ones, the middle one by rank is taken, so that neither end is preferred.
    """
    values_u, where_n = np.unique(np.asarray(similarities_n, np.float64), return_inverse=True)
    same_u = np.bincount(where_n, weights=same_n, minlength=len(values_u))
    other_u = np.bincount(where_n, weights=~same_n, minlength=len(values_u))
    # Candidate c accepts values_u[c:]; the last one accepts nobody.
    right_c = np.concatenate([same_u[::-1].cumsum()[::-1], [0]]) + np.concatenate([[0], other_u.cumsum()])
    best_c = np.flatnonzero(right_c == right_c.max())
    chosen = int(best_c[(len(best_c) - 1) // 2])
    if chosen == 0:
        return float(values_u[0])
    if chosen == len(values_u):
        return float(np.nextafter(values_u[-1], np.inf))
    below, above = values_u[chosen - 1], values_u[chosen]
    middle = 0.5 * (below + above)
    return float(middle if middle > below else above)  # neighbouring floats have no middle


def fold_accuracies(
    similarities_n: np.ndarray, same_n: np.ndarray, fold_n: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """View-2: each fold is decided with the threshold that is best on all other folds.

    Returns:
        ``accuracy_f, threshold_f``, folds in ascending order of their numbers.

    Raises:
        FacemaeError: fewer than two folds.
    """
    similarities_n, same_n = np.asarray(similarities_n, np.float64), np.asarray(same_n, bool)
    folds = np.unique(fold_n)
    if len(folds) < 2:
        raise FacemaeError(f"The pairs have {len(folds)} fold(s), and a threshold needs another one: use at least 2.")
    accuracies, thresholds = [], []
    for fold in folds:
        held_n = fold_n == fold
        threshold = best_threshold(similarities_n[~held_n], same_n[~held_n])
        accuracies.append(np.mean((similarities_n[held_n] >= threshold) == same_n[held_n]))
        thresholds.append(threshold)
    return np.array(accuracies), np.array(thresholds)


def verification(similarities_n: np.ndarray, same_n: np.ndarray, fold_n: np.ndarray) -> dict[str, Any]:
    """All verification figures of one recognizer on one list of pairs; shares, not percent.

    Args:
        similarities_n: cosine per pair.
        same_n: bool, both images show one person.
        fold_n: the fold of each pair.

    Returns:
        ``accuracy`` (mean, std over folds with n − 1, standard_error = std / √folds, folds: one per fold), ``thresholds``
        (one per fold), ``auc``, ``eer``, ``tar_at_far`` (supported rates only), ``roc`` (points for a plot), ``pairs``.
    """
    curve = roc(similarities_n, same_n)
    accuracy_f, threshold_f = fold_accuracies(similarities_n, same_n, fold_n)
    std = float(accuracy_f.std(ddof=1))
    return {
        "accuracy": {
            "mean": float(accuracy_f.mean()),
            "std": std,
            "standard_error": std / len(accuracy_f) ** 0.5,
            "folds": accuracy_f.tolist(),
        },
        "thresholds": threshold_f.tolist(),
        "auc": area(curve),
        "eer": equal_error_rate(curve),
        "tar_at_far": tar_at_far(curve),
        "roc": thin(curve),
        "pairs": len(np.asarray(same_n)),
    }


def paired_fold_difference(left_f: Sequence[float], right_f: Sequence[float]) -> dict[str, float]:
    """Mean of left − right over folds of the same pairs, and the standard error of that mean.

    Harder folds are harder for both sides, so the difference is known better than either accuracy.
    """
    difference_f = np.subtract(left_f, right_f)
    return {
        "mean": float(difference_f.mean()),
        "standard_error": float(difference_f.std(ddof=1) / len(difference_f) ** 0.5),
    }


def gap_to_real(real: float, synthetic: float) -> float:
    """Gap-to-Real: by how much real training data beat synthetic ones, as a share of the synthetic result.

    Args:
        real: accuracy of the recognizer trained on real faces.
        synthetic: accuracy of the one trained by the same recipe on synthetic (or reconstructed) faces.

    Source: M. Kim et al., "DCFace", CVPR 2023, Table 4: (REAL − SYN) / SYN.

    >>> round(gap_to_real(0.9462, 0.7475), 4)  # DCFace Table 4: CASIA-WebFace against SynFace
    0.2658
    """
    if not synthetic > 0:
        raise FacemaeError(
            f"Gap-to-Real divides by the accuracy on synthetic faces, which is {synthetic}: look at its training."
        )
    return (real - synthetic) / synthetic
