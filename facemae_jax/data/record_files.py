"""Files that records are appended to: ArrayRecord (read by position) and TFRecord (read in order, by ``tfds.load``).

What a record holds is said by ``face_record``; which files make a face set, by ``face_set_writer``.
"""

from __future__ import annotations

import errno
import os
import struct
from pathlib import Path
from typing import Any

import google_crc32c
from array_record.python.array_record_module import ArrayRecordWriter

# One record per group can be read at random; encoded images do not get smaller by compression.
OPTIONS = "group_size:1,uncompressed"


class ArrayRecordFile:
    """ArrayRecord with the errors of the system as what they are, so that a full disk is known as one."""

    def __init__(self, path: Path):
        self._path = path
        self._writer = self._told(ArrayRecordWriter, str(path), OPTIONS)

    def write(self, data: bytes) -> None:
        """Append one record."""
        self._told(self._writer.write, data)

    def close(self) -> None:
        """Finish the file."""
        if self._writer.is_open():
            self._told(self._writer.close)

    def _told(self, call: Any, *arguments: Any) -> Any:
        try:
            return call(*arguments)
        except RuntimeError as error:
            codes = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.ENOENT, errno.EACCES, errno.EROFS)
            code = next((code for code in codes if os.strerror(code) in str(error)), errno.EIO)
            raise OSError(code, f"{os.strerror(code)} ({error})", str(self._path)) from error


class TFRecordFile:
    """TFRecord: length, its masked CRC-32C, the bytes, their masked CRC-32C."""

    def __init__(self, path: Path):
        self._file = path.open("wb")

    def write(self, data: bytes) -> None:
        """Append one record."""
        length = struct.pack("<Q", len(data))
        self._file.write(length + masked_crc(length) + data + masked_crc(data))

    def close(self) -> None:
        """Finish the file."""
        self._file.close()


def masked_crc(data: bytes) -> bytes:
    """The checksum that follows bytes in a TFRecord: CRC-32C turned by 15 bits, plus a constant; 4 bytes, little-endian."""
    crc = google_crc32c.value(data)
    return struct.pack("<I", (((crc >> 15) | (crc << 17)) + 0xA282EAD8) & 0xFFFFFFFF)
