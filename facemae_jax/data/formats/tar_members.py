"""The members of a tar, found in one pass over its headers: where the content of each file lies, in ustar, GNU and pax form.

Read here and not by ``tarfile``, which keeps every member, takes a damaged header for the end, and loops on negative sizes. Contents are
not read, links are not followed.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import BinaryIO, NamedTuple

from facemae_jax.types import FacemaeError

BLOCK = 512
LONGEST = 1 << 20  # bytes of a long name or of pax records
FILES, FOLDER = (b"0", b"\0", b"7"), b"5"
LINKS, DEVICES = (b"1", b"2"), (b"3", b"4", b"6")
WITHOUT_CONTENT = (*LINKS, *DEVICES, FOLDER)


class Member(NamedTuple):
    """One file, or (with ``aside``) something else that is not read."""

    name: str
    start: int  # of its content, in bytes of the tar
    size: int
    aside: str  # "" for a file; else what it is, in the plural


def members(file: BinaryIO, where: str) -> Iterator[Member]:
    """Every member but folders, in order. The caller may move the file's position in between.

    Args:
        file: an uncompressed tar.
        where: what to call it in an error.

    Raises:
        FacemaeError: no tar, a damaged or cut one, a sparse file.
    """
    end, place = file.seek(0, os.SEEK_END), 0
    named: dict[str, str] = {}  # what extended headers say of the next member
    while True:
        file.seek(place)
        block = file.read(BLOCK)
        if not block.strip(b"\0") and len(block) == BLOCK:
            return
        if len(block) < BLOCK:
            raise FacemaeError(
                f"{where}: the tar ends at byte {place:,} without an end mark: it is cut off; copy or make it again."
            )
        if not _whole(block):
            what = "this is no tar" if place == 0 else f"at byte {place:,} there is no tar header with its checksum"
            raise FacemaeError(f"{where}: {what}; copy or make it again.")
        kind, size = block[156:157], _number(block[124:136], where, place)
        if "size" in named and kind not in (b"x", b"g", b"L", b"K"):
            size = int(named["size"])
        content = 0 if kind in WITHOUT_CONTENT else size
        if place + BLOCK + content > end:
            raise FacemaeError(
                f"{where}: the member at byte {place:,} is cut off (it has {size:,} bytes); copy or make the tar again."
            )
        start = place + BLOCK
        place = start + -(-content // BLOCK) * BLOCK
        if kind in (b"x", b"L"):
            if size > LONGEST:
                raise FacemaeError(
                    f"{where}: the name before byte {place:,} has {size:,} bytes; this is no set of faces."
                )
            data = file.read(size)
            named |= {"path": _text(data.partition(b"\0")[0])} if kind == b"L" else _pax(data, where)
            continue
        if kind in (b"g", b"K"):
            continue
        name = named.get("path") or _name(block)
        if kind == b"S" or any(key.startswith("GNU.sparse") for key in named):
            raise FacemaeError(f"{where}: {name} is stored as a sparse file; make the tar again without --sparse.")
        named = {}
        if kind in FILES and not name.endswith("/"):
            yield Member(name, start, size, "")
        elif kind not in FILES and kind != FOLDER:
            yield Member(
                name,
                start,
                0,
                "links" if kind in LINKS else "pipes and devices" if kind in DEVICES else "special members",
            )


def _whole(block: bytes) -> bool:
    """Whether the checksum of a header is right: the sum of its bytes, the checksum's own eight taken as spaces."""
    try:
        stored = int(block[148:156].strip(b" \0"), 8)
    except ValueError:
        return False
    return sum(block) - sum(block[148:156]) + 8 * ord(" ") == stored


def _number(field: bytes, where: str, place: int) -> int:
    try:
        if field[0] & 0x80:  # GNU: a binary number, its sign in the next bit
            value = int.from_bytes(bytes([field[0] & 0x7F]) + field[1:], "big")
            if field[0] & 0x40:
                raise ValueError(value)
            return value
        return int(field.strip(b" \0") or b"0", 8)
    except ValueError as error:
        raise FacemaeError(
            f"{where}: the member at byte {place:,} has no size that can be read; make the tar again."
        ) from error


def _name(block: bytes) -> str:
    name, prefix = _text(block[:100].partition(b"\0")[0]), _text(block[345:500].partition(b"\0")[0])
    return f"{prefix}/{name}" if prefix and block[257:263] == b"ustar\0" else name


def _pax(data: bytes, where: str) -> dict[str, str]:
    """Records ``LENGTH KEY=VALUE newline``, the length counting itself."""
    found = {}
    while data:
        length, _, _ = data.partition(b" ")
        if not length.isdigit() or not len(length) + 3 < int(length) <= len(data):
            raise FacemaeError(f"{where}: an extended header is damaged; copy or make the tar again.")
        key, _, value = data[len(length) + 1 : int(length) - 1].partition(b"=")
        found[_text(key)] = _text(value)
        data = data[int(length) :]
    if not found.get("size", "0").isdigit():
        raise FacemaeError(f"{where}: an extended header gives a size that is no number; make the tar again.")
    return found


def _text(data: bytes) -> str:
    return data.decode("utf-8", "surrogateescape")  # a name that is no UTF-8 is refused by check_names
