"""Many keys in little memory: one run of UTF-8 with the end of each, decoded when asked for. A list of strings takes some 85 bytes per key more."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from typing import overload

import numpy as np

DIGEST = 8  # bytes by which keys are first told apart


class PackedKeys(Sequence[str]):
    """A sequence of keys; equal to any sequence of the same strings.

    Attributes:
        run: uint8, the UTF-8 of all keys one after another.
        ends_n: int64, where each ends in it.

    >>> keys = PackedKeys.of(["b", "", "é"])
    >>> list(keys), keys[-1], keys[:2], keys == ["b", "", "é"], keys.take(np.array([2, 0]))[0]
    (['b', '', 'é'], 'é', ['b', ''], True, 'é')
    """

    def __init__(self, run: np.ndarray, ends_n: np.ndarray):
        self.run, self.ends_n = run, ends_n

    @classmethod
    def of(cls, keys: Iterable[str]) -> PackedKeys:
        """The same keys, packed."""
        if isinstance(keys, cls):
            return keys
        encoded = [key.encode() for key in keys]
        ends_n = np.cumsum(np.fromiter(map(len, encoded), np.int64, len(encoded)), dtype=np.int64)
        return cls(np.frombuffer(b"".join(encoded), np.uint8), ends_n)

    @classmethod
    def join(cls, parts: Sequence[PackedKeys]) -> PackedKeys:
        """The keys of all parts, in order."""
        starts = np.cumsum([0, *(len(part.run) for part in parts)])
        ends = [part.ends_n + start for part, start in zip(parts, starts[:-1], strict=True)]
        return cls(
            np.concatenate([np.zeros(0, np.uint8), *(part.run for part in parts)]),
            np.concatenate([np.zeros(0, np.int64), *ends]),
        )

    def take(self, positions_n: np.ndarray) -> PackedKeys:
        """The keys at positions, in that order."""
        return type(self).of([self[position] for position in positions_n.tolist()])

    def twin(self) -> str | None:
        """A key that stands twice, or None. Memory for its time: 16 bytes per key."""
        digests_n = np.fromiter(
            (int.from_bytes(hashlib.blake2b(key, digest_size=DIGEST).digest(), "little") for key in self._raw()),
            np.uint64,
            len(self),
        )
        sorted_n = np.sort(digests_n)
        doubtful_n = sorted_n[1:][sorted_n[1:] == sorted_n[:-1]]
        seen = set()
        for position in np.flatnonzero(np.isin(digests_n, doubtful_n)).tolist() if len(doubtful_n) else ():
            if self[position] in seen:
                return self[position]
            seen.add(self[position])
        return None

    def __len__(self) -> int:
        return len(self.ends_n)

    @overload
    def __getitem__(self, index: int) -> str: ...
    @overload
    def __getitem__(self, index: slice) -> list[str]: ...
    def __getitem__(self, index: int | slice) -> str | list[str]:
        if isinstance(index, slice):
            return [self[position] for position in range(*index.indices(len(self)))]
        if not -len(self) <= index < len(self):
            raise IndexError(f"key {index} of {len(self)}")
        index = int(index) % len(self)
        start = int(self.ends_n[index - 1]) if index else 0
        return self.run[start : int(self.ends_n[index])].tobytes().decode()

    def __iter__(self) -> Iterator[str]:
        return map(bytes.decode, self._raw())

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Sequence) or isinstance(other, str):
            return NotImplemented
        return len(self) == len(other) and all(one == two for one, two in zip(self, other, strict=True))

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"PackedKeys.of({self[:5]!r}{' …' if len(self) > 5 else ''})"

    def _raw(self) -> Iterator[bytes]:
        start, run = 0, self.run.data
        for first in range(0, len(self), 1 << 16):
            for end in self.ends_n[first : first + (1 << 16)].tolist():
                yield bytes(run[start:end])
                start = end
