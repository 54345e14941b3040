"""Sources that can be divided: some of the images of one, as a source that is sent to another process and read there."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar, Self

import numpy as np


class DivisibleSource(ABC):
    """What sources of images at known places of files have in common.

    Attributes:
        keys: a key for every image, sorted.
    """

    # Open files, locks and what was read: of one process alone, and made by _begin.
    _own: ClassVar[tuple[str, ...]] = ()

    keys: Sequence[str]

    @abstractmethod
    def where(self, position: int) -> str:
        """What to call an image in an error."""

    @abstractmethod
    def read(self, position: int) -> bytes:
        """An encoded image."""

    def divisible(self) -> bool:
        """Whether another process can read these files, and as fast from the middle as from the front."""
        return True

    def part(self, positions: Sequence[int]) -> Self:
        """The images at these positions, which count from 0 there; it knows keys and places, but not whom they show.

        It is for pickling: here it shares files with the source. Memory: of these images alone.
        """
        part = object.__new__(type(self))
        part.__dict__.update(self.__dict__)
        part.keys = [self.keys[position] for position in positions]
        part._keep(np.array(positions, np.int64))
        return part

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name not in self._own}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._begin()

    def _begin(self) -> None:  # noqa: B027 (a source that holds nothing open has nothing to make)
        """Make what is of one process alone."""

    def _keep(self, rows_n: np.ndarray) -> None:  # noqa: B027 (where keys are the places, there are no others to leave out)
        """Leave out the places of all other images."""
