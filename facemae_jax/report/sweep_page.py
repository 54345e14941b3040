"""From the figures of a sweep to one self-contained HTML page. Means in, text out; nothing is read from disk here.

Only statistics: no face, no name, no place of a file may come in.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from markupsafe import Markup

from facemae_jax.report import downloads, sweep_cells, sweep_curve
from facemae_jax.report.leakages import LEAKAGES, OVERALL, STRONGEST
from facemae_jax.report.page import style, template
from facemae_jax.report.results import OURS, percent
from facemae_jax.report.sweep_cells import Group
from facemae_jax.report.sweep_curve import named


def render(
    *,
    title: str,
    fields: Sequence[str],
    along: str | None,
    groups: Sequence[Group],
    notes: Sequence[str],
    csv: str,
    made: Sequence[tuple[str, str]],
) -> str:
    """The page.

    Args:
        title: of the page.
        fields: swept fields that make a setting, in the order of the grid.
        along: the one of them that holds numbers and changes alone, along which points are joined; None = none does.
        groups: of ``sweep_table.summary``: means over seeds, one per setting, variant and judge, and those over all judges.
        notes: which points are there.
        csv: every row, to be downloaded.
        made: facts (name, text) of how it was made.
    """
    panels = sweep_curve.panels(groups, fields, along)
    names = sweep_cells.judges(groups)
    leakages, judges = list(dict.fromkeys(panel.leakage for panel in panels)), [OVERALL, *names]
    places = [(leakages.index(panel.leakage), judges.index(panel.judge)) for panel in panels]
    return template("sweep.html.jinja").render(
        style=style() + chosen_rules(places),
        title=title,
        answer=reading([group for group in groups if group["judge"] == OVERALL]),
        independence=[(name, independence(groups, name)) for name in names],
        leakages=[LEAKAGES[name].words for name in leakages],
        judges=judges,
        panels=[
            dict(id=f"panel{leak}-{judge}", title=f"{_capital(LEAKAGES[panel.leakage].words)}: {panel.judge}", of=panel)
            for (leak, judge), panel in zip(places, panels, strict=True)
        ],
        spans=_spans(groups),
        columns=sweep_cells.columns(groups) if groups else [],
        rows=[
            dict(
                variant=row.variant,
                ours=row.variant == OURS,
                setting=", ".join(f"{field} = {value}" for field, value in (row.setting or {}).items()),
                n=row.n,
                cells=row.cells,
            )
            for row in sweep_cells.rows(groups)
        ]
        if groups
        else [],
        notes=notes,
        csv=downloads.address(csv),
        made=made,
    )  # fmt: skip


def chosen_rules(places: Sequence[tuple[int, int]]) -> Markup:
    """Rules that show the panel of the two choices and hide the others; a browser that cannot choose shows all.

    Args:
        places: (leakage, judge) of each panel, counted as the page counts its choices.
    """
    chosen = [(f".curves:has(#leak{leak}:checked):has(#judge{judge}:checked)", leak, judge) for leak, judge in places]
    if not chosen:
        return Markup("")
    shown = ", ".join(f"{when} #panel{leak}-{judge}" for when, leak, judge in chosen)
    hidden = ", ".join(f"{when} .unmeasured" for when, _, _ in chosen)
    return Markup(
        "@supports selector(:has(*)) { .panel { display: none; } .chooser, .unmeasured { display: block; }\n"
        f"{shown} {{ display: block; }}\n{hidden} {{ display: none; }} }}\n"
    )


def independence(groups: Sequence[Group], judge: str) -> bool:
    """Whether a judge is independent of the teacher in every point."""
    return all(group["independent"] for group in groups if group["judge"] == judge)


def reading(groups: Sequence[Group]) -> list[str]:
    """The worst over all judges in plain sentences: the range that the grid spans, and how it stands to each distortion, by means alone."""
    full = [group for group in groups if group["utility"] and group[STRONGEST]]
    ours = [group for group in full if group["variant"] == OURS]
    if not ours:
        return []
    best, safest = max(ours, key=lambda g: g["utility"]["mean"]), min(ours, key=lambda g: g[STRONGEST]["mean"])
    said = [
        f"The most useful reconstruction is {named(best)}, right in {_mean(best['utility'])} % of pairs, with {_mean(best[STRONGEST])} % of people "
        f"found again by the strongest attacker; the most private is {named(safest)}, {_mean(safest['utility'])} % and "
        f"{_mean(safest[STRONGEST])} %."
    ]
    beaten, bought, lost = [], [], []
    for other in full:
        if other["variant"] in (OURS, sweep_curve.CONTROL) or other["setting"]:
            continue
        useful, leaky = other["utility"]["mean"], other[STRONGEST]["mean"]
        if any(g["utility"]["mean"] >= useful and g[STRONGEST]["mean"] <= leaky for g in ours):
            beaten.append(other["variant"])
        elif all(g["utility"]["mean"] <= useful and g[STRONGEST]["mean"] >= leaky for g in ours):
            lost.append(other["variant"])
        else:
            bought.append(other["variant"])
    if beaten:
        said.append(f"Some setting is at least as useful and no more leaky than {', '.join(beaten)}.")
    if lost:
        said.append(f"{', '.join(lost)}: at least as useful and no more leaky than every setting tried.")
    if bought:
        said.append(
            f"Against {', '.join(bought)}, one is bought with the other: no setting is both as useful and no more leaky."
        )
    return said


def _spans(groups: Sequence[Group]) -> list[tuple[str, int]]:
    """Heads over the columns: the judge, and over how many."""
    found: list[tuple[str, int]] = []
    for column in sweep_cells.columns(groups) if groups else []:
        if found and found[-1][0] == column.judge:
            found[-1] = (column.judge, found[-1][1] + 1)
        else:
            found.append((column.judge, 1))
    return found


def _mean(figure: Any) -> str:
    return percent(figure["mean"], figure["std"])


def _capital(words: str) -> str:
    return words[:1].upper() + words[1:]
