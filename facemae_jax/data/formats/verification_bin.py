"""InsightFace's verification sets (``lfw.bin``, ``cfp_fp.bin``, ``agedb_30.bin`` …): images, pairs and labels in one file.

The form: a pickle of ``(images, same)``: 2·n encoded images, or arrays of their bytes, and n truth values; images 2k and 2k + 1
are pair k, and ``same[k]`` says whether they show one person. Files are about from Python 2 and 3, numpy 1 and 2. Read by ``plain_pickle``, which
runs nothing that is in the file.
"""

from __future__ import annotations

import hashlib
import os
import pickle
import struct
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from facemae_jax.data.formats.plain_pickle import Array, read_pickle
from facemae_jax.data.image_lists import Keyed, balanced_folds, some
from facemae_jax.data.pairs import Pairs
from facemae_jax.pickles.vocabulary import Raw, content
from facemae_jax.types import FacemaeError

ENDING = ".bin"
DIGITS = 5  # of a number in a key, at least


def is_bin(place: str | Path) -> bool:
    """Whether a path names a verification set, by its ending."""
    return Path(place).suffix.lower() == ENDING


class VerificationBinSource:
    """The images of a ``.bin``, each content once, under the key of the place where it comes first.

    The file does not say who is on an image. ``identity`` joins what the pairs of one person join: two images of one identity
    show one person, those of two may do so too. Good for the pairs of the file itself; not to train on.

    Attributes:
        keys: ``pair-00012/left``, ``pair-00012/right``, sorted; pairs count from 0 in the order of the file.
        ignored: images that came again → how often.
        same_n: bool, whether pair n shows one person.
        places_2n: int64, position of the image of each place of the file among ``keys``.

    Raises:
        FacemaeError: no such file, damaged, not of this form, or a pickle that asks for more than plain data.
    """

    def __init__(self, path: Path):
        self.path = path
        try:
            self._file = open(path, "rb")  # held for read()
        except OSError as error:
            raise FacemaeError(f"{path}: cannot be read ({error.strerror}); name a .bin file.") from error
        try:
            images, self.same_n = _images_and_same(self._file, path)
            known: dict[Raw, int] = {}  # one string of the file may stand in many places
            first: dict[bytes, int] = {}
            self._images: list[Raw] = []
            self.keys: list[str] = []
            self.ignored: Counter[str] = Counter()
            self.places_2n = np.empty(len(images), np.int64)
            width = max(DIGITS, len(str(len(self.same_n) - 1)))
            for place, image in enumerate(images):
                if image not in known:
                    digest = hashlib.sha256(content(self._file, image)).digest()
                    known[image] = first.setdefault(digest, len(self.keys))
                self.places_2n[place] = position = known[image]
                if position < len(self.keys):
                    self.ignored["repeated images"] += 1
                else:
                    self.keys.append(f"pair-{place // 2:0{width}d}/{('left', 'right')[place % 2]}")
                    self._images.append(image)
        except BaseException:
            self._file.close()
            raise
        self._person_n = _people(len(self.keys), self.places_2n.reshape(-1, 2)[self.same_n])
        self._width = max(DIGITS, len(str(len(self.keys) - 1)))

    def identity(self, position: int) -> str:
        """Whom an image shows, as far as the pairs tell: ``person-00012``."""
        return f"person-{self._person_n[position]:0{self._width}d}"

    def where(self, position: int) -> str:
        """The image, for errors."""
        return f"{self.path}, image {self.keys[position]}"

    def read(self, position: int) -> bytes:
        """The encoded image."""
        return content(self._file, self._images[position])

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def _images_and_same(file: BinaryIO, path: Path) -> tuple[list[Raw], np.ndarray]:
    value = read_pickle(file, path)
    if not isinstance(value, tuple | list) or len(value) != 2 or not isinstance(value[0], tuple | list):
        raise FacemaeError(
            f"{path}: a verification set is a pickle of (images, same), this is another; name a .bin file."
        )
    images, same = [_encoded(image, n, path) for n, image in enumerate(value[0])], value[1]
    if isinstance(same, Array):
        same = list(content(file, same.content))
    if not isinstance(same, tuple | list) or not all(type(one) in (bool, int) and one in (0, 1) for one in same):
        raise FacemaeError(f"{path}: the second part of a verification set is a list of truth values, here it is not.")
    if not same or len(images) != 2 * len(same):
        raise FacemaeError(
            f"{path}: {len(images):,} images do not make {len(same):,} pairs, two for each; get the whole file again."
        )
    return images, np.array(same, bool)


def _encoded(image: Any, number: int, path: Path) -> Raw:
    if isinstance(image, Array) and image.kind == "u1":
        if sum(n != 1 for n in image.shape) > 1:
            raise FacemaeError(
                f"{path}, image {number}: it is an array of pixels, {'×'.join(map(str, image.shape))}, and nothing says whether red or blue "
                "comes first; write the set again with encoded images (JPEG or PNG), or with the verb make-bin."
            )
        return image.content
    if isinstance(image, Raw):
        return image
    raise FacemaeError(f"{path}, image {number}: neither bytes nor an array of bytes; write the set again.")


def _people(count: int, joined_m2: np.ndarray) -> np.ndarray:
    """``person_n``: the number of the group of each image, in the order of their first images; pairs of one person join groups."""
    parent = list(range(count))

    def root(n: int) -> int:
        while parent[n] != n:
            parent[n] = n = parent[parent[n]]
        return n

    for left, right in joined_m2.tolist():
        one, other = sorted((root(left), root(right)))
        parent[other] = one
    numbers: dict[int, int] = {}
    return np.array([numbers.setdefault(root(n), len(numbers)) for n in range(count)], np.int64)


def read_bin_pairs(path: str | Path, faces: Keyed) -> Pairs:
    """The pairs of a ``.bin`` whose images were imported by :class:`VerificationBinSource`.

    Folds are cut in the order of the file, pairs of one person and of two apart: the ten consecutive tenths that InsightFace
    takes, where each tenth holds as many of both.

    Raises:
        FacemaeError: as :class:`VerificationBinSource`; fewer than ten pairs of a kind; images that the face set lacks.
    """
    source = VerificationBinSource(Path(path))
    source.close()
    known = {key: position for position, key in enumerate(faces.keys())}
    missing = [key for key in source.keys if key not in known]
    if missing:
        raise FacemaeError(
            f"{path} has {len(missing)} image(s) that its face set does not hold: {some(missing)}; its pairs need them all: import the "
            "file again without data.on_bad_record=skip, and mend what is named."
        )
    position_n = np.array([known[key] for key in source.keys], np.int64)[source.places_2n]
    return Pairs(position_n[::2], position_n[1::2], source.same_n, balanced_folds(Path(path), source.same_n))


def write_bin(path: str | Path, images: Iterable[bytes], same: Sequence[bool]) -> None:
    """Write a verification set, one image after another; the same content gives the same bytes.

    Protocol 3: InsightFace's loader reads it under Python 3, with ``encoding="bytes"`` and without.

    Args:
        path: of the file to make; it appears when it is whole.
        images: two encoded images of each pair, left then right.
        same: whether the two show one person.

    Raises:
        FacemaeError: not two images for each pair.
        OSError: it cannot be written.
    """
    path = Path(path)
    partial, count = path.with_name(path.name + ".partial"), 0
    try:
        with open(partial, "wb") as file:
            file.write(pickle.PROTO + b"\x03" + pickle.EMPTY_LIST + pickle.MARK)
            for image in images:
                file.write(pickle.BINBYTES + struct.pack("<I", len(image)))
                file.write(image)
                count += 1
            answers = [pickle.NEWTRUE if one else pickle.NEWFALSE for one in same]
            file.write(pickle.APPENDS + pickle.EMPTY_LIST + pickle.MARK + b"".join(answers) + pickle.APPENDS)
            file.write(pickle.TUPLE2 + pickle.STOP)
        if count != 2 * len(same) or not count:
            raise FacemaeError(f"{path}: {count:,} images do not make {len(same):,} pairs, two for each.")
        os.replace(partial, path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise
