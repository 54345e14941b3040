"""What the best distortion reaches at the leakage of something else. Numbers in, numbers out.

A method is better than a distortion only if it is more useful at the same leakage. Distortions are points; between two of them stands the
straight line: who publishes a share p of the images by one and the rest by the other leaks, and is useful, about p parts of the one and
1 − p of the other. Whoever leaks less for the same utility is no worse, so points of lower leakage count as well. Whoever leaks less than every
distortion is held against the most useful of those that leak least, which favours the distortion; beyond the most leaking one nothing is said.
"""

from __future__ import annotations

from collections.abc import Sequence


def best_at(points: Sequence[tuple[float, float]], leakage: float) -> float | None:
    """The utility that distortions reach at ``leakage`` or less.

    Args:
        points: (leakage, utility) of each distortion, in any order.
        leakage: in the unit of the points.

    Returns:
        the highest utility over all points that leak no more and over all lines between two points, in the unit of the points; where none
        leaks so little, that of the least leaking point. None where all leak less, or there is none.
    """
    leaks = [leak for leak, _ in points]
    if not points or leakage > max(leaks):
        return None
    leakage = max(leakage, min(leaks))
    reached = [useful for leak, useful in points if leak <= leakage]
    for low, less in points:
        for high, more in points:
            if low < leakage < high:
                reached.append(less + (more - less) * (leakage - low) / (high - low))
    return max(reached)


def below_all(points: Sequence[tuple[float, float]], leakage: float) -> bool:
    """Whether every distortion leaks more."""
    return bool(points) and leakage < min(leak for leak, _ in points)
