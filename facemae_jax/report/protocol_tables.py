"""Utility on every protocol, with Gap-to-Real, and accuracy within groups of people: tables and sentences of a report.

``verify.json`` in, cells and words out. What is not in it is neither shown nor spoken of.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from facemae_jax.metrics.gaps import REAL, gaps, headline
from facemae_jax.report.results import OURS, percent

MAIN = "main pairs"
WORDS = {
    "lfw": "LFW",
    "cfp_ff": "CFP-FF",
    "cfp_fp": "CFP-FP",
    "agedb_30": "AgeDB-30",
    "calfw": "CALFW",
    "cplfw": "CPLFW",
    "csv": "own list",
    "ijbb": "IJB-B",
    "ijbc": "IJB-C",
}


class Column(NamedTuple):
    """One list of pairs."""

    head: str
    rows: Sequence[Mapping[str, Any]]
    ahead: Mapping[str, float]  # Gap-to-Real by name


def gap_text(ahead: Mapping[str, float], name: str, digits: int = 1) -> str:
    """A gap in percent with its sign; an en dash where there is none."""
    return f"{100 * ahead[name]:+.{digits}f}" if name in ahead else "–"


def columns(verify: Mapping[str, Any]) -> list[Column]:
    """Those of the main pairs, every protocol and the average; empty where only the main pairs were measured."""
    if not verify.get("protocols"):
        return []
    found = [Column(MAIN, verify["rows"], gaps(verify["rows"]))]
    for name, protocol in verify["protocols"].items():
        figure = "" if "folds" in protocol["protocol"] else ", TAR @ FAR 1e-4"
        found.append(Column(WORDS[name] + figure, protocol["rows"], protocol["gap_to_real"]))
    if "average" in verify:
        average = verify["average"]
        found.append(Column(f"average of {len(average['over'])}", average["rows"], average["gap_to_real"]))
    return found


def protocols(verify: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """The table recognizer × protocol: ``heads``, ``rows`` (name, ours, cells of text and what stands below); None without protocols."""
    found = columns(verify) if verify else []
    if not found or verify is None:
        return None
    rows = []
    for place, row in enumerate(verify["rows"]):
        name, cells = row["name"], []
        for column in found:
            below = f"gap {gap_text(column.ahead, name)}" if name in column.ahead else ""
            cells.append({"text": percent(*headline(column.rows[place])), "below": below})
        rows.append({"name": named(row), "ours": name == OURS, "cells": cells})
    return {"heads": [column.head for column in found], "rows": rows, "readings": protocol_readings(found)}


def protocol_readings(found: Sequence[Column]) -> list[str]:
    """Where the reconstruction stands to real faces and to sets from elsewhere, by the average or by each protocol."""
    chosen = found[-1:] if found[-1][0].startswith("average") else found
    said = []
    for head, rows, ahead in chosen:
        values = {row["name"]: headline(row)[0] for row in rows if row["kind"] == "recognizer"}
        if OURS not in ahead or values[OURS] is None:
            continue
        text = (
            f"{head[:1].upper()}{head[1:]}: trained on reconstructions {percent(values[OURS])} %, on the real originals {percent(values[REAL])} %; "
            f"Gap-to-Real {gap_text(ahead, OURS)} %"
        )
        others = [f"{name} {gap_text(ahead, name)} %" for name in ahead if name != OURS]
        said.append(text + (f" (others: {', '.join(others)})." if others else "."))
    return said


def groups(verify: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """The table recognizer × group: ``heads``, ``rows``, ``counts`` (pairs per group), ``readings``; None without groups."""
    if not verify or not verify.get("groups"):
        return None
    found = verify["groups"]
    names = list(found[0]["groups"])
    rows = []
    for row in found:
        values = [*(row["groups"][name]["accuracy"] for name in names), row["mean"], row["std"], row["trade_off"]]
        rows.append(
            {"name": named(row), "ours": row["name"] == OURS, "cells": [percent(value, digits=2) for value in values]}
        )
    counts = [f"{found[0]['groups'][name]['pairs']:,}" for name in names]
    said = f"{found[0]['pairs']:,} pairs show people of one group; {found[0]['left_out']:,} others took part in finding the thresholds only."
    return {"heads": names, "rows": rows, "counts": counts, "said": said, "readings": group_readings(found)}


def group_readings(found: Sequence[Mapping[str, Any]]) -> list[str]:
    """Which group the recognizer of the reconstructions serves worst, and how that is with real faces."""
    rows = {row["name"]: row for row in found if row["kind"] == "recognizer"}
    if OURS not in rows or len(rows[OURS]["groups"]) < 2:
        return []

    def ends(row: Mapping[str, Any]) -> tuple[str, str, float]:
        accuracy = {name: group["accuracy"] for name, group in row["groups"].items()}
        best, worst = max(accuracy, key=accuracy.__getitem__), min(accuracy, key=accuracy.__getitem__)
        return best, worst, accuracy[best] - accuracy[worst]

    best, worst, apart = ends(rows[OURS])
    if best == worst:
        return ["Trained on reconstructions, the recognizer is right equally often in every group."]
    text = (
        f"Trained on reconstructions, the recognizer is right most often in the group {best} and least often in {worst}, "
        f"{100 * apart:.1f} points apart"
    )
    if REAL in rows:
        text += (
            f"; trained on the real originals, best and worst group are {100 * ends(rows[REAL])[2]:.1f} points apart"
        )
    return [text + "."]


def named(row: Mapping[str, Any]) -> str:
    """What a row is called: a recognizer by its variant, others with what they are."""
    return row["name"] if row["kind"] == "recognizer" else f"{row['name']} ({row['kind']})"
