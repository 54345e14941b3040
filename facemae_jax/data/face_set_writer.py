"""Writing a face set: a TFDS version directory that is there whole or not at all, made shard by shard, without TensorFlow.

Every byte follows from the arguments and the records: no time, no random name, no number of hosts. What the images are
is the caller's business.
"""

from __future__ import annotations

import json
import os
import secrets
import shutil
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from facemae_jax.data.face_record import INDEX, NAMES, Index, join, load_index
from facemae_jax.data.shard_writer import ShardWriter, save_whole
from facemae_jax.types import FacemaeError, Record

PARTIAL = ".partial"


class FaceSetWriter:
    """Collects shards in ``<version_dir>.partial`` and renames them to a TFDS directory at :meth:`finish`.

    Shards are counted from 0 and written in any order, by one process or several; each appears whole or not at all, and a
    killed writer goes on with those that are missing (:meth:`shard_done`). What an attempt with other arguments left behind
    is thrown away.

    Attributes:
        shard_writer: writes a shard; another process needs no more than this.

    Args:
        version_dir: ``…/NAME/VERSION``, with a version such as 1.0.0.
        name: of the data set, in its file names.
        image_size: pixels per side of every image.
        encoding: ``jpeg`` or ``png``, of the image bytes that will be given.
        shard_records: largest number of records in a shard.
        formats: ``array_record``, ``tfrecord`` (which serves ``tfds.load``) or both, at twice the disk.
        description: of the data set, for its readers.
        metadata: JSON values for ``builder.info.metadata``.
        num_labels: number of identities, told to readers; None: not told.
        identity_names: kept in a private file beside the shards; never give them for what leaves the workdir.
        split: TFDS split.
        index: whether to write the private index of labels and keys, which spares readers a pass over all records.
    """

    def __init__(
        self,
        version_dir: Path,
        *,
        name: str,
        image_size: int,
        encoding: str = "jpeg",
        shard_records: int = 10_000,
        formats: Sequence[str] = ("array_record",),
        description: str = "",
        metadata: Mapping[str, Any] | None = None,
        num_labels: int | None = None,
        identity_names: Sequence[str] | None = None,
        split: str = "train",
        index: bool = True,
    ):
        self.version_dir = Path(version_dir)
        self.name, self.image_size, self.encoding, self.split = name, image_size, encoding, split
        self.shard_records, self.formats = shard_records, tuple(formats)
        self.description, self.metadata = description, dict(metadata or {})
        self.num_labels, self.identity_names, self.index = num_labels, identity_names, index
        self._partial = self.version_dir.with_name(self.version_dir.name + PARTIAL)
        self._shards, self._whole = self._partial / "shards", self._partial / "whole"
        self.shard_writer = ShardWriter(self._shards, self.version_dir, shard_records, self.formats, num_labels)
        if not self.is_whole():
            # While TFDS is imported it has Python's import replaced (etils.epy.lazy_imports), and threads that import anything then
            # fail: so here, before the caller starts threads that make records, and not at the first record.
            import tensorflow_datasets  # noqa: F401

            self._prepare()

    def is_whole(self) -> bool:
        """Whether the face set is finished."""
        return (self.version_dir / "dataset_info.json").is_file()

    def shard_done(self, shard: int) -> bool:
        """Whether a shard is written, by this writer or an earlier one."""
        return self.is_whole() or self.shard_writer.index_file(shard).is_file()

    def write_shard(self, shard: int, records: Iterable[Record]) -> None:
        """Write one shard, in the order given; an interrupted call leaves no trace that counts.

        Raises:
            FacemaeError: more records than ``shard_records``, or a label outside ``num_labels``.
            OSError: a full disk.
        """
        self.shard_writer.write(shard, records)

    def finish(self, total: int) -> Path:
        """Name the shards for good, describe them, and let the directory appear.

        Args:
            total: records that must be there.

        Returns:
            The version directory.

        Raises:
            FacemaeError: shards or records are missing, or a key stands twice.
        """
        if not self.is_whole():
            whole, records, num_bytes = self._collect(total)
            kept = [shard for shard, count in enumerate(records) if count]
            self._whole.mkdir(exist_ok=True)
            self._describe([records[shard] for shard in kept], num_bytes)
            if self.index:
                save_whole(self._whole / INDEX, whole)
            if self.identity_names is not None:
                names = json.dumps(list(self.identity_names), ensure_ascii=False)
                (self._whole / NAMES).write_text(names, encoding="utf-8")
            for kind in self.formats:
                for number, shard in enumerate(kept):
                    source = self.shard_writer.data_file(shard, kind)
                    if source.is_file():  # else an earlier finish moved it and was killed
                        os.replace(
                            source,
                            _template(self, self._whole, kind).sharded_filepath(
                                shard_index=number, num_shards=len(kept)
                            ),
                        )
            os.rename(self._whole, self.version_dir)
        shutil.rmtree(self._partial, ignore_errors=True)
        return self.version_dir

    def _prepare(self) -> None:
        if self.version_dir.is_dir() and any(self.version_dir.iterdir()):
            raise FacemaeError(
                f"{self.version_dir}: the folder holds something that is no face set; empty it or choose another."
            )
        arguments = {
            "name": self.name,
            "image_size": self.image_size,
            "encoding": self.encoding,
            "shard_records": self.shard_records,
            "formats": list(self.formats),
            "split": self.split,
            "num_labels": self.num_labels,
        }
        note, text = self._partial / "arguments.json", json.dumps(arguments, indent=1)
        if self._partial.is_dir() and not (note.is_file() and note.read_text() == text):
            shutil.rmtree(self._partial)
        self._shards.mkdir(parents=True, exist_ok=True)
        staged = note.with_name(f".{note.name}-{secrets.token_hex(8)}")  # containers on one disk share process numbers
        staged.write_text(text)
        os.replace(staged, note)

    def _collect(self, total: int) -> tuple[Index, list[int], int]:
        """The index of all records, how many each shard has, and their serialized bytes."""
        parts: list[Index] = []
        num_bytes = 0
        while self.shard_writer.index_file(len(parts)).is_file():
            index, more = load_index(self.shard_writer.index_file(len(parts)))
            parts.append(index)
            num_bytes += int(more["num_bytes"])
        records = [len(index.keys) for index in parts]
        stray = len(list(self._shards.glob("[0-9]*.npz"))) - len(parts)
        if sum(records) != total or stray or not total:
            raise FacemaeError(
                f"{self.version_dir}: {sum(records)} of {total} records are written in {len(parts)} shards"
                f"{f', and shard {len(parts)} is missing' if stray else ''}; write the others before finishing."
            )
        whole = join(parts)
        parts.clear()
        twice = whole.keys.twin()
        if twice is not None:
            raise FacemaeError(f"{self.version_dir}: the key {twice!r} stands twice; keys must differ.")
        return whole, records, num_bytes

    def _describe(self, lengths: Sequence[int], num_bytes: int) -> None:
        import tensorflow_datasets as tfds  # takes over a second, which --help need not wait for
        from tensorflow_datasets.core.dataset_info import DatasetIdentity

        side = self.image_size
        label = (
            tfds.features.Scalar(np.int64)
            if self.num_labels is None
            else tfds.features.ClassLabel(num_classes=self.num_labels)
        )
        # tfds.load reads the format named first; as_data_source finds the other by itself.
        first, *others = sorted(self.formats, reverse=True)
        info = tfds.core.DatasetInfo(
            builder=DatasetIdentity(
                self.name, tfds.core.Version(self.version_dir.name), str(self._whole), module_name=""
            ),
            description=self.description,
            features=tfds.features.FeaturesDict(
                {
                    "image": tfds.features.Image(shape=(side, side, 3), encoding_format=self.encoding),
                    "label": label,
                    "key": tfds.features.Text(),
                }
            ),
            metadata=tfds.core.MetadataDict(self.metadata),
            alternative_file_formats=others,
        )
        info.set_file_format(first)
        template = _template(self, self._whole, first)
        split = tfds.core.SplitInfo(
            name=self.split, shard_lengths=list(lengths), num_bytes=num_bytes, filename_template=template
        )
        info.set_splits(tfds.core.splits.SplitDict([split]))
        info.write_to_directory(str(self._whole))


def _template(writer: FaceSetWriter, folder: Path, kind: str) -> Any:
    import tensorflow_datasets as tfds

    return tfds.core.ShardedFileTemplate(
        data_dir=folder, dataset_name=writer.name, split=writer.split, filetype_suffix=kind
    )
