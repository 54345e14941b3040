"""Where the labels of points may stand so that none covers another. Positions and sizes in, positions out; everything in one unit.

Labels are set one after another, those in a crowd first: each goes where it covers no other label and no point, and, as far as that can be had,
no line, close to its own point. One that finds no place is told so: a crowd too dense for words is numbered by the caller.
"""

from __future__ import annotations

import numpy as np

RADII = (6.0, 13.0, 22.0, 34.0, 50.0, 70.0)  # from a point to the nearest edge of its label
ANGLES = np.deg2rad(np.array([-45, 45, 0, -90, 90, 180, 135, -135, 22, -22, 67, -67, 112, -112, 157, -157]))
PAD = 1.5  # between labels
POINT = 5.0  # half the width of what stands at a point
STEP = 3.0  # between places at which lines are looked at
LINE_COST = 3.0  # of one such place under a label
LEADER = 12.0  # a label further away is led to by a line
MARK_COST = 5.0  # of one such place of that line on another point


def place(
    points_n2: np.ndarray,
    sizes_n2: np.ndarray,
    *,
    frame: tuple[float, float, float, float],
    taken_m4: np.ndarray | None = None,
    lines_l4: np.ndarray | None = None,
) -> list[tuple[float, float] | None]:
    """The middle of each label; None for one that finds no place.

    Args:
        points_n2: x and y of what is labelled, y upwards.
        sizes_n2: width and height of each label.
        frame: left, bottom, right, top: where labels may stand.
        taken_m4: boxes (left, bottom, right, top) that are taken already.
        lines_l4: lines (x, y, x, y) better not covered.
    """
    count = len(points_n2)
    marks_n4 = np.hstack([points_n2 - POINT, points_n2 + POINT])
    taken = [np.reshape(taken_m4, (-1, 4)) if taken_m4 is not None else np.zeros((0, 4)), marks_n4]
    on_lines_s2 = _along(np.zeros((0, 4)) if lines_l4 is None else np.reshape(lines_l4, (-1, 4)))
    near_n = (np.abs(points_n2[:, None] - points_n2[None]).max(axis=2) < 45).sum(axis=1)
    found: list[tuple[float, float] | None] = [None] * count
    leaders_s2 = np.zeros((0, 2))
    for one in sorted(range(count), key=lambda n: (-near_n[n], -sizes_n2[n, 0])):
        middle_c2, radius_c = _candidates(points_n2[one], sizes_n2[one])
        boxes_c4 = np.hstack([middle_c2 - sizes_n2[one] / 2, middle_c2 + sizes_n2[one] / 2])
        free_c = np.asarray(
            (boxes_c4 >= (*frame[:2], *frame[:2])).all(axis=1) & (boxes_c4 <= (*frame[2:], *frame[2:])).all(axis=1)
        )
        free_c &= ~_overlap(boxes_c4, np.concatenate(taken), PAD).any(axis=1)
        free_c &= ~_holds(boxes_c4, leaders_s2).any(axis=1)
        cost_c = radius_c + LINE_COST * _holds(boxes_c4, on_lines_s2).sum(axis=1)
        words_k4 = np.concatenate([taken[0], *taken[2:]])
        others_n4 = marks_n4[np.abs(points_n2 - points_n2[one]).max(axis=1) > 2 * POINT]  # a twin is in nobody's way
        leaders = [_along(np.concatenate([points_n2[one], middle_2])[None]) for middle_2 in middle_c2]
        for far in np.flatnonzero(free_c & (radius_c >= LEADER)):
            free_c[far] = not _holds(words_k4, leaders[far]).any()
            cost_c[far] += MARK_COST * _holds(others_n4, leaders[far]).sum()
        if not free_c.any():
            continue
        choice = int(np.argmin(np.where(free_c, cost_c, np.inf)))
        found[one] = (float(middle_c2[choice, 0]), float(middle_c2[choice, 1]))
        taken.append(boxes_c4[choice : choice + 1])
        if radius_c[choice] >= LEADER:
            leaders_s2 = np.concatenate([leaders_s2, leaders[choice]])
    return found


def edge(middle: tuple[float, float], size: tuple[float, float], point: tuple[float, float]) -> tuple[float, float]:
    """Where on the edge of a label the line from its point ends: the nearest place."""
    near = [min(max(of, at - length / 2), at + length / 2) for at, length, of in zip(middle, size, point, strict=True)]
    return near[0], near[1]


def _candidates(point_2: np.ndarray, size_2: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    directions_a2 = np.stack([np.cos(ANGLES), np.sin(ANGLES)], axis=1)
    middles = [point_2 + directions_a2 * (radius + size_2 / 2) for radius in RADII]
    order_a = np.arange(len(ANGLES)) * 0.1  # of equals the first angle
    return np.concatenate(middles), np.concatenate([radius + order_a for radius in RADII])


def _overlap(boxes_c4: np.ndarray, others_n4: np.ndarray, pad: float) -> np.ndarray:
    low = boxes_c4[:, None, :2] < others_n4[None, :, 2:] + pad
    high = boxes_c4[:, None, 2:] > others_n4[None, :, :2] - pad
    return np.asarray((low & high).all(axis=2))


def _holds(boxes_c4: np.ndarray, places_s2: np.ndarray) -> np.ndarray:
    inside = (boxes_c4[:, None, :2] < places_s2[None]) & (boxes_c4[:, None, 2:] > places_s2[None])
    return np.asarray(inside.all(axis=2))


def _along(lines_l4: np.ndarray) -> np.ndarray:
    """Places on lines, :data:`STEP` apart."""
    parts = [np.zeros((0, 2))]
    for line_4 in lines_l4:
        steps = max(2, int(np.hypot(*(line_4[2:] - line_4[:2])) / STEP))
        parts.append(line_4[:2] + np.linspace(0, 1, steps)[:, None] * (line_4[2:] - line_4[:2]))
    return np.concatenate(parts)
