"""Faces whose images are ``tf.train.Example`` messages at known places of files: what the listings that find the places have in common."""

from __future__ import annotations

from abc import ABC, abstractmethod
from array import array
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Protocol

import numpy as np

from facemae_jax.data.formats.lazy_keys import LazyKeys, Texts
from facemae_jax.data.formats.names import number_name
from facemae_jax.data.images import BadImage
from facemae_jax.types import FacemaeError


class RecordFile(Protocol):
    """A file of records; ``place`` is a number by which it finds one again."""

    @property
    def path(self) -> Path:
        """The file."""

    def records(self) -> Iterator[tuple[int, bytes]]:
        """(place, bytes) of every record, in order.

        Raises:
            FacemaeError: a damaged file.
        """

    def read(self, place: int) -> bytes:
        """The record at a place. Safe in several threads.

        Raises:
            FacemaeError: a damaged record.
        """


class Listing:
    """File, place and label of each record, in the order in which they are found: 16 bytes each."""

    def __init__(self) -> None:
        self.file_n, self.place_n, self.whom_n = array("i"), array("q"), array("q")

    def append(self, file: int, place: int, whom: int) -> None:
        """One more."""
        self.file_n.append(file)
        self.place_n.append(place)
        self.whom_n.append(whom)


class RecordSource(ABC):
    """The listed images, in the order of their keys. What kind of listing it is says where a record is, and what in it is the image.

    Attributes:
        keys: sorted.
        ignored: why records are left out → how many.
    """

    keys: Sequence[str]

    def __init__(self, path: Path):
        self.path, self.ignored = path, Counter[str]()

    def _list(
        self,
        files: Sequence[RecordFile],
        listing: Listing,
        keys: Texts,
        order_n: np.ndarray,
        names: Sequence[str] | None,
    ) -> None:
        """Take over what was found; ``names``: of people, by label; none: labels become names of equally many digits."""
        self.keys = LazyKeys(len(keys), lambda position: keys[int(order_n[position])])
        self._files, self._names = files, names
        self._file_n = np.array(listing.file_n, np.int32)[order_n]
        self._place_n = np.array(listing.place_n, np.int64)[order_n]
        self._whom_n = np.array(listing.whom_n, np.int64)[order_n]
        self._top = int(self._whom_n.max(initial=0))

    def identity(self, position: int) -> str:
        """Whom an image shows."""
        whom = int(self._whom_n[position])
        return self._names[whom] if self._names else number_name(whom, self._top)

    @abstractmethod
    def where(self, position: int) -> str:
        """The record, for errors."""

    def read(self, position: int) -> bytes:
        """The encoded image of a record.

        Raises:
            BadImage: a damaged record.
        """
        where = self.where(position)
        try:
            return self._image(self._files[self._file_n[position]].read(int(self._place_n[position])), where)
        except BadImage:
            raise
        except FacemaeError as error:
            raise BadImage(where, f"the record cannot be read ({error})") from error

    def close(self) -> None:  # noqa: B027 (nothing to do is right, unless a kind holds files open)
        """Nothing is held open."""

    @abstractmethod
    def _image(self, data: bytes, where: str) -> bytes:
        """The encoded image in the bytes of a record; ``where`` it is, for errors."""
