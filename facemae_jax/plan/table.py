"""A plan as text and as JSON."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, NamedTuple

from facemae_jax.plan.estimate import Estimate, size
from facemae_jax.plan.machine import Assumptions, Collective, Machine, moved
from facemae_jax.plan.program import Program

MIB = 2**20
Cell = Callable[[Estimate], str]


class Plan(NamedTuple):
    """The trainings of one config on one machine."""

    config: str  # as named on the command line
    machine: Machine
    assumed: tuple[Assumptions, ...]  # of each training
    source: str  # where bytes and exchanges come from
    estimates: tuple[Estimate, ...]
    programs: tuple[Program | None, ...]  # compiled steps, where there are some
    news: tuple[tuple[Collective, ...], ...]  # exchanges of compiled steps that nobody planned
    advice: tuple[str, ...]  # of what would fit


def text(plan: Plan) -> str:
    """The table that ``plan`` prints."""
    machine = plan.machine
    lines = [
        f"{plan.config} on {machine.name}: {machine.devices} × {machine.chip}, {size(machine.memory)} each, "
        f"{machine.hosts} host{'s' * (machine.hosts > 1)}, {machine.slices} slice{'s' * (machine.slices > 1)}",
        f"bytes and exchanges: {plan.source}",
        "",
    ]
    rows = [("", [one.counts.name for one in plan.estimates])]
    rows += [(label, [cell(one) for one in plan.estimates]) for label, cell in _rows(plan)]
    for number, (label, _) in enumerate(_compiled_rows(None)):
        cells = [_compiled_rows(program)[number][1] for program in plan.programs]
        rows += [(label, cells)] if any(cells) else []
    width = max(len(label) for label, _ in rows)
    columns = [max(len(cells[number]) for _, cells in rows) for number in range(len(plan.estimates))]
    for label, cells in rows:
        lines.append(
            "  ".join([label.ljust(width), *(cell.rjust(w) for cell, w in zip(cells, columns, strict=True))]).rstrip()
        )
    lines += ["", *_exchanges(plan)]
    lines += [f"{one.counts.name}: {one.arithmetic}." for one in plan.estimates if not one.fits]
    lines += list(plan.advice)
    shares = ", ".join(
        f"{a.utilisation:.0%} ({one.counts.name})" for a, one in zip(plan.assumed, plan.estimates, strict=True)
    )
    some = plan.assumed[0]
    lines += [
        f"Assumed: {shares} of the peak while computing, {some.memory_rate:.0%} of the memory's rate, {some.links:.0%} of the networks'; "
        f"{some.usable:.0%} of the memory may be filled; network and computing do not overlap; data come as fast as they are asked for."
    ]
    return "\n".join(lines)


def as_json(plan: Plan) -> str:
    """All numbers of the plan; sizes in bytes, times in seconds."""

    def plain(value: Any) -> Any:
        if hasattr(value, "_asdict"):
            return {name: plain(part) for name, part in value._asdict().items()}
        if isinstance(value, dict):
            return {name: plain(part) for name, part in value.items()}
        return [plain(part) for part in value] if isinstance(value, (list, tuple)) else value

    return json.dumps(plain(plan), indent=2) + "\n"


def _rows(plan: Plan) -> list[tuple[str, Cell]]:
    def memory(name: str) -> tuple[str, Cell]:
        return f"  {name.replace('_', ' ')}", lambda one: size(getattr(one.counts.memory, name))

    parts = [
        name
        for name in plan.estimates[0].counts.memory._fields
        if any(getattr(e.counts.memory, name) for e in plan.estimates)
    ]
    axes = sorted({axis for one in plan.estimates for axis in one.moved})
    return [
        ("people", lambda one: f"{one.counts.identities:,}"),
        ("images", lambda one: f"{one.counts.images:,}"),
        (
            "images per step",
            lambda one: f"{one.counts.batch:,}" + (f" in {one.counts.accumulate}" if one.counts.accumulate > 1 else ""),
        ),
        ("steps", lambda one: f"{one.counts.steps:,}"),
        ("mesh, data × fsdp", lambda one: "{} × {}".format(*one.counts.mesh)),
        ("parameters", lambda one: f"{one.counts.parameters:,}"),
        ("numbers in class centres", lambda one: f"{one.counts.centres:,}"),
        ("bytes per device", lambda one: size(one.counts.memory.total)),
        *(memory(name) for name in parts),
        ("fits", lambda one: f"{'yes' if one.fits else 'NO'}, {size(one.needed)} of {size(one.usable)}"),
        ("largest batch that fits", lambda one: f"{one.largest_batch:,}"),
        ("GFLOP per image", lambda one: f"{one.flops_per_image / 1e9:,.2f}"),
        *(
            (f"sent per device and step, over {axis}", lambda one, axis=axis: size(one.moved.get(axis, 0.0)))
            for axis in axes
        ),
        ("ms per step", lambda one: f"{one.step_seconds * 1e3:,.1f}"),
        ("  computing", lambda one: f"{one.compute_seconds * 1e3:,.1f}"),
        ("  reading memory", lambda one: f"{one.memory_seconds * 1e3:,.1f}"),
        ("  network", lambda one: f"{one.network_seconds * 1e3:,.1f}"),
        ("images/s", lambda one: f"{one.images_per_second:,.0f}"),
        ("days", lambda one: f"{one.days:,.2f}"),
    ]


def _compiled_rows(program: Program | None) -> list[tuple[str, str]]:
    """Labels, and the cells of one training; empty where nothing was compiled."""
    there = program is not None and not program.failure

    def cell(value: int) -> str:
        return size(value) if there else ""

    peak, arguments, temporaries, results = (program.peak, *program[:3]) if program else (0, 0, 0, 0)
    return [
        ("compiled program, bytes per device", cell(peak)),
        ("  arguments", cell(arguments)),
        ("  temporaries", cell(temporaries)),
        ("  results elsewhere", cell(results)),
    ]


def _exchanges(plan: Plan) -> list[str]:
    """The exchanges of 1 MiB and more; those that nobody planned are marked."""
    lines = []
    for number, one in enumerate(plan.estimates):
        news = plan.news[number] if plan.news else ()
        listed = [each for each in one.counts.collectives if each.size >= MIB and each not in news]
        for each in (*listed, *news):
            inside, across = moved(each, plan.machine, one.counts.mesh)
            where = f"{size(inside)} inside a slice" + (f", {size(across)} to others" if across else "")
            times = f" × {each.times}" if each.times > 1 else ""
            mark = "NOT PLANNED, yet compiled: " if each in news else ""
            lines.append(
                f"{one.counts.name}: {mark}{each.kind} over {'+'.join(each.axes)}, {size(each.size)}{times}: {each.what} "
                f"(a device sends {where})"
            )
    return [*lines, ""] if lines else []
