"""Faces in TFRecord files: ``tf.train.Example`` messages with an encoded image and a label, read by position without TensorFlow.

A record is its length (8 bytes), a masked CRC-32C of that, the bytes, and a masked CRC-32C of these; every checksum is tested. Lists
beside files without labels are the business of ``tface``.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from facemae_jax.data.formats.examples import ExampleSource
from facemae_jax.data.formats.names import MAX_FILE
from facemae_jax.data.record_files import masked_crc
from facemae_jax.types import FacemaeError

NAMED = re.compile(r"\.(tfrecords?|tfrec)($|[-.])")  # faces.tfrecord, faces.tfrecord-00000-of-00010, faces-00.tfrec
COMPRESSED = (b"\x1f\x8b", b"\x78\x01", b"\x78\x5e", b"\x78\x9c", b"\x78\xda")  # how gzip and zlib begin


def tfrecord_files(folder: Path) -> list[Path]:
    """The TFRecord files right inside a folder, sorted."""
    return sorted(path for path in folder.iterdir() if NAMED.search(path.name) and path.is_file())


def open_tfrecord(path: Path, *, image: str = "", label: str = "") -> ExampleSource:
    """The faces in one TFRecord file, or in all those right inside a folder.

    Args:
        path: the file or folder.
        image, label: names of the features; "" finds them by their usual names.

    Raises:
        FacemaeError: damaged or compressed files, features that cannot be told.
    """
    files = [path] if path.is_file() else tfrecord_files(path)
    return ExampleSource(path, [TFRecordReader(file) for file in files], image=image, label=label)


class TFRecordReader:
    """One TFRecord file; ``place`` is the offset of a record in bytes. Nothing is held open."""

    def __init__(self, path: Path):
        self.path = path

    def records(self) -> Iterator[tuple[int, bytes]]:
        """(offset, bytes) of every record, in order.

        Raises:
            FacemaeError: a checksum that is wrong, a file that ends in the middle of a record, a compressed one.
        """
        place, end = 0, self.path.stat().st_size
        with open(self.path, "rb") as file:
            while place < end:
                data = self._record(file, place, end)
                yield place, data
                place += len(data) + 16

    def read(self, place: int) -> bytes:
        """The record at an offset."""
        with open(self.path, "rb") as file:
            file.seek(place)
            return self._record(file, place, self.path.stat().st_size)

    def _record(self, file: BinaryIO, place: int, end: int) -> bytes:
        head = file.read(12)
        if place == 0 and head[:2] in COMPRESSED and not _sums(head[:8], head[8:]):
            raise FacemaeError(
                f"{self.path}: a compressed file cannot be read by position; unpack it (gunzip), or write it without compression."
            )
        if len(head) < 12 or not _sums(head[:8], head[8:]):
            raise FacemaeError(
                f"{self.path}: at byte {place:,} there is no whole TFRecord length with its checksum; the file is damaged or cut off: copy it again."
            )
        (length,) = struct.unpack("<Q", head[:8])
        if length > MAX_FILE or place + length + 16 > end:
            raise FacemaeError(
                f"{self.path}: the record at byte {place:,} would have {length:,} bytes, more than the file holds or a face needs; "
                "the file is cut off or no set of faces: copy it again."
            )
        data = file.read(length + 4)
        if not _sums(data[:length], data[length:]):
            raise FacemaeError(
                f"{self.path}: the record at byte {place:,} does not fit its checksum; the file is damaged: copy it again."
            )
        return data[:length]


def _sums(data: bytes, stored: bytes) -> bool:
    return masked_crc(data) == stored
