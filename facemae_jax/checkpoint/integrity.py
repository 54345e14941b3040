"""Whether what lies on disk is what was written: checksums of files and of arrays.

Orbax notices a missing or shortened file, but reads a flipped bit as if it were a weight, and its processes wait for
each other while reading: so the files are checked before it starts.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import google_crc32c
import jax
import numpy as np

from facemae_jax.types import Tree

SUMS = "sums.json"  # in the directory of a checkpoint


def named(tree: Tree) -> list[tuple[str, Any]]:
    """The leaves with their paths, such as "params/encoder/kernel"."""
    leaves = jax.tree_util.tree_flatten_with_path(tree)[0]
    return [(jax.tree_util.keystr(path, simple=True, separator="/"), leaf) for path, leaf in leaves]


def digest_of(tree: Tree) -> str:
    """sha256 of the names, shapes, types and values of numpy arrays."""
    found = hashlib.sha256()
    for name, leaf in sorted(named(tree), key=lambda pair: pair[0]):
        found.update(json.dumps([name, list(leaf.shape), str(leaf.dtype)]).encode())
        found.update(np.ascontiguousarray(leaf).tobytes())
    return found.hexdigest()


def sums(step: Path) -> dict[str, list[int]]:
    """File → [bytes, crc32c], without the markers that the storage layer adds at the end."""
    found = {}
    for path in sorted(step.rglob("*")):
        if path.is_file() and path.name not in (SUMS, "commit_success.txt", "_CHECKPOINT_METADATA"):
            checksum = google_crc32c.Checksum()
            with path.open("rb") as file:
                while chunk := file.read(1 << 22):
                    checksum.update(chunk)
            found[path.relative_to(step).as_posix()] = [path.stat().st_size, int.from_bytes(checksum.digest(), "big")]
    return found


def damage(step: Path) -> str:
    """What is wrong with the files of a checkpoint; "" when they are as they were written."""
    try:
        expected, found = json.loads((step / SUMS).read_text()), sums(step)
    except (OSError, ValueError) as error:
        return f"{SUMS}: {error}"
    for name, (size, checksum) in expected.items():
        if name not in found:
            return f"{name} is missing"
        if found[name][0] != size:
            return f"{name} has {found[name][0]} bytes where {size} were written"
        if found[name][1] != checksum:
            return f"{name} has other bytes than were written"
    return ""
