"""What the readers of image lists share: the lines of a file, the images it names found in a face set, folds for pairs without any.

A list names an image by its key, or by the end of its key: as many last parts (folders and file name) as the list gives,
with the extension or without. Readers: ``pairs``, ``cfp_pairs``, ``labelled_pairs``, ``pair_csv``, ``templates``.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Protocol

import numpy as np

from facemae_jax.types import FacemaeError

SHOWN = 5
FOLDS = 10
EXTENSION = re.compile(r"\.[A-Za-z][A-Za-z0-9]{1,4}$")
NOWHERE, EITHER = -1, -2


class Keyed(Protocol):
    """What is needed of a face set."""

    def keys(self) -> Sequence[str]:
        """The key of every record."""


def lines_of(path: Path, *, give: str, field: str = "") -> list[str]:
    """The lines of a text file without the blank ones at its end.

    Args:
        path: of a UTF-8 file.
        give: what to do when it cannot be read, for the message.
        field: ``verify.pairs=`` or the like, before the path in the message.

    Raises:
        FacemaeError: no such file, or not UTF-8 text.
    """
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise FacemaeError(f"{field}{path} cannot be read ({error}): {give}.") from error
    while lines and not lines[-1].strip():
        lines.pop()
    return lines


def positions_of(path: Path, names_n: Sequence[str], lines_n: Sequence[int], faces: Keyed) -> np.ndarray:
    """``position_n``, int64: where in a face set the images of a list are.

    Args:
        path: of the list, for messages.
        names_n: key of an image, or the end of one; names that differ in Unicode's forms alone are one name.
        lines_n: the line that names it, for messages.
        faces: where to look.

    Raises:
        FacemaeError: an image that two keys may be; images that are not there, counted and the first few named.
    """
    names_n = [unicodedata.normalize("NFC", name) for name in names_n]
    position_n = find_images(names_n, faces)
    either = np.flatnonzero(position_n == EITHER)
    if len(either):
        raise FacemaeError(
            f"{path}, line {lines_n[either[0]]}: {names_n[either[0]]} may be either of two images of verify.faces; "
            "import only the set that the list belongs to, or name more of the path."
        )
    missing = list(dict.fromkeys(names_n[n] for n in np.flatnonzero(position_n == NOWHERE)))
    if missing:
        raise FacemaeError(
            f"{path} names {len(missing)} image(s) that verify.faces does not hold: {some(missing)}; "
            "import the set that the list belongs to."
        )
    return position_n


def some(names: Sequence[str]) -> str:
    """The first few of many, and how many more there are.

    >>> some(["a", "b", "c", "d", "e", "f", "g"])
    'a, b, c, d, e and 2 more'
    """
    return ", ".join(names[:SHOWN]) + (f" and {len(names) - SHOWN} more" if len(names) > SHOWN else "")


def find_images(names_n: Sequence[str], faces: Keyed) -> np.ndarray:
    """``position_n``: of each name, or NOWHERE, or EITHER where several keys end in it.

    What says more goes first: the whole key, its end with the extension, its end without one, and at last its end
    when the name's extension is another (a list of .jpg, a face set of .webp).
    """
    keys = [unicodedata.normalize("NFC", key) for key in faces.keys()]
    bare_keys = [_bare(key) for key in keys]
    whole = {key: position for position, key in enumerate(keys)}
    ends: dict[tuple[int, bool], dict[str, int]] = {}

    def at_end(name: str, bare: bool) -> int:
        depth = name.count("/") + 1
        if (depth, bare) not in ends:
            ends[depth, bare] = _ends(bare_keys if bare else keys, depth)
        return ends[depth, bare].get(name, NOWHERE)

    position_n = np.empty(len(names_n), np.int64)
    for n, name in enumerate(names_n):
        position = whole.get(name, NOWHERE)
        for wanted, bare in ((name, False), (name, True), (_bare(name), True)):
            if position != NOWHERE:
                break
            position = at_end(wanted, bare)
        position_n[n] = position
    return position_n


def _ends(keys: Iterable[str], depth: int) -> dict[str, int]:
    """The last ``depth`` parts of every key → its position, or EITHER."""
    found: dict[str, int] = {}
    for position, key in enumerate(keys):
        end = "/".join(key.rsplit("/", depth)[-depth:])
        if found.setdefault(end, position) != position:
            found[end] = EITHER
    return found


def _bare(name: str) -> str:
    return EXTENSION.sub("", name)


def balanced_folds(path: Path, same_n: np.ndarray, folds: int = FOLDS) -> np.ndarray:
    """``fold_n``, int64: the pairs of one person cut into ``folds`` runs in the order of the list, and so those of two.

    This is how the lists of CALFW and CPLFW, which give all positive pairs first, are evaluated; a list in LFW's order
    (300 of one person, 300 of two, ten times) gets the folds that it came with.

    Raises:
        FacemaeError: fewer pairs of a kind than folds.
    """
    same_n = np.asarray(same_n, bool)
    fold_n = np.empty(len(same_n), np.int64)
    for kind in (True, False):
        chosen = np.flatnonzero(same_n == kind)
        if len(chosen) < folds:
            raise FacemaeError(
                f"{path}: {np.count_nonzero(same_n)} pair(s) of one person and {np.count_nonzero(~same_n)} of two "
                f"cannot be cut into {folds} folds: give at least {folds} of each."
            )
        fold_n[chosen] = np.arange(len(chosen)) * folds // len(chosen)
    return fold_n
