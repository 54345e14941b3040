"""MXNet's RecordIO as bytes, without MXNet: how records are framed, found, and cut into header and image.

A record is one part or more. A part is the word 0xced7230a, a word with a flag (3 bits) and the length (29 bits), the bytes, and
padding to a multiple of four; all little-endian. Flag 0: a whole record; 1, 2, 3: first, middle and last part of one, from whose
bytes the word 0xced7230a was taken where it stood at a multiple of four. (dmlc-core, ``recordio.h``; MXNet, ``recordio.py``.)

What an image record holds: uint32 ``flag``, float32 ``label``, uint64 ``id``, uint64 ``id2``, and the encoded image; with ``flag`` > 0
the labels are ``flag`` float32 numbers before the image, and ``label`` is not used.
"""

from __future__ import annotations

import mmap
import os
import struct
from array import array
from typing import NamedTuple

import numpy as np

from facemae_jax.data.formats.names import MAX_FILE
from facemae_jax.data.formats.window import Window

MAGIC = 0xCED7230A
WORD = struct.pack("<I", MAGIC)
LONGEST = (1 << 29) - 1  # bytes of a part
EXACT = 1 << 24  # up to here every whole number is a float32
HEADER = struct.Struct("<IfQQ")
START = np.dtype(
    [("magic", "<u4"), ("part", "<u4"), ("flag", "<u4"), ("label", "<f4"), ("id", "<u8"), ("id2", "<u8"), ("first", "<f4")]
)  # fmt: skip
CHUNK = 1 << 14  # records looked at together


class Damaged(ValueError):
    """Bytes that are no whole record; the text says why."""


class Heads(NamedTuple):
    """What many records say of themselves, one entry each."""

    labels_n: np.ndarray  # float32, the first of several; NaN where there is no whole header
    ids_n: np.ndarray  # uint64
    bare_n: np.ndarray  # bool: labels and no image, as the records that only list others


def frame(record: bytes) -> bytes:
    """A record as it stands in the file.

    >>> frame(b"abcde").hex(" ", 4)
    '0a23d7ce 05000000 61626364 65000000'
    """
    cuts, place = [], record.find(WORD)
    while place >= 0:
        if place % 4 == 0:
            cuts.append(place)
        place = record.find(WORD, place + (4 if place % 4 == 0 else 1))
    starts, ends = [0, *(cut + 4 for cut in cuts)], [*cuts, len(record)]
    made = []
    for number, (start, end) in enumerate(zip(starts, ends, strict=True)):
        flag = 0 if not cuts else 1 if number == 0 else 3 if number == len(cuts) else 2
        made.append(struct.pack("<II", MAGIC, flag << 29 | (end - start)))
        made.append(record[start:end] + bytes(-(end - start) % 4))
    return b"".join(made)


def read_record(file: Window, offset: int) -> bytes:
    """The record that begins at an offset of a file; safe in several threads.

    Raises:
        Damaged: none does.
    """
    parts: list[bytes] = []
    while True:
        start = file.read(offset, 8)
        if len(start) < 8:
            raise Damaged("the file ends before it")
        magic, word = struct.unpack("<II", start)
        flag, length = word >> 29, word & LONGEST
        if magic != MAGIC or flag not in ((2, 3) if parts else (0, 1)):
            raise Damaged(f"no record begins at byte {offset:,}" if not parts else "the rest of it is missing")
        if length + (sum(map(len, parts)) if parts else 0) > MAX_FILE:
            raise Damaged(f"it has more than {MAX_FILE:,} bytes")
        data = file.read(offset + 8, length)
        if len(data) < length:
            raise Damaged(f"the file ends inside it ({len(data):,} of {length:,} bytes are there)")
        if flag == 0:
            return data
        parts.append(data)
        if flag == 3:
            return WORD.join(parts)
        offset += 8 + length + -length % 4


def find_records(file: int) -> np.ndarray:
    """int64 offsets of all records of an open file, from a walk over it; a damaged stretch counts as one."""
    offsets, size, place = array("q"), os.fstat(file).st_size, 0
    if not size:
        return np.zeros(0, np.int64)
    unpack = struct.Struct("<II").unpack_from
    with mmap.mmap(file, 0, access=mmap.ACCESS_READ) as data:
        while place < size:
            magic, word = unpack(data, place) if place + 8 <= size else (0, 0)
            if magic != MAGIC:
                offsets.append(place)
                place = _next_start(data, place + 4)
                continue
            if word >> 29 in (0, 1):
                offsets.append(place)
            length = word & LONGEST
            place += 8 + length + -length % 4
    return np.array(offsets, np.int64)


def _next_start(data: mmap.mmap, place: int) -> int:
    """Where the next part begins: a whole record has the word at a multiple of four nowhere else."""
    while (place := data.find(WORD, place)) >= 0:
        if place % 4 == 0:
            return place
        place += 1
    return len(data)


def look(path: str, offsets_n: np.ndarray) -> Heads:
    """The headers at offsets of a file, many at a time: a few hundred nanoseconds each, and no image is read."""
    count = len(offsets_n)
    labels_n, ids_n, bare_n = np.full(count, np.nan, np.float32), np.zeros(count, np.uint64), np.zeros(count, bool)
    data_n: np.ndarray = np.memmap(path, np.uint8, "r") if os.path.getsize(path) else np.zeros(0, np.uint8)
    for start in range(0, count, CHUNK):
        rows = slice(start, start + CHUNK)
        begin_n = offsets_n[rows]
        inside_n = (begin_n >= 0) & (begin_n + 8 + HEADER.size <= len(data_n))
        if not inside_n.any():
            continue
        # Beyond the end the last byte stands again: what lies there is not used, for the length of the record is tested below.
        places_nb = np.minimum(np.where(inside_n, begin_n, 0)[:, None] + np.arange(START.itemsize), len(data_n) - 1)
        found_n = data_n[places_nb].view(START)[:, 0]
        flag_n, length_n = found_n["flag"].astype(np.int64), (found_n["part"] & LONGEST).astype(np.int64)
        image_n = length_n - HEADER.size - 4 * flag_n
        whole_n = inside_n & (found_n["magic"] == MAGIC) & (found_n["part"] >> 29 <= 1) & (image_n >= 0)
        labels_n[rows] = np.where(whole_n, np.where(flag_n > 0, found_n["first"], found_n["label"]), np.nan)
        ids_n[rows] = np.where(whole_n, found_n["id"], 0)
        bare_n[rows] = whole_n & (flag_n > 0) & (image_n == 0)
    return Heads(labels_n, ids_n, bare_n)
