"""What stands in ``verify.json`` and ``audit.json``, looked up and written as percent. Dictionaries in, numbers and words out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

OURS = "reconstruction"
QUESTIONS = {"same_image": "same image", "same_identity": "same identity"}


def percent(value: float | None, error: float | None = None, digits: int = 1) -> str:
    """A share as percent, with ± one standard error; an en dash where there is none."""
    if value is None:
        return "–"
    text = f"{100 * value:.{digits}f}"
    return text if error is None else f"{text} ± {100 * error:.{digits}f}"


def span(interval: Sequence[float] | None, digits: int = 1, times: float = 100) -> str:
    """An interval as percent, ``low … high``; nothing where there is none."""
    return f"{times * interval[0]:.{digits}f} … {times * interval[1]:.{digits}f}" if interval else ""


def utility_rows(verify: dict[str, Any] | None) -> dict[str, dict[str, Any]]:
    """Variant → its row of ``verify.json``; empty when nothing was verified."""
    return {row["name"]: row for row in verify["rows"] if row["kind"] == "recognizer"} if verify else {}


def utility_chance(verify: dict[str, Any] | None) -> float | None:
    """Accuracy of whoever gives every pair the commoner answer; None when nothing was verified."""
    if not verify:
        return None
    count, positive = verify["protocol"]["count"], verify["protocol"]["positive"]
    return max(positive, count - positive) / count


def leakage(judge: dict[str, Any], variant: str, question: str) -> tuple[float | None, float | None]:
    """Rank-1 rate and its standard error; None where the variant or the question was not attacked."""
    attacked = judge["variants"].get(variant)
    found = attacked["retrieval"][question] if attacked else None
    return (found["rank"]["1"], found["standard_error"]["rank_1"]) if found else (None, None)


def ceiling(judge: dict[str, Any], question: str) -> float | None:
    """Rank-1 rate of the originals themselves as queries; None where the question cannot be asked."""
    found = judge["ceiling"][question]
    return found["rank"]["1"] if found else None


def chance(judge: dict[str, Any], question: str) -> float | None:
    """Rank-1 rate of a blind guess; None where the question cannot be asked."""
    found = judge["ceiling"][question]
    return found["chance"]["rank"]["1"] if found else None


def variant_names(verify: dict[str, Any] | None, audit: dict[str, Any]) -> list[str]:
    """Every variant that was verified or attacked, in the order of the audit."""
    attacked = [name for judge in audit["judges"] for name in judge["variants"]]
    return list(dict.fromkeys([*attacked, *utility_rows(verify)]))


def strength(variant: str) -> tuple[str, float | None]:
    """Kind and strength of a variant: ``blur@2`` is ("blur", 2.0), ``mask`` is ("mask", None)."""
    kind, at, text = variant.partition("@")
    return kind, float(text) if at else None


def families(variants: Sequence[str]) -> dict[str, list[str]]:
    """Kind → its variants in order of strength; one whose strength is not in its name comes first."""
    found: dict[str, list[str]] = {}
    for name in variants:
        found.setdefault(strength(name)[0], []).append(name)
    return {kind: sorted(names, key=lambda name: strength(name)[1] or 0.0) for kind, names in found.items()}


def table(verify: dict[str, Any] | None, audit: dict[str, Any]) -> str:
    """The table variant × utility × leakage as plain text, for the terminal."""
    utility = utility_rows(verify)
    heads = ["variant", "utility"] + [f"{judge['name']}: image / identity" for judge in audit["judges"]]
    lines = [heads]
    for name in variant_names(verify, audit):
        accuracy = utility[name]["accuracy"] if name in utility else {}
        line = [name, percent(accuracy.get("mean"), accuracy.get("standard_error"))]
        for judge in audit["judges"]:
            line.append(" / ".join(percent(leakage(judge, name, question)[0]) for question in QUESTIONS))
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
