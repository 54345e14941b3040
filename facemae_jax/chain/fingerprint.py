"""Which stage directory a stage's result belongs in: a hash of everything that the result depends on.

Hashed: the declared fields, the stage's VERSION, the fingerprints upstream, the content of outside inputs. Not hashed:
where things lie, the mesh, threads, the cadence of logs and saves (each stage's UNHASHED).
"""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import secrets
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from facemae_jax.chain.settings import flat
from facemae_jax.checkpoint import model_digest
from facemae_jax.types import FacemaeError

CHUNK = 1 << 20


def expand(config: ConfigDict, patterns: Iterable[str]) -> set[str]:
    """The dotted fields that ``patterns`` (fields or whole sections) name; a pattern that names none is our mistake."""
    fields = flat(config)
    chosen: set[str] = set()
    for pattern in patterns:
        matched = {name for name in fields if name == pattern or name.startswith(pattern + ".")}
        if not matched:
            raise KeyError(f"a stage declares the field {pattern!r}, which configs/base.py does not have")
        chosen |= matched
    return chosen


def fields_of(module: Any, variant: str) -> tuple[str, ...]:
    """The patterns a stage declares for a variant; a name that carries its strength (``blur@2``) stands under ``blur@``."""
    kind, at, _ = variant.partition("@")
    return module.FIELDS.get(kind + at, module.FIELDS[""])


def view(config: ConfigDict, module: Any, variant: str) -> ConfigDict:
    """Only what the stage declares: reading any other field raises, so an undeclared dependency cannot hide."""
    seen = expand(config, (*fields_of(module, variant), *module.UNHASHED))
    part = ConfigDict()
    for name, value in flat(config).items():
        if name in seen:
            *sections, leaf = name.split(".")
            at = part
            for section in sections:
                if section not in at:
                    at[section] = ConfigDict()
                at = at[section]
            at[leaf] = value
    return part.lock()


def hashed_fields(config: ConfigDict, module: Any, variant: str) -> dict[str, Any]:
    """Field → value of what goes into the fingerprint."""
    names = expand(config, fields_of(module, variant)) - expand(config, module.UNHASHED)
    values = flat(config)
    return {name: values[name] for name in sorted(names)}


def fingerprint(
    config: ConfigDict, module: Any, variant: str, upstream: Mapping[str, str], outside: Mapping[str, str]
) -> str:
    """sha256 (hex) of all a result depends on; ``upstream`` and ``outside`` are name → fingerprint or digest."""
    parts = dict(
        stage=module.VERB,
        variant=variant,
        version=module.VERSION,
        fields=hashed_fields(config, module, variant),
        upstream=dict(sorted(upstream.items())),
        outside=dict(sorted(outside.items())),
    )
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def file_digest(path: Path) -> str:
    """sha256 (hex) of a file's bytes."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while chunk := file.read(CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def outside_path(value: str) -> Path | None:
    """The path in an outside value (``PATH``, ``onnx:PATH``, ``checkpoint:PATH``), or None where it is no path."""
    if value == "synthetic":
        return None
    kind, _, rest = value.partition(":")
    return Path(rest if kind in ("onnx", "checkpoint") and rest else value).expanduser()


def outside_digest(name: str, value: str, cache: Path) -> str:
    """Digest of an outside input's content: a file, a folder's listing with checksums, a model's weights, a word.

    Args:
        name: what the stage calls it; ``secret`` is digested by an HMAC so that nothing about it can be tried offline.
        value: as ``outside_path`` reads it.
        cache: a private folder; content is read again only when the listing (sizes, times) changed.
    """
    path = outside_path(value)
    if path is None:
        return value
    if not path.exists():
        raise FacemaeError(f"{name}: {path} does not exist; correct the path in the config.")
    if name == "secret":
        return hmac.new(path.read_bytes(), b"fingerprint of the secret", "sha256").hexdigest()
    if value.startswith("checkpoint:"):
        return model_digest(path)
    listing = list(_listing(path))
    state = hashlib.sha256(json.dumps([str(path.resolve()), listing]).encode()).hexdigest()
    known = cache / state
    if known.is_file():
        return known.read_text()
    digest = hashlib.sha256()
    for relative, size, _ in listing:
        digest.update(json.dumps([relative, size, file_digest(path / relative if relative else path)]).encode())
    cache.mkdir(parents=True, exist_ok=True)
    partial = known.with_name(f"{known.name}.{secrets.token_hex(4)}.partial")  # shards of a sweep may read it meanwhile
    partial.write_text(digest.hexdigest())
    os.replace(partial, known)
    return digest.hexdigest()


def _listing(path: Path) -> Iterable[tuple[str, int, int]]:
    """(path inside, bytes, modification time) of every file, sorted; a file lists itself as ""."""
    if path.is_file():
        status = path.stat()
        yield "", status.st_size, status.st_mtime_ns
        return
    for folder, folders, files in os.walk(path):
        folders.sort()
        for file in sorted(files):
            full = Path(folder) / file
            status = full.stat()
            yield full.relative_to(path).as_posix(), status.st_size, status.st_mtime_ns
