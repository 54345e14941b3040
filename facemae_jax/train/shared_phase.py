"""A first part of training that several runs have in common: the state at its end is kept, and the next run goes on from there.

Losses that join later change nothing before. A run that begins so equals one that trained that part itself, as a resumed run equals an unbroken one:
the folder is named by all that the part follows from, the number of devices and the version of JAX among it.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from facemae_jax import logs
from facemae_jax.checkpoint import Checkpoints
from facemae_jax.processes import barrier, everywhere, first
from facemae_jax.types import FacemaeError, Tree

VERSION = 1  # raised when the same part would end in another state
STEPS = "checkpoints"


class SharedPhase(NamedTuple):
    """Where states are kept and what the part follows from; all processes call the methods."""

    folder: Path  # of all kept parts, private
    parts: Any  # JSON-able: all that the part follows from, but for the machine
    until: int  # the step at which it ends

    def place(self, machine: Mapping[str, Any]) -> Path:
        """The folder of this part on this kind of machine."""
        named = json.dumps([VERSION, self.parts, self.until, dict(machine)], sort_keys=True)
        return self.folder / hashlib.sha256(named.encode()).hexdigest()[:32]

    def restore(self, target: Tree, machine: Mapping[str, Any]) -> tuple[Tree, list[dict[str, float]]] | None:
        """The state after step ``until`` and the metrics up to it; None when no run has kept it.

        Args:
            target: shapes and shardings of the state.
            machine: what results depend on besides, such as the version of JAX.
        """
        place = self.place(machine)
        if not everywhere((place / STEPS).is_dir()):
            return None
        try:
            with Checkpoints(place / STEPS, keep_latest=1, keep_best=0) as kept:
                found = kept.restore(target)
        except FacemaeError as error:  # it can be had again
            logs.warn(f"{error} It is trained again.")
            if first():
                shutil.rmtree(place)
            barrier("a damaged part of training is gone")
            return None
        return None if found is None else (found[0], logs.read_metrics(place))

    def keep(self, state: Tree, machine: Mapping[str, Any], run: str, metrics: Path) -> None:
        """Keep the state after step ``until``, unless another run has.

        Args:
            state: of the run.
            machine: as in :meth:`restore`.
            run: a word that no other run has, such as its fingerprint.
            metrics: folder with the run's ``metrics.jsonl``.

        Raises:
            FacemaeError: when the disk refuses it.
        """
        place = self.place(machine)
        if everywhere(place.is_dir()):
            return
        staged = place.with_name(f"{place.name}-{hashlib.sha256(run.encode()).hexdigest()[:16]}.partial")
        if first():
            shutil.rmtree(staged, ignore_errors=True)
            staged.mkdir(parents=True, mode=0o700)
        barrier("a shared part of training begins to be kept")
        with Checkpoints(staged / STEPS, keep_latest=1, keep_best=0) as kept:
            kept.save(self.until, state, {"run": run}, None)
        if first():
            if (metrics / "metrics.jsonl").is_file():
                shutil.copyfile(metrics / "metrics.jsonl", staged / "metrics.jsonl")
            if place.is_dir():  # another run of a sweep was faster
                shutil.rmtree(staged)
            else:
                os.replace(staged, place)
        barrier("a shared part of training is kept")
