"""What can be known of a JPEG file without decoding it: that its parts are whole and fit, and what it shows is promised by them.

Only the plain kind is told: one scan of 8-bit Huffman-coded blocks, as nearly all encoders write unless asked for a progressive file. Of
any other kind, and of any oddity, nothing is said; whoever asks decodes it. (ITU-T T.81, annex B.)
"""

from __future__ import annotations

import functools
import re
from typing import NamedTuple

import simplejpeg

START, END = b"\xff\xd8", b"\xff\xd9"
BASELINE, EXTENDED = 0xC0, 0xC1  # frames of sequential Huffman coding
FRAMES = {*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC}  # of any coding
TABLES, HUFFMAN, SCAN = 0xDB, 0xC4, 0xDA
ALONE = {0x00, 0x01, 0xFF, *range(0xD0, 0xDA)}  # no segment with a length begins so
MAYBE_TURNED = (b"Exif\x00\x00", b"tiff:Orientation")  # in segments that may carry an orientation
SEVERAL = b"MPF\x00"  # in those of files with more than one view
# Inside a scan 0xff is followed by 0 (the byte itself), a restart mark, or more 0xff (padding before a mark); anything else ends it.
MARK = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]")
KNOWN = 64  # headers that are remembered: those of one encoder at one setting are alike
LONGEST = 4096  # bytes of such a header


class Promise(NamedTuple):
    """What the header of a plain JPEG says."""

    height: int
    width: int
    colours: str  # as simplejpeg calls them: YCbCr, RGB, Gray, CMYK …
    special: bool  # whether there is something that may ask for a turn, or tell of more views


def header_end(data: bytes) -> int:
    """Where the coded pixels begin, behind the segments before them; 0 where these are damaged or cut.

    >>> header_end(bytes.fromhex("ffd8 ffe00003aa ffda0004aabb 1234"))
    13
    """
    place, size = 2, len(data)
    if data[:2] != START:
        return 0
    while place + 4 <= size:
        if data[place] != 0xFF or data[place + 1] in ALONE:
            return 0
        end = place + 2 + (data[place + 2] << 8 | data[place + 3])
        if end < place + 4 or end > size:
            return 0
        if data[place + 1] == SCAN:
            return end
        place = end
    return 0


def promise(data: bytes) -> Promise | None:
    """What a file shows, if every part of it is there: header and tables that fit together, one scan without foreign marks, the end.

    Damage inside the scan that makes no mark is not seen: a decoder paints something else there. None says that the file is damaged,
    or merely not of the plain kind.
    """
    start = header_end(data)
    if not start:
        return None
    found = MARK.search(data, start)
    if found is None or found[0] != END or found.start() == start:
        return None
    if found.end() < len(data) and data[found.end() :].strip(b"\0"):
        return None  # something else follows: a second picture, or what a broken copy left
    return (_read if start <= LONGEST else _read.__wrapped__)(data[:start])


@functools.lru_cache(maxsize=KNOWN)
def _read(header: bytes) -> Promise | None:
    """The promise of a header, up to its end."""
    try:
        height, width, colours, _ = simplejpeg.decode_jpeg_header(header)
    except ValueError:
        return None
    special = any(mark in header for mark in (*MAYBE_TURNED, SEVERAL))
    return Promise(height, width, colours, special) if _fits(header) else None


def _fits(header: bytes) -> bool:
    """Whether the one frame is of the plain kind, and the scan and its tables belong to it."""
    quantised: set[int] = set()
    coded: set[int] = set()
    frame: bytes | None = None
    place = 2
    while True:
        kind, length = header[place + 1], header[place + 2] << 8 | header[place + 3]
        part = header[place + 4 : place + 2 + length]
        if kind in FRAMES:
            if kind not in (BASELINE, EXTENDED) or frame is not None:
                return False
            frame = part
        elif kind == TABLES and not _quantised(part, quantised) or kind == HUFFMAN and not _coded(part, coded):
            return False
        elif kind == SCAN:
            return frame is not None and _agree(frame, part, quantised, coded)
        place += 2 + length


def _quantised(part: bytes, known: set[int]) -> bool:
    """Note the numbers of the tables of a segment; whether it is whole."""
    while part:
        known.add(part[0] & 15)
        length = 65 if part[0] < 16 else 129
        if len(part) < length:
            return False
        part = part[length:]
    return True


def _coded(part: bytes, known: set[int]) -> bool:
    """Note the kinds and numbers of the Huffman tables of a segment; whether it is whole."""
    while part:
        length = 17 + sum(part[1:17])
        if len(part) < length or not _possible(part[1:17]) or part[0] < 16 and max(part[17:length], default=0) > 15:
            return False
        known.add(part[0])
        part = part[length:]
    return True


def _possible(counts: bytes) -> bool:
    """Whether there are as many codes of 1 … 16 bits as ``counts`` says (the code of ones alone is never used)."""
    code = 0
    for bits, count in enumerate(counts, 1):
        code = 2 * code + count
        if code > (1 << bits) - (count > 0):
            return False
    return True


def _agree(frame: bytes, scan: bytes, quantised: set[int], coded: set[int]) -> bool:
    count = frame[5] if len(frame) > 5 else 0
    if not count or len(frame) != 6 + 3 * count or len(scan) != 4 + 2 * count or scan[0] != count or frame[0] != 8:
        return False
    names, tables = frame[6::3], frame[8::3]
    dc, ac = {byte >> 4 for byte in scan[2:-3:2]}, {16 + (byte & 15) for byte in scan[2:-3:2]}
    return scan[1:-3:2] == names and scan[-3:] == b"\0\x3f\0" and quantised >= set(tables) and coded >= dc | ac
