"""Which files and columns of a Parquet set hold what. Reading the images is the business of ``parquet``."""

from __future__ import annotations

import json
import re
from collections import Counter
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from facemae_jax.data.formats.columns import IMAGES, KEYS, LABELS, choose
from facemae_jax.types import FacemaeError

SPLIT = re.compile(r"(train|test|validation|valid|val)(?=[-_.])")  # train-00000-of-00010.parquet


class Columns(NamedTuple):
    """Which columns hold what; ``names`` of the people where the label is a number of a list."""

    image: str
    label: str
    key: str
    names: tuple[str, ...] | None


def of_one_split(path: Path, files: list[Path], ignored: Counter[str]) -> list[Path]:
    """The files of ``train`` where their names tell splits, else all; the others are counted in ``ignored``."""
    if not files:
        raise FacemaeError(f"{path}: holds no .parquet files; name the folder in which they lie.")
    splits = {file: SPLIT.match(file.name) for file in files if len(files) > 1}
    train = [file for file, found in splits.items() if found and found[1] == "train"]
    if not train:
        return files
    others = sum(bool(found and found[1] != "train") for found in splits.values())
    if others:
        ignored["files of other splits"] += others
    return [file for file in files if not (splits[file] and splits[file][1] != "train")]  # type: ignore[index]


def find_columns(schema: Any, image: str, label: str, path: Path) -> Columns:
    """Find out which columns of a schema hold what.

    Args:
        schema: of Arrow, with Hugging Face's metadata or without.
        image, label: names that the user tells, or "".
        path: for errors.

    Raises:
        FacemaeError: columns that are not there or cannot be told.
    """
    import pyarrow.types as kinds

    told = json.loads((schema.metadata or {}).get(b"huggingface", b"{}")).get("info", {}).get("features", {})
    features = {name: told.get(name) if isinstance(told.get(name), dict) else {} for name in schema.names}
    fields = {field.name: field.type.value_type if kinds.is_dictionary(field.type) else field.type for field in schema}

    def encoded(kind: Any) -> bool:
        if kinds.is_struct(kind):
            return any(kind.field(n).name == "bytes" and encoded(kind.field(n).type) for n in range(kind.num_fields))
        return kinds.is_binary(kind) or kinds.is_large_binary(kind)

    def text(kind: Any) -> bool:
        return kinds.is_string(kind) or kinds.is_large_string(kind)

    fits = [name for name, kind in fields.items() if encoded(kind)]
    marked = [name for name in fits if features[name].get("_type") == "Image"]
    chosen = choose("image", fits if image else marked or fits, image, IMAGES, str(path))
    usable = [name for name, kind in fields.items() if text(kind) or kinds.is_integer(kind)]
    classes = [name for name in usable if features[name].get("_type") == "ClassLabel"]
    usual = [name for name in usable if name in LABELS]
    named = choose("label", usable if label else classes or usual, label, LABELS, str(path))
    key = next((name for name in KEYS if name in fields and text(fields[name]) and name != named), "")
    names = features[named].get("names") if kinds.is_integer(fields[named]) else None
    return Columns(chosen, named, key, tuple(map(str, names)) if names else None)


def people_in(column: Any, columns: Columns, known: dict[str, int], path: Path) -> np.ndarray:
    """int32 number of the person of each row, −1 where none is named; texts are counted in ``known``."""
    import pyarrow.types as kinds

    if not kinds.is_integer(column.type):
        numbers = (known.setdefault(name, len(known)) if name else -1 for name in column.to_pylist())
        return np.fromiter(numbers, np.int32, len(column))
    numbers_n = column.cast("int64", safe=False).fill_null(-1).to_numpy(zero_copy_only=False)
    most = len(columns.names) if columns.names else 2**31
    if numbers_n.max(initial=-1) >= most:
        raise FacemaeError(
            f"{path}: the label {numbers_n.max()} in the column {columns.label} is beyond "
            f"{'the names of its ClassLabel' if columns.names else '2^31'}; write the file again."
        )
    return np.maximum(numbers_n, -1).astype(np.int32)
