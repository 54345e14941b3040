"""The figures of a report as CSV, inside the page: ``data:`` addresses, so that nothing but the page is needed. Rates are shares of 1."""

from __future__ import annotations

import base64
import csv
import io
import math
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from facemae_jax.metrics.gaps import HEADLINE, gaps, headline
from facemae_jax.report import protocol_tables, results
from facemae_jax.report.measured import Measure


class Download(NamedTuple):
    """One file to be saved."""

    file: str
    words: str
    address: str


def address(text: str) -> str:
    """The ``data:`` address of a CSV file; a byte-order mark has spreadsheets read it as UTF-8."""
    return "data:text/csv;charset=utf-8;base64," + base64.b64encode(text.encode("utf-8-sig")).decode()


def lines(heads: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """CSV text; None is an empty cell. A word that a spreadsheet would take for a formula gets a quote before it."""
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(heads)
    writer.writerows([_cell(value) for value in row] for row in rows)
    return file.getvalue()


def _cell(value: Any) -> Any:
    if isinstance(value, str) and value[:1] in ("=", "+", "-", "@", "\t"):
        return "'" + value
    return "" if value is None else value


def downloads(
    verify: dict[str, Any] | None,
    audit: dict[str, Any],
    found: Sequence[Measure],
    training: dict[str, list[dict[str, Any]]],
) -> list[Download]:
    """Every figure and curve of the page, in files of which each has one kind of row."""
    files = [
        ("utility.csv", "utility: verification of every recognizer", _utility(verify) if verify else None),
        (
            "protocols.csv",
            "utility: accuracy and Gap-to-Real of every recognizer on every protocol",
            _protocols(verify) if verify else None,
        ),
        (
            "groups.csv",
            "utility: accuracy of every recognizer within each group",
            _groups(verify) if verify and verify.get("groups") else None,
        ),
        ("leakage.csv", "leakage: the plain search, by variant and attacker", _leakage(verify, audit)),
        ("attacks.csv", "attacks: every figure of every attack with its bounds, chance and ceiling", _attacks(found)),
        ("fusion.csv", "fusion curve: n images of a person", _fusion(found)),
        ("retrieval_curve.csv", "retrieval curves: found among the first k", _cmc(audit)),
        ("roc.csv", "ROC curves of verification, matching and membership", _roc(verify, audit)),
        ("score_histograms.csv", "embedding histograms: cosines to own source and to others", _histograms(audit)),
        (
            "training.csv",
            "training: what was logged, step by step",
            _training(training) if any(training.values()) else None,
        ),
    ]
    return [Download(name, words, address(text)) for name, words, text in files if text]


def _utility(verify: dict[str, Any]) -> str:
    fars = sorted({far for row in verify["rows"] for far in row["tar_at_far"]}, key=float, reverse=True)
    heads = [
        "name",
        "kind",
        "accuracy",
        "standard_error",
        "auc",
        "eer",
        *(f"tar_at_far_{far}" for far in fars),
        "chance",
        "gap_to_real",
    ]
    guess, ahead = results.utility_chance(verify), gaps(verify["rows"])
    return lines(
        heads,
        (
            [
                row["name"], row["kind"], row["accuracy"]["mean"], row["accuracy"]["standard_error"], row["auc"],
                row["eer"], *(row["tar_at_far"].get(far) for far in fars), guess, ahead.get(row["name"]),
            ]
            for row in verify["rows"]
        ),
    )  # fmt: skip


def _protocols(verify: dict[str, Any]) -> str | None:
    heads = ["protocol", "name", "kind", "figure", "value", "standard_error", "gap_to_real"]
    rows = []
    for protocol, figures, ahead in protocol_tables.columns(verify):
        for row in figures:
            figure = "accuracy" if "accuracy" in row else f"tar_at_far_{HEADLINE}"
            rows.append([protocol, row["name"], row["kind"], figure, *headline(row), ahead.get(row["name"])])
    return lines(heads, rows) if rows else None


def _groups(verify: dict[str, Any]) -> str:
    heads = ["name", "kind", "group", "accuracy", "pairs", "positive_pairs", "mean", "std", "trade_off"]
    rows = [
        [row["name"], row["kind"], name, group["accuracy"], group["pairs"], group["positive"], row["mean"], row["std"], row["trade_off"]]
        for row in verify["groups"]
        for name, group in row["groups"].items()
    ]  # fmt: skip
    return lines(heads, rows)


def _leakage(verify: dict[str, Any] | None, audit: dict[str, Any]) -> str:
    utility = results.utility_rows(verify)
    heads = ["variant", "utility", "utility_standard_error", "judge", "independent_of_teacher"]
    heads += [
        f"{question}_{what}"
        for question in results.QUESTIONS
        for what in ("rank_1", "standard_error", "chance", "ceiling")
    ]
    rows = []
    for variant in results.variant_names(verify, audit):
        accuracy = utility[variant]["accuracy"] if variant in utility else {}
        for judge in audit["judges"]:
            row = [variant, accuracy.get("mean"), accuracy.get("standard_error"), judge["name"], judge["independent"]]
            for question in results.QUESTIONS:
                value, error = results.leakage(judge, variant, question)
                row += [value, error, results.chance(judge, question), results.ceiling(judge, question)]
            rows.append(row)
    return lines(heads, rows)


def _attacks(found: Sequence[Measure]) -> str:
    return lines(["independent_of_teacher" if name == "independent" else name for name in Measure._fields], found)


def _fusion(found: Sequence[Measure]) -> str | None:
    fused = [one for one in found if one.attack == "fusion" and one.figure == "rank_1"]
    if not fused:
        return None
    heads = ["judge", "variant", "n", "sources_in_gallery", "rank_1", "low", "high", "chance", "ceiling"]
    return lines(
        heads,
        (
            [one.judge, one.variant, one.n, one.question == "with_sources", one.value, one.low, one.high, one.chance, one.ceiling]
            for one in fused
        ),
    )  # fmt: skip


def _cmc(audit: dict[str, Any]) -> str:
    rows = [
        [judge["name"], variant, question, rank, rate]
        for judge in audit["judges"]
        for variant, attacked in judge["variants"].items()
        for question in results.QUESTIONS
        if (figures := attacked["retrieval"][question])
        for rank, rate in zip(figures["cmc"]["rank"], figures["cmc"]["rate"], strict=True)
    ]
    return lines(["judge", "variant", "question", "k", "share_found_among_first_k"], rows)


def _roc(verify: dict[str, Any] | None, audit: dict[str, Any]) -> str:
    curves = [("verification", "", row["name"], row["roc"]) for row in verify["rows"]] if verify else []
    curves += [
        ("matching", judge["name"], variant, attacked["matching"]["roc"])
        for judge in audit["judges"]
        for variant, attacked in judge["variants"].items()
    ]
    if "membership" in audit:
        curves.append(("membership", "", "", audit["membership"]["roc"]))
    return lines(
        ["curve", "judge", "variant", "false_accepts", "true_accepts"],
        ([*where, far, tar] for *where, roc in curves for far, tar in zip(roc["far"], roc["tar"], strict=True)),
    )  # fmt: skip


def _histograms(audit: dict[str, Any]) -> str:
    rows = []
    for judge in audit["judges"]:
        for variant, attacked in judge["variants"].items():
            bars = attacked["matching"]["histogram"]
            between = zip(bars["edges"], bars["edges"][1:], bars["mated"], bars["non_mated"], strict=False)
            rows += [[judge["name"], variant, *bar] for bar in between]
    return lines(["judge", "variant", "cosine_from", "cosine_to", "share_of_own_source", "share_of_other_people"], rows)


def _training(training: dict[str, list[dict[str, Any]]]) -> str:
    return lines(
        ["run", "step", "quantity", "value"],
        (
            [run, line["step"], quantity, value]
            for run, logged in training.items()
            for line in logged
            for quantity, value in line.items()
            if quantity != "step" and isinstance(value, int | float) and math.isfinite(value)
        ),
    )
