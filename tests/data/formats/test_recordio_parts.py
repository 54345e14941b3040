import os
import struct

import numpy as np
import pytest

from facemae_jax.data.formats.recordio_parts import Damaged, find_records, frame, look, read_record
from facemae_jax.data.formats.window import Window

WORD = bytes.fromhex("0a23d7ce")


def part(flag: int, data: bytes) -> bytes:
    """One part, written from the published layout."""
    return WORD + struct.pack("<I", flag * 2**29 + len(data)) + data + b"\0" * (3 - (len(data) + 3) % 4)


@pytest.fixture
def opened(tmp_path):
    numbers = []

    def write(data: bytes) -> int:
        (tmp_path / "x.rec").write_bytes(data)
        numbers.append(os.open(tmp_path / "x.rec", os.O_RDONLY))
        return numbers[-1]

    yield write
    for number in numbers:
        os.close(number)


@pytest.mark.parametrize(
    "record, parts",
    [
        (b"", [(0, b"")]),
        (b"abc", [(0, b"abc")]),
        (b"ab" + WORD + b"cd", [(0, b"ab" + WORD + b"cd")]),  # not at a multiple of four: it stays
        (b"abcd" + WORD + b"e", [(1, b"abcd"), (3, b"e")]),
        (WORD, [(1, b""), (3, b"")]),
        (b"abcd" + WORD + WORD + b"ef", [(1, b"abcd"), (2, b""), (3, b"ef")]),
        (b"a" + WORD + b"xyz" + WORD, [(1, b"a" + WORD + b"xyz"), (3, b"")]),
    ],
)
def test_the_word_between_parts(opened, record, parts):
    bytes_ = b"".join(part(flag, data) for flag, data in parts)
    assert frame(record) == bytes_ and len(bytes_) % 4 == 0
    file = opened(part(0, b"before") + bytes_ + part(0, b"after"))
    assert read_record(Window(file), 16) == record
    assert find_records(file).tolist() == [0, 16, 16 + len(bytes_)]


@pytest.mark.parametrize(
    "data, reason",
    [
        (b"abcd" + part(0, b"x"), "no record begins at byte 0"),
        (part(3, b"abcd"), "no record begins at byte 0"),
        (part(1, b"abcd") + part(0, b"efgh"), "the rest of it is missing"),
        (part(1, b"abcd"), "the file ends before it"),
        (part(0, b"abcdefgh")[:-3], r"the file ends inside it \(5 of 8 bytes are there\)"),
        (WORD + struct.pack("<I", 2**29 - 1), "it has more than 268,435,456 bytes"),
    ],
)
def test_damage_is_told(opened, data, reason):
    with pytest.raises(Damaged, match=reason):
        read_record(Window(opened(data)), 0)


def test_a_damaged_stretch_is_one_record_and_the_next_is_found(opened):
    middle = part(2, b"abcd")  # the word in a record's inside must not be taken for a beginning
    file = opened(part(0, b"abcd") + b"rubbish!" + middle + part(0, b"efgh") + part(0, b"ijkl")[:10])
    assert find_records(file).tolist() == [0, 12, 12 + 8 + 12, 12 + 8 + 12 + 12]
    assert read_record(Window(file), 32) == b"efgh"
    assert find_records(opened(b"")).tolist() == []


def test_headers_are_read_many_at_a_time(opened, tmp_path, monkeypatch):
    monkeypatch.setattr("facemae_jax.data.formats.recordio_parts.CHUNK", 2)

    def head(flag: int, label: float, number: int) -> bytes:
        return struct.pack("<IfQQ", flag, label, number, 0)

    records = [
        head(2, 0, 0) + struct.pack("<2f", 3, 7),
        head(0, 5, 2**40) + b"image",
        head(2, 9, 2) + struct.pack("<2f", 6, 8) + b"image",
        head(9, 0, 3) + b"short",
        b"tiny",
        head(0, 8, 5),
    ]
    data, offsets = b"", []
    for record in records:
        offsets.append(len(data))
        data += part(0, record)
    rest = len(data)
    data += part(3, head(0, 4, 6))
    opened(data)
    heads = look(str(tmp_path / "x.rec"), np.array([*offsets, rest, len(data), 10**15, -8]))
    assert np.array_equal(heads.labels_n, [3, 5, 6, np.nan, np.nan, 8, np.nan, np.nan, np.nan, np.nan], equal_nan=True)
    assert heads.ids_n.tolist() == [0, 2**40, 2, 0, 0, 5, 0, 0, 0, 0]
    assert heads.bare_n.tolist() == [True] + [False] * 9
