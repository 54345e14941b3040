"""Pictures of the report: curves and points as inline SVG, image grids as a data address. Numbers in, text out.

What a figure means is said by ``report.page``; nothing is read from disk here.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from typing import NamedTuple

import matplotlib
import numpy as np
from matplotlib.figure import Figure
from PIL import Image

# One colour and one marker per variant on every figure; chosen to stay apart for colour-blind readers and in grey print.
LOOKS = {
    "original": ("#1b1b1b", "o", "-"),
    "mask": ("#a6611a", "s", "--"),
    "blur": ("#5e8c31", "^", "-."),
    "pixelate": ("#7b5ea7", "D", ":"),
    "noise": ("#8c8c8c", "v", "--"),
    "reconstruction": ("#0067b1", "*", "-"),
}
OTHERS = (("#c4473a", "P", "-"), ("#d28f00", "X", "--"), ("#00857c", "h", "-."), ("#6b3d1e", "p", ":"))


class Line(NamedTuple):
    """One curve of a figure."""

    label: str
    x: Sequence[float]
    y: Sequence[float]


class Point(NamedTuple):
    """One variant on the plane of leakage and utility, with the standard error of each (0 = unknown)."""

    label: str
    leakage: float
    utility: float
    leakage_error: float = 0.0
    utility_error: float = 0.0


def look(label: str, position: int) -> tuple[str, str, str]:
    """Colour, marker and dash of a variant; others take theirs by position."""
    name = label.split()[0]
    return LOOKS.get(name, OTHERS[position % len(OTHERS)])


def curves(
    lines: Sequence[Line], *, x: str, y: str, log_x: bool = False, log_y: bool = False, diagonal: bool = False
) -> str:
    """Curves over one pair of axes, as SVG; empty lines are left out."""
    figure, axes = _axes(x, y)
    for position, line in enumerate(line for line in lines if len(line.x)):
        colour, _, dash = look(line.label, position)
        axes.plot(line.x, line.y, label=line.label, color=colour, linestyle=dash, linewidth=1.8)
    if log_x:
        axes.set_xscale("log")
    if log_y:
        axes.set_yscale("log")
    if diagonal:
        axes.plot([0, 1], [0, 1], color="#bbbbbb", linewidth=1, linestyle=":")
    if axes.get_legend_handles_labels()[0]:
        for text in axes.legend(frameon=False, fontsize=9).get_texts():
            text.set_parse_math(False)
    return _svg(figure)


def trade_off(points: Sequence[Point], *, x: str, y: str) -> str:
    """Utility upwards, leakage to the right: the upper left corner is what one wants."""
    figure, axes = _axes(x, y)
    for position, point in enumerate(points):
        colour, marker, _ = look(point.label, position)
        axes.errorbar(
            [point.leakage],
            [point.utility],
            xerr=[point.leakage_error],
            yerr=[point.utility_error],
            color=colour,
            marker=marker,
            markersize=11 if marker == "*" else 8,
            linestyle="none",
            capsize=3,
        )
        axes.annotate(
            point.label, (point.leakage, point.utility), xytext=(8, 6), textcoords="offset points", fontsize=9,
            parse_math=False,
        )  # fmt: skip
    axes.margins(0.18)
    return _svg(figure)


def image_grid(images_nHWC: np.ndarray, *, columns: int, gap: int = 2) -> str:
    """Images side by side as the ``data:`` address of one PNG.

    Args:
        images_nHWC: uint8 RGB, at least one.
        columns: images per row.
        gap: white pixels between images.
    """
    count, height, width, _ = images_nHWC.shape
    rows = -(-count // columns)
    sheet = np.full((rows * (height + gap) - gap, columns * (width + gap) - gap, 3), 255, np.uint8)
    for position, image_HWC in enumerate(images_nHWC):
        top, left = position // columns * (height + gap), position % columns * (width + gap)
        sheet[top : top + height, left : left + width] = image_HWC
    file = io.BytesIO()
    Image.fromarray(sheet).save(file, "PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(file.getvalue()).decode()


def _axes(x: str, y: str) -> tuple[Figure, matplotlib.axes.Axes]:
    figure = Figure(figsize=(6.0, 3.8), layout="constrained")
    axes = figure.subplots()
    # A judge is called after its file: a "$" in that name is no formula.
    axes.set_xlabel(x, parse_math=False)
    axes.set_ylabel(y, parse_math=False)
    axes.grid(color="#e4e4e4", linewidth=0.8)
    axes.set_axisbelow(True)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    return figure, axes


def _svg(figure: Figure) -> str:
    file = io.StringIO()
    # A fixed salt and no date: the same numbers give the same bytes.
    with matplotlib.rc_context({"svg.hashsalt": "facemae", "svg.fonttype": "none"}):
        figure.savefig(file, format="svg", metadata={"Date": None})
    text = file.getvalue()
    return text[text.index("<svg") :].replace("<svg ", '<svg role="img" ', 1)
