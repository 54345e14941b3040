"""What a sweep writes: ``sweep.json``, ``sweep.csv``, ``sweep.md``, ``points.json`` and ``report.html`` over all points that are complete.

Any call writes them anew, so that shards need no merging: the last one, or a call without ``--shard``, sees all.
"""

from __future__ import annotations

import json
import os
import secrets
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from facemae_jax.chain import sweep_table, sweep_text
from facemae_jax.chain.grid import Axis, shown
from facemae_jax.chain.sweep import Point, Sweep, failures
from facemae_jax.report import sweep_page
from facemae_jax.report.leakages import OVERALL
from facemae_jax.stages.inputs import Ref

COMPLETE, FAILED, MISSING = "complete", "failed", "missing"


def record(sweep: Sweep) -> dict[str, Any]:
    """``points.json``: the grid, and of every point its values, state, error, and the directories of its results."""
    failed = failures(sweep)
    return {
        "config": sweep.name,
        "grid": [
            {"fields": list(axis.fields), "steps": [[_plain(value) for value in step] for step in axis.steps]}
            for axis in sweep.axes
        ],
        "points": [
            {
                "point": point.number,
                "values": {field: _plain(value) for field, value in point.values.items()},
                "state": COMPLETE if point.complete else FAILED if point.number in failed else MISSING,
                "error": failed.get(point.number, ""),
                "directories": {str(ref): _directory(point, ref).name for ref in point.targets},
            }
            for point in sweep.points
        ],
    }


def table(sweep: Sweep) -> list[dict[str, Any]]:
    """The rows of all complete points."""
    measured = []
    for point in sweep.points:
        if point.complete:
            found = {
                ref.stage: json.loads((_directory(point, ref) / f"{ref.stage}.json").read_text())
                for ref in point.targets
            }
            measured.append((point.number, point.values, sweep_table.measured(found.get("verify"), found["audit"])))
    return sweep_table.rows(sweep.axes, measured)


def write(sweep: Sweep) -> dict[str, Any]:
    """Write all files, the page last; gives back what ``points.json`` says."""
    points, rows = record(sweep), table(sweep)
    groups = sweep_table.summary(rows)
    text = sweep_text.csv_text(rows, sweep.axes)
    title = f"Sweep of {sweep.name}"
    page = sweep_page.render(
        title=title, fields=_swept(sweep),
        along=along(sweep.axes), groups=groups,
        notes=notes(points, errors=False), csv=text,
        made=_made(sweep),
    )  # fmt: skip
    files = {
        "points.json": json.dumps(points, indent=1),
        "sweep.json": json.dumps(
            points
            | {
                "figures": sweep_table.FIGURES,
                "along": along(sweep.axes),
                "rows": [row for row in rows if row["judge"] != OVERALL],
                "settings": [group for group in groups if group["judge"] != OVERALL],
                "worst": [group for group in groups if group["judge"] == OVERALL],  # over all judges
            },
            indent=1,
        ),
        "sweep.csv": text,
        "sweep.md": sweep_text.markdown(groups, title, notes(points)),
        "report.html": page,
    }
    sweep.folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        partial = sweep.folder / f"{name}.{secrets.token_hex(4)}.partial"
        partial.write_text(content, encoding="utf-8")
        os.replace(partial, sweep.folder / name)
    return points


def notes(points: dict[str, Any], *, errors: bool = True) -> list[str]:
    """What the table stands on, and which points it lacks; an error may name a place, so that the page goes without."""
    states = [point["state"] for point in points["points"]]
    said = [f"{states.count(COMPLETE)} of {len(states)} points are complete; ± is the standard deviation over n seeds."]
    for point in points["points"]:
        named = " ".join(f"{field}={value}" for field, value in point["values"].items())
        if point["state"] == FAILED:
            why = f": {point['error']}" if errors else "; points.json says why."
            said.append(f"Point {point['point']} ({named}) failed{why}")
        elif point["state"] == MISSING:
            said.append(f"Point {point['point']} ({named}) is not there yet.")
    return said


def along(axes: Sequence[Axis]) -> str | None:
    """The first field that takes several numbers, changes alone and makes a setting: the points of a curve are joined along it."""
    for axis in axes:
        if (
            len(axis.fields) == 1
            and len(axis.steps) > 1
            and not axis.repeats
            and all(_number(step[0]) for step in axis.steps)
        ):
            return axis.fields[0]
    return None


def _number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _directory(point: Point, ref: Ref) -> Path:
    assert point.chain is not None
    return point.chain.result(ref).path


def _plain(value: Any) -> Any:
    return value if isinstance(value, int | float) else shown(value)


def _swept(sweep: Sweep) -> list[str]:
    """Fields that make a setting, in the order of the grid."""
    return [field for axis in sweep.axes if not axis.repeats for field in axis.fields]


def _made(sweep: Sweep) -> list[tuple[str, str]]:
    """How the complete points were made: hardware, code, time."""
    done: dict[str, dict[str, Any]] = {}
    for point in sweep.points:
        if point.chain is not None and point.complete:
            for ref in point.targets:
                result = point.chain.result(ref)
                done[result.fingerprint] = result.done or {}
    hardware = {
        f"{d['hardware']['devices']} × {d['hardware']['device']}, {d['hardware']['cpus']} CPU cores"
        for d in done.values()
    }
    commits = {d["commit"] for d in done.values()}
    grid = "; ".join(
        f"{'+'.join(axis.fields)}={','.join(shown(step if len(step) > 1 else step[0]) for step in axis.steps)}"
        for axis in sweep.axes
    )
    return [
        ("grid", grid),
        ("hardware", "; ".join(sorted(hardware)) or "–"),
        ("code", ", ".join(sorted(commits)) or "–"),
    ]
