"""``verify.json`` as text for the terminal, in percent."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from facemae_jax.metrics.gaps import HEADLINE, gaps, headline


def table(result: Mapping[str, Any]) -> str:
    """The rows of ``verify.json``; below them protocols and groups, where there are any."""
    rates = sorted({far for row in result["rows"] for far in row["tar_at_far"]}, key=float, reverse=True)
    protocol, gap = result["protocol"], gaps(result["rows"])
    width = max(len(row["name"]) for row in result["rows"])
    lines = [
        f"verification of {protocol['count']} pairs in {protocol['folds']} folds, "
        f"{'image and mirror image' if protocol['flip'] else 'image alone'} (%; ± is one standard error"
        f"{'; gap: Gap-to-Real' if gap else ''}):",
        f"  {'':{width}}  {'accuracy':>14} {'AUC':>6} {'EER':>6}"
        + "".join(f" {f'TAR@{far}':>10}" for far in rates)
        + (f" {'gap':>7}" if gap else ""),
    ]
    for row in result["rows"]:
        accuracy = row["accuracy"]
        lines.append(
            f"  {row['name']:{width}}  {100 * accuracy['mean']:7.2f} ± {100 * accuracy['standard_error']:4.2f} "
            f"{100 * row['auc']:6.2f} {100 * row['eer']:6.2f}"
            + "".join(f" {100 * row['tar_at_far'][far]:10.2f}" for far in rates)
            + (f" {_gap(gap, row['name']):>7}" if gap else "")
        )
    return "\n".join([*lines, *_protocols(result), *_groups(result)])


def _protocols(result: Mapping[str, Any]) -> list[str]:
    measured = dict(result.get("protocols", {}))
    if not measured:
        return []
    if "average" in result:
        measured["average"] = result["average"]
    names = [row["name"] for row in result["rows"]]
    cells = [["", *measured]]
    for place, name in enumerate(names):
        cells.append(
            [
                name,
                *(
                    f"{_figure(found['rows'][place])} {_gap(found['gap_to_real'], name):>7}"
                    for found in measured.values()
                ),
            ]
        )
    said = f"every protocol: accuracy in %, of IJB TAR at FAR {float(HEADLINE):g}; beside it Gap-to-Real in %"
    return [f"{said}:", *_aligned(cells)]


def _figure(row: Mapping[str, Any]) -> str:
    value = headline(row)[0]
    return "–" if value is None else f"{100 * value:.2f}"


def _gap(gap: Mapping[str, float], name: str) -> str:
    return f"{100 * gap[name]:+.2f}" if name in gap else "–"


def _groups(result: Mapping[str, Any]) -> list[str]:
    rows = result.get("groups", [])
    if not rows:
        return []
    names = list(rows[0]["groups"])
    cells = [["", *names, "mean", "std", "trade-off"]]
    for row in rows:
        values = [*(row["groups"][name]["accuracy"] for name in names), row["mean"], row["std"], row["trade_off"]]
        cells.append([row["name"], *(f"{100 * value:.2f}" for value in values)])
    counted = f"{rows[0]['pairs']} pairs within a group, {rows[0]['left_out']} others"
    return [f"accuracy within groups (%; trade-off = mean − std over groups; {counted}):", *_aligned(cells)]


def _aligned(cells: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(len(line[column]) for line in cells) for column in range(len(cells[0]))]
    return [
        "  "
        + "  ".join(
            cell.rjust(width) if at else cell.ljust(width)
            for at, (cell, width) in enumerate(zip(line, widths, strict=True))
        )
        for line in cells
    ]
