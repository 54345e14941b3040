"""The listing of fifty million images in little memory: names that are made when asked for, and labels in arrays.

A Python string costs some 70 bytes beside its text, and a list 8 more; here a name costs 8 bytes and its text, or nothing.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from typing import overload

import numpy as np


class LazyKeys(Sequence[str]):
    """``make(0) … make(count − 1)``, each made when asked for.

    >>> LazyKeys(3, "k{}".format)[1:], list(LazyKeys(2, "k{}".format))
    (['k1', 'k2'], ['k0', 'k1'])
    """

    def __init__(self, count: int, make: Callable[[int], str]):
        self._count, self._make = count, make

    def __len__(self) -> int:
        return self._count

    @overload
    def __getitem__(self, index: int) -> str: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[str]: ...
    def __getitem__(self, index: int | slice) -> str | Sequence[str]:
        if isinstance(index, slice):
            return [self._make(position) for position in range(*index.indices(self._count))]
        if not -self._count <= index < self._count:
            raise IndexError(f"name {index} of {self._count}")
        return self._make(int(index) % self._count)

    def __iter__(self) -> Iterator[str]:
        return map(self._make, range(self._count))


class Texts:
    """Texts that are appended, and kept as one run of UTF-8: 8 bytes each and the text itself.

    >>> texts = Texts(); texts.append("b"); texts.append("é"); texts.append("a")
    >>> texts[1], len(texts), texts.order_n().tolist()
    ('é', 3, [2, 0, 1])
    """

    def __init__(self) -> None:
        self._run, self._ends = bytearray(), array("q", [0])

    def __len__(self) -> int:
        return len(self._ends) - 1

    def __getitem__(self, position: int) -> str:
        return self.raw(position).decode("utf-8", "surrogateescape")

    def raw(self, position: int) -> bytes:
        """The bytes of a text."""
        return bytes(self._run[self._ends[position] : self._ends[position + 1]])

    def append(self, text: str | bytes) -> None:
        """One more; bytes that are no UTF-8 are kept as they are, and shown as names of files are that cannot be read."""
        self._run += text.encode("utf-8", "surrogateescape") if isinstance(text, str) else text
        self._ends.append(len(self._run))

    def ascending(self) -> bool:
        """Whether each is larger than the one before."""
        return all(one < two for one, two in pairwise(map(self.raw, range(len(self)))))

    def order_n(self) -> np.ndarray:
        """int64 positions in ascending order of the texts, which UTF-8 shares with Python's strings.

        It takes as many bytes as all texts would have at the length of the longest, for the time of sorting.
        """
        if self.ascending():
            return np.arange(len(self))
        widest = max(int(np.diff(np.frombuffer(self._ends, np.int64)).max()), 1)
        padded_n = np.fromiter(map(self.raw, range(len(self))), f"S{widest}", len(self))
        return np.argsort(padded_n, kind="stable")


def own_or(own: Texts, others: Texts) -> tuple[Texts, np.ndarray]:
    """The texts that shall be keys, and their ascending order, int64: ``own`` where there is one for each and all differ, else ``others``.

    >>> keys, order_n = own_or(Texts(), Texts())
    >>> len(keys), order_n.tolist()
    (0, [])
    """
    if len(own) == len(others):
        order_n = own.order_n()
        if all(own.raw(one) != own.raw(two) for one, two in pairwise(order_n.tolist())):
            return own, order_n
    return others, others.order_n()


def filled(labels_n: np.ndarray, good_n: np.ndarray) -> np.ndarray:
    """int32 labels; where none is good, that of the record before (of the first ones: of the first that is good).

    A damaged record so counts for somebody until it is read, which fails.

    >>> filled(np.array([9, 4, 9, 5]), np.array([False, True, False, True])).tolist()
    [4, 4, 4, 5]
    """
    source_n = np.maximum.accumulate(np.where(good_n, np.arange(len(good_n)), 0))
    source_n[: np.argmax(good_n)] = np.argmax(good_n)
    return labels_n[source_n].astype(np.int32)
