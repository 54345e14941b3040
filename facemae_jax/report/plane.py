"""The plane of leakage and utility: points with their bars, joined in order, each with its label. Numbers in, SVG out.

No label covers another: ``report.labels`` finds their places. Where words find none, points are numbered and a key stands below.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import RendererAgg
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.lines import Line2D

from facemae_jax.report import labels
from facemae_jax.report.figures import BOTTOM, GUIDE, INK, LEFT, OTHERS, RIGHT, TOP, WIDTH, axes_of, look, svg_of

SMALL = 8.0  # points: letters of labels
ROW = 11.5  # of a line of the legend or the key
EXTRA = [(colour, marker, dash) for (_, marker, dash), (colour, _, _) in itertools.product(OTHERS, OTHERS)]


class Point(NamedTuple):
    """One variant on the plane of leakage and utility, with the standard error of each (0 = unknown)."""

    label: str
    leakage: float
    utility: float
    leakage_error: float = 0.0
    utility_error: float = 0.0


class Series(NamedTuple):
    """Points of one kind on that plane, in order; a point's label says which it is."""

    label: str
    points: Sequence[Point]
    joined: bool = True  # by a line
    look: tuple[str, str, str] | None = None  # colour, marker and dash; None = of its label


class Guide(NamedTuple):
    """A line across the plane of leakage and utility, such as a blind guess; None leaves it out."""

    label: str
    leakage: float | None = None
    utility: float | None = None


def trade_off_curve(
    series: Sequence[Series], *, x: str, y: str, guides: Sequence[Guide] = (), legend: bool = True
) -> str:
    """Utility upwards, leakage to the right: the upper left corner is what one wants. Lines run along what was changed step by step.

    No two series look alike while there are enough looks. Without a legend, the labels of the points must say what they are.
    """
    looks = looks_of(series)
    shown = [(one, looks[at]) for at, one in enumerate(series) if one.points]
    names = [one.label for one, _ in shown] if legend else []
    columns = max(1, int((WIDTH - 8) // (max(map(width, names), default=0) + 34))) if names else 1
    above = ROW * -(-len(names) // columns) + 4 if names else 0.0
    figure, axes = axes_of(x, y, above)
    handles: list[Any] = []
    for one, (colour, marker, dash) in shown:
        style: dict[str, Any] = dict(
            color=colour, marker=marker, markersize=10 if marker == "*" else 6.5, linewidth=1.4,
            linestyle=dash if one.joined else "none",
        )  # fmt: skip
        axes.errorbar(
            [point.leakage for point in one.points],
            [point.utility for point in one.points],
            xerr=[point.leakage_error for point in one.points],
            yerr=[point.utility_error for point in one.points],
            elinewidth=0.9,
            capsize=3,
            **style,
        )
        handles.append(Line2D([], [], **style))
    taken_m4 = _guides(axes, guides)
    axes.margins(0.12)
    _fix(axes)
    if names:
        found = figure.legend(
            handles, names, loc="upper left", bbox_to_anchor=(0.0, 1.0), ncols=columns, frameon=False, fontsize=SMALL,
            columnspacing=1.0, handlelength=2.2, handletextpad=0.5, labelspacing=0.3, borderpad=0.2, borderaxespad=0.1,
        )  # fmt: skip
        for text in found.get_texts():
            text.set_parse_math(False)
    _label(figure, axes, [one for one, _ in shown], np.reshape(taken_m4, (-1, 4)), legend=legend)
    return svg_of(figure)


@functools.cache
def width(text: str, size: float = SMALL) -> float:
    """Of a line of text, in points."""
    found, _, _ = _renderer().get_text_width_height_descent(text, FontProperties(size=size), ismath=False)
    return float(found)


@functools.cache
def _renderer() -> RendererAgg:
    return RendererAgg(8, 8, 72)


def looks_of(series: Sequence[Series]) -> list[tuple[str, str, str]]:
    """Series of one kind may not share its colour: the second takes another, and where colours run out, another marker."""
    found: list[tuple[str, str, str]] = []
    for one in series:
        wanted = one.look or look(one.label, 0)
        if one.look is None and wanted[0] in {colour for colour, _, _ in found}:
            free = [each for each in EXTRA if each not in found]
            fresh = [each for each in OTHERS if each[0] not in {colour for colour, _, _ in found}]
            wanted = (fresh or free or list(OTHERS))[0]
        found.append(wanted)
    return found


def _guides(axes: Axes, guides: Sequence[Guide]) -> list[tuple[float, float, float, float]]:
    """Draws the lines; gives back where their words stand, once the axes are fixed: a strip at the foot, one in the middle."""
    words: dict[str, Any] = dict(fontsize=SMALL, color="#555555", parse_math=False, textcoords="offset points")
    for guide in guides:
        if guide.leakage is not None:
            axes.axvline(guide.leakage, color=GUIDE, linewidth=1, linestyle=":")
            axes.annotate(
                guide.label, (guide.leakage, 0), xycoords=("data", "axes fraction"), xytext=(-2, 3), rotation=90, ha="right",
                va="bottom", **words,
            )  # fmt: skip
        if guide.utility is not None:
            axes.axhline(guide.utility, color=GUIDE, linewidth=1, linestyle=":")
            axes.annotate(
                guide.label,
                (0.5, guide.utility),
                xycoords=("axes fraction", "data"),
                xytext=(0, 3),
                ha="center",
                **words,
            )
    axes.margins(0.12)
    boxes = []
    for guide in guides:
        long, at = width(guide.label), axes.transData.transform((guide.leakage or 0.0, guide.utility or 0.0))
        if guide.leakage is not None:
            foot = axes.transAxes.transform((0, 0))[1]
            boxes.append((at[0] - SMALL - 4, foot, at[0], foot + long + 5))
        if guide.utility is not None:
            middle = axes.transAxes.transform((0.5, 0))[0]
            boxes.append((middle - long / 2, at[1], middle + long / 2, at[1] + SMALL + 4))
    return boxes


def _fix(axes: Axes) -> None:
    """The limits as they are, and no tick at a rate that cannot be."""
    axes.set_xlim(axes.get_xlim())
    axes.set_ylim(axes.get_ylim())
    for ticks, limits, put in (
        (axes.get_xticks(), axes.get_xlim(), axes.set_xticks),
        (axes.get_yticks(), axes.get_ylim(), axes.set_yticks),
    ):
        put([tick for tick in ticks if 0 <= tick <= 100 and limits[0] <= tick <= limits[1]])


def _label(figure: Figure, axes: Axes, shown: Sequence[Series], taken_m4: np.ndarray, *, legend: bool) -> None:
    """Labels at their points; numbers and a key where not all words find a place."""
    points = [point for one in shown for point in one.points]
    at_n2 = axes.transData.transform(np.reshape([(point.leakage, point.utility) for point in points], (-1, 2)))
    lines = _lines(axes, shown)
    box = axes.get_window_extent()
    frame = (box.x0 + 1, box.y0 + 1, WIDTH - 1, box.y1 + 6)
    texts = [point.label for point in points]
    for numbered in (False, True):
        if numbered:
            texts = [str(number + 1) for number in range(len(points))]
        sizes_n2 = np.reshape([(width(text) + 1, SMALL + 1) for text in texts], (-1, 2))
        places = labels.place(at_n2, sizes_n2, frame=frame, taken_m4=taken_m4, lines_l4=lines)
        if None not in places:
            break
    for text, size_2, place, point_2 in zip(texts, sizes_n2, places, at_n2, strict=True):
        if place is None or not text:
            continue
        x, y = place[0] - point_2[0], place[1] - point_2[1]
        near = labels.edge(place, (size_2[0], size_2[1]), (point_2[0], point_2[1]))
        far = float(np.hypot(near[0] - point_2[0], near[1] - point_2[1])) >= labels.LEADER
        axes.annotate(
            text, tuple(axes.transData.inverted().transform(point_2)), xytext=(x, y), textcoords="offset points", fontsize=SMALL,
            color=INK, parse_math=False, ha="center", va="center_baseline" if not far else "center", annotation_clip=False,
            arrowprops=dict(arrowstyle="-", color=GUIDE, linewidth=0.7, shrinkA=0, shrinkB=3) if far else None,
        )  # fmt: skip
    if numbered:
        _key(figure, axes, _key_lines(shown, [place is not None for place in places], legend=legend))


def _lines(axes: Axes, shown: Sequence[Series]) -> np.ndarray:
    """``lines_l4``: bars and joining lines."""
    found: list[tuple[float, float, float, float]] = []
    for one in shown:
        for p in one.points:
            found.append((p.leakage - p.leakage_error, p.utility, p.leakage + p.leakage_error, p.utility))
            found.append((p.leakage, p.utility - p.utility_error, p.leakage, p.utility + p.utility_error))
        if one.joined:
            found += [(a.leakage, a.utility, b.leakage, b.utility) for a, b in itertools.pairwise(one.points)]
    return axes.transData.transform(np.reshape(found, (-1, 2))).reshape(-1, 4)


def _key_lines(shown: Sequence[Series], placed: Sequence[bool], *, legend: bool) -> list[str]:
    """What the numbers stand for, series by series, broken into lines."""
    number, found = 0, []
    for one in shown:
        line = f"{one.label}:" if legend else ""
        for point in one.points:
            number += 1
            entry = f" {number} {point.label or one.label}{'' if placed[number - 1] else ' (no room)'};"
            if line and width(line + entry) > WIDTH - 12:
                found.append(line)
                line = "   "
            line += entry
        found.append(line.rstrip(";"))
    return found


def _key(figure: Figure, axes: Axes, lines: Sequence[str]) -> None:
    """Makes room below the axes, which keep their size, and writes there."""
    high, room = float(figure.get_size_inches()[1]) * 72, ROW * len(lines) + 4
    figure.set_size_inches(WIDTH / 72, (high + room) / 72)
    axes.set_position(
        (LEFT / WIDTH, (BOTTOM + room) / (high + room), (RIGHT - LEFT) / WIDTH, (TOP - BOTTOM) / (high + room))
    )
    for row, line in enumerate(lines):
        y = (room - ROW * (row + 1) + 2) / (high + room)
        figure.text(6 / WIDTH, y, line, fontsize=SMALL, color=INK, parse_math=False)
