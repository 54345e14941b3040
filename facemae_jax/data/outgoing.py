"""A face set as it leaves: without names and paths of people unless that is wanted, and counting what has been read.

Whether a set may leave at all is not decided here: an image of a person stays one under any key.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

import numpy as np

from facemae_jax.data.face_set import FaceSet
from facemae_jax.data.formats.names import number_name
from facemae_jax.types import Record

SEALED = re.compile(r"[0-9a-f]{24}")  # a key that followed from a secret: nothing of the source is in it


class OutgoingFaces(FaceSet):
    """The records of a face set with labels 0 … K−1, images byte for byte.

    Keys stay where all are sealed ones (those of a release) or ``names`` is wanted; else they are ``LABEL/NUMBER``, counted within
    the label.

    Args:
        faces: the set.
        names: whether names and paths go along.
        read: called after each record that is read.
    """

    def __init__(self, faces: FaceSet, *, names: bool = False, read: Callable[[], None] = lambda: None):
        faces = faces.relabelled()
        super().__init__(
            faces._shards,
            path=faces.path,
            image_size=faces.image_size,
            names=faces._names,
            positions_n=faces._positions_n,
            classes_K=faces._classes_K,
        )
        # TFDS gives a ClassLabel without names its numbers for names.
        named = [name for name, label in zip(faces.identity_names, _classes(faces), strict=True) if name != str(label)]
        self.names, self._read = names and bool(named), read
        self.sealed = not named and all(map(SEALED.fullmatch, super().keys()))
        self._numbers_n: np.ndarray | None = None
        if not self.names:
            top = self.identities - 1
            self.identity_names = [number_name(label, top) for label in range(top + 1)]
        if not names and not self.sealed:
            self._numbers_n = _numbers(self.labels_n)
            self._most = int(self._numbers_n.max())

    def __getitem__(self, position: int) -> Record:
        record = super().__getitem__(position)
        self._read()
        if self._numbers_n is None:
            return record
        return record._replace(key=self._key(int(position) % len(self)))

    def keys(self) -> Sequence[str]:
        """The key of every record."""
        return super().keys() if self._numbers_n is None else [self._key(position) for position in range(len(self))]

    def _key(self, position: int) -> str:
        assert self._numbers_n is not None
        number = number_name(int(self._numbers_n[position]), self._most)
        return f"{self.identity_names[self.labels_n[position]]}/{number}"

    def _with(self, positions_n: np.ndarray | None, classes_K: np.ndarray | None) -> FaceSet:
        raise TypeError("a part of it would have the source's keys again: take the part before")


def _classes(faces: FaceSet) -> list[int]:
    """The labels that a relabelled set had before."""
    assert faces._classes_K is not None
    return faces._classes_K.tolist()


def _numbers(labels_n: np.ndarray) -> np.ndarray:
    """How many records of the same label stand before each."""
    order_n = np.argsort(labels_n, kind="stable")
    sorted_n = labels_n[order_n]
    first_n = np.searchsorted(sorted_n, sorted_n)
    numbers_n = np.empty(len(labels_n), np.int64)
    numbers_n[order_n] = np.arange(len(labels_n)) - first_n
    return numbers_n
