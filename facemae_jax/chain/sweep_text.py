"""The table of a sweep as CSV and Markdown. Rows and means in, text out."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from typing import Any

from facemae_jax.chain.grid import Axis
from facemae_jax.chain.sweep_table import FIGURES, TOLD
from facemae_jax.report import sweep_cells
from facemae_jax.report.leakages import OVERALL


def csv_text(table: Sequence[Mapping[str, Any]], axes: Sequence[Axis]) -> str:
    """One line per row of a judge: point, every swept field, variant, judge, figures; an empty cell where nothing was measured."""
    fields = [field for axis in axes for field in axis.fields]
    heads = ["point", *fields, "variant", "judge", "independent", *FIGURES]
    at = heads.index("worst_se") + 1
    heads[at:at] = TOLD
    file = io.StringIO()
    writer = csv.DictWriter(file, heads, extrasaction="ignore", lineterminator="\n")
    writer.writeheader()
    writer.writerows({**row, **row["setting"], **row["repetition"]} for row in table if row["judge"] != OVERALL)
    return file.getvalue()


def markdown(groups: Sequence[Mapping[str, Any]], title: str, notes: Sequence[str]) -> str:
    """``sweep.md``."""
    heads, *cells = sweep_cells.lines(groups) if groups else [["nothing is complete yet"]]
    table = [heads, ["---"] * len(heads), *cells]
    drawn = ["| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in table]
    said = "\n".join(f"- {note}" for note in [*notes, *(LEGEND if groups else ())])
    return f"# {title}\n\n" + "\n".join(drawn) + f"\n\n{said}\n"


LEGEND = (
    "All in %, D_sys from 0 to 1. “any”: the grid does not touch this variant.",
    "worst: people found first, own source left out, by the strongest attacker with single images (plain search, aware, inversion) over all judges.",
    "gap: utility less what the best distortion reaches at that leakage or less, on straight lines between distortions; whoever leaks "
    "less than all of them is held against the least leaking one; – where all of them leak less.",
)
