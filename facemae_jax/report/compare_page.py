"""Several runs or sweeps on one self-contained page: variant × run, and one curve with a series per run. Numbers in, text out.

Only statistics: no face, no name and no place of a file may come in; a run is called after its config.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from markupsafe import Markup

from facemae_jax.report import downloads, figures, results
from facemae_jax.report.figures import Point, Series
from facemae_jax.report.page import style, template
from facemae_jax.report.results import OURS, QUESTIONS, percent

ERROR, DEVIATION = "one standard error", "standard deviation over seeds"
Estimate = tuple[float, float | None] | None  # mean and its bar; None where it was not measured


class Outcome(NamedTuple):
    """What one variant reached under one judge."""

    judge: str
    independent: bool
    variant: str
    setting: str  # swept fields with their values; empty for a single run
    utility: Estimate
    same_image: Estimate
    same_identity: Estimate

    @property
    def label(self) -> str:
        """Variant and setting."""
        return f"{self.variant}, {self.setting}" if self.setting else self.variant

    @property
    def mark(self) -> str:
        """The same in few letters, for a figure: the swept values without the names of their fields."""
        return " ".join([self.variant, *(part.partition("=")[2] for part in self.setting.split(", ") if part)])


class Run(NamedTuple):
    """One run, or one sweep."""

    name: str
    bars: str  # ERROR | DEVIATION
    outcomes: list[Outcome]
    conditions: dict[str, Any]  # what must be alike for figures to be comparable; name → value
    facts: list[tuple[str, str]]


def run_of(name: str, verify: dict[str, Any] | None, audit: dict[str, Any], facts: list[tuple[str, str]]) -> Run:
    """A single run from its ``verify.json`` (None when nothing was verified) and ``audit.json``."""
    utility = results.utility_rows(verify)
    outcomes = []
    for judge in audit["judges"]:
        for variant in results.variant_names(verify, audit):
            accuracy = utility[variant]["accuracy"] if variant in utility else None
            leaks = [results.leakage(judge, variant, question) for question in QUESTIONS]
            outcomes.append(
                Outcome(
                    judge["name"], judge["independent"], variant, "",
                    (accuracy["mean"], accuracy["standard_error"]) if accuracy else None,
                    *(None if value is None else (value, error) for value, error in leaks),
                )
            )  # fmt: skip
    conditions = {
        "originals searched": audit["gallery"],
        "queries": audit["queries"],
        "faces": audit.get("subset", "–"),
    }
    if verify:
        protocol = verify["protocol"]
        conditions |= {"pairs verified": protocol["count"], "kind of pairs": protocol["pairs"]}
    return Run(name, ERROR, outcomes, conditions, facts)


def sweep_of(name: str, sweep: dict[str, Any]) -> Run:
    """A sweep from its ``sweep.json``: one outcome per setting, variant and judge, means over seeds."""
    outcomes = []
    for group in sweep["settings"]:
        setting = ", ".join(f"{field}={value}" for field, value in (group["setting"] or {}).items())
        asked = [group["utility"], *(group[f"{question}_rank_1"] for question in QUESTIONS)]
        estimates = [(figure["mean"], figure["std"]) if figure else None for figure in asked]
        outcomes.append(Outcome(group["judge"], group["independent"], group["variant"], setting, *estimates))
    states = [point["state"] for point in sweep["points"]]
    return Run(name, DEVIATION, outcomes, {}, [("points complete", f"{states.count('complete')} of {len(states)}")])


def render(runs: Sequence[Run]) -> str:
    """The page, of at least two runs with names of their own."""
    judges = list(dict.fromkeys(one.judge for run in runs for one in run.outcomes))
    return template("compare.html.jinja").render(
        style=style(),
        names=[run.name for run in runs],
        warnings=differences(runs),
        answer=[sentence for judge in judges for sentence in reading(runs, judge)],
        judges=[
            dict(
                name=judge,
                independence=_independence(runs, judge),
                rows=_rows(runs, judge),
                figures=[figure for question in QUESTIONS if (figure := _figure(runs, judge, question))],
            )
            for judge in judges
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
    silent = [run.name for run in runs if not run.conditions]
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

    best = max(ours, key=lambda entry: entry[1].utility or (0, None))
    safest = min(ours, key=lambda entry: entry[1].same_identity or (0, None))
    if best is safest:
        return [f"Attacker {judge}: the most useful reconstruction is also the least found, {told(*best)}."]
    return [f"Attacker {judge}: the most useful reconstruction is {told(*best)}; the least found is {told(*safest)}."]


def _independence(runs: Sequence[Run], judge: str) -> str:
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
            cells += (
                [_percent(figure) for figure in (one.utility, one.same_image, one.same_identity)] if one else ["–"] * 3
            )
        rows.append(dict(label=label, ours=label.split(",")[0] == OURS, cells=cells))
    return rows


def _figure(runs: Sequence[Run], judge: str, question: str) -> dict[str, Any] | None:
    series = []
    for run in runs:
        points = [
            Point(
                one.mark,
                100 * leak[0],
                100 * one.utility[0],
                100 * (leak[1] or 0),
                100 * (one.utility[1] or 0),
            )
            for one in run.outcomes
            if one.judge == judge and one.utility and (leak := getattr(one, question))
        ]
        series.append(Series(run.name, points, joined=False))
    if not any(one.points for one in series):
        return None
    words = QUESTIONS[question]
    svg = figures.trade_off_curve(series, x=f"leakage to {judge}: {words}, rank 1 (%)", y="utility (%)")
    caption = (
        f"Utility (up) against leakage to {judge} (right: {words}, first among the originals), one colour per run. "
        "The upper left corner is best."
    )
    return dict(svg=Markup(figures.described(svg, f"Utility and leakage, {words}, {judge}", caption)), caption=caption)


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
