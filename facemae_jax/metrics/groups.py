"""Whether a recognizer serves groups of people alike: accuracy within each group, and the FRCSyn trade-off.

Source: FRCSyn challenge (WACV 2024), task 1, bias: trade-off = average accuracy of the groups − its standard deviation. How pairs get
their groups is the business of ``data.groups``.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from facemae_jax.metrics.verification import fold_accuracies
from facemae_jax.types import FacemaeError


def group_accuracy(
    similarities_n: np.ndarray,
    same_n: np.ndarray,
    fold_n: np.ndarray,
    left_group_n: np.ndarray,
    right_group_n: np.ndarray,
) -> dict[str, Any]:
    """Accuracy on the pairs whose two people are of one group, decided with the thresholds of the whole protocol.

    A threshold of its own for each group would hide that one threshold suits a group badly. Pairs across groups, or of people
    without a group, take part in finding the thresholds only.

    Args:
        similarities_n: cosine per pair, of the whole protocol.
        same_n: bool, both images show one person.
        fold_n: the fold of each pair; each is decided with the threshold that is best on all others.
        left_group_n: group of the first person of each pair, "" where not known.
        right_group_n: of the second.

    Returns:
        ``groups`` (``{NAME: {"accuracy", "pairs", "positive"}}``, names ascending), ``mean`` and ``std`` of their accuracies (over groups,
        divided by their number: they are all there are, no sample), ``trade_off`` = mean − std, ``pairs`` (counted in a group),
        ``left_out`` (all others). Shares, not percent.

    Raises:
        FacemaeError: no pair of one group; fewer than two folds.
    """
    similarities_n, same_n = np.asarray(similarities_n, np.float64), np.asarray(same_n, bool)
    left_group_n, right_group_n = np.asarray(left_group_n, str), np.asarray(right_group_n, str)
    counted_n = (left_group_n == right_group_n) & (left_group_n != "")
    if not counted_n.any():
        raise FacemaeError(
            f"None of {len(same_n)} pairs shows people of one group: give groups to more people, or pairs within groups."
        )
    _, threshold_f = fold_accuracies(similarities_n, same_n, fold_n)
    _, place_n = np.unique(fold_n, return_inverse=True)
    right_n = (similarities_n >= threshold_f[place_n]) == same_n
    groups = {}
    for name in np.unique(left_group_n[counted_n]).tolist():
        of_n = counted_n & (left_group_n == name)
        groups[name] = {
            "accuracy": float(right_n[of_n].mean()),
            "pairs": int(np.count_nonzero(of_n)),
            "positive": int(np.count_nonzero(same_n & of_n)),
        }
    accuracy_G = np.array([group["accuracy"] for group in groups.values()])
    mean, std = float(accuracy_G.mean()), float(accuracy_G.std())
    pairs = int(np.count_nonzero(counted_n))
    return {
        "groups": groups,
        "mean": mean,
        "std": std,
        "trade_off": mean - std,
        "pairs": pairs,
        "left_out": len(same_n) - pairs,
    }
