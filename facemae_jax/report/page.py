"""From the figures of one run to one self-contained HTML page. Dictionaries in, text out; nothing is read from disk here.

Which files the figures come from is the business of ``stages.report``. No name, path or original of a person may
come in unless the caller was told to show originals.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib import resources
from typing import Any

import numpy as np
from jinja2 import Environment, StrictUndefined, Template
from markupsafe import Markup

from facemae_jax.metrics.gaps import gaps
from facemae_jax.report import attack_reading, attack_tables, downloads, drawings, figures, protocol_tables, reading
from facemae_jax.report.measured import Measure, measures
from facemae_jax.report.results import (
    QUESTIONS,
    chance,
    leakage,
    percent,
    utility_chance,
    utility_rows,
    variant_names,
)

COLUMNS = 8
# What the limits say an attacker might do, unless the audit did it.
MIGHT = {
    "aware": "an attacker trained on such reconstructions",
    "fusion": "one who combines several images of a person",
    "inversion": "one who paints the originals back",
    "linkage": "one who joins two releases",
}


def render(
    *,
    name: str,
    verify: dict[str, Any] | None,
    audit: dict[str, Any],
    reconstruction: dict[str, Any],
    images_nHWC: np.ndarray,
    originals_nHWC: np.ndarray | None,
    training: dict[str, list[dict[str, Any]]],
    made: dict[str, Any],
) -> str:
    """The page.

    Args:
        name: of the run.
        verify: ``verify.json``, or None when nothing was verified.
        audit: ``audit.json``.
        reconstruction: ``images``, ``identities``, ``visible_share``, ``composition``, ``people``.
        images_nHWC: reconstructions to show.
        originals_nHWC: their originals, or None (the default of every config).
        training: run → its logged metrics, each with ``step`` and ``loss``.
        made: ``code``, ``facts`` and ``settings`` (name, text), ``stages`` (name, seconds, commit).
    """
    found = measures(audit)
    fars = sorted(
        {far for row in (verify or {"rows": []})["rows"] for far in row["tar_at_far"]}, key=float, reverse=True
    )
    return template("page.html.jinja").render(
        style=style(),
        name=name,
        answer=reading.answer(verify, audit, found),
        images=f"{reconstruction['images']:,}",
        identities=f"{reconstruction['identities']:,}",
        visible_share=f"{percent(reconstruction['visible_share'], digits=0)} %",
        composition=reconstruction["composition"],
        people=reconstruction["people"],
        judges=[_judge(verify, judge, audit, found) for judge in audit["judges"]],
        rows=_rows(verify, audit),
        chance_utility=percent(utility_chance(verify)),
        queries=audit["queries"],
        gallery=audit["gallery"],
        gallery_image=figures.image_grid(images_nHWC, columns=COLUMNS),
        gallery_caption=f"{len(images_nHWC)} of {reconstruction['images']:,} reconstructions, as they are published.",
        originals="" if originals_nHWC is None else figures.image_grid(originals_nHWC, columns=COLUMNS),
        protocol=_protocol(verify) if verify else "",
        fars=fars,
        verification=[_verified(row, verify, fars) for row in verify["rows"]] if verify else [],
        roc=drawings.roc(verify) if verify else None,
        protocols=protocol_tables.protocols(verify),
        groups=protocol_tables.groups(verify),
        without=_without(audit, found),
        not_run=attack_tables.not_run(audit, found),
        training=[drawings.training(run, lines) for run, lines in training.items() if lines],
        limits=_limits(found),
        downloads=downloads.downloads(verify, audit, found, training),
        made=made,
    )  # fmt: skip


def template(file: str) -> Template:
    """A page of this room, ready to be filled; what is filled in is escaped, and a name that is missing is an error."""
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True)
    return environment.from_string(resources.files(__package__).joinpath(file).read_text(encoding="utf-8"))


def style() -> Markup:
    """The style sheet of all pages, ours and without a word from outside."""
    return Markup(resources.files(__package__).joinpath("style.css").read_text(encoding="utf-8"))


def _rows(verify: dict[str, Any] | None, audit: dict[str, Any]) -> list[dict[str, Any]]:
    utility, rows = utility_rows(verify), []
    for variant in variant_names(verify, audit):
        accuracy = utility[variant]["accuracy"] if variant in utility else {}
        cells = [
            dict(
                image=percent(*leakage(judge, variant, "same_image")),
                identity=percent(*leakage(judge, variant, "same_identity")),
            )
            for judge in audit["judges"]
        ]
        rows.append(
            dict(variant=variant, utility=percent(accuracy.get("mean"), accuracy.get("standard_error")), leakage=cells)
        )
    return rows


def _judge(
    verify: dict[str, Any] | None, judge: dict[str, Any], audit: dict[str, Any], found: Sequence[Measure]
) -> dict[str, Any]:
    name = judge["name"]
    as_a_set = attack_reading.set_quality(judge, audit)
    shown = [
        *(drawings.retrieval(judge, question) for question in QUESTIONS),
        drawings.scores(judge),
        drawings.fusion(found, name),
    ]
    return dict(
        name=name,
        independence=reading.independence(judge),
        chance_image=percent(chance(judge, "same_image"), digits=2),
        chance_identity=percent(chance(judge, "same_identity"), digits=2),
        identity=chance(judge, "same_identity") is not None,
        trade_offs=drawings.trade_offs(verify, judge),
        attacks=attack_tables.judge_table(found, name),
        readings=[*attack_reading.attackers(judge), *attack_reading.linkage(judge), *([as_a_set] if as_a_set else [])],
        figures=[figure for figure in shown if figure],
    )


def _without(audit: dict[str, Any], found: Sequence[Measure]) -> dict[str, Any] | None:
    """Attacks that need no recognizer; None when none was run."""
    copies, members = attack_tables.judgeless_table(found), attack_tables.membership_rows(found)
    if copies is None and not members:
        return None
    return dict(table=copies, members=members, readings=attack_reading.pixels(audit), figure=drawings.membership(audit))


def _limits(found: Sequence[Measure]) -> str:
    done = {one.attack for one in found}
    others = ["a stronger recognizer", *(words for attack, words in MIGHT.items() if attack not in done)]
    if len(others) == 1:
        return "A stronger recognizer, or a better attack of the same kind, may find more."
    return f"{', '.join(others[:-1])[:1].upper()}{', '.join(others[:-1])[1:]}, or {others[-1]}, may find more."


def _protocol(verify: dict[str, Any]) -> str:
    p = verify["protocol"]
    source = "generated pairs" if p["pairs"] == "generated" else "pairs of the protocol's own list"
    flip = "embeddings of image and mirror image summed" if p["flip"] else "no mirror image"
    return (
        f"{p['count']:,} {source} ({p['positive']:,} of one person) over {p['images']:,} images, {p['folds']} folds, the threshold of each fold "
        f"taken from the others; {flip}. ± is one standard error over folds."
    )


def _verified(row: dict[str, Any], verify: dict[str, Any], fars: list[str]) -> dict[str, Any]:
    difference = verify["differences"].get("mask", {}).get(row["name"])
    against = (
        "–" if difference is None else f"{100 * difference['mean']:+.1f} ± {100 * difference['standard_error']:.1f}"
    )
    accuracy = row["accuracy"]
    return dict(
        name=protocol_tables.named(row),
        accuracy=percent(accuracy["mean"], accuracy["standard_error"], 2),
        auc=percent(row["auc"], digits=2),
        eer=percent(row["eer"], digits=2),
        tars=[percent(row["tar_at_far"].get(far)) for far in fars],
        against_mask=against,
        gap=protocol_tables.gap_text(gaps(verify["rows"]), row["name"]),
    )  # fmt: skip
