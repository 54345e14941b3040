"""The face verification protocols by name: which reader reads which list. The images come from the user's face set.

======== ===================================================================================================
lfw      ``pairs.txt`` (also of CPLFW-like sets in LFW's form): ``data.pairs``
cfp_ff   the folder ``Protocol`` of CFP, frontal against frontal: ``data.cfp_pairs``
cfp_fp   the same folder, frontal against profile
agedb_30 see :func:`read_agedb`
calfw    ``pairs_CALFW.txt``: ``data.labelled_pairs``
cplfw    ``pairs_CPLFW.txt``
csv      ``left,right,same[,fold]``: ``data.pair_csv``
======== ===================================================================================================
"""

from __future__ import annotations

import difflib
from pathlib import Path

from facemae_jax.data.cfp_pairs import read_cfp_pairs
from facemae_jax.data.formats.verification_bin import is_bin, read_bin_pairs
from facemae_jax.data.image_lists import Keyed, lines_of
from facemae_jax.data.labelled_pairs import read_one_line_pairs, read_two_line_pairs
from facemae_jax.data.pair_csv import COLUMNS, read_pair_csv
from facemae_jax.data.pairs import Pairs, read_pairs
from facemae_jax.types import FacemaeError

PROTOCOLS = ("lfw", "cfp_ff", "cfp_fp", "agedb_30", "calfw", "cplfw", "csv")


def read_protocol(kind: str, path: str | Path, faces: Keyed) -> Pairs:
    """Read the list of a protocol and find its images in a face set.

    Args:
        kind: one of :data:`PROTOCOLS`.
        path: of the list; of the folder ``Protocol`` for CFP; or InsightFace's ``.bin`` of any kind, whose own images ``faces`` holds.
        faces: the protocol's images, keys ending in the names of the list, any extension.

    Raises:
        FacemaeError: another kind; whatever is wrong with the list, with its line; images that are not in the face set.
    """
    match kind:
        case _ if kind in PROTOCOLS and is_bin(path):
            return read_bin_pairs(path, faces)
        case "lfw":
            return read_pairs(path, faces)
        case "cfp_ff" | "cfp_fp":
            return read_cfp_pairs(path, faces, profile=kind == "cfp_fp")
        case "calfw" | "cplfw":
            return read_two_line_pairs(path, faces)
        case "agedb_30":
            return read_agedb(path, faces)
        case "csv":
            return read_pair_csv(path, faces)
    near = difflib.get_close_matches(kind, PROTOCOLS, n=1)
    raise FacemaeError(
        f"{kind!r} is no verification protocol: choose one of {', '.join(PROTOCOLS)}"
        + (f"; did you mean {near[0]}?" if near else ".")
    )


def read_agedb(path: str | Path, faces: Keyed) -> Pairs:
    """Read a list of AgeDB-30 in any of the forms that are about, told apart by the first line.

    AgeDB's own list of pairs 30 years apart is a MATLAB file (``04_FINAL_protocol_30_years.mat``) that comes with the images on
    request, and most people know the set as ``agedb_30.bin``, images and labels in one. There is no text list that everybody shares,
    so these are read: LFW's form (first line ``folds<TAB>pairs``), CALFW's (two lines ``name label`` a pair), lines
    ``left right label`` (how an unpacked ``.bin`` is often listed), and CSV (header ``left,right,same[,fold]``).

    Raises:
        FacemaeError: none of these, or whatever the reader of that form finds wrong.
    """
    path = Path(path)
    forms = (
        "the form of LFW's pairs.txt, two lines 'name label' a pair, lines 'left right label', "
        f"or a CSV file with the header {','.join(COLUMNS)}[,fold]"
    )
    lines = lines_of(path, give=f"give a text file of AgeDB-30's pairs in {forms}")
    first = lines[0] if lines else ""
    words = first.split()
    if [cell.strip() for cell in first.split(",")][:3] == COLUMNS:
        return read_pair_csv(path, faces)
    if words and len(words) <= 2 and all(word.isdecimal() for word in words):
        return read_pairs(path, faces)
    if len(words) == 2 and words[1].isdecimal():
        return read_two_line_pairs(path, faces)
    if len(words) == 3:
        return read_one_line_pairs(path, faces)
    raise FacemaeError(f"{path}, line 1: {first!r} begins no known list of AgeDB-30's pairs: give {forms}.")
