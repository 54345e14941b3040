"""Lists of labels beside images that carry none: a line per image, ``KEY LABEL`` or the label alone; or a NumPy array of whole numbers.

Labels alone follow the images' keys: by number where all keys are numbers, else sorted. (Vec2Face's ``NAME_labels.txt`` and the
``.npy`` of HaiyuWu's converters are such lists.)
"""

from __future__ import annotations

from array import array
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from facemae_jax.data.formats.lazy_keys import Texts
from facemae_jax.types import FacemaeError


def find_list(file: Path, named: Path) -> Path | None:
    """The only list of labels beside a file: ``labels.txt``, ``label.txt``, ``NAME_labels.txt``, or the same as ``.npy``.

    Args:
        file: that holds the images.
        named: what the user named: the folder with both, for what lies beside a file that is named alone may change unseen.

    Raises:
        FacemaeError: several, or the file was named alone.
    """
    stems = ("label", "labels")
    found = sorted(
        path
        for path in file.parent.iterdir()
        if path.suffix in (".txt", ".npy") and (path.stem.lower() in stems or path.stem.lower().endswith("_labels"))
    )
    if len(found) > 1:
        raise FacemaeError(
            f"{file.parent}: holds several lists of labels ({', '.join(p.name for p in found)}); keep one."
        )
    if found and named == file:
        raise FacemaeError(f"{file}: its labels are in {found[0].name} beside it; name the folder that holds both.")
    return found[0] if found else None


def labels_from(path: Path, keys: Texts) -> tuple[np.ndarray, dict[str, int]]:
    """The number of the person of each key, int32, and name → number where labels are no whole numbers.

    Args:
        path: the list.
        keys: ascending.

    Raises:
        FacemaeError: another number of lines than of keys, a key without a label, an array of objects.
    """
    known: dict[str, int] = {}
    if path.suffix == ".npy":
        try:
            found_n = np.load(path, allow_pickle=False)
        except ValueError as error:
            raise FacemaeError(
                f"{path}: this is no plain array ({error}); save whole numbers, without objects."
            ) from error
        if found_n.ndim != 1 or not np.issubdtype(found_n.dtype, np.integer):
            raise FacemaeError(
                f"{path}: is an array {found_n.dtype}{list(found_n.shape)}, not one row of whole numbers; save one."
            )
        return _checked(found_n[_ranks(keys)] if len(found_n) == len(keys) else found_n, path, keys), known
    own, labels = Texts(), Texts()
    for number, fields in enumerate(_lines(path), 1):
        if number > 1 and (len(fields) == 2) != bool(len(own)):
            raise FacemaeError(
                f"{path}: some lines have a key and some have none (line {number}); write all in one way."
            )
        if len(fields) == 2:
            own.append(fields[0])
        labels.append(fields[-1])
    rows_n = own.order_n() if len(own) else _ranks(keys) if len(labels) == len(keys) else np.arange(len(labels))
    if len(own):
        for position, row in enumerate(rows_n.tolist()):
            if position >= len(keys) or own[row] != keys[position]:
                raise FacemaeError(
                    f"{path}: the key {own[row]!r} there and the key {keys[position] if position < len(keys) else '(none)'!r} among the images "
                    "are not the same; the list must name every image once."
                )
    numbers, counted = array("q"), 0
    for row in rows_n.tolist():
        whole = _whole(label := labels[row])
        counted += whole is not None
        numbers.append(known.setdefault(label, len(known)) if whole is None else whole)
    if counted and known:
        raise FacemaeError(f"{path}: some labels are whole numbers and some are not; write all in one way.")
    return _checked(np.array(numbers, np.int64), path, keys), known


def _checked(labels_n: np.ndarray, path: Path, keys: Texts) -> np.ndarray:
    if len(labels_n) != len(keys):
        raise FacemaeError(f"{path}: has {len(labels_n):,} labels for {len(keys):,} images; one per image is needed.")
    if labels_n.min() < 0 or labels_n.max() >= 2**31:
        raise FacemaeError(
            f"{path}: labels go from {labels_n.min()} to {labels_n.max()}; they must be from 0 to 2^31 − 1."
        )
    return labels_n.astype(np.int32)


def _ranks(keys: Texts) -> np.ndarray:
    """Which line of a list without keys belongs to each key."""
    raw = map(keys.raw, range(len(keys)))
    if not all(key.isdigit() and len(key) < 19 for key in raw):
        return np.arange(len(keys))
    numbers_n = np.fromiter((int(keys.raw(position)) for position in range(len(keys))), np.int64, len(keys))
    ranks_n = np.empty(len(keys), np.int64)
    ranks_n[np.argsort(numbers_n, kind="stable")] = np.arange(len(keys))
    return ranks_n


def _lines(path: Path) -> Iterator[list[str]]:
    with open(path, encoding="utf-8", errors="surrogateescape") as lines:
        for line in lines:
            fields = line.replace(",", " ").rsplit(maxsplit=1)
            if fields:
                yield fields


def _whole(label: str) -> int | None:
    """A label that is a whole number; numpy.savetxt writes them as 1.000e+00."""
    try:
        number = float(label)
    except ValueError:
        return None
    return int(number) if number.is_integer() else None
