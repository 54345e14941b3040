"""Pictures of the report: curves as inline SVG, image grids as a data address. Numbers in, text out.

The plane of leakage and utility is drawn by ``report.plane``. What a figure means is said by ``report.page``; nothing is read from disk here.
"""

from __future__ import annotations

import base64
import io
from collections import Counter
from collections.abc import Sequence
from typing import Any, NamedTuple

import matplotlib
import numpy as np
from markupsafe import escape
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, NullFormatter
from PIL import Image

# One colour and one marker per variant on every figure; chosen to stay apart for colour-blind readers and in grey print.
LOOKS = {
    "original": ("#1b1b1b", "o", "-"),
    "mask": ("#a6611a", "s", "--"),
    "blur": ("#5e8c31", "^", "-."),
    "pixelate": ("#7b5ea7", "D", ":"),
    "noise": ("#6f6f6f", "v", "--"),
    "ksame": ("#9c2f63", "<", "-."),
    "dppix": ("#4a6b7c", ">", ":"),
    "reconstruction": ("#0067b1", "*", "-"),
}
OTHERS = (("#c4473a", "P", "-"), ("#a87000", "X", "--"), ("#00857c", "h", "-."), ("#6b3d1e", "p", ":"))
DASHES: tuple[Any, ...] = ("-", (0, (5, 2)), (0, (5, 2, 1, 2)), (0, (1, 1.5)))  # of strengths of one kind, in turn
INK, GUIDE = "#1b1b1b", "#767676"


class Line(NamedTuple):
    """One curve of a figure."""

    label: str
    x: Sequence[float]
    y: Sequence[float]
    low: Sequence[float] = ()  # bounds of y, drawn as a band
    high: Sequence[float] = ()
    guide: bool = False  # thin and grey: what the others are read against


def look(label: str, position: int) -> tuple[str, str, str]:
    """Colour, marker and dash of a variant, whatever its strength; others take theirs by position."""
    name = label.split()[0].partition("@")[0].rstrip(",")
    return LOOKS.get(name, OTHERS[position % len(OTHERS)])


def curves(
    lines: Sequence[Line],
    *,
    x: str,
    y: str,
    log_x: bool = False,
    log_y: bool = False,
    diagonal: bool = False,
    whole_x: bool = False,
) -> str:
    """Curves over one pair of axes, as SVG; empty lines are left out.

    Args:
        lines: to draw; strengths of one kind share its colour and differ in their dashes.
        x, y: names of the axes.
        log_x, log_y: logarithmic axes.
        diagonal: draw what a blind guess reaches on a ROC curve.
        whole_x: label the few values of x as they are (1, 2, 4, 8).
    """  # fmt: skip
    figure, axes = axes_of(x, y)
    seen: Counter[str] = Counter()
    for position, line in enumerate(line for line in lines if len(line.x)):
        colour, _, dash = (GUIDE, "", ":") if line.guide else look(line.label, position)
        if line.guide or "@" in line.label:
            dash = DASHES[(seen[colour] - line.guide) % len(DASHES)]
        seen[colour] += 1
        axes.plot(line.x, line.y, label=line.label, color=colour, linestyle=dash, linewidth=1.2 if line.guide else 1.8)
        if len(line.low):
            axes.fill_between(line.x, line.low, line.high, color=colour, alpha=0.13, linewidth=0)
    if log_x:
        axes.set_xscale("log")
        _plain(axes.xaxis)
    if whole_x:
        values = sorted({value for line in lines for value in line.x})
        axes.set_xticks(values, [f"{value:g}" for value in values])
        axes.minorticks_off()
    if log_y:
        axes.set_yscale("log")
        _plain(axes.yaxis)
    if diagonal:
        axes.plot([0, 1], [0, 1], color="#bbbbbb", linewidth=1, linestyle=":")
    if axes.get_legend_handles_labels()[0]:
        for text in axes.legend(frameon=False, fontsize=9).get_texts():
            text.set_parse_math(False)
    return svg_of(figure)


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


def _plain(axis: Axis) -> None:
    """Tick labels as plain numbers: powers of ten set as formulas take a quarter of the drawing time."""
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_minor_formatter(NullFormatter())


def described(svg: str, title: str, text: str) -> str:
    """The same drawing with a title and a description inside, for those who do not see it."""
    end = svg.index(">", svg.index("<svg")) + 1
    return f"{svg[:end]}\n<title>{escape(title)}</title>\n<desc>{escape(text)}</desc>{svg[end:]}"


WIDTH, HEIGHT = 360.0, 245.0  # of a figure without legend and key, in points
LEFT, RIGHT, BOTTOM, TOP = 47.0, 349.0, 37.0, 238.0  # of its axes


def axes_of(x: str, y: str, above: float = 0.0) -> tuple[Figure, matplotlib.axes.Axes]:
    """Empty axes with their names, and so many points of room above for a legend."""
    height = HEIGHT + above
    figure = Figure(figsize=(WIDTH / 72, height / 72), dpi=72)  # at 72, one unit of the drawing is a point
    # Fixed margins: fitting them to the words takes as long as drawing.
    figure.subplots_adjust(left=LEFT / WIDTH, right=RIGHT / WIDTH, bottom=BOTTOM / height, top=TOP / height)
    axes = figure.subplots()
    # A judge is called after its file: a "$" in that name is no formula.
    axes.set_xlabel(x, parse_math=False)
    axes.set_ylabel(y, parse_math=False)
    axes.grid(color="#e4e4e4", linewidth=0.8)
    axes.set_axisbelow(True)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    return figure, axes


def svg_of(figure: Figure) -> str:
    """The drawing as text; the same numbers give the same bytes."""
    file = io.StringIO()
    # A fixed salt and no date.
    with matplotlib.rc_context({"svg.hashsalt": "facemae", "svg.fonttype": "none"}):
        figure.savefig(file, format="svg", metadata={"Date": None})
    text = file.getvalue()
    return text[text.index("<svg") :].replace("<svg ", '<svg role="img" ', 1)
