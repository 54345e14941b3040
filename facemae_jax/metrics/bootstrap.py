"""Confidence intervals by resampling people: which other figures another draw of identities would have given.

Images of one person are alike, so that n images of K people hold less than n independent observations, and intervals over images are
too narrow. Here whole people are drawn with replacement, each with all of its images; a draw is a weight per image, and every
figure that can be computed with weights has an interval.

Source: Davison, Hinkley, "Bootstrap Methods and their Application", 1997 (cluster bootstrap, section 3.8; percentile and basic intervals, 5.2).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np

from facemae_jax.types import FacemaeError

DRAWS = 1000
CHUNK = 1 << 22  # weights held at a time
Statistic = Callable[[np.ndarray], np.ndarray]  # weights_Rn (how often each image was drawn, R draws) → values_R


class Interval(NamedTuple):
    """Lower and upper end."""

    low: float
    high: float


def people_weights(
    identities_n: np.ndarray, *, draws: int = DRAWS, seed: int = 0, strata_n: np.ndarray | None = None, width: int = 0
) -> Iterator[np.ndarray]:
    """Chunks of float64 ``weights_RK``: how often each identity (ascending) was drawn; each row sums to K.

    Args:
        identities_n: the person of each image.
        draws: rows of all chunks together.
        seed: of the draws.
        strata_n: people are drawn within groups of equal value, so that each keeps its number of people; equal for all images of a
            person. None = one group.
        width: numbers that the caller makes of one row, if more than K; bounds the chunks' memory.

    Raises:
        FacemaeError: fewer than two people: between-person spread cannot be told from one.
    """
    people_K, first_K = np.unique(identities_n, return_index=True)
    count = len(people_K)
    if count < 2:
        raise FacemaeError(
            f"A confidence interval over people needs at least 2 of them, got {count}: audit more identities."
        )
    stratum_K = np.zeros(count, np.int64) if strata_n is None else np.asarray(strata_n)[first_K]
    members = [np.flatnonzero(stratum_K == value) for value in np.unique(stratum_K)]
    random = np.random.default_rng(seed)
    rows = max(1, CHUNK // max(count, width))
    for start in range(0, draws, rows):
        size = min(rows, draws - start)
        weights_RK = np.zeros((size, count))
        for member_k in members:
            drawn_Rk = random.integers(len(member_k), size=(size, len(member_k)))
            flat = drawn_Rk + np.arange(size)[:, None] * len(member_k)
            counts = np.bincount(flat.ravel(), minlength=size * len(member_k))
            weights_RK[:, member_k] = counts.reshape(size, len(member_k))
        yield weights_RK


def bootstrap(
    statistic: Statistic,
    identities_n: np.ndarray,
    *,
    level: float = 0.95,
    draws: int = DRAWS,
    seed: int = 0,
    strata_n: np.ndarray | None = None,
) -> Interval:
    """Percentile interval of any figure that is computed with weights.

    Args:
        statistic: ``weights_Rn`` → ``values_R``; weights of 1 must give the figure itself.
        identities_n: the person of each image (or score, or query).
        level: share of repetitions of the whole study in which the interval should hold the true figure.
        draws: resampled figures.
        seed: the same seed gives the same interval.
        strata_n: as in :func:`people_weights`.

    Raises:
        FacemaeError: fewer than two people; a resampled figure that is not finite (too few people to resample it).
    """
    inverse_n = np.unique(identities_n, return_inverse=True)[1]
    chunks = people_weights(identities_n, draws=draws, seed=seed, strata_n=strata_n, width=len(inverse_n))
    return percentile(np.concatenate([statistic(weights_RK[:, inverse_n]) for weights_RK in chunks]), level)


def bootstrap_mean(
    values_n: np.ndarray, identities_n: np.ndarray, *, level: float = 0.95, draws: int = DRAWS, seed: int = 0
) -> Interval:
    """Percentile interval of the mean of one value per image, such as "found at rank 1"; sums per person make it fast.

    A share of exactly 0 or 1 has an interval without width: what never happened cannot be resampled.

    >>> found = np.array([1, 1, 1, 0, 0, 0, 1, 0])  # of four people, two images each
    >>> bootstrap_mean(found, np.array([7, 7, 8, 8, 9, 9, 5, 5]))
    Interval(low=0.125, high=0.875)
    """
    return mean_intervals(np.asarray(values_n)[:, None], identities_n, level=level, draws=draws, seed=seed)[0]


def mean_intervals(
    values_nM: np.ndarray, identities_n: np.ndarray, *, level: float = 0.95, draws: int = DRAWS, seed: int = 0
) -> list[Interval]:
    """:func:`bootstrap_mean` of M columns at once, all under the same draws of people.

    Raises:
        FacemaeError: fewer than two people.
    """
    values_nM, inverse_n = np.asarray(values_nM, np.float64), np.unique(identities_n, return_inverse=True)[1]
    offset_M = values_nM.mean(axis=0)  # of equal values every resampled mean is then exactly the same
    images_K = np.bincount(inverse_n)
    sums_KM = np.stack([np.bincount(inverse_n, weights=column) for column in (values_nM - offset_M).T], axis=1)
    chunks = people_weights(identities_n, draws=draws, seed=seed)
    means_RM = np.concatenate(
        [offset_M + (weights_RK @ sums_KM) / (weights_RK @ images_K)[:, None] for weights_RK in chunks]
    )
    return [percentile(values_R, level) for values_R in means_RM.T]


def percentile(values_R: np.ndarray, level: float) -> Interval:
    """The middle ``level`` of resampled figures.

    Raises:
        FacemaeError: one of them is not finite.
    """
    assert 0 < level < 1, level
    if not np.isfinite(values_R).all():
        raise FacemaeError(
            f"{np.count_nonzero(~np.isfinite(values_R))} of {len(values_R)} resampled figures are not finite: too few people for "
            "a confidence interval; audit more identities."
        )
    low, high = np.quantile(values_R, [(1 - level) / 2, (1 + level) / 2])
    return Interval(float(low), float(high))
