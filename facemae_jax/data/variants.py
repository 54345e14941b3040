"""Names of variants: a kind of distortion, and its strength where the name carries one (``blur@2``); or a face set (``set:PATH``).

So several strengths of one distortion stand side by side in a config, and beside them sets that others published. Nothing here touches an
image: ``distort`` and ``k_same`` do.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Sequence
from pathlib import PurePath
from typing import NamedTuple

from facemae_jax.types import FacemaeError

DECIMAL = re.compile(r"(0|[1-9][0-9]*)(\.[0-9]*[1-9])?")  # one spelling per number, so that one strength has one name


class Strength(NamedTuple):
    """What the number after ``@`` means, and which numbers it may be."""

    field: str  # of the config's section ``distort``; its value holds for a name without @
    meaning: str
    above: float  # greater than this …
    below: float  # … and less than this
    whole: bool = False


# Both ends are open; the limits of whole numbers are set half a step beyond.
STRENGTHS: dict[str, Strength] = {
    "mask": Strength("mask_ratio", "share of grey patches, above 0 and below 1", 0, 1),
    "blur": Strength("blur", "σ in pixels at 112, above 0 and below 112", 0, 112),
    "pixelate": Strength("pixelate", "side of a block in whole pixels at 112, from 1 to 112", 0.5, 112.5, whole=True),
    "noise": Strength("noise", "σ in units of −1…1, above 0 and below 1000", 0, 1000),
    "ksame": Strength("ksame", "k, the number of people averaged, a whole number of at least 2", 1.5, 1e9, whole=True),
    "dppix": Strength("dppix_epsilon", "ε, above 0", 0, 1e9),
}
KINDS = ("original", *STRENGTHS)
SET = "set:"  # before the path of a face set from elsewhere
# What rows of results are called already; a folder of such a name is called set-NAME.
TAKEN = (*KINDS, "reconstruction", "faces", "teacher", "dlib")
VERSION = re.compile(r"[0-9]+\.[0-9]+\.[0-9]+")  # of a TFDS directory: the folder above it has the name


def parse_variant(name: str, others: Sequence[str] = ()) -> tuple[str, float | int | None]:
    """Kind and strength of a variant; the strength is None where the config gives it (``distort.*``).

    >>> parse_variant("blur@2.5"), parse_variant("ksame@5"), parse_variant("mask")
    (('blur', 2.5), ('ksame', 5), ('mask', None))

    Args:
        name: a kind, or ``KIND@STRENGTH``. The strength is a plain decimal number in its shortest spelling.
        others: further names that the caller takes; they have no strength.

    Raises:
        FacemaeError: an unknown kind (the nearest one is told), a strength where there is none, one that is misspelt or out of
            range.
    """
    kind, at, text = name.partition("@")
    known = (*KINDS, *others)
    if kind not in known:
        near = difflib.get_close_matches(kind, known, n=1)
        hint = f" (did you mean {near[0] + at + text}?)" if near else ""
        raise FacemaeError(f"{name}: no such variant{hint}; choose one of {', '.join(known)}.")
    if not at:
        return kind, None
    if kind not in STRENGTHS:
        raise FacemaeError(f"{name}: {kind} has no strength; write {kind}.")
    strength = STRENGTHS[kind]
    if not DECIMAL.fullmatch(text):
        raise FacemaeError(
            f"{name}: {text or 'nothing'} after @ is no plain decimal number in its shortest spelling, such as 4 or 0.5; "
            f"the strength of {kind} is {strength.meaning}."
        )
    value = float(text)
    if not strength.above < value < strength.below or (strength.whole and "." in text):
        raise FacemaeError(f"{name}: {text} is out of range; the strength of {kind} is {strength.meaning}.")
    return kind, int(text) if strength.whole else value


def face_sets(variants: Sequence[str]) -> dict[str, str]:
    """What results call each ``set:PATH`` among ``variants`` → its path.

    The name is the folder's (or the zip's) own, fit for a directory and without its place; the second folder of a name is
    ``NAME-2``, so that they stay apart.

    >>> face_sets(("original", "set:/a/dcface/1.0.0", "set:/b/dcface", "set:my faces.zip"))
    {'dcface': '/a/dcface/1.0.0', 'dcface-2': '/b/dcface', 'my-faces': 'my faces.zip'}
    """
    found: dict[str, str] = {}
    for variant in variants:
        if not variant.startswith(SET):
            continue
        place = variant.removeprefix(SET)
        path = PurePath(place)
        if VERSION.fullmatch(path.name) and path.parent.name:
            path = path.parent
        stem = path.stem if path.suffix.lower() == ".zip" else path.name
        name = base = re.sub(r"[^\w.-]+", "-", stem).strip("-.") or "set"
        if base in TAKEN:
            name = base = f"set-{base}"
        number = 1
        while name in found:
            number += 1
            name = f"{base}-{number}"
        found[name] = place
    return found


def variant_names(variants: Sequence[str]) -> tuple[str, ...]:
    """What results call each variant, in order: the variant itself, or the name of its face set."""
    sets = iter(face_sets(variants))
    return tuple(next(sets) if variant.startswith(SET) else variant for variant in variants)
