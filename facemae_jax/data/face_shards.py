"""The shards of a face set as one sequence of records, read at random, without TensorFlow.

Which files these are, and what their features mean, is said by ``face_set``.
"""

from __future__ import annotations

import bisect
import functools
import os
from collections.abc import Iterator, Sequence
from itertools import accumulate
from pathlib import Path
from typing import Any

from array_record.python.array_record_module import ArrayRecordReader

from facemae_jax.data.face_record import Index, from_example, index_records, join, load_index
from facemae_jax.types import FacemaeError, Record

BLOCK = 256  # records read at once when all are read


class Shards:
    """The files of one split, as one sequence of records; opened when first needed, in each process anew.

    Args:
        files: ArrayRecord files in order.
        lengths: records in each.
        index_file: the private index; where there is none, the records are read for it.
    """

    def __init__(self, files: Sequence[str], lengths: Sequence[int], index_file: Path):
        self._files, self._lengths, self._ends = tuple(files), tuple(lengths), tuple(accumulate(lengths))
        self._index_file = index_file
        self._readers: dict[tuple[int, int], Any] = {}  # by process and shard: a reader does not survive a fork

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_readers": {}}

    def __len__(self) -> int:
        return self._ends[-1]

    def read(self, position: int) -> Record:
        """The record at a position of the whole sequence; safe in several threads."""
        shard = bisect.bisect_right(self._ends, position)
        within = position - (self._ends[shard] - self._lengths[shard])
        return from_example(self._take(shard, [within])[0])

    @functools.cached_property
    def index(self) -> Index:
        """Labels, keys and digest of all records.

        Raises:
            FacemaeError: an index that does not belong to these shards.
        """
        if not self._index_file.is_file():
            return join(index_records(self._records(shard)) for shard in range(len(self._files)))
        index, _ = load_index(self._index_file)
        if len(index.keys) != len(self) or len(index.labels_n) != len(self):
            raise FacemaeError(
                f"{self._index_file}: it counts {len(index.keys)} records and the shards hold {len(self)}; "
                "delete it, and it is read from the records."
            )
        return index

    def _records(self, shard: int) -> Iterator[Record]:
        length = self._lengths[shard]
        for start in range(0, length, BLOCK):
            yield from map(from_example, self._take(shard, list(range(start, min(start + BLOCK, length)))))

    def _take(self, shard: int, within: list[int]) -> list[bytes]:
        key = (os.getpid(), shard)
        try:
            reader = self._readers.get(key) or self._readers.setdefault(key, self._open(shard))
            return reader.read(within)
        except (RuntimeError, ValueError, IndexError) as error:
            raise FacemaeError(
                f"{self._files[shard]}: records {within[0]}…{within[-1]} cannot be read ({error}); "
                "the shard is damaged: copy or make the face set again."
            ) from error

    def _open(self, shard: int) -> Any:
        reader = ArrayRecordReader(self._files[shard], "readahead_buffer_size:0", file_reader_buffer_size=1 << 15)
        if reader.num_records() != self._lengths[shard]:
            raise ValueError(f"{reader.num_records()} records where dataset_info.json says {self._lengths[shard]}")
        return reader
