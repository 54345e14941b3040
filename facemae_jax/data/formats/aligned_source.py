"""Faces of another source, each turned and scaled to ArcFace's template by five points: from a file, or found in the image."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np

from facemae_jax.data.align import Misplaced, align
from facemae_jax.data.formats.source import Source
from facemae_jax.data.images import BadImage, decode
from facemae_jax.data.landmarks import read_landmarks

# The number of an image and its uint8 RGB pixels → its five points, or why it has none.
Find = Callable[[int, np.ndarray], np.ndarray | str]


class AlignedSource:
    """The images of ``source``, aligned.

    Attributes:
        keys: of ``source``.
        ignored: of ``source``.

    Args:
        source: closed with this one.
        find: gives the points of an image; called by several threads.
        size: pixels per side of the crops.
        max_pixels: larger images are bad.
    """

    def __init__(self, source: Source, find: Find, size: int, max_pixels: int):
        self._source, self._find, self._size, self._max_pixels = source, find, size, max_pixels

    @property
    def keys(self) -> Sequence[str]:
        """As before."""
        return self._source.keys

    @property
    def ignored(self) -> Mapping[str, int]:
        """As before."""
        return self._source.ignored

    def identity(self, position: int) -> str:
        """Whom an image shows."""
        return self._source.identity(position)

    def where(self, position: int) -> str:
        """The image, for errors."""
        return self._source.where(position)

    def read(self, position: int) -> np.ndarray:
        """The uint8 RGB pixels of an aligned face.

        Raises:
            BadImage: no image, or one whose points are missing or of no use.
        """
        found, where = self._source.read(position), self.where(position)
        image_HWC = decode(found, where, self._max_pixels) if isinstance(found, bytes) else found
        points_52 = self._find(position, image_HWC)
        if isinstance(points_52, str):
            raise BadImage(where, points_52)
        try:
            return align(image_HWC, points_52, self._size)
        except Misplaced as error:
            raise BadImage(where, str(error)) from error

    def close(self) -> None:
        """Close the source."""
        self._source.close()


class _Keys:
    def __init__(self, keys: Sequence[str]):
        self._keys = list(keys)

    def keys(self) -> Sequence[str]:
        return self._keys


def listed(path: Path, source: Source) -> Find:
    """Points from a file of landmarks; an image that it does not list has none.

    Raises:
        FacemaeError: as ``landmarks.read_landmarks``.
    """
    found = read_landmarks(path, _Keys(source.keys))

    def find(position: int, image_HWC: np.ndarray) -> np.ndarray | str:
        if not found.listed_n[position]:
            return f"{path.name} has no landmarks of it"
        points_52: np.ndarray = found.points_n52[position]
        return points_52

    return find


def detected(detector: Callable[[np.ndarray], np.ndarray | None]) -> Find:
    """Points where a detector finds a face in the pixels of an image."""

    def find(position: int, image_HWC: np.ndarray) -> np.ndarray | str:
        points_52 = detector(image_HWC)
        return "no face was found in it" if points_52 is None else points_52

    return find
