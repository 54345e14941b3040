"""Linkability of two releases: how surely a comparison of two protected faces tells whether they show one person.

Scores of pairs of one person, one face from each release (mated), and of two people (non-mated) come in. 0 = no score says
anything; 1 = every mated score does. ``d_sys``: Gomez-Barrero, Galbally, Rathgeb, Busch, "General Framework to Evaluate
Unlinkability in Biometric Template Protection Systems", IEEE TIFS 13(6), 2018, equations of D↔(s) and D↔sys. ``maximal``: Shahreza,
Shkel, Marcel, "Measuring Linkability of Protected Biometric Templates Using Maximal Leakage", IEEE TIFS 18, 2023. Both estimate the densities by
histograms with bins of equal width over the range of all scores.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np

from facemae_jax.metrics.bootstrap import DRAWS, people_weights
from facemae_jax.types import FacemaeError

LEAST = 10  # scores of either kind
MOST_BINS = 100
NULL_DRAWS = 200


def local_linkability(mated_b: np.ndarray, non_mated_b: np.ndarray, prior_ratio: float = 1.0) -> np.ndarray:
    """D↔(s) per bin: P(mated | s) − P(non-mated | s) where that is positive, else 0.

    With LR = p(s | mated) / p(s | non-mated) and ω the prior ratio P(mated)/P(non-mated) it is 2·LR·ω/(1 + LR·ω) − 1 for
    LR·ω > 1. Empty bins are 0.

    Args:
        mated_b: counts (or any multiple of the density); the last axis is bins, others are kept.
        non_mated_b: the same.
        prior_ratio: ω.
    """
    mated_b = prior_ratio * mated_b / mated_b.sum(axis=-1, keepdims=True)
    non_mated_b = non_mated_b / non_mated_b.sum(axis=-1, keepdims=True)
    either_b = mated_b + non_mated_b
    return np.maximum(mated_b - non_mated_b, 0) / np.where(either_b > 0, either_b, 1)


def d_sys(mated_b: np.ndarray, non_mated_b: np.ndarray, prior_ratio: float = 1.0) -> np.ndarray:
    """D↔sys, the mean of D↔(s) over mated scores, from counts per bin (last axis).

    >>> apart, alike = d_sys(np.array([0, 5]), np.array([8, 0])), d_sys(np.array([5, 5]), np.array([8, 8]))
    >>> float(apart), float(alike)
    (1.0, 0.0)
    """
    share_b = mated_b / mated_b.sum(axis=-1, keepdims=True)
    return (local_linkability(mated_b, non_mated_b, prior_ratio) * share_b).sum(axis=-1)


def maximal_linkability(mated_b: np.ndarray, non_mated_b: np.ndarray) -> np.ndarray:
    """Maximal leakage from "mated or not" to the score, in bits: log₂ Σ max(P(bin | mated), P(bin | non-mated)).

    It is log₂(1 + total variation), whatever the prior: the largest gain, over all guesses of all functions of that one bit,
    that the score gives an attacker. Counts per bin on the last axis.
    """
    larger_b = np.maximum(
        mated_b / mated_b.sum(axis=-1, keepdims=True), non_mated_b / non_mated_b.sum(axis=-1, keepdims=True)
    )
    return np.log2(np.maximum(larger_b.sum(axis=-1), 1.0))  # rounding may leave it just below 1


def linkage(
    mated_n: np.ndarray,
    non_mated_m: np.ndarray,
    *,
    people: tuple[np.ndarray, np.ndarray] | None = None,
    prior_ratio: float = 1.0,
    bins: int = 0,
    level: float = 0.95,
    draws: int = DRAWS,
    seed: int = 0,
) -> dict[str, Any]:
    """Both figures, what they read when nothing is linked, their intervals, and the curve behind them.

    Histograms of few scores differ by chance, which both figures count as linkability. ``unlinked`` says how much: their means over
    pairs of samples of these sizes from one common distribution, the even mixture of both histograms. Read a figure against it.

    The interval resamples people and is a basic one (2·figure − quantiles), because a resampled histogram is rougher than the first and
    reads higher still; it begins at 0 where so large a figure comes about by chance among unlinked scores. It holds
    the true figure about nine times in ten (at 95 %) except close to 0, where even so it lies too high.

    Args:
        mated_n: finite scores of pairs of one person; larger or smaller may mean more alike.
        non_mated_m: of pairs of two people.
        people: person of each mated score, and of the first face of each non-mated score; None = no intervals.
        prior_ratio: ω of ``d_sys``; 1 is the attacker who holds both equally likely.
        bins: 0 = a tenth of the smaller number of scores, from 2 to 100.
        level: of the intervals.
        draws: resampled figures of the intervals.
        seed: of ``unlinked`` and the intervals.

    Returns:
        ``d_sys``, ``maximal`` (both 0 … 1); ``unlinked`` {"d_sys", "maximal"}; ``interval`` {"d_sys": [low, high], "maximal"} with
        ``level``, if ``people`` are given; ``counts`` {"mated", "non_mated"};
        ``curve`` {"edges" (b + 1), "mated", "non_mated" (shares per bin), "local" (D↔ per bin)}.

    Raises:
        FacemaeError: fewer than ten scores of either kind, or one that is not finite; ``people``: fewer than two.
    """
    mated_n, non_mated_m = np.asarray(mated_n, np.float64), np.asarray(non_mated_m, np.float64)
    fewest = min(len(mated_n), len(non_mated_m))
    if fewest < LEAST:
        raise FacemaeError(
            f"Linkability compares distributions: {len(mated_n)} mated and {len(non_mated_m)} non-mated scores are too few, at "
            f"least {LEAST} of each are needed; audit more images."
        )
    every = np.concatenate([mated_n, non_mated_m])
    if not np.isfinite(every).all():
        raise FacemaeError(
            f"{np.count_nonzero(~np.isfinite(every))} of {len(every)} scores are not finite: look at the judge's embeddings."
        )
    bins = bins or max(2, min(MOST_BINS, fewest // 10))
    edges = np.histogram_bin_edges(every, bins)
    mated_b, non_mated_b = np.histogram(mated_n, edges)[0], np.histogram(non_mated_m, edges)[0]
    random = np.random.default_rng(seed)
    common_b = 0.5 * (mated_b / len(mated_n) + non_mated_b / len(non_mated_m))
    null = (
        random.multinomial(len(mated_n), common_b, NULL_DRAWS),
        random.multinomial(len(non_mated_m), common_b, NULL_DRAWS),
    )
    figures: dict[str, Callable[..., np.ndarray]] = {
        "d_sys": functools.partial(d_sys, prior_ratio=prior_ratio),
        "maximal": maximal_linkability,
    }
    found: dict[str, Any] = {name: float(figure(mated_b, non_mated_b)) for name, figure in figures.items()}
    unlinked = {name: figure(*null) for name, figure in figures.items()}
    found["unlinked"] = {name: float(values.mean()) for name, values in unlinked.items()}
    if people is not None:
        everybody, person_s = np.unique(np.concatenate(people), return_inverse=True)
        counts_2Kb = [
            _per_person(scores, person, len(everybody), edges)
            for scores, person in zip((mated_n, non_mated_m), np.split(person_s, [len(mated_n)]), strict=True)
        ]
        resampled = [
            [weights_RK @ counts_Kb for counts_Kb in counts_2Kb]
            for weights_RK in people_weights(np.arange(len(everybody)), draws=draws, seed=seed)
        ]
        found["interval"] = {}
        found["level"] = level
        for name, figure in figures.items():
            values_R = np.concatenate([figure(*counts) for counts in resampled])
            low, high = 2 * found[name] - np.quantile(values_R, [(1 + level) / 2, (1 - level) / 2])
            by_chance = found[name] <= np.quantile(unlinked[name], (1 + level) / 2)
            found["interval"][name] = [0.0 if by_chance else float(np.clip(low, 0, 1)), float(np.clip(high, 0, 1))]
    found["counts"] = {"mated": len(mated_n), "non_mated": len(non_mated_m)}
    found["curve"] = {
        "edges": edges.tolist(),
        "mated": (mated_b / len(mated_n)).tolist(),
        "non_mated": (non_mated_b / len(non_mated_m)).tolist(),
        "local": local_linkability(mated_b, non_mated_b, prior_ratio).tolist(),
    }
    return found


def _per_person(scores_n: np.ndarray, person_n: np.ndarray, people: int, edges: np.ndarray) -> np.ndarray:
    """float64 ``counts_Kb``: how many scores of each person lie in each bin."""
    bins = len(edges) - 1
    bin_n = np.searchsorted(edges, scores_n, side="right") - 1
    bin_n = np.minimum(bin_n, bins - 1)  # the last edge belongs to the last bin
    return np.bincount(person_n * bins + bin_n, minlength=people * bins).reshape(people, bins).astype(np.float64)
