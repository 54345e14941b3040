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
from facemae_jax.data.formats.brace import expand_braces
from facemae_jax.data.formats.tfds_source import PREFIX, tfds_folder
from facemae_jax.data.variants import SET, variant_names
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
    """The patterns a stage declares for a variant; one that carries more than its kind (``blur@2``) stands under ``blur@``."""
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
    """Field → value of what goes into the fingerprint; of face sets from elsewhere, their names and not their places."""
    names = expand(config, fields_of(module, variant)) - expand(config, module.UNHASHED)
    values = flat(config)
    return {name: _placeless(values[name]) for name in sorted(names)}


def _placeless(value: Any) -> Any:
    if not (isinstance(value, tuple) and any(str(part).startswith(SET) for part in value)):
        return value
    named = zip(value, variant_names(value), strict=True)
    return tuple(name if name == part else SET + name for part, name in named)


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
    """The path in an outside value (``PATH``, ``onnx:PATH``, ``checkpoint:PATH``, ``tfds:NAME``), or None where it is no path."""
    if value == "synthetic":
        return None
    if value.startswith(PREFIX):
        return tfds_folder(value)
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
    shards = expand_braces(path) if "{" in path.name and not path.exists() else [path]
    for shard in shards:
        if not shard.exists():
            raise FacemaeError(f"{name}: {shard} does not exist; correct the path in the config.")
    if name == "secret":
        return hmac.new(path.read_bytes(), b"fingerprint of the secret", "sha256").hexdigest()
    if value.startswith("checkpoint:"):
        return model_digest(path)
    one = shards == [path]
    listing = (
        list(_listing(path)) if one else [(shard.name, *entry[1:]) for shard in shards for entry in _listing(shard)]
    )
    base = path if one else path.parent
    state = hashlib.sha256(json.dumps([str(path.resolve()), listing]).encode()).hexdigest()
    known = cache / state
    if known.is_file():
        return known.read_text()
    digest = hashlib.sha256()
    for relative, size, _ in listing:
        digest.update(json.dumps([relative, size, file_digest(base / relative if relative else path)]).encode())
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
