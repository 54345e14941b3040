"""The floor under an import: each form read from front to back by the plainest means, in one thread and without a check."""

from __future__ import annotations

import os
import struct
import tarfile
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from facemae_jax.data.face_record import to_example
from facemae_jax.data.face_set import FaceSet
from facemae_jax.data.face_set_writer import FaceSetWriter
from facemae_jax.data.formats.archive import write_zip
from facemae_jax.data.formats.folder import write_folder
from facemae_jax.data.formats.parquet_writer import write_parquet
from facemae_jax.data.formats.recordio_parts import HEADER, LONGEST
from facemae_jax.data.formats.recordio_writer import write_recordio
from facemae_jax.data.record_files import ArrayRecordFile
from facemae_jax.types import Record

SHARD_RECORDS = 10_000


class Form(NamedTuple):
    """How a form is made from a face set, and how its (image, label, key) are read plainly."""

    make: Callable[[FaceSet, Path], object]
    read: Callable[[Path], Iterator[tuple[bytes, int, str]]]


def write_face_set(images: list[bytes], count: int, per_person: int, size: int, out: Path) -> Path:
    """A face set of ``count`` records, ``per_person`` of each person, that take ``images`` in turn."""
    people = -(-count // per_person)
    writer = FaceSetWriter(
        out / "1.0.0",
        name="faces",
        image_size=size,
        num_labels=people,
        identity_names=[f"{label:05d}" for label in range(people)],
    )
    for shard, start in enumerate(range(0, count, SHARD_RECORDS)):
        numbers = range(start, min(start + SHARD_RECORDS, count))
        writer.write_shard(
            shard,
            (
                Record(images[n % len(images)], n // per_person, f"{n // per_person:05d}/{n % per_person:04d}.jpg")
                for n in numbers
            ),
        )
    return writer.finish(count)


def copy(read: Iterator[tuple[bytes, int, str]], out: Path) -> int:
    """Write what is read as ArrayRecord shards of ``tf.train.Example``, as a face set has them; return the number of records."""
    out.mkdir()
    count, file = 0, None
    for image, label, key in read:
        if count % SHARD_RECORDS == 0:
            if file is not None:
                file.close()
            file = ArrayRecordFile(out / f"{count // SHARD_RECORDS:05d}.array_record")
        assert file is not None
        file.write(to_example(Record(image, label, key)))
        count += 1
    if file is not None:
        file.close()
    return count


def _write_tar(faces: FaceSet, out: Path) -> None:
    folder = out.with_name(out.name + "-files")
    write_folder(faces, folder)
    with tarfile.open(out, "x:", format=tarfile.USTAR_FORMAT) as tar:
        for file in sorted(folder.rglob("*.jpg")):
            tar.add(file, file.relative_to(folder).as_posix())


def _read_recordio(path: Path) -> Iterator[tuple[bytes, int, str]]:
    with open(path / "train.rec", "rb") as file:
        number = 0
        while start := file.read(8):
            length = struct.unpack("<II", start)[1] & LONGEST
            record = file.read(length + -length % 4)
            flag, label, _, _ = HEADER.unpack_from(record)
            if flag == 0:  # the others list records
                number += 1
                yield record[HEADER.size : length], int(label), f"{int(label):05d}/{number}"


def _read_parquet(path: Path) -> Iterator[tuple[bytes, int, str]]:
    from pyarrow import parquet

    for part in sorted(path.glob("*.parquet")):
        with parquet.ParquetFile(part) as file:
            for batch in file.iter_batches(1024, columns=["image", "label", "key"]):
                images = batch.column("image").field("bytes")
                for image, label, key in zip(images, batch.column("label"), batch.column("key"), strict=True):
                    yield image.as_py(), label.as_py(), key.as_py()


def _read_folder(path: Path) -> Iterator[tuple[bytes, int, str]]:
    for label, person in enumerate(sorted(os.listdir(path))):
        for name in sorted(os.listdir(path / person)):
            with open(f"{path}/{person}/{name}", "rb", buffering=0) as file:
                yield file.read(), label, f"{person}/{name}"


def _read_zip(path: Path) -> Iterator[tuple[bytes, int, str]]:
    with zipfile.ZipFile(path) as archive:
        for entry in archive.infolist():
            yield archive.read(entry), int(entry.filename.partition("/")[0]), entry.filename


def _read_tar(path: Path) -> Iterator[tuple[bytes, int, str]]:
    with tarfile.open(path, "r:") as tar:
        for member in tar:
            file = tar.extractfile(member)
            if file is not None:
                yield file.read(), int(member.name.partition("/")[0]), member.name


FORMS = {
    "recordio": Form(write_recordio, _read_recordio),
    "parquet": Form(write_parquet, _read_parquet),
    "folder": Form(write_folder, _read_folder),
    "zip": Form(write_zip, _read_zip),
    "tar": Form(_write_tar, _read_tar),
}
