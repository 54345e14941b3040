"""``report --compare RUN…``: finds the figures of finished runs and sweeps, and writes one page on all of them.

A RUN is a workdir (its newest report counts), one ``report-…`` directory in it, or a ``sweep-…`` directory. Nothing is computed anew, and no
config is needed.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from facemae_jax import logs
from facemae_jax.report import compare_page, compared
from facemae_jax.report.compared import Run
from facemae_jax.types import FacemaeError

SUMMARY = "finished runs or sweeps side by side on one page (compare.html)"
DEFAULT = "compare.html"


def serve(places: Sequence[Path], out: Path) -> None:
    """Write the page.

    Raises:
        FacemaeError: fewer than two runs, one named twice, or a place that is no run.
    """
    if len(places) < 2:
        raise FacemaeError(
            "--compare needs at least two runs: write report --compare DIR DIR …, each a workdir, report-… or sweep-… directory."
        )
    if not out.parent.is_dir():
        raise FacemaeError(f"--out={out}: there is no folder {out.parent}; make it first, or name another file.")
    found = [locate(place) for place in places]
    for position, place in enumerate(found):
        if place in found[:position]:
            raise FacemaeError(
                f"{places[position]} is the same run as {places[found.index(place)]}: name each run once."
            )
    runs = [_sweep(place) if (place / "sweep.json").is_file() else _run(place) for place in found]
    marks = [place.name.rpartition("-")[2] for place in found]
    names = compare_page.distinct([run.name for run in runs], marks)
    text = compare_page.render([run._replace(name=name) for run, name in zip(runs, names, strict=True)])
    partial = out.with_name(out.name + ".partial")
    partial.write_text(text, encoding="utf-8")
    os.replace(partial, out)
    logs.say(f"compare: {out} ({len(runs)} runs)")


def locate(place: Path) -> Path:
    """The directory with a run's figures: one finished report, or one sweep.

    Raises:
        FacemaeError: there is neither.
    """
    if not place.is_dir():
        raise FacemaeError(f"{place}: no such folder; --compare takes workdirs, report-… and sweep-… directories.")
    if (place / "sweep.json").is_file() or _done(place).get("stage") == "report":
        return place.resolve()
    reports = [path for path in place.glob("report-*") if _done(path).get("stage") == "report"]
    if reports:
        return max(reports, key=lambda path: (_done(path)["began"], path.name)).resolve()
    sweeps = sorted(path.parent.name for path in place.glob("sweep-*/sweep.json"))
    if sweeps:
        raise FacemaeError(f"{place} holds no finished report, but sweeps: name one, such as {place / sweeps[0]}.")
    raise FacemaeError(
        f"{place} is no run: it holds neither a finished report-… directory nor a sweep.json; finish it with the verb run or sweep first."
    )


def _run(report: Path) -> Run:
    """What a report was made from; its inputs lie beside it."""
    done = _done(report)
    figures: dict[str, Any] = {}
    for stage in ("audit", "verify"):
        if stage not in done["upstream"]:
            continue
        directory = done["upstream"][stage]["directory"]
        file = report.parent / directory / f"{stage}.json"
        if not file.is_file():
            raise FacemaeError(
                f"{report}: its figures are in {directory}/{stage}.json of the workdir, which is not there; name the report where it was made."
            )
        figures[stage] = json.loads(file.read_text())
    hardware = done["hardware"]
    facts = [
        ("hardware", f"{hardware['devices']} × {hardware['device']}, {hardware['cpus']} CPU cores"),
        ("code", done["commit"]),
    ]
    return compared.run_of(done["config_name"], figures.get("verify"), figures["audit"], facts)


def _sweep(folder: Path) -> Run:
    sweep = json.loads((folder / "sweep.json").read_text())
    if not sweep["settings"]:
        raise FacemaeError(f"{folder}: no point of this sweep is complete yet; continue it with the verb sweep.")
    return compared.sweep_of(f"sweep of {sweep['config']}", sweep)


def _done(path: Path) -> dict[str, Any]:
    file = path / "done.json"
    return json.loads(file.read_text()) if file.is_file() else {}
