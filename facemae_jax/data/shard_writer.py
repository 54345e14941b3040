"""One shard of a face set: its records as files of every format, with the index that says it is whole.

How shards become a face set is said in ``face_set_writer``. Nothing here needs TFDS, so that a process that only writes shards starts fast.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np

from facemae_jax.data.face_record import Index, index_records, save_index, to_example
from facemae_jax.data.record_files import ArrayRecordFile, TFRecordFile
from facemae_jax.types import FacemaeError, Record


class ShardWriter(NamedTuple):
    """Writes the shards of one face set; made by ``FaceSetWriter``, and sent to other processes as it is.

    Args:
        folder: where the shards of the unfinished set lie.
        version_dir: what the set will be called, for errors.
        shard_records: largest number of records in a shard.
        formats: ``array_record``, ``tfrecord`` or both.
        num_labels: number of identities; None: not known.
    """

    folder: Path
    version_dir: Path
    shard_records: int
    formats: tuple[str, ...]
    num_labels: int | None

    def data_file(self, shard: int, kind: str) -> Path:
        """The records of a shard in one format."""
        return self.folder / f"{shard:05d}.{kind}"

    def index_file(self, shard: int) -> Path:
        """The index of a shard, which is there when the shard is whole."""
        return self.folder / f"{shard:05d}.npz"

    def write(self, shard: int, records: Iterable[Record]) -> None:
        """Write one shard, in the order given; an interrupted call leaves no trace that counts.

        Raises:
            FacemaeError: more records than ``shard_records``, or a label outside ``num_labels``.
            OSError: a full disk.
        """
        files = {kind: self.data_file(shard, kind) for kind in self.formats}
        staged = {kind: file.with_name(f".{file.name}-{os.getpid()}") for kind, file in files.items()}
        sizes: list[int] = []
        try:
            index = index_records(self._written(records, staged, sizes))
            for kind, file in files.items():
                os.replace(staged[kind], file)
            save_whole(self.index_file(shard), index, num_bytes=np.array(sum(sizes)))
        finally:
            for file in staged.values():
                file.unlink(missing_ok=True)

    def sweep(self, process: int) -> None:
        """Take away what a process left that was ended while it wrote."""
        for file in self.folder.glob(f".*-{process}"):
            file.unlink(missing_ok=True)

    def _written(self, records: Iterable[Record], staged: Mapping[str, Path], sizes: list[int]) -> Iterable[Record]:
        """Pass records on, writing each into every format; ``sizes`` gets their serialized bytes."""
        outputs = [
            ArrayRecordFile(file) if kind == "array_record" else TFRecordFile(file) for kind, file in staged.items()
        ]
        try:
            for record in records:
                if len(sizes) == self.shard_records:
                    raise FacemaeError(f"{self.version_dir}: a shard got more than {self.shard_records} records.")
                if self.num_labels is not None and not 0 <= record.label < self.num_labels:
                    raise FacemaeError(
                        f"{self.version_dir}: record {record.key} has the label {record.label}; "
                        f"labels go from 0 to {self.num_labels - 1}."
                    )
                example = to_example(record)
                for output in outputs:
                    output.write(example)
                sizes.append(len(example))
                yield record
        finally:
            for output in outputs:
                output.close()


def save_whole(file: Path, index: Index, **more: np.ndarray) -> None:
    """Write an index, and ``more`` arrays beside it, whole or not at all."""
    staged = file.with_name(f".{file.name}-{os.getpid()}")
    save_index(staged, index, **more)
    os.replace(staged, file)
