"""Lists of face pairs to verify: read from LFW's ``pairs.txt`` form, generated, written. What is done with them is ``metrics``.

The form: a first line ``folds<TAB>pairs`` (or one number: pairs, one fold), then for each fold ``pairs`` lines ``name<TAB>i<TAB>j``
(one person) and as many ``name1<TAB>i<TAB>name2<TAB>j`` (two people). Image i of a person is ``name/name_000i``.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import NamedTuple

import numpy as np

from facemae_jax.data.image_lists import Keyed, lines_of, positions_of
from facemae_jax.types import FacemaeError

TRIES = 200  # per pair, before a generator gives up


class Pairs(NamedTuple):
    """Positions in a face set, whether both show one person, and the fold of each pair."""

    left_n: np.ndarray  # int64
    right_n: np.ndarray  # int64
    same_n: np.ndarray  # bool
    fold_n: np.ndarray  # int64


def read_pairs(path: str | Path, faces: Keyed) -> Pairs:
    """Read a list and find its images in a face set.

    Args:
        path: of the list.
        faces: whose keys are ``…/name/name_0001.ext``, any extension, under any common folder.

    Raises:
        FacemaeError: missing or malformed file (with the line), wrong counts, images that are not in the face set, or twice.
    """
    path = Path(path)
    lines = lines_of(path, give="give a pairs.txt in the LFW format", field="verify.pairs=")
    folds, count = _header(path, lines)
    if len(lines) - 1 != 2 * folds * count:
        raise FacemaeError(
            f"{path}: line 1 promises {folds} × {count} pairs of one person and as many of two, {2 * folds * count} lines, "
            f"but {len(lines) - 1} follow: get the whole file again."
        )
    names: list[str] = []
    same, fold = [], []
    for number, line in enumerate(lines[1:]):
        expected_same = number % (2 * count) < count
        names += _names(path, number + 2, line, expected_same)
        same.append(expected_same)
        fold.append(number // (2 * count))
    position_n = positions_of(path, names, [2 + n // 2 for n in range(len(names))], faces)
    return Pairs(position_n[::2], position_n[1::2], np.array(same), np.array(fold))


def _header(path: Path, lines: Sequence[str]) -> tuple[int, int]:
    numbers = lines[0].split() if lines else []
    if len(numbers) not in (1, 2) or not all(n.isdecimal() and int(n) > 0 for n in numbers):
        raise FacemaeError(
            f"{path}, line 1: expected 'folds<TAB>pairs' or 'pairs', found {lines[0] if lines else 'nothing'!r}."
        )
    return (1, int(numbers[0])) if len(numbers) == 1 else (int(numbers[0]), int(numbers[1]))


def _names(path: Path, number: int, line: str, same: bool) -> tuple[str, str]:
    """The two images of a line, as ``name/name_0001``."""
    parts = line.strip().split("\t") if "\t" in line else line.split()
    ok = len(parts) == (3 if same else 4) and parts[1].isdecimal() and parts[-1].isdecimal()
    if not ok:
        form = "name<TAB>i<TAB>j" if same else "name1<TAB>i<TAB>name2<TAB>j"
        raise FacemaeError(f"{path}, line {number}: expected '{form}', found {line!r}.")
    second = parts[0] if same else parts[2]
    return _image(parts[0], int(parts[1])), _image(second, int(parts[-1]))


def _image(name: str, number: int) -> str:
    return f"{name}/{name}_{number:04d}"


def generate_pairs(labels_n: np.ndarray, *, count: int, folds: int, seed: int) -> Pairs:
    """A balanced list: in each fold half of the pairs show one person; no pair twice; people of different folds are different.

    Args:
        labels_n: identity of each record.
        count: pairs in all; a multiple of 2 · folds.
        folds: at least 1, each with its own share of the identities.
        seed: which pairs.

    Raises:
        FacemaeError: when the identities and images cannot give that many pairs.
    """
    if count % (2 * folds) or count <= 0:
        raise FacemaeError(
            f"verify.count={count} must be a multiple of 2 · verify.folds={2 * folds}: half of each fold shows one person."
        )
    random = np.random.default_rng(seed)
    identities, starts = np.unique(labels_n, return_inverse=True)
    members = [np.flatnonzero(starts == k) for k in range(len(identities))]
    order = random.permutation(len(identities))
    half = count // (2 * folds)
    chosen: list[tuple[int, int, bool, int]] = []
    for fold in range(folds):
        people = [members[k] for k in order[fold::folds]]
        several = [m for m in people if len(m) > 1]
        possible_same = sum(len(m) * (len(m) - 1) // 2 for m in several)
        total = sum(map(len, people))
        possible_other = (total**2 - sum(len(m) ** 2 for m in people)) // 2
        if possible_same < half or possible_other < half:
            raise FacemaeError(
                f"verify.count={count} asks for {half} pairs of each kind in each of verify.folds={folds} folds, but {len(people)} people of a fold "
                f"allow {possible_same} of one person and {possible_other} of two: ask for fewer, or give more images."
            )
        chosen += [(*pair, True, fold) for pair in _same(several, half, random)]
        chosen += [(*pair, False, fold) for pair in _other(people, half, random)]
    left, right, same, fold_n = zip(*chosen, strict=True)
    return Pairs(np.array(left), np.array(right), np.array(same), np.array(fold_n))


def _same(people: Sequence[np.ndarray], wanted: int, random: np.random.Generator) -> list[tuple[int, int]]:
    """Without replacement, evenly over all possible pairs."""
    every = [(int(m[i]), int(m[j])) for m in people for i in range(len(m)) for j in range(i + 1, len(m))]
    return [every[k] for k in random.choice(len(every), wanted, replace=False)]


def _other(people: Sequence[np.ndarray], wanted: int, random: np.random.Generator) -> list[tuple[int, int]]:
    """Two people, then an image of each; drawn again when it was there already, listed in full when draws run out."""
    found: dict[tuple[int, int], None] = {}
    for _ in range(TRIES * wanted):
        a, b = sorted(random.choice(len(people), 2, replace=False))
        found[int(random.choice(people[a])), int(random.choice(people[b]))] = None
        if len(found) == wanted:
            return list(found)
    every = [
        (int(i), int(j))
        for a in range(len(people))
        for b in range(a + 1, len(people))
        for i in people[a]
        for j in people[b]
    ]
    return [every[k] for k in random.choice(len(every), wanted, replace=False)]


def write_pairs(path: str | Path, pairs: Pairs, faces: Keyed) -> None:
    """Write in the form that :func:`read_pairs` reads; keys must be ``name/name_0001.ext``."""
    keys = [PurePosixPath(key) for key in faces.keys()]
    folds = int(pairs.fold_n.max()) + 1
    lines = []
    for fold in range(folds):
        for same in (True, False):
            for n in np.flatnonzero((pairs.fold_n == fold) & (pairs.same_n == same)):
                a, b = keys[pairs.left_n[n]], keys[pairs.right_n[n]]
                numbers = [key.stem.rpartition("_")[2].lstrip("0") or "0" for key in (a, b)]
                names = (
                    [a.parent.name, numbers[0], numbers[1]]
                    if same
                    else [a.parent.name, numbers[0], b.parent.name, numbers[1]]
                )
                lines.append("\t".join(names))
    Path(path).write_text("\n".join([f"{folds}\t{len(lines) // (2 * folds)}", *lines]) + "\n", encoding="utf-8")
