"""IJB-B and IJB-C, 1:1: which images form a template, and which templates are compared, from the two lists that are passed around.

``ijbb_face_tid_mid.txt``: one line per face crop, ``1.jpg TEMPLATE MEDIUM`` (a medium is a still photograph or a video; its frames share a
number). ``ijbb_template_pair_label.txt``: ``TEMPLATE TEMPLATE 1|0``, 1 for one person. IJB-C's are named alike and hold
469,375 crops and 15,658,489 pairs. The third list, ``…_name_5pts_score.txt`` (landmarks and a detector's score), is not read: crops here
are aligned already, and images weigh alike.

Sources: C. Whitelam et al., "IARPA Janus Benchmark-B Face Dataset", CVPRW 2017; B. Maze et al., "IARPA Janus Benchmark – C", ICB 2018.
"""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import NamedTuple

import numpy as np

from facemae_jax.data.image_lists import Keyed, lines_of, positions_of, some
from facemae_jax.types import FacemaeError

FORMS = {"media": "name template medium", "pairs": "template template label"}


class Templates(NamedTuple):
    """Images gathered into templates, and pairs of templates to compare."""

    image_n: np.ndarray  # int64, position in the face set
    template_n: np.ndarray  # int64, 0 … T−1, each at least once, ascending with the numbers of the list
    media_n: np.ndarray  # int64, 0 … M−1, likewise
    left_p: np.ndarray  # int32, template
    right_p: np.ndarray  # int32, template
    same_p: np.ndarray  # bool


def read_templates(media: str | Path, pairs: str | Path, faces: Keyed) -> Templates:
    """Read both lists and find the images in a face set.

    Args:
        media: ``…_face_tid_mid.txt``.
        pairs: ``…_template_pair_label.txt``; read at once without a step of Python per pair; IJB-C's 15.7 million take half a GiB.
        faces: whose keys end in the names of the first list, any extension.

    Raises:
        FacemaeError: a file that cannot be read, a malformed line, images that are not in the face set (or twice), a pair of a
            template without images.
    """
    media, pairs = Path(media), Path(pairs)
    names, ids_n2 = _media(media)
    template_T, template_n = np.unique(ids_n2[:, 0], return_inverse=True)
    _, media_n = np.unique(ids_n2[:, 1], return_inverse=True)
    image_n = positions_of(media, names, range(1, len(names) + 1), faces)
    numbers_p3 = _numbers(pairs)
    wrong = np.flatnonzero((numbers_p3[:, 2] != 0) & (numbers_p3[:, 2] != 1))
    if len(wrong):
        raise FacemaeError(
            f"{pairs}, pair {wrong[0] + 1}: label {numbers_p3[wrong[0], 2]} is neither 1 (one person) nor 0 (two): get the file again."
        )
    left_p, right_p = (_places(pairs, numbers_p3[:, side], template_T, media) for side in (0, 1))
    return Templates(image_n, template_n, media_n, left_p, right_p, numbers_p3[:, 2] == 1)


def _media(path: Path) -> tuple[list[str], np.ndarray]:
    """Names, and ``ids_n2``: template and medium."""
    names: list[str] = []
    ids: list[str] = []
    for line, text in enumerate(lines_of(path, give="give ijbb_face_tid_mid.txt, or IJB-C's"), start=1):
        parts = text.strip().rsplit(None, 2)
        if len(parts) != 3 or not (parts[1].isdecimal() and parts[2].isdecimal()):
            raise FacemaeError(
                f"{path}, line {line}: expected '{FORMS['media']}', like '1.jpg 1 69544', found {text!r}."
            )
        names.append(parts[0])
        ids += parts[1:]
    if not names:
        raise FacemaeError(f"{path} is empty: get the file again.")
    return names, np.array(ids).astype(np.int64).reshape(-1, 2)


def _numbers(path: Path) -> np.ndarray:
    """``numbers_p3``, int32, of a file of three whole numbers a line."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # of an empty file, which is told below
            numbers_p3 = np.loadtxt(path, np.int32, comments=None, ndmin=2)
    except OSError as error:
        raise FacemaeError(
            f"{path} cannot be read ({error}): give ijbb_template_pair_label.txt, or IJB-C's."
        ) from error
    except (ValueError, OverflowError) as error:
        raise FacemaeError(_fault(path, error)) from error
    if not numbers_p3.size:
        raise FacemaeError(f"{path} is empty: get the file again.")
    if numbers_p3.shape[1] != 3:
        raise FacemaeError(_fault(path, ValueError(f"{numbers_p3.shape[1]} columns")))
    return numbers_p3


def _fault(path: Path, error: Exception) -> str:
    """What is wrong with the first line that is not three whole numbers; read slowly, because the file is no good anyway."""
    with path.open("rb") as file:
        for line, raw in enumerate(file, start=1):
            parts = raw.split()
            if parts and not (len(parts) == 3 and all(part.isdigit() and len(part) < 10 for part in parts)):
                found = raw.rstrip(b"\r\n").decode("utf-8", "backslashreplace")
                return f"{path}, line {line}: expected '{FORMS['pairs']}', like '1 11065 1', found {found!r}: get the file again."
    return f"{path} is no list of '{FORMS['pairs']}' ({error}): get the file again."


def _places(path: Path, number_p: np.ndarray, template_T: np.ndarray, media: Path) -> np.ndarray:
    """``template_p``, int32: place of each template's number among all of them."""
    place_p = np.minimum(np.searchsorted(template_T, number_p), len(template_T) - 1).astype(np.int32)
    lost_p = template_T[place_p] != number_p
    if lost_p.any():
        lost = np.unique(number_p[lost_p]).astype(str).tolist()
        raise FacemaeError(
            f"{path}, pair {np.flatnonzero(lost_p)[0] + 1}: {len(lost)} template(s) have no image in {media}: {some(lost)}; "
            "give the two lists of one data set."
        )
    return place_p
