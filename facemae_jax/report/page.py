"""From the figures of one run to one self-contained HTML page. Dictionaries in, text out; nothing is read from disk here.

Which files the figures come from is the business of ``stages.report``. No name, path or original of a person may
come in unless the caller was told to show originals.
"""

from __future__ import annotations

from importlib import resources
from typing import Any

import numpy as np
from jinja2 import Environment, StrictUndefined
from markupsafe import Markup

from facemae_jax.report import figures
from facemae_jax.report.figures import Line, Point

COLUMNS = 8


def percent(value: float | None, error: float | None = None, digits: int = 1) -> str:
    """A share as percent, with ± one standard error; an en dash where there is none."""
    if value is None:
        return "–"
    text = f"{100 * value:.{digits}f}"
    return text if error is None else f"{text} ± {100 * error:.{digits}f}"


def utility_rows(verify: dict[str, Any] | None) -> dict[str, dict[str, Any]]:
    """Variant → its row of ``verify.json``; empty when nothing was verified."""
    return {row["name"]: row for row in verify["rows"] if row["kind"] == "recognizer"} if verify else {}


def leakage(judge: dict[str, Any], variant: str, question: str) -> tuple[float | None, float | None]:
    """Rank-1 rate and its standard error; None where the variant or the question was not attacked."""
    attacked = judge["variants"].get(variant)
    found = attacked["retrieval"][question] if attacked else None
    return (found["rank"]["1"], found["standard_error"]["rank_1"]) if found else (None, None)


def variant_names(verify: dict[str, Any] | None, audit: dict[str, Any]) -> list[str]:
    """Every variant that was verified or attacked, in the order of the audit."""
    attacked = [name for judge in audit["judges"] for name in judge["variants"]]
    return list(dict.fromkeys([*attacked, *utility_rows(verify)]))


def table(verify: dict[str, Any] | None, audit: dict[str, Any]) -> str:
    """The table variant × utility × leakage as plain text, for the terminal."""
    utility = utility_rows(verify)
    heads = ["variant", "utility"] + [f"{judge['name']}: image / identity" for judge in audit["judges"]]
    lines = [heads]
    for name in variant_names(verify, audit):
        accuracy = utility[name]["accuracy"] if name in utility else {}
        line = [name, percent(accuracy.get("mean"), accuracy.get("standard_error"))]
        for judge in audit["judges"]:
            found = [percent(leakage(judge, name, question)[0]) for question in ("same_image", "same_identity")]
            line.append(" / ".join(found))
        lines.append(line)
    widths = [max(len(line[column]) for line in lines) for column in range(len(heads))]
    rows = [
        "  ".join(
            cell.rjust(width) if at else cell.ljust(width)
            for at, (cell, width) in enumerate(zip(line, widths, strict=True))
        )
        for line in lines
    ]
    rule = "  ".join("-" * width for width in widths)
    note = "utility: verification accuracy in %, ± one standard error; leakage: rank-1 retrieval of the original in %"
    return "\n".join([note, rows[0], rule, *rows[1:]])


def answer(verify: dict[str, Any] | None, audit: dict[str, Any]) -> list[str]:
    """The result in plain sentences, with its own limits."""
    utility = utility_rows(verify)
    said = []
    if "reconstruction" in utility:
        ours = utility["reconstruction"]["accuracy"]
        text = (
            f"Utility: a recognizer trained on the painted faces is right in {percent(ours['mean'], ours['standard_error'])} % of pairs "
            "of people it never saw"
        )
        others = [
            f"{percent(utility[name]['accuracy']['mean'])} % when trained on {words}"
            for name, words in (("original", "the originals"), ("mask", "masked faces"), ("blur", "blurred faces"))
            if name in utility
        ]
        said.append(text + (f" ({', '.join(others)})." if others else "."))
    else:
        said.append("Utility was not measured: no recognizer was trained on the reconstructions and verified.")
    for judge in audit["judges"]:
        if "reconstruction" not in judge["variants"]:
            continue
        image, _ = leakage(judge, "reconstruction", "same_image")
        identity, _ = leakage(judge, "reconstruction", "same_identity")
        ceiling = (judge["ceiling"]["same_identity"] or {"rank": {"1": None}})["rank"]["1"]
        chance = judge["variants"]["reconstruction"]["retrieval"]["same_image"]["chance"]["rank"]["1"]
        text = (
            f"Leakage, attacker {judge['name']}: of {audit['queries']} painted faces, {percent(image)} % find their own source first among "
            f"{audit['gallery']} originals (blind guess {percent(chance, digits=2)} %)"
        )
        if identity is not None:
            text += f", and {percent(identity)} % find the same person in another image (originals as queries: {percent(ceiling)} %)"
        said.append(text + ".")
    return said


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
        reconstruction: ``images``, ``identities``, ``visible_share``, ``composition``.
        images_nHWC: reconstructions to show.
        originals_nHWC: their originals, or None (the default of every config).
        training: run → its logged metrics, each with ``step`` and ``loss``.
        made: ``code``, ``facts`` and ``settings`` (name, text), ``stages`` (name, seconds, commit).
    """
    utility = utility_rows(verify)
    names = variant_names(verify, audit)
    rows = []
    for variant in names:
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
    fars = sorted(
        {far for row in (verify or {"rows": []})["rows"] for far in row["tar_at_far"]}, key=float, reverse=True
    )
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True)
    template = environment.from_string(
        resources.files(__package__).joinpath("page.html.jinja").read_text(encoding="utf-8")
    )
    return template.render(
        name=name,
        answer=answer(verify, audit),
        images=f"{reconstruction['images']:,}",
        identities=f"{reconstruction['identities']:,}",
        visible_share=f"{percent(reconstruction['visible_share'], digits=0)} %",
        composition=reconstruction["composition"],
        judges=[_judge(judge) for judge in audit["judges"]],
        rows=rows,
        chance_utility="50.0" if verify else "–",
        queries=audit["queries"],
        gallery=audit["gallery"],
        trade_offs=[figure for judge in audit["judges"] if (figure := _trade_off(judge, names, utility))],
        gallery_image=figures.image_grid(images_nHWC, columns=COLUMNS),
        gallery_caption=f"{len(images_nHWC)} of {reconstruction['images']:,} reconstructions, as they are published.",
        originals="" if originals_nHWC is None else figures.image_grid(originals_nHWC, columns=COLUMNS),
        protocol=_protocol(verify) if verify else "",
        fars=fars,
        verification=[_verified(row, verify, fars) for row in verify["rows"]] if verify else [],
        roc=Markup(_roc(verify)) if verify else "",
        training=[_training(run, lines) for run, lines in training.items() if lines],
        made=made,
    )  # fmt: skip


def _judge(judge: dict[str, Any]) -> dict[str, Any]:
    some = next(iter(judge["variants"].values()))["retrieval"]
    chance = {
        question: some[question]["chance"]["rank"]["1"] if some[question] else None
        for question in ("same_image", "same_identity")
    }
    lines = [
        Line(
            name, found["retrieval"]["same_identity"]["cmc"]["rank"], found["retrieval"]["same_identity"]["cmc"]["rate"]
        )
        for name, found in judge["variants"].items()
        if found["retrieval"]["same_identity"]
    ]
    shown = "reconstruction" if "reconstruction" in judge["variants"] else next(iter(judge["variants"]))
    histogram = judge["variants"][shown]["matching"]["histogram"]
    middles = [(a + b) / 2 for a, b in zip(histogram["edges"], histogram["edges"][1:], strict=False)]
    scores = [
        Line(f"{shown} and own source", middles, histogram["mated"]),
        Line("and other people", middles, histogram["non_mated"]),
    ]
    return dict(
        name=judge["name"],
        independent=judge["independent"],
        reason=judge["reason"],
        chance_image=percent(chance["same_image"], digits=2),
        chance_identity=percent(chance["same_identity"], digits=2),
        cmc=Markup(figures.curves(lines, x="k", y="share found among the first k", log_x=True) if lines else ""),
        shown=shown,
        scores=Markup(figures.curves(scores, x="cosine", y="share of scores")),
    )  # fmt: skip


def _trade_off(judge: dict[str, Any], names: list[str], utility: dict[str, dict[str, Any]]) -> dict[str, Any] | None:
    """The figure of one judge; None where no variant has both figures."""
    points = []
    for name in names:
        found, error = leakage(judge, name, "same_identity")
        if name in utility and found is not None:
            accuracy = utility[name]["accuracy"]
            points.append(
                Point(name, 100 * found, 100 * accuracy["mean"], 100 * (error or 0), 100 * accuracy["standard_error"])
            )
    if not points:
        return None
    svg = figures.trade_off(points, x=f"leakage to {judge['name']}: same identity, rank 1 (%)", y="utility (%)")
    return dict(svg=Markup(svg), caption=f"Utility against leakage to {judge['name']}. The upper left corner is best.")


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
        name=row["name"] if row["kind"] == "recognizer" else f"{row['name']} ({row['kind']})",
        accuracy=percent(accuracy["mean"], accuracy["standard_error"], 2),
        auc=percent(row["auc"], digits=2),
        eer=percent(row["eer"], digits=2),
        tars=[percent(row["tar_at_far"].get(far)) for far in fars],
        against_mask=against,
    )  # fmt: skip


def _roc(verify: dict[str, Any]) -> str:
    lines = []
    for row in verify["rows"]:
        shown = [(far, tar) for far, tar in zip(row["roc"]["far"], row["roc"]["tar"], strict=True) if far > 0]
        lines.append(Line(row["name"], [far for far, _ in shown], [tar for _, tar in shown]))
    return figures.curves(lines, x="false accept rate", y="true accept rate", log_x=True)


def _training(run: str, lines: list[dict[str, Any]]) -> dict[str, Any]:
    parts = [key for key in ("loss", "pixel", "irm", "feature", "unlink") if any(key in line for line in lines)]
    drawn = [
        Line(part, [line["step"] for line in lines if part in line], [line[part] for line in lines if part in line])
        for part in parts
    ]
    return dict(svg=Markup(figures.curves(drawn, x="step", y="loss", log_y=True)), caption=run)
