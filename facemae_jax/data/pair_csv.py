"""Pairs from a CSV file of one's own: header ``left,right,same`` or ``left,right,same,fold``, then one line per pair.

``left`` and ``right`` are keys of the face set, or ends of keys that only one has (``person/0001``), with the extension or without. ``same``
is 1 or true for one person, 0 or false for two. ``fold`` is any whole number from 0; without it, ten folds are cut in the order of the file.
"""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np

from facemae_jax.data.image_lists import Keyed, balanced_folds, lines_of, positions_of
from facemae_jax.data.pairs import Pairs
from facemae_jax.types import FacemaeError

COLUMNS = ["left", "right", "same"]
SAME = {"1": True, "true": True, "0": False, "false": False}


def read_pair_csv(path: str | Path, faces: Keyed) -> Pairs:
    """Read the file and find its images in a face set.

    Args:
        path: of the file, UTF-8, commas, quotes where a name has a comma.
        faces: where to look.

    Returns:
        The pairs; folds numbered as in the file.

    Raises:
        FacemaeError: a file that cannot be read, another header, a malformed line, no pairs, too few of a kind for ten folds,
            images that are not in the face set, or that several keys may be.
    """
    path = Path(path)
    rows = csv.reader(lines_of(path, give=f"give a CSV file with the header {','.join(COLUMNS)}[,fold]"))
    header = [name.strip() for name in next(rows, [])]
    if header not in (COLUMNS, [*COLUMNS, "fold"]):
        raise FacemaeError(
            f"{path}, line 1: expected the header {','.join(COLUMNS)} or {','.join(COLUMNS)},fold, found {','.join(header)!r}."
        )
    names: list[str] = []
    lines: list[int] = []
    same: list[bool] = []
    fold: list[int] = []
    for row in rows:
        cells = [cell.strip() for cell in row]
        if not any(cells):
            continue
        wrong = _wrong(cells, header)
        if wrong:
            raise FacemaeError(f"{path}, line {rows.line_num}: {wrong}, found {','.join(row)!r}.")
        names += cells[:2]
        lines += [rows.line_num] * 2
        same.append(SAME[cells[2].lower()])
        fold += [int(cell) for cell in cells[3:]]
    if not same:
        raise FacemaeError(f"{path} holds no pair: give one line per pair after the header.")
    same_n = np.array(same)
    fold_n = np.array(fold) if "fold" in header else balanced_folds(path, same_n)
    position_n = positions_of(path, names, lines, faces)
    return Pairs(position_n[::2], position_n[1::2], same_n, fold_n)


def _wrong(cells: list[str], header: list[str]) -> str:
    """What is wrong with a line; empty when nothing is."""
    if len(cells) != len(header):
        return f"expected {len(header)} cells, {','.join(header)}"
    if not cells[0] or not cells[1]:
        return "expected the names of two images"
    if cells[2].lower() not in SAME:
        return "expected 1 or true (one person), 0 or false (two) as 'same'"
    if not all(cell.isdecimal() for cell in cells[3:]):
        return "expected a whole number from 0 as 'fold'"
    return ""
