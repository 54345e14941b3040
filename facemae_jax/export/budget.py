"""The leakage budget of a release: what is compared with it, and which images a release had best do without. Arrays in, choices and words out.

A figure is the share of images that an attacker finds first (rank 1). What must lie within the budget is the upper end of its 95 %
interval over people (``metrics.bootstrap``), not the share itself: another draw of people would have given another share, and the doubt
must not speak for publishing. Where nothing at all is found, that interval has no width, and says less than it seems.

Leaving out or painting again the images that a judge finds is a choice made with that judge's eyes. Its own figure afterwards flatters the
release: another recognizer may find more of what stays.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np

from facemae_jax.metrics.bootstrap import bootstrap_mean
from facemae_jax.types import FacemaeError

LEVEL = 0.95
FIGURES = {
    "same_image": "the very source image",
    "same_identity": "another image of the person, the own source taken away",
}
WAYS = ("refuse", "resample", "drop")


class Rate(NamedTuple):
    """A share of 1 with its interval over people."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{100 * self.value:.1f} % ({100 * LEVEL:g} % interval {100 * self.low:.1f} to {100 * self.high:.1f} %)"


class Budget(NamedTuple):
    """The section ``publish.budget``."""

    judge: str  # "" = every judge
    figure: str  # of FIGURES
    images: int  # of a person that are fused; 1 = single images
    limit: float  # largest share of 1

    def __str__(self) -> str:
        fused = "of single images" if self.images == 1 else f"of {self.images} images of a person fused"
        return f"{self.figure} rank-1 rate {fused}"


def rate(found_A: np.ndarray, identities_A: np.ndarray, seed: int = 0) -> Rate:
    """The share that is found.

    Args:
        found_A: bool, whether each image is found at rank 1.
        identities_A: the person of each image.
        seed: of the interval.

    Raises:
        FacemaeError: images of fewer than two people.
    """
    interval = bootstrap_mean(found_A, identities_A, level=LEVEL, seed=seed)
    return Rate(float(np.mean(found_A)), *interval)


def left_out(
    found_JA: np.ndarray, margin_JA: np.ndarray, identities_A: np.ndarray, *, limit: float, seed: int = 0
) -> np.ndarray:
    """``left_out_A``: the images to leave out, of those that are found and worst first, so that what stays is within the budget.

    Leaving out makes the rest fewer, so that the figure of a judge that finds other images may rise; it goes on until all judges' hold.

    Args:
        found_JA: bool, whether each of J judges finds each image at rank 1.
        margin_JA: how clearly: cosine to the nearest right original, less that to the best wrong one.
        identities_A: the person of each image.
        limit: of the upper end of each judge's interval.
        seed: of the intervals.

    Raises:
        FacemaeError: images of fewer than two people would stay.
    """
    stays_A = np.ones(len(identities_A), bool)

    def holds(judges_j: np.ndarray, stays_A: np.ndarray) -> bool:
        identities_a = identities_A[stays_A]
        if len(np.unique(identities_a)) < 2:  # no interval: nothing can be said of so few
            return False
        return all(rate(found_JA[judge, stays_A], identities_a, seed).high <= limit for judge in judges_j)

    while len(over_j := np.array([j for j in range(len(found_JA)) if not holds(np.array([j]), stays_A)], int)):
        order_w = _worst_first(found_JA[over_j] & stays_A, margin_JA[over_j])

        def enough(
            k: int, over_j: np.ndarray = over_j, order_w: np.ndarray = order_w, stays_A: np.ndarray = stays_A
        ) -> bool:
            return holds(over_j, _without(stays_A, order_w[:k]))

        if not enough(len(order_w)):
            found = np.count_nonzero(~_without(stays_A, order_w))
            raise FacemaeError(
                f"publish.on_excess=drop: without the {found:,} of {len(stays_A):,} images that are found, images of fewer than two people "
                "would stay: this reconstruction protects too little; raise mae.mask_ratio or mae.unlink_weight, or "
                "publish.budget.limit."
            )
        stays_A = _without(stays_A, order_w[: _fewest(len(order_w), enough)])
    return ~stays_A


def painted_again(
    found_JA: np.ndarray,
    margin_JA: np.ndarray,
    identities_A: np.ndarray,
    *,
    limit: float,
    times: int = 1,
    seed: int = 0,
) -> np.ndarray:
    """``again_A``: the images to paint again, worst first.

    Args:
        found_JA, margin_JA, identities_A, limit, seed: as of :func:`left_out`.
        times: how many times as many as would do if none of them were found any more; at most all that the judges above the limit find.

    Returns:
        bool; none where all judges' figures are within the budget.
    """
    over_j = [j for j in range(len(found_JA)) if rate(found_JA[j], identities_A, seed).high > limit]
    again_A = np.zeros(len(identities_A), bool)
    if not over_j:
        return again_A
    order_w = _worst_first(found_JA[over_j], margin_JA[over_j])

    def enough(k: int) -> bool:
        hidden_A = np.zeros(len(identities_A), bool)
        hidden_A[order_w[:k]] = True
        return all(rate(found_JA[j] & ~hidden_A, identities_A, seed).high <= limit for j in over_j)

    again_A[order_w[: times * _fewest(len(order_w), enough)]] = True
    return again_A


def _without(stays_A: np.ndarray, left_w: np.ndarray) -> np.ndarray:
    return stays_A & ~np.isin(np.arange(len(stays_A)), left_w)


def _worst_first(found_JA: np.ndarray, margin_JA: np.ndarray) -> np.ndarray:
    """Images that any judge finds, by their largest margin, descending; equal ones in order of position."""
    worst_A = np.where(found_JA, margin_JA, -np.inf).max(axis=0)
    found_w = np.flatnonzero(found_JA.any(axis=0))
    return found_w[np.argsort(-worst_A[found_w], kind="stable")]


def _fewest(most: int, enough: Callable[[int], bool]) -> int:
    """The smallest k that is enough, by halving; ``most`` is."""
    low, high = 0, most
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if enough(middle) else (middle + 1, high)
    return high


def refusal(budget: Budget, over: Mapping[str, Rate], came: str = "") -> str:
    """Why nothing is published.

    Args:
        budget: that was exceeded.
        over: judge → its figure, of the judges above the limit.
        came: what was tried before.
    """
    figures = "; ".join(f"judge {name}: {found}" for name, found in over.items())
    other = 'publish.on_excess="drop" or "resample", ' if budget.images == 1 and not came else ""
    return (
        f"over the leakage budget, so nothing is published: {budget}, {figures}, where the upper end may be at most "
        f"publish.budget.limit = {100 * budget.limit:.1f} %{came}; ways out: a reconstruction that leaks less (a higher mae.mask_ratio, "
        f"mae.unlink_weight), {other}or another publish.budget."
    )


def budget_lines(told: Mapping[str, Any] | None) -> list[str]:
    """What the card says of the budget; nothing without one.

    Args:
        told: ``judge``, ``figure``, ``images``, ``limit``, ``figures`` (judge, value, interval, before: value and interval, or None);
            ``left_out`` {images, of, people} or None; ``painted_again`` {images, of, rounds} or None.
    """
    if told is None:
        return []
    budget = Budget(told["judge"], told["figure"], told["images"], told["limit"])
    whose = "every judge" if not budget.judge else f"the judge {budget.judge}"
    lines = [
        "",
        f"Leakage budget: {budget} ({FIGURES[budget.figure]} is found first) at most {100 * budget.limit:.1f} % for {whose}; compared is the "
        f"upper end of the {100 * LEVEL:g} % interval over people.",
        "",
    ]
    for row in told["figures"]:
        before = f"; before: {Rate(row['before']['value'], *row['before']['interval'])}" if row["before"] else ""
        lines.append(f"- {row['judge']}: {Rate(row['value'], *row['interval'])}{before}.")
    after = (
        "All other figures of this card were measured before that, on all images as first painted. These images were chosen by what the "
        "judges of the budget see: for them the figure flatters, and other recognizers may find more."
    )
    if out := told["left_out"]:
        counted = f"{out['images']:,} of {out['of']:,} images over budget; {out['people']:,} people lost all"
        lines += ["", f"Left out: {counted}. {after}"]
    if again := told["painted_again"]:
        rounds = f"{again['rounds']} round{'s' if again['rounds'] > 1 else ''}"
        lines += [
            "",
            f"Painted again under other masks: {again['images']:,} of {again['of']:,} images, in {rounds}. {after} A mask that was chosen "
            "by what came out of it says something about the face behind it: the choice itself leaks.",
        ]
    return lines
