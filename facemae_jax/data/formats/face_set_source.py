"""Faces in a face set: to resize it, to leave records out, or to bring one that others made under this package's roof."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np

from facemae_jax.data.face_set import open_face_set
from facemae_jax.data.formats.names import number_name


class FaceSetSource:
    """The records of a face set, in the order of their keys.

    Attributes:
        keys: sorted.
        ignored: empty: every record is an image of a person.
    """

    def __init__(self, path: Path):
        faces = open_face_set(path)
        keys = faces.keys()
        self._faces = faces.subset(np.array(sorted(range(len(keys)), key=keys.__getitem__), np.int64))
        self.path, self.ignored = faces.path, Counter[str]()
        self.keys = self._faces.keys()
        self._names, self._labels = faces.identity_names, self._faces.labels_n
        if self._names == [str(label) for label in range(len(self._names))]:  # else sorting would leave their order
            self._names = [number_name(label, len(self._names) - 1) for label in range(len(self._names))]

    def identity(self, position: int) -> str:
        """Whom an image shows: the set's name of the person, or the label in equally many digits where it keeps no names."""
        return self._names[self._labels[position]]

    def where(self, position: int) -> str:
        """The record, for errors."""
        return f"{self.path}, record {self.keys[position]}"

    def read(self, position: int) -> bytes:
        """The encoded image of a record."""
        return self._faces[position].image

    def close(self) -> None:
        """The shards are closed with the process."""
