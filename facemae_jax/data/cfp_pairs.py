"""Pairs of CFP (Celebrities in Frontal-Profile in the Wild) from its ``Protocol`` folder, as published at cfpw.io.

``Pair_list_F.txt`` and ``Pair_list_P.txt`` number the frontal and the profile images (``1 ../Data/Images/001/frontal/01.jpg``;
500 people, ten frontal and four profile images each). ``Split/FF/01 … 10`` and ``Split/FP/01 … 10`` hold ``same.txt`` and ``diff.txt``,
lines of two such numbers (``17,23``), 350 in each file: in FF both are frontal, in FP the first is frontal and the second profile.

Source: S. Sengupta et al., "Frontal to Profile Face Verification in the Wild", WACV 2016.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from facemae_jax.data.image_lists import FOLDS, Keyed, lines_of, positions_of
from facemae_jax.data.pairs import Pairs
from facemae_jax.types import FacemaeError

PARTS = 3  # of a path that say which image it is: person, frontal or profile, number
GIVE = "give the whole folder Protocol of the CFP data set"


def read_cfp_pairs(path: str | Path, faces: Keyed, *, profile: bool) -> Pairs:
    """Read the ten folds and find their images in a face set.

    Args:
        path: the folder ``Protocol``.
        faces: whose keys end in ``001/frontal/01.ext``, any extension.
        profile: frontal against profile (CFP-FP) instead of frontal against frontal (CFP-FF).

    Raises:
        FacemaeError: a file of the folder that is missing or malformed (with the line), a number that no list has,
            images that are not in the face set, or twice.
    """
    path = Path(path)
    firsts = _images(path / "Pair_list_F.txt")
    lists = (firsts, _images(path / "Pair_list_P.txt") if profile else firsts)
    named: tuple[list[int], list[int]] = ([], [])
    same, fold = [], []
    for number in range(FOLDS):
        for kind, stem in ((True, "same"), (False, "diff")):
            file = path / "Split" / ("FP" if profile else "FF") / f"{number + 1:02d}" / f"{stem}.txt"
            rows = _rows(file, lists)
            for side in (0, 1):
                named[side].extend(row[side] for row in rows)
            same += [kind] * len(rows)
            fold += [number] * len(rows)
    left, right = (_found(images, numbers, faces) for images, numbers in zip(lists, named, strict=True))
    return Pairs(left, right, np.array(same), np.array(fold))


class _Images:
    """One list: number → end of the path, and the line that says so."""

    def __init__(self, file: Path) -> None:
        self.file = file
        self.names: dict[int, str] = {}
        self.lines: dict[int, int] = {}


def _images(file: Path) -> _Images:
    images = _Images(file)
    for line, text in enumerate(lines_of(file, give=GIVE), start=1):
        number, _, name = text.strip().partition(" ")
        parts = name.strip().split("/")
        if not number.isdecimal() or len(parts) < PARTS:
            raise FacemaeError(
                f"{file}, line {line}: expected 'number path', like '1 ../Data/Images/001/frontal/01.jpg', found {text!r}: {GIVE}."
            )
        if int(number) in images.names:
            raise FacemaeError(
                f"{file}, line {line}: number {int(number)} stands on line {images.lines[int(number)]}, too: {GIVE}."
            )
        images.names[int(number)], images.lines[int(number)] = "/".join(parts[-PARTS:]), line
    return images


def _rows(file: Path, lists: tuple[_Images, _Images]) -> list[list[int]]:
    """The pairs of numbers in one file of a fold."""
    rows = []
    for line, text in enumerate(lines_of(file, give=GIVE), start=1):
        numbers = [part.strip() for part in text.split(",")]
        if len(numbers) != 2 or not all(number.isdecimal() for number in numbers):
            raise FacemaeError(f"{file}, line {line}: expected 'number,number', found {text!r}: {GIVE}.")
        rows.append([int(number) for number in numbers])
        for images, number in zip(lists, rows[-1], strict=True):
            if number not in images.names:
                raise FacemaeError(f"{file}, line {line}: {images.file.name} has no number {number}: {GIVE}.")
    if not rows:
        raise FacemaeError(f"{file} is empty: {GIVE}.")
    return rows


def _found(images: _Images, numbers: list[int], faces: Keyed) -> np.ndarray:
    return positions_of(
        images.file, [images.names[number] for number in numbers], [images.lines[number] for number in numbers], faces
    )
