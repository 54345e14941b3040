"""Just enough of MessagePack to find an image and a label in a value without copying the image.

Nothing in it can call code: there are numbers, texts, bytes and lists. Maps, floats and extensions are refused.
"""

from __future__ import annotations

import struct

LIST_SIZES, RUN_SIZES = (
    {0xDC: ">H", 0xDD: ">I"},
    {0xC4: ">B", 0xC5: ">H", 0xC6: ">I", 0xD9: ">B", 0xDA: ">H", 0xDB: ">I"},
)
NUMBERS = {0xCC: ">B", 0xCD: ">H", 0xCE: ">I", 0xCF: ">Q", 0xD0: ">b", 0xD1: ">h", 0xD2: ">i", 0xD3: ">q"}
MOST = 16  # items of a list that holds one image


def items(data: memoryview) -> list[int | memoryview]:
    """The items of a list: numbers, and runs of bytes (or text) that are not copied.

    >>> [bytes(item) if isinstance(item, memoryview) else item for item in items(memoryview(bytes.fromhex("93c402ffd8a16107")))]
    [b'\\xff\\xd8', b'a', 7]

    Raises:
        ValueError: anything else, or bytes that end early.
    """
    count, place = _count(data)
    if count > MOST:
        raise ValueError(f"a list of {count} items")
    found = []
    for _ in range(count):
        item, place = _item(data, place)
        found.append(item)
    return found


def _count(data: memoryview) -> tuple[int, int]:
    first = data[0] if len(data) else 0
    if 0x90 <= first <= 0x9F:
        return first & 0xF, 1
    if first not in LIST_SIZES:
        raise ValueError("no list")
    return _unpack(LIST_SIZES[first], data, 1)


def _item(data: memoryview, place: int) -> tuple[int | memoryview, int]:
    if place >= len(data):
        raise ValueError("it ends early")
    first = data[place]
    if first <= 0x7F:
        return first, place + 1
    if first >= 0xE0:
        return first - 0x100, place + 1
    if first in NUMBERS:
        return _unpack(NUMBERS[first], data, place + 1)
    if 0xA0 <= first <= 0xBF:
        length, place = first & 0x1F, place + 1
    elif first in RUN_SIZES:
        length, place = _unpack(RUN_SIZES[first], data, place + 1)
    else:
        raise ValueError(f"an item of kind 0x{first:02x}")
    if place + length > len(data):
        raise ValueError("it ends early")
    return data[place : place + length], place + length


def _unpack(kind: str, data: memoryview, place: int) -> tuple[int, int]:
    end = place + struct.calcsize(kind)
    if end > len(data):
        raise ValueError("it ends early")
    return struct.unpack(kind, data[place:end])[0], end
