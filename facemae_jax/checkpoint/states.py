"""The states of a run on disk, through Orbax: saved in the background, atomically, with checksums.

Every process calls; one keeps the books. Not for the decision when to save (``train.loop``), nor for finished weights
(``checkpoint.weights``).
"""

from __future__ import annotations

import json
import logging
import math
import os
import re
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp

from facemae_jax.checkpoint.integrity import SUMS, damage, named, sums
from facemae_jax.processes import barrier, everywhere
from facemae_jax.types import FacemaeError, Tree

LOG = logging.getLogger("facemae_jax")
NO_ROOM = ("no space left", "quota exceeded", "file too large", "read-only file system", "permission denied")


class Checkpoints:
    """The checkpoints ``directory/<step>`` of one run: the latest ``keep_latest`` and the ``keep_best`` of lowest loss.

    Saving happens in the background and becomes visible by one rename. Leave by ``with`` or :meth:`close`, which wait for it.
    """

    def __init__(self, directory: Path, *, keep_latest: int = 2, keep_best: int = 1):
        self.directory = Path(directory).absolute()  # Orbax fails late, in its thread, on a relative one
        self._keep = _Keep(self.directory, keep_latest, keep_best)
        self._saving: int | None = None
        self._manager = self._open()

    def _open(self) -> ocp.CheckpointManager:
        options = ocp.CheckpointManagerOptions(
            preservation_policy=self._keep,
            cleanup_tmp_directories=True,
            async_options=ocp.AsyncOptions(post_finalization_callback=self._write_sums),
        )
        handlers = {"state": ocp.StandardCheckpointHandler(), "meta": ocp.JsonCheckpointHandler()}
        return ocp.CheckpointManager(self.directory, options=options, item_handlers=handlers)

    def __enter__(self) -> Checkpoints:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def save(self, step: int, state: Tree, meta: Mapping[str, Any], loss: float | None) -> None:
        """Start to write ``state``; a save still in flight is waited for first. ``state`` may be donated afterwards.

        Args:
            step: above the latest one; saving the latest step again does nothing, for the state at a step is determined.
            state: tree of arrays.
            meta: JSON-able, given back by :meth:`restore`.
            loss: ranks checkpoints for ``keep_best``; None or not finite = never among the best.

        Raises:
            FacemaeError: when the disk refuses this save, or refused the one before.
        """
        latest = self.latest()
        if latest is not None and step <= latest:
            if step == latest:
                return
            raise ValueError(f"step {step} is saved after step {latest}: checkpoints are saved in ascending order")
        self.wait()
        finite = None if loss is None or not math.isfinite(loss) else float(loss)
        self._saving = step
        self._keep.losses[step] = math.inf if finite is None else finite
        items = ocp.args.Composite(
            state=ocp.args.StandardSave(state), meta=ocp.args.JsonSave({"loss": finite, "meta": dict(meta)})
        )
        try:
            saved = self._manager.save(step, args=items)
        except Exception as error:
            raise self._refused(error) from error
        if not saved:
            raise RuntimeError(f"{self.directory}: Orbax left out step {step}")

    def latest(self) -> int | None:
        """The newest step, saved or being saved."""
        return self._manager.latest_step()

    def restore(self, target: Tree, padded: str = "") -> tuple[Tree, int, dict[str, Any]] | None:
        """The newest readable checkpoint as (state, step, meta); None when there is none at all.

        A damaged one is moved aside to ``unreadable-<step>`` with a warning, and the one before it is taken.

        Args:
            target: tree of ShapeDtypeStruct with the shardings wanted now, whatever the mesh was at saving.
            padded: regular expression of leaves that end in rows of zeros, as many as the mesh asks for: rows come and go.

        Raises:
            FacemaeError: when none of them can be read, or when the arrays are not those of ``target``.
        """
        self.wait()
        unreadable: dict[int, str] = {}
        for step in sorted(self._manager.all_steps(), reverse=True):
            try:
                restored = self._read(step, target, padded)
                reason = ""
            except _Misfit as misfit:
                raise FacemaeError(
                    f"{self.directory / str(step)} does not fit this run ({misfit}): "
                    "use the config it was made with, or another workdir."
                ) from None
            except Exception as error:  # whatever a damaged file leads Orbax to; said below
                reason = (
                    f"{type(error).__name__}: {str(error).splitlines()[0][:200] if str(error) else 'no reason given'}"
                )
            if not everywhere(not reason):
                unreadable[step] = reason or "another process could not read it"
                LOG.warning("checkpoint %s cannot be read (%s)", self.directory / str(step), unreadable[step])
                continue
            if unreadable:
                LOG.warning("falling back to step %d; moved aside: %s", step, ", ".join(map(str, unreadable)))
                self._set_aside(unreadable)
            return restored["state"], step, restored["meta"]["meta"]
        if unreadable:
            raise FacemaeError(
                f"none of the checkpoints in {self.directory} can be read ({next(iter(unreadable.values()))}): "
                "restore them from a copy, or delete that directory to start from the beginning."
            )
        return None

    def wait(self) -> None:
        """Until what was saved is on disk.

        Raises:
            FacemaeError: when the disk refused it.
        """
        try:
            self._manager.wait_until_finished()
        except Exception as error:
            raise self._refused(error) from error

    def close(self) -> None:
        """Wait, and end Orbax's threads."""
        self.wait()
        self._manager.close()

    def _read(self, step: int, target: Tree, padded: str) -> Any:
        damaged = damage(self.directory / str(step)) if jax.process_index() == 0 else ""
        if not everywhere(not damaged):
            raise OSError(damaged or "the first process found it damaged")
        _compare(self._manager.item_metadata(step)["state"], target, padded)
        # Not strict: Orbax then cuts or fills with zeros; what else differs was refused by the line above.
        items = ocp.args.Composite(
            state=ocp.args.StandardRestore(target, strict=not padded), meta=ocp.args.JsonRestore()
        )
        return self._manager.restore(step, args=items)

    def _set_aside(self, steps: Mapping[int, str]) -> None:
        self._manager.close()
        if jax.process_index() == 0:
            for step in steps:
                aside = self.directory / f"unreadable-{step}"
                shutil.rmtree(aside, ignore_errors=True)
                os.replace(self.directory / str(step), aside)
        barrier("facemae set aside")
        self._manager = self._open()

    def _write_sums(self) -> None:
        """In Orbax's thread, when all files are written and before the rename that makes them a checkpoint."""
        if jax.process_index() != 0:
            return
        begun = sorted(self.directory.glob(f"{self._saving}.orbax-checkpoint-tmp*"))
        if len(begun) != 1:
            raise RuntimeError(f"{self.directory}: expected one unfinished step {self._saving}, found {begun}")
        (begun[0] / SUMS).write_text(json.dumps(sums(begun[0])))

    def _refused(self, error: Exception) -> Exception:
        if any(words in str(error).lower() for words in NO_ROOM):
            return FacemaeError(
                f"step {self._saving} could not be saved in {self.directory} ({str(error).splitlines()[0][:200]}): "
                "make room and run the same command again; it goes on from the checkpoint before."
            )
        return error


class _Keep:
    """Orbax's preservation policy. Its own best-of policy deletes the latest, and stumbles over a damaged metrics file."""

    def __init__(self, directory: Path, latest: int, best: int):
        self.latest, self.best = max(latest, 1), best
        self.losses: dict[int, float] = {}
        for path in directory.glob("*/meta/metadata") if directory.is_dir() else ():
            if path.parent.parent.name.isdigit():
                self.losses[int(path.parent.parent.name)] = _loss(path)

    def should_preserve(self, checkpoints: Sequence[Any], *, context: object) -> list[bool]:
        steps = [checkpoint.step for checkpoint in checkpoints]
        ranked = sorted((step for step in steps if self._loss(step) < math.inf), key=self._loss)
        kept = {*steps[-self.latest :], *ranked[: self.best]}
        return [step in kept for step in steps]

    def _loss(self, step: int) -> float:
        return self.losses.get(step, math.inf)


class _Misfit(Exception):
    """The arrays of a checkpoint are not those that are asked for."""


def _compare(saved: Tree, target: Tree, padded: str) -> None:
    def told(name: str, leaf: Any) -> str:
        shape = tuple(leaf.shape)
        if padded and re.search(padded, name):
            return f"(…, {', '.join(map(str, shape[1:]))}) {np.dtype(leaf.dtype)}"
        return f"{shape} {np.dtype(leaf.dtype)}"

    there, wanted = ({name: told(name, leaf) for name, leaf in named(tree)} for tree in (saved, target))
    for name in sorted(there.keys() | wanted.keys()):
        if there.get(name) != wanted.get(name):
            raise _Misfit(f"{name} is {there.get(name, 'missing')}, wanted is {wanted.get(name, 'nothing')}")


def _loss(path: Path) -> float:
    """The loss that a checkpoint was saved with; a damaged file ranks last and is met again by ``restore``."""
    try:
        loss = json.loads(path.read_text())["loss"]
    except (OSError, ValueError, KeyError, TypeError):
        return math.inf
    return math.inf if loss is None else float(loss)
