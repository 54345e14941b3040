"""One chain per point of a grid, in one workdir: what points share is made once, what is finished is reused.

A point is complete when it was verified and audited; nothing is published, and no page is made per point. A point that fails is
noted and the others go on. What the figures become is the business of ``sweep_table`` and ``sweep_files``.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
from ml_collections import ConfigDict

from facemae_jax import logs
from facemae_jax.chain import grid, rules
from facemae_jax.chain.grid import Axis
from facemae_jax.chain.provenance import code_commit
from facemae_jax.chain.runner import Chain
from facemae_jax.processes import first, from_first
from facemae_jax.stages.inputs import Ref
from facemae_jax.train.loop import Interrupted
from facemae_jax.types import FacemaeError


class Point(NamedTuple):
    """One combination of values."""

    number: int  # from 1, in the order of the grid
    values: dict[str, Any]
    chain: Chain | None  # None where the configuration contradicts itself
    error: str  # why

    @property
    def label(self) -> str:
        """Its values, for people."""
        return grid.label(self.values)

    @property
    def targets(self) -> list[Ref]:
        """The results that make it complete."""
        return targets(self.chain.config) if self.chain else []

    @property
    def complete(self) -> bool:
        """Whether they are all there."""
        chain = self.chain
        return chain is not None and all(chain.result(ref).done is not None for ref in self.targets)


class Shard(NamedTuple):
    """Which points one call makes: every ``of``-th, beginning with ``number``."""

    number: int = 1
    of: int = 1

    def takes(self, point: Point) -> bool:
        """Whether a point is among them."""
        return (point.number - self.number) % self.of == 0


class Sweep(NamedTuple):
    """All points of a grid in one workdir."""

    name: str  # of the base config
    workdir: Path
    axes: tuple[Axis, ...]
    points: tuple[Point, ...]

    @property
    def folder(self) -> Path:
        """Where its tables lie: named after the grid and everything that its points depend on."""
        marks = [
            [point.label, [point.chain.result(ref).fingerprint for ref in point.targets] if point.chain else None]
            for point in self.points
        ]
        return self.workdir / f"sweep-{hashlib.sha256(json.dumps(marks).encode()).hexdigest()[:8]}"

    def note(self, point: Point) -> Path:
        """Where the failure of a point is told, so that other calls can read it."""
        return self.folder / "failed" / f"{point.number:04d}.json"


def read_shard(text: str) -> Shard:
    """``i/n``; "" = all points.

    Raises:
        FacemaeError: for another form.
    """
    if not text:
        return Shard()
    number, _, of = text.partition("/")
    if not (number.isdigit() and of.isdigit() and 1 <= int(number) <= int(of)):
        raise FacemaeError(f"--shard={text}: write i/n, from 1/n to n/n, such as 2/3 for the second of three.")
    return Shard(int(number), int(of))


def targets(config: ConfigDict) -> list[Ref]:
    """What a point is measured by: utility, where there are faces to verify on, and leakage."""
    return [*([Ref("verify")] if config.verify.faces else []), Ref("audit")]


def make_sweep(
    config: ConfigDict,
    axes: tuple[Axis, ...],
    workdir: Path,
    *,
    spec: str = "CONFIG",
    secret_file: Path | None = None,
    shared: bool = False,
) -> Sweep:
    """Every point, checked, before any work; a point whose values contradict each other carries its error.

    Args:
        config: loaded, not resolved.
        axes: of its grid.
        workdir: of all points.
        spec: how the config was named.
        secret_file: instead of the workdir's own.
        shared: other shards work in the workdir at the same time.

    Raises:
        FacemaeError: when no point is sound.
    """
    commit, made = code_commit(), []
    for number, values in enumerate(grid.points(axes), 1):
        chain, error = None, ""
        try:
            # A sweep publishes nothing, so pasted real pixels need no permission here.
            own = grid.with_values(config, values | {"publish.allow_real_pixels": True})
            rules.check(own)
            named = f"{spec} {' '.join(f'--config.{field}={value}' for field, value in values.items())}"
            chain = Chain(
                rules.resolve(own), workdir, spec=named, secret_file=secret_file, commit=commit, shared=shared
            )
            for ref in targets(own):
                chain.result(ref)
        except FacemaeError as fault:
            chain, error = None, str(fault)
        made.append(Point(number, values, chain, error))
    if all(point.error for point in made):
        raise FacemaeError(f"no point of the grid can be run; the first one: {made[0].error}")
    return Sweep(config.name, workdir.absolute(), axes, tuple(made))


def warn(sweep: Sweep) -> None:
    """Tell what the user should know before hours of work: points that cannot be, points that are the same, other code's results."""
    same: dict[tuple[str, ...], list[int]] = {}
    commits: set[str] = set()
    for point in sweep.points:
        if point.chain is None:
            logs.warn(f"point {point.number} ({point.label}) cannot be run: {point.error}")
            continue
        results = [point.chain.result(ref) for ref in point.targets]
        same.setdefault(tuple(result.fingerprint for result in results), []).append(point.number)
        commits |= {done["commit"] for result in results if (done := result.done)}
    for numbers in same.values():
        if len(numbers) > 1:
            logs.warn(
                f"points {', '.join(map(str, numbers))} give the same results: what differs between them changes no figure."
            )
    if others := commits - {code_commit()}:
        logs.warn(
            f"finished points were made by code {', '.join(sorted(others))}, this is {code_commit()}: "
            "stages are reused by their VERSION; use a new --workdir to make all anew."
        )


def run(sweep: Sweep, shard: Shard, after_each: Callable[[], Any]) -> list[Point]:
    """Make the points of one shard; those that failed come back. ``after_each`` is called after every point that took work.

    Raises:
        Interrupted, OSError: a signal; a full disk, which would fail every other point, too.
        Exception: any failure where several processes work together: the others may be waiting inside of it.
    """
    mine = [point for point in sweep.points if shard.takes(point)]
    failed = []
    for at, point in enumerate(mine, 1):
        part = f", {at} of {len(mine)} of this shard" if shard.of > 1 else ""
        title = f"point {point.number} of {len(sweep.points)}{part} ({point.label})"
        if point.chain is None:
            _note(sweep, point, point.error)
            failed.append(point)
            continue
        try:
            missing = point.chain.missing(point.targets)
            logs.say(f"{title}: {f'{len(missing)} stages to make' if missing else 'complete'}")
            point.chain.run(missing, with_upstream=False)
        except Interrupted:
            raise
        except Exception as fault:
            full = isinstance(fault, OSError) and fault.errno in (errno.ENOSPC, errno.EDQUOT)
            if full or jax.process_count() > 1:
                logs.warn(f"{title} failed, and with it this call.")
                raise
            known = isinstance(fault, FacemaeError)
            error = str(fault) if known else f"{type(fault).__name__}: {(str(fault).splitlines() or [''])[0][:300]}"
            _note(sweep, point, error, "" if known else traceback.format_exc())
            logs.warn(f"{title} failed: {error}")
            failed.append(point)
            continue
        if first():
            sweep.note(point).unlink(missing_ok=True)
        if missing:
            after_each()
    return failed


def failures(sweep: Sweep) -> dict[int, str]:
    """Point → why it is not there, as far as this or another call found out; complete points are none."""
    found = {}
    for point in sweep.points:
        if point.complete:
            continue
        if point.chain is None:
            found[point.number] = point.error
        elif (note := sweep.note(point)).is_file():
            found[point.number] = json.loads(note.read_text())["error"]
    return found


def _note(sweep: Sweep, point: Point, error: str, trace: str = "") -> None:
    def write() -> None:
        note = sweep.note(point)
        note.parent.mkdir(parents=True, exist_ok=True)
        partial = note.with_suffix(".partial")
        partial.write_text(json.dumps({"point": point.number, "error": error, "traceback": trace}, indent=1))
        os.replace(partial, note)

    from_first(write)
