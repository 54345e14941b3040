"""Pairs from lists with a label beside the image names: CALFW's and CPLFW's form, and one line per pair.

**Two lines a pair** (``pairs_CALFW.txt``, ``pairs_CPLFW.txt``), each ``name label``, no header, 3,000 pairs of one person first and 3,000
of two after them: label 0 is two people; anything else is one person, in CALFW the fold of the pair (1 … 10), in CPLFW always 1. Neither
says in which fold a pair of two people is: both kinds are cut into runs in the order of the list, as usual.

**One line a pair**, ``left right label`` with 1 for one person and 0 or −1 for two: as written by those who unpack a ``.bin``.

Sources: T. Zheng et al., "Cross-Age LFW", 2017 (arXiv 1708.08197); T. Zheng, W. Deng, "Cross-Pose LFW", 2018.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from facemae_jax.data.image_lists import FOLDS, Keyed, balanced_folds, lines_of, positions_of
from facemae_jax.data.pairs import Pairs
from facemae_jax.types import FacemaeError

SAME = {"1": True, "0": False, "-1": False}


def read_two_line_pairs(path: str | Path, faces: Keyed) -> Pairs:
    """Read a list of two lines a pair and find its images in a face set.

    Args:
        path: of the list.
        faces: whose keys end in the names of the list, any extension.

    Raises:
        FacemaeError: a file that cannot be read, a malformed line, two lines of a pair that disagree, not as many pairs of one
            person as of two (a torn file), images that are not in the face set, or twice.
    """
    path = Path(path)
    names: list[str] = []
    labels: list[int] = []
    for line, text in enumerate(lines_of(path, give="give pairs_CALFW.txt or pairs_CPLFW.txt, or a list like them"), 1):
        parts = text.strip().rsplit(None, 1)
        if len(parts) != 2 or not parts[1].isdecimal():
            raise FacemaeError(f"{path}, line {line}: expected 'name label', found {text!r}.")
        names.append(parts[0])
        labels.append(int(parts[1]))
        if line % 2 == 0 and labels[-1] != labels[-2]:
            raise FacemaeError(
                f"{path}, line {line}: label {labels[-1]} beside label {labels[-2]} on the line before, but they are one pair: "
                "get the whole file again."
            )
    label_n = np.array(labels[::2], np.int64)
    same_n = label_n > 0
    if len(labels) % 2 or np.count_nonzero(same_n) != np.count_nonzero(~same_n):
        raise FacemaeError(
            f"{path}: {len(labels)} lines, two for each pair, with {np.count_nonzero(same_n)} pairs of one person and "
            f"{np.count_nonzero(~same_n)} of two; there should be as many of both: get the whole file again."
        )
    position_n = positions_of(path, names, range(1, len(names) + 1), faces)
    return Pairs(position_n[::2], position_n[1::2], same_n, _folds(path, label_n))


def _folds(path: Path, label_n: np.ndarray) -> np.ndarray:
    """Several labels of pairs of one person are their folds; one label says nothing, and there are ten."""
    same_n = label_n > 0
    labels, which = np.unique(label_n[same_n], return_inverse=True)
    fold_n = balanced_folds(path, same_n, len(labels) if len(labels) > 1 else FOLDS)
    if len(labels) > 1:
        fold_n[same_n] = which
    return fold_n


def read_one_line_pairs(path: str | Path, faces: Keyed) -> Pairs:
    """Read a list of ``left right label`` lines and find its images in a face set; ten folds in the order of the list.

    Raises:
        FacemaeError: a file that cannot be read, a malformed line, too few pairs of a kind for ten folds, images that are not
            in the face set, or twice.
    """
    path = Path(path)
    names: list[str] = []
    same: list[bool] = []
    for line, text in enumerate(lines_of(path, give="give lines 'left right label'"), start=1):
        parts = text.split()
        if len(parts) != 3 or parts[2] not in SAME:
            raise FacemaeError(
                f"{path}, line {line}: expected 'left right label' with label 1 (one person), 0 or -1 (two), found {text!r}."
            )
        names += parts[:2]
        same.append(SAME[parts[2]])
    same_n = np.array(same, bool)
    fold_n = balanced_folds(path, same_n)
    position_n = positions_of(path, names, np.repeat(np.arange(1, len(same) + 1), 2).tolist(), faces)
    return Pairs(position_n[::2], position_n[1::2], same_n, fold_n)
