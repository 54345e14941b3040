"""What attackers who train a network found against distortions, kept per workdir: a sweep of the MAE meets the same blur at every point.

A figure is kept under a digest of everything it follows from, so that another judge, other faces, another strength or another budget is
another attack. Only figures are kept: no weights, no embeddings, no image. What a reconstruction gives away is never taken from here.
"""

from __future__ import annotations

import hashlib
import json
import os
import secrets
from collections.abc import Callable
from pathlib import Path
from typing import Any

from facemae_jax import logs
from facemae_jax.processes import everywhere, first

VERSION = 1  # raised when the same attack would find other figures
FOLDER = "attacks"


def remembered(folder: Path, parts: list[Any], attack: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """The figures of an attack, from before or from now; all processes call.

    Args:
        folder: private, of the workdir.
        parts: JSON-able, all that the figures follow from.
        attack: makes them, JSON-able.
    """
    file = folder / f"{hashlib.sha256(json.dumps([VERSION, *parts]).encode()).hexdigest()[:32]}.json"
    known = _read(file)
    if everywhere(known is not None):  # otherwise one would wait for the others in a collective
        assert known is not None
        return known
    found = attack()
    if first():
        _write(file, found)
    return found


def _read(file: Path) -> dict[str, Any] | None:
    """None when there are none; a damaged file is told about and made anew."""
    if not file.is_file():
        return None
    try:
        return dict(json.loads(file.read_text(encoding="utf-8")))
    except (ValueError, TypeError, OSError) as error:
        logs.warn(f"{file} is damaged ({error}); this attack is run again.")
        return None


def _write(file: Path, found: dict[str, Any]) -> None:
    file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    partial = file.with_name(f"{file.name}.{secrets.token_hex(8)}.partial")
    try:
        partial.write_text(json.dumps(found), encoding="utf-8")
        os.replace(partial, file)
    finally:
        partial.unlink(missing_ok=True)
