"""The table of a sweep: which columns stand in it, and what its cells say. Means over seeds in, words out.

The page and ``sweep.md`` are both made from here, so that they cannot disagree. A column that was measured nowhere is left out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from facemae_jax.report.leakages import OVERALL

Group = Mapping[str, Any]  # one of sweep_table.summary
ANY = "any"  # a setting that the grid does not touch


class Column(NamedTuple):
    """One figure of one judge, or of none."""

    head: str
    figure: str
    judge: str = ""
    share: bool = True  # told in %, else as it is
    signed: bool = False


class Cell(NamedTuple):
    """A figure, and beneath it what belongs to it."""

    text: str
    below: str = ""


class Row(NamedTuple):
    """One setting and variant."""

    variant: str
    setting: dict[str, Any] | None
    n: int
    cells: list[Cell]


FIRST = (
    Column("utility", "utility"),
    Column("worst", "worst"),
    Column("gap", "gap", signed=True),
)
BY_JUDGE = (
    ("same image", "same_image_rank_1", True),
    ("same identity", "same_identity_rank_1", True),
    ("aware: same image", "aware_same_image_rank_1", True),
    ("aware: same identity", "aware_same_identity_rank_1", True),
    ("inversion: same image", "inversion_same_image_rank_1", True),
    ("inversion: same identity", "inversion_same_identity_rank_1", True),
    ("fusion", "fusion_rank_1", True),
    ("linkage D_sys: same image", "linkage_same_image_d_sys", False),
    ("linkage D_sys: same identity", "linkage_same_identity_d_sys", False),
)
LAST = (Column("membership AUC", "membership_auc"), Column("visible share", "visible_share"))


def fields(groups: Sequence[Group]) -> list[str]:
    """The swept fields that make a setting."""
    return list(dict.fromkeys(field for group in groups for field in group["setting"] or ()))


def judges(groups: Sequence[Group]) -> list[str]:
    """The judges' names, in order; :data:`OVERALL` is none."""
    return [name for name in dict.fromkeys(group["judge"] for group in groups) if name != OVERALL]


def columns(groups: Sequence[Group]) -> list[Column]:
    """What there is to tell; utility, worst and gap always."""
    own = [group for group in groups if group["judge"] != OVERALL]
    found = list(FIRST)
    for judge in judges(groups):
        for head, figure, share in BY_JUDGE:
            mine = [group for group in own if group["judge"] == judge and group[figure]]
            plain = figure in ("same_image_rank_1", "same_identity_rank_1")
            if mine and figure == "fusion_rank_1":
                head = f"fusion, n = {_counts(mine)}"
            if mine or plain:
                found.append(Column(head, figure, judge, share))
    return found + [column for column in LAST if any(group[column.figure] for group in own)]


def rows(groups: Sequence[Group]) -> list[Row]:
    """One per setting and variant, in order of appearance; cells as in :func:`columns`."""
    heads, by = columns(groups), {}  # type: list[Column], dict[Any, dict[str, Group]]
    for group in groups:
        if group["judge"] != OVERALL:
            setting = None if group["setting"] is None else tuple(group["setting"].items())
            by.setdefault((group["variant"], setting), {})[group["judge"]] = group
    found = []
    for (variant, setting), of in by.items():
        some = next(iter(of.values()))
        cells = [_cell(column, of.get(column.judge, some if not column.judge else None)) for column in heads]
        found.append(Row(variant, None if setting is None else dict(setting), some["n"], cells))
    return found


def lines(groups: Sequence[Group]) -> list[list[str]]:
    """The same as one line per row, the heading first: fields of the setting, variant, n, and the columns, who was the worst apart."""
    named = fields(groups)
    heads = [f"{column.judge}: {column.head}" if column.judge else column.head for column in columns(groups)]
    at = heads.index("worst") + 1
    heads.insert(at, "worst by")
    found = [[*named, "trained on", "n", *heads]]
    for row in rows(groups):
        told = [ANY if row.setting is None else str(row.setting[field]) for field in named]
        texts = [cell.text for cell in row.cells]
        texts.insert(at, row.cells[at - 1].below or "–")
        found.append([*told, row.variant, str(row.n), *texts])
    return found


def told(figure: Mapping[str, Any] | None, *, share: bool = True, signed: bool = False) -> str:
    """Mean ± standard deviation over seeds, in percent or as it is; an en dash where nothing was measured."""
    if figure is None:
        return "–"
    times, digits, sign = (100, 1, "+" if signed else "") if share else (1, 2, "")
    std = "" if figure["std"] is None else f" ± {times * figure['std']:.{digits}f}"
    return f"{times * figure['mean']:{sign}.{digits}f}{std}"


def _counts(mine: Sequence[Group]) -> str:
    most = sorted({group["fusion_n"]["mean"] for group in mine if group["fusion_n"]})
    return f"{most[0]:g}" if len(most) == 1 else f"{most[0]:g} … {most[-1]:g}"


def _cell(column: Column, group: Group | None) -> Cell:
    if group is None or not (figure := group[column.figure]):
        return Cell("–")
    below = ""
    if column.figure == "worst":
        below = "; ".join(group["worst_by"])
    if column.figure == "gap" and figure["n"] < group["n"]:
        below = f"in {figure['n']} of {group['n']} seeds"
    return Cell(told(figure, share=column.share, signed=column.signed), below)
