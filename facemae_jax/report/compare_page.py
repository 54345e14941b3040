"""Several runs or sweeps on one self-contained page: variant × run, and one curve with a series per run. Numbers in, text out.

Only statistics: no face, no name and no place of a file may come in; a run is called after its config.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from markupsafe import Markup

from facemae_jax.report import downloads, figures, plane, sweep_curve
from facemae_jax.report.compared import DEVIATION, Estimate, Outcome, Run
from facemae_jax.report.leakages import OVERALL
from facemae_jax.report.page import style, template
from facemae_jax.report.plane import Series
from facemae_jax.report.results import OURS, QUESTIONS, percent


def render(runs: Sequence[Run]) -> str:
    """The page, of at least two runs with names of their own."""
    judges = dict.fromkeys(one.judge for run in runs for one in run.outcomes)
    ordered = [name for name in (OVERALL,) if name in judges] + [name for name in judges if name != OVERALL]
    return template("compare.html.jinja").render(
        style=style(),
        names=[run.name for run in runs],
        warnings=differences(runs),
        answer=[sentence for judge in ordered for sentence in reading(runs, judge)],
        judges=[
            dict(
                name=judge,
                overall=judge == OVERALL,
                independence=_independence(runs, judge),
                rows=_rows(runs, judge),
                figures=[figure for question in _questions(judge) if (figure := _figure(runs, judge, question))],
            )
            for judge in ordered
        ],
        bars=[f"{run.name}: {run.bars}" for run in runs],
        csv=downloads.address(_csv(runs)),
        facts=[(run.name, run.facts) for run in runs],
    )


def differences(runs: Sequence[Run]) -> list[str]:
    """What the runs were not measured alike in; a sweep does not say."""
    said = []
    for condition in dict.fromkeys(name for run in runs for name in run.conditions):
        values = {run.name: run.conditions[condition] for run in runs if condition in run.conditions}
        if len(set(values.values())) > 1:
            said.append(f"{condition}: " + ", ".join(f"{value} in {name}" for name, value in values.items()))
    silent = [run.name for run in runs if run.bars == DEVIATION]
    if silent:
        said.append(
            f"on what faces and pairs {', '.join(silent)} was measured is not recorded in the sweep: look at its config"
        )
    return said


def reading(runs: Sequence[Run], judge: str) -> list[str]:
    """Where the reconstruction is most useful, and where it is found least, by means alone."""
    ours = [
        (run.name, one) for run in runs for one in run.outcomes
        if one.judge == judge and one.variant == OURS and one.utility and one.same_identity
    ]  # fmt: skip
    if len(ours) < 2:
        return []

    def told(run: str, one: Outcome) -> str:
        where = f"{run} ({one.setting})" if one.setting else run
        return f"{where}: right in {_percent(one.utility)} % of pairs, {_percent(one.same_identity)} % of people found"

    who = "The strongest attacker over all judges" if judge == OVERALL else f"Attacker {judge}"
    best = max(ours, key=lambda entry: entry[1].utility or (0, None))
    safest = min(ours, key=lambda entry: entry[1].same_identity or (0, None))
    if best is safest:
        return [f"{who}: the most useful reconstruction is also the least found, {told(*best)}."]
    return [f"{who}: the most useful reconstruction is {told(*best)}; the least found is {told(*safest)}."]


def _independence(runs: Sequence[Run], judge: str) -> str:
    if judge == OVERALL:
        return "Whoever found most people with single images, by plain search, aware or after inversion; each run's own report says who that was."
    said = {run.name: {one.independent for one in run.outcomes if one.judge == judge} for run in runs}
    strangers = [name for name, values in said.items() if values == {True}]
    others = [name for name, values in said.items() if False in values]
    if not others:
        return "This attacker is independent of the teacher."
    where = f" in {', '.join(others)}, independent in {', '.join(strangers)}" if strangers else ""
    return f"This attacker is not independent of the teacher{where}."


def _rows(runs: Sequence[Run], judge: str) -> list[dict[str, Any]]:
    labels = dict.fromkeys(one.label for run in runs for one in run.outcomes if one.judge == judge)
    rows = []
    for label in labels:
        cells: list[str] = []
        for run in runs:
            one = next((one for one in run.outcomes if (one.judge, one.label) == (judge, label)), None)
            figures_ = [one.utility, *(getattr(one, question) for question in _questions(judge))] if one else []
            cells += [_percent(figure) for figure in figures_] or ["–"] * (1 + len(_questions(judge)))
        rows.append(dict(label=label, ours=label.split(",")[0] == OURS, cells=cells))
    return rows


def _questions(judge: str) -> list[str]:
    return ["same_identity"] if judge == OVERALL else list(QUESTIONS)


def _figure(runs: Sequence[Run], judge: str, question: str) -> dict[str, Any] | None:
    shown = [one for at, run in enumerate(runs) for one in run_series(run, judge, question, at)]
    if not any(one.points for one in shown):
        return None
    words = "same identity, strongest attacker" if judge == OVERALL else QUESTIONS[question]
    axis = f"{words} (%)" if judge == OVERALL else f"leakage to {judge}: {words}, rank 1 (%)"
    svg = plane.trade_off_curve(shown, x=axis, y="utility (%)")
    caption = (
        f"Utility (up) against leakage (right: {words}, first among the originals, {judge}), one colour per run, one mark per variant. Lines join "
        "strengths of one distortion, and settings in the order of what was swept. The upper left corner is best."
    )
    return dict(svg=Markup(figures.described(svg, f"Utility and leakage, {words}, {judge}", caption)), caption=caption)


def run_series(run: Run, judge: str, question: str, at: int) -> list[Series]:
    """One run's series under a judge, all in the colour of the ``at``-th run, each with the mark of its variant."""
    groups = [
        {
            "variant": one.variant,
            "setting": one.values,
            "utility": _figures(one.utility),
            f"{question}_rank_1": _figures(getattr(one, question)),
        }
        for one in run.outcomes
        if one.judge == judge
    ]
    colour = figures.OTHERS[at % len(figures.OTHERS)][0]
    return [
        one._replace(label=f"{run.name}: {one.label}", look=(colour, *figures.look(one.label, at)[1:]))
        for one in sweep_curve.series(groups, run.along, f"{question}_rank_1")
    ]


def _figures(estimate: Estimate) -> dict[str, Any] | None:
    return {"mean": estimate[0], "std": estimate[1]} if estimate else None


def _csv(runs: Sequence[Run]) -> str:
    heads = ["run", "bars", "judge", "independent_of_teacher", "variant", "setting"]
    heads += [
        f"{name}{end}" for name in ("utility", "same_image_rank_1", "same_identity_rank_1") for end in ("", "_bar")
    ]
    rows = []
    for run in runs:
        for one in run.outcomes:
            row: list[Any] = [run.name, run.bars, one.judge, one.independent, one.variant, one.setting]
            for figure in (one.utility, one.same_image, one.same_identity):
                row += figure or (None, None)
            rows.append(row)
    return downloads.lines(heads, rows)


def _percent(figure: Estimate) -> str:
    return percent(*figure) if figure else "–"


def distinct(names: Sequence[str], marks: Sequence[str]) -> list[str]:
    """Names that differ: where several are called alike, each gets its mark."""
    found = [f"{name} {mark}" if names.count(name) > 1 else name for name, mark in zip(names, marks, strict=True)]
    return [f"{name} ({place + 1})" if found.count(name) > 1 else name for place, name in enumerate(found)]
