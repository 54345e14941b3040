"""The verb ``sweep``: its flags, its help, and the order of its work."""

from __future__ import annotations

import ast
import contextlib
import tempfile
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from facemae_jax import logs
from facemae_jax.chain import grid, settings, sweep, sweep_files, sweep_preview
from facemae_jax.chain.locks import claimed, locked
from facemae_jax.processes import barrier, first, from_first
from facemae_jax.types import FacemaeError

SUMMARY = "one chain per point of a grid, shared stages once: mean ± std over seeds, curve of utility and leakage"
FLAGS = ("grid", "shard", "dry-run")
HELP = """\
sweep: {summary}

  python -m facemae_jax sweep --config=configs/demo.py --workdir=runs/demo {example}

  --grid       fields and their values; every combination is a point. In quotes, for the shell.
                 'mae.mask_ratio=0.5,0.75;seed=0,1'              ; between fields, , between values: 4 points
                 'recognizer.variants=(original,mask),(original)' brackets around a value that has commas of its own
                 'mae.width+mae.heads=(64,2),(128,4)'            + between fields that change together: 2 points
               Files that name their own grid (--grid replaces it), on configs/demo.py or on another config after a colon, as in
               --config=configs/ablations/mask_ratio.py:celeba_lfw:cpu
{studies}
  --dry-run    print the points, and which stages each would make or reuse; nothing is run or written
  --shard      i/n: make only every n-th point, beginning with the i-th

Points share one workdir: a stage that the grid does not touch is made once, and a finished run in that workdir is reused. A point is
verified and audited; it is not published, and has no page. Killed and started again, a sweep goes on where it was. A point that fails is
told, and the others go on; the exit code is then 1, and the next call tries it again. Several processes of one run (--processes) work on
each point together, and end with the first that fails.

`seed` is the seed of trainings; synthetic.seed, data.split_seed and audit.seed are fields of their own. Means are taken over all four.

Shards may run at the same time: in one workdir on a disk that all share (a stage is made by one, and the others wait for it), or each in
its own with the same --secret-file; then copy their directories into one workdir. Every call writes the tables over all points that are
complete there; the same call without --shard makes what is missing, and only gathers when nothing is.

Written to WORKDIR/sweep-…/: report.html, sweep.md, sweep.csv, sweep.json, points.json (which points are complete, failed or missing).
"""


def help_text() -> str:
    """What ``sweep --help`` prints."""
    files = sorted(path for path in (settings.REPOSITORY / "configs" / "ablations").glob("*.py") if path.stem != "base")
    said = {path.name: (ast.get_docstring(ast.parse(path.read_text())) or "").splitlines()[0] for path in files}
    studies = "\n".join(f"                 configs/ablations/{name:17s} {text}" for name, text in said.items())
    return HELP.format(summary=SUMMARY, example=grid.EXAMPLE, studies=studies)


def serve(
    config: ConfigDict,
    spec: str,
    workdir: Path,
    options: Mapping[str, str],
    *,
    own_grid: str = "",
    overridden: tuple[str, ...] = (),
    secret_file: Path | None = None,
) -> int:
    """Make the points of one call and write the tables; gives back the exit code: 1 when a point of this call failed.

    Args:
        config: loaded, neither checked nor resolved.
        spec: how it was named.
        workdir: of all points; there, unless this is a dry run.
        options: flag → text, of :data:`FLAGS`.
        own_grid: ``GRID`` of the config file.
        overridden: fields that the command line sets.
        secret_file: instead of the workdir's own.

    Raises:
        FacemaeError: a grid or shard that cannot be; a grid of which no point can be run.
    """
    axes = read_axes(config, options, own_grid, overridden)
    shard = sweep.read_shard(options.get("shard", ""))
    if "dry-run" in options:
        logs.say(_dry(config, spec, workdir, axes, shard, secret_file))
        return 0
    shared = shard.of > 1
    with locked(workdir, shared=shared):
        made = sweep.make_sweep(config, axes, workdir, spec=spec, secret_file=secret_file, shared=shared)
        logs.say(f"sweep of {config.name}: {len(made.points)} points; tables in {made.folder}")
        sweep.warn(made)

        def write() -> dict[str, Any]:
            # One after another, so that what is there at the end was written by who saw everything.
            claim = workdir / "private" / "claims" / made.folder.name
            with claimed(claim, "tables") if shared else contextlib.nullcontext():
                return from_first(partial(sweep_files.write, made))

        failed = sweep.run(made, shard, write)
        found = write()
        barrier("facemae sweep is written")
    if first():
        logs.say((made.folder / "sweep.md").read_text(encoding="utf-8").rstrip())
    logs.say(f"report: {made.folder / 'report.html'}")
    if failed:
        for point in failed:
            logs.warn(f"point {point.number} ({point.label}) failed: {found['points'][point.number - 1]['error']}")
        logs.warn(f"{len(failed)} points failed; the same command tries them again.")
    return 1 if failed else 0


def read_axes(
    config: ConfigDict, options: Mapping[str, str], own_grid: str, overridden: tuple[str, ...] = ()
) -> tuple[grid.Axis, ...]:
    """The grid of the command line, or else of the config file.

    Raises:
        FacemaeError: where there is none, and as :func:`grid.read_grid`.
    """
    text = options.get("grid", own_grid)
    if not text:
        raise FacemaeError(
            f"--grid is missing: name fields and their values, such as {grid.EXAMPLE}; see sweep --help."
        )
    return grid.read_grid(text, config, overridden)


def _dry(
    config: ConfigDict,
    spec: str,
    workdir: Path,
    axes: tuple[grid.Axis, ...],
    shard: sweep.Shard,
    secret_file: Path | None,
) -> str:
    """Nothing is written: where there is no secret yet, one of this moment stands for it, for then nothing is reconstructed either."""
    with tempfile.TemporaryDirectory() as scratch:
        used = workdir if (workdir / "private").is_dir() else Path(scratch)
        secret = secret_file or used / "private" / "secret"
        if not secret.is_file():
            secret = Path(scratch) / "secret"
        return sweep_preview.dry_run(sweep.make_sweep(config, axes, used, spec=spec, secret_file=secret), shard)
