"""Faces in a TFDS directory, this package's or anybody's: ArrayRecord or TFRecord shards, an ``Image`` feature and a label, without TensorFlow.

A set of this package's own form (``image``, ``label``, ``key`` in ArrayRecord) is read by ``face_set``; others here.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from array_record.python.array_record_module import ArrayRecordReader

from facemae_jax.data.face_set import FaceSet, FaceSetWriter, find_versions
from facemae_jax.data.formats.columns import IMAGES, KEYS, LABELS, choose
from facemae_jax.data.formats.examples import ExampleSource, Features
from facemae_jax.data.formats.face_set_source import FaceSetSource
from facemae_jax.data.formats.names import ending_of
from facemae_jax.data.formats.record_source import RecordFile
from facemae_jax.data.formats.tfrecord import TFRecordReader
from facemae_jax.types import FacemaeError

PREFIX = "tfds:"  # before the name of a data set that TFDS has prepared on this machine
BLOCK = 64  # records read at once when all are read


def tfds_folder(name: str) -> Path:
    """The version directory of a data set that TFDS has prepared, from its name: ``tfds:lfw``, ``tfds:celeb_a:2.0.1``, ``tfds:NAME/CONFIG``.

    It is looked for where TFDS keeps its data: ``$TFDS_DATA_DIR``, or ``~/tensorflow_datasets``.

    Raises:
        FacemaeError: there is none of that name; preparing one downloads and converts it, and is left to TFDS.
    """
    from tensorflow_datasets.core import read_only_builder  # takes over a second, which --help need not wait for

    name = name.removeprefix(PREFIX)
    try:
        return Path(read_only_builder.builder_from_files(name).data_dir)
    except Exception as error:  # whatever TFDS says of names and directories that are not its own
        raise FacemaeError(
            f"{PREFIX}{name}: TFDS has no data set of that name prepared here; prepare it first (tfds build {name}), set "
            "TFDS_DATA_DIR to where it is, or name its directory."
        ) from error


def open_tfds(path: Path, *, image: str = "", label: str = "") -> FaceSetSource | ExampleSource:
    """The faces in a TFDS directory.

    Args:
        path: a version directory, or a folder that holds exactly one. Of several splits ``train`` is taken.
        image, label: names of the features; "" finds them: the only ``Image``, a ``ClassLabel``, or by their usual names.

    Raises:
        FacemaeError: more than one version, features that cannot be told, another file format, missing shards.
    """
    versions = find_versions(path)
    if len(versions) != 1:
        seen = ", ".join(version.relative_to(path).as_posix() for version in versions[:5])
        raise FacemaeError(f"{path}: one TFDS version directory was expected, found {seen}; name the directory.")
    (version,) = versions
    import tensorflow_datasets as tfds  # takes over a second, which --help need not wait for

    try:
        info = tfds.builder_from_directory(str(version)).info
        splits, flat = dict(info.splits), dict(_flat(info.features))
    except Exception as error:  # whatever TFDS says of a directory that is not its own
        raise FacemaeError(f"{version}: TFDS cannot open this directory ({error}); prepare it again.") from error
    kinds = [tfds.core.FileFormat.ARRAY_RECORD, tfds.core.FileFormat.TFRECORD]
    kind = next((kind for kind in kinds if kind in info.available_file_formats()), None)
    if kind is None:
        raise FacemaeError(f"{version}: is stored as {info.file_format.value}; prepare it as array_record or tfrecord.")
    features = _features(flat, image, label, version)
    if kind is kinds[0] and features == Features("image", "label", "key"):
        return FaceSetSource(version)
    if "train" not in splits and len(splits) != 1:
        raise FacemaeError(
            f"{version}: holds the splits {', '.join(splits)}, neither train nor a single one; keep one of them."
        )
    split = splits.get("train") or next(iter(splits.values()))
    template = split.filename_template.replace(filetype_suffix=kind.file_suffix)
    files = [Path(str(file)) for file in template.sharded_filepaths(num_shards=split.num_shards)]
    for file in files:
        if not file.is_file():
            raise FacemaeError(f"{file}: this shard is missing; copy or prepare the data set again.")
    readers: list[RecordFile] = [(ArrayRecords if kind is kinds[0] else TFRecordReader)(file) for file in files]
    names = getattr(flat[features.label], "names", None) or None
    return ExampleSource(version, readers, features, names, lengths=split.shard_lengths)


def write_tfds(
    faces: FaceSet,
    out: Path,
    *,
    metadata: Mapping[str, Any] | None = None,
    names: bool = False,
    shard_records: int = 10_000,
) -> None:
    """Write ``out/faces/1.0.0``: a TFDS directory that ``tfds.load`` and ``tfds.data_source`` read, in both file formats.

    Args:
        faces: the records; all of one size.
        out: a folder that must not exist.
        metadata: for ``builder.info.metadata``.
        names: keep the names of the people in a file beside the shards.
        shard_records: largest number of records in a shard.

    Raises:
        FacemaeError: images of varying size.
        OSError: a full disk.
    """
    if not faces.image_size:
        raise FacemaeError(
            f"{faces.path}: its images are of varying size; import the set first (import-faces resizes)."
        )
    out.mkdir()
    writer = FaceSetWriter(
        out / "faces" / "1.0.0",
        name="faces",
        image_size=faces.image_size,
        encoding="png" if ending_of(faces[0].image, str(faces.path)) == "png" else "jpeg",
        shard_records=shard_records,
        formats=("array_record", "tfrecord"),
        description="Face crops with the label of the person each shows.",
        metadata=metadata,
        num_labels=faces.identities,
        identity_names=faces.identity_names if names else None,
        index=False,
    )
    for shard, start in enumerate(range(0, len(faces), shard_records)):
        writer.write_shard(shard, (faces[n] for n in range(start, min(start + shard_records, len(faces)))))
    writer.finish(len(faces))


class ArrayRecords:
    """One ArrayRecord file of any writer; ``place`` counts records. Opened when first needed, in each process anew."""

    def __init__(self, path: Path):
        self.path = path
        self._readers: dict[int, Any] = {}  # by process: a reader does not survive a fork

    def records(self) -> Iterator[tuple[int, bytes]]:
        """(number, bytes) of every record, in order.

        Raises:
            FacemaeError: a damaged file.
        """
        count = self._told(lambda reader: reader.num_records())
        for start in range(0, count, BLOCK):
            places = list(range(start, min(start + BLOCK, count)))
            yield from zip(places, self._told(lambda reader, places=places: reader.read(places)), strict=True)

    def read(self, place: int) -> bytes:
        """The record of a number."""
        return self._told(lambda reader: reader.read([place]))[0]

    def _told(self, ask: Any) -> Any:
        try:
            if (reader := self._readers.get(os.getpid())) is None:
                options = ("readahead_buffer_size:0",)
                reader = ArrayRecordReader(str(self.path), *options, file_reader_buffer_size=1 << 15)
                reader = self._readers.setdefault(os.getpid(), reader)
            return ask(reader)
        except (RuntimeError, ValueError, IndexError) as error:
            raise FacemaeError(f"{self.path}: cannot be read ({error}); copy or prepare the data set again.") from error


def _flat(features: Any, above: str = "") -> Iterator[tuple[str, Any]]:
    """(name in the records, feature) of everything that is no collection."""
    for name, feature in features.items():
        if hasattr(feature, "items"):
            yield from _flat(feature, f"{above}{name}/")
        else:
            yield f"{above}{name}", feature


def _features(flat: dict[str, Any], image: str, label: str, version: Path) -> Features:
    import tensorflow_datasets as tfds

    images = [name for name, feature in flat.items() if isinstance(feature, tfds.features.Image)]
    classes = [name for name, feature in flat.items() if isinstance(feature, tfds.features.ClassLabel)]
    texts = [name for name, feature in flat.items() if isinstance(feature, tfds.features.Text)]
    numbers = [
        name
        for name, feature in flat.items()
        if name not in classes and feature.shape == () and np.issubdtype(feature.np_dtype, np.integer)
    ]
    chosen = choose("image", images, image, IMAGES, str(version))
    usual = [name for name in (*numbers, *texts) if name in LABELS]
    named = choose("label", [*classes, *numbers, *texts] if label else classes or usual, label, LABELS, str(version))
    key = next((name for name in KEYS if name in texts and name != named), "")
    return Features(chosen, named, key)
