"""From the figures of a sweep to one self-contained HTML page. Means in, text out; nothing is read from disk here.

Only statistics: no face, no name, no place of a file may come in.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from importlib import resources
from typing import Any

from jinja2 import Environment, StrictUndefined
from markupsafe import Markup, escape

from facemae_jax.report import figures
from facemae_jax.report.figures import Point, Series
from facemae_jax.report.results import percent

OURS = "reconstruction"
QUESTIONS = {"same_identity_rank_1": "same identity", "same_image_rank_1": "same image"}
Group = Mapping[str, Any]


def render(
    *,
    title: str,
    fields: Sequence[str],
    along: str | None,
    groups: Sequence[Group],
    cells: Sequence[Sequence[str]],
    notes: Sequence[str],
    csv: str,
    made: Sequence[tuple[str, str]],
) -> str:
    """The page.

    Args:
        title: of the page.
        fields: swept fields that make a setting, in the order of the grid.
        along: the one of them that holds numbers and changes alone, along which points are joined; None = none does.
        groups: means over seeds, one per setting, variant and judge: ``setting`` (field → value, or None where the grid does not touch
            the variant), ``variant``, ``judge``, ``independent``, ``n``, and figures of ``mean``, ``std``, ``n``, in shares of 1.
        cells: the same as lines of a table, the heading first; empty when nothing is complete.
        notes: which points are there.
        csv: every row, to be downloaded.
        made: facts (name, text) of how it was made.
    """
    judges = list(dict.fromkeys(group["judge"] for group in groups))
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True)
    template = environment.from_string(
        resources.files(__package__).joinpath("sweep.html.jinja").read_text(encoding="utf-8")
    )
    return template.render(
        title=title,
        answer=[sentence for judge in judges for sentence in reading([g for g in groups if g["judge"] == judge])],
        judges=[
            dict(
                name=judge,
                independent=all(group["independent"] for group in groups if group["judge"] == judge),
                figures=[
                    figure
                    for question in QUESTIONS
                    if (figure := _figure([g for g in groups if g["judge"] == judge], fields, along, question))
                ],
            )
            for judge in judges
        ],
        ours=[OURS in line for line in cells],
        cells=cells,
        notes=notes,
        csv="data:text/csv;base64," + base64.b64encode(csv.encode()).decode(),
        made=made,
    )  # fmt: skip


def series(groups: Sequence[Group], along: str | None, question: str) -> list[Series]:
    """What one judge's figure shows; groups without both figures are left out.

    Points are joined along the field ``along``, one line per variant and values of the other fields. Strengths of one distortion
    (``blur@2``, ``blur@4``) that the grid does not touch are joined, too.
    """
    drawn = [group for group in groups if group["utility"] and group[question]]
    lines: dict[str, list[tuple[float, Point]]] = {}
    joined: dict[str, bool] = {}
    for place, group in enumerate(drawn):
        setting, variant = group["setting"], group["variant"]
        if setting is None:
            kind, strong, strength = variant.partition("@")
            name, mark, order = (
                f"{kind}, by strength" if strong else kind,
                strength if strong else "",
                float(strength) if strong else 0.0,
            )
            joined[name] = bool(strong)
        else:
            others = [f"{field}={value}" for field, value in setting.items() if field != along]
            name = " ".join([variant, *others]) if along else variant
            mark = str(setting[along]) if along else ", ".join(str(value) for value in setting.values())
            order, joined[name] = float(setting[along]) if along else float(place), along is not None
        lines.setdefault(name, []).append((order, _point(group, mark, question)))
    return [
        Series(name, [point for _, point in sorted(found, key=lambda entry: entry[0])], joined[name])
        for name, found in lines.items()
    ]


def reading(groups: Sequence[Group]) -> list[str]:
    """One judge's figures in plain sentences: the range that the grid spans, and how it stands to each distortion, by means alone."""
    question = "same_identity_rank_1"
    full = [group for group in groups if group["utility"] and group[question]]
    ours = [group for group in full if group["variant"] == OURS]
    if not ours:
        return []
    judge = ours[0]["judge"]
    best, safest = max(ours, key=lambda g: g["utility"]["mean"]), min(ours, key=lambda g: g[question]["mean"])
    said = [
        f"Attacker {judge}: the most useful reconstruction is {_named(best)}, right in {_mean(best['utility'])} % of pairs, with "
        f"{_mean(best[question])} % of people found again; the most private is {_named(safest)}, {_mean(safest['utility'])} % and "
        f"{_mean(safest[question])} %."
    ]
    for other in full:
        if other["variant"] in (OURS, "original") or other["setting"] is not None:
            continue
        useful, leaky = other["utility"]["mean"], other[question]["mean"]
        better = [_named(g) for g in ours if g["utility"]["mean"] >= useful and g[question]["mean"] <= leaky]
        worse = [g for g in ours if g["utility"]["mean"] <= useful and g[question]["mean"] >= leaky]
        text = f"Against {other['variant']} ({_mean(other['utility'])} % useful, {_mean(other[question])} % found): "
        if better:
            text += f"at least as useful and no more leaky with {', '.join(better)}."
        elif len(worse) == len(ours):
            text += f"{other['variant']} is at least as useful and no more leaky than every setting tried."
        else:
            text += "no setting is at least as useful and no more leaky; one buys the one with the other."
        said.append(text)
    return said


def _point(group: Group, label: str, question: str) -> Point:
    leak, useful = group[question], group["utility"]
    return Point(label, 100 * leak["mean"], 100 * useful["mean"], 100 * (leak["std"] or 0), 100 * (useful["std"] or 0))


def _figure(groups: Sequence[Group], fields: Sequence[str], along: str | None, question: str) -> dict[str, Any] | None:
    found = series(groups, along, question)
    if not found:
        return None
    judge, words = groups[0]["judge"], QUESTIONS[question]
    svg = figures.trade_off_curve(found, x=f"leakage to {judge}: {words}, rank 1 (%)", y="utility (%)")
    found_what = "another image of their person" if question.startswith("same_identity") else "their own source"
    caption = (
        f"Utility (up: accuracy of a recognizer trained on the images) against leakage to {judge} (right: share of protected images for "
        f"which {found_what} is found first). The upper left corner is best. Bars: standard deviation over seeds. "
        f"At the points: {', '.join(fields) or 'nothing, for only seeds were swept'}."
    )
    named = svg.replace('role="img"', f'role="img" aria-label="{escape(caption)}"', 1)
    return dict(svg=Markup(named), caption=caption)


def _named(group: Group) -> str:
    setting = group["setting"] or {}
    return ", ".join(f"{field} = {value}" for field, value in setting.items()) or "the only setting"


def _mean(figure: Mapping[str, Any]) -> str:
    return percent(figure["mean"], figure["std"])
