"""Finished weights and what they are, in one directory. Not for a run that goes on: that is ``checkpoint.states``."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp

from facemae_jax.checkpoint.integrity import digest_of
from facemae_jax.processes import barrier
from facemae_jax.types import FacemaeError, Tree


def save_model(directory: Path, variables: Tree, description: dict[str, Any]) -> None:
    """Write weights and what they are, whole or not at all; an older model there is replaced.

    Args:
        directory: of the model; it gets ``weights/`` (Orbax), ``weights.sha256`` and ``model.json``.
        variables: nested dicts of arrays, sharded or not; every process calls.
        description: JSON-able.
    """
    directory = Path(directory).absolute()
    partial, older = (directory.with_name(directory.name + suffix) for suffix in (".partial", ".old"))
    first = jax.process_index() == 0
    if first:
        for left in (partial, older):
            shutil.rmtree(left, ignore_errors=True)
        partial.mkdir(parents=True)
    barrier("facemae model begins")
    with ocp.StandardCheckpointer() as checkpointer:
        checkpointer.save(partial / "weights", jax.tree.map(_as_array, variables))
        checkpointer.wait_until_finished()
    digest = digest_of(_read_weights(partial))  # of what is on the disk; all processes read, for Orbax lets them wait
    if first:
        (partial / "weights.sha256").write_text(digest)
        (partial / "model.json").write_text(json.dumps(description, indent=1, sort_keys=True))
        if directory.exists():
            os.replace(directory, older)
        os.replace(partial, directory)
        shutil.rmtree(older, ignore_errors=True)
    barrier("facemae model ends")


def load_model(directory: Path) -> tuple[Tree, dict[str, Any]]:
    """(variables, description) of :func:`save_model`; variables are numpy arrays, whatever the devices at saving.

    Args:
        directory: of the model, or a stage directory that holds ``model/``.

    Raises:
        FacemaeError: when there is no model, or its weights are damaged.
    """
    variables, description, _ = _load(directory)
    return variables, description


def model_digest(directory: Path) -> str:
    """sha256 of the weights' names, shapes, types and values: the same wherever and whenever they were saved.

    Raises:
        FacemaeError: as :func:`load_model`.
    """
    return _load(directory)[2]


def _load(directory: Path) -> tuple[Tree, dict[str, Any], str]:
    found = _model_directory(Path(directory).absolute())
    try:
        description = json.loads((found / "model.json").read_text())
        expected = (found / "weights.sha256").read_text()
        variables = _read_weights(found)
    except Exception as error:
        raise FacemaeError(
            f"the model in {found} cannot be read ({type(error).__name__}: {str(error)[:200]}): copy or make it again."
        ) from error
    digest = digest_of(variables)
    if digest != expected:
        raise FacemaeError(
            f"the weights in {found} differ from their checksum weights.sha256: copy or make them again."
        )
    return variables, description, digest


def _model_directory(directory: Path) -> Path:
    for candidate in (directory, directory / "model"):
        if (candidate / "model.json").is_file():
            return candidate
    interrupted = [
        p for p in (directory.with_name(directory.name + ".partial"), directory / "model.partial") if p.exists()
    ]
    why = f"{interrupted[0]} is the rest of an interrupted save; " if interrupted else ""
    what = "a model directory (with model.json) or a stage directory that holds model/"
    raise FacemaeError(f"no model in {directory}: {why}name {what}, or run the stage that makes it again.")


def _read_weights(model: Path) -> Tree:
    with ocp.PyTreeCheckpointer() as checkpointer:
        saved = checkpointer.metadata(model / "weights").item_metadata
        as_numpy = jax.tree.map(lambda _: ocp.RestoreArgs(restore_type=np.ndarray), dict(saved.tree))
        return checkpointer.restore(model / "weights", args=ocp.args.PyTreeRestore(restore_args=as_numpy))


def _as_array(leaf: Any) -> Any:
    return leaf if isinstance(leaf, jax.Array) else np.asarray(leaf)
