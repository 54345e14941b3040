import os

import numpy as np
import pytest

from facemae_jax.data.formats import window
from facemae_jax.data.formats.window import Window


@pytest.fixture
def opened(tmp_path):
    data = np.random.default_rng(0).bytes(5000)
    (tmp_path / "x").write_bytes(data)
    file = os.open(tmp_path / "x", os.O_RDONLY)
    yield data, file
    os.close(file)


@pytest.mark.parametrize("ahead", [1, 16, 100, 10_000])
def test_pieces_are_those_of_the_file(opened, monkeypatch, ahead):
    monkeypatch.setattr(window, "AHEAD", ahead)
    data, file = opened
    pieces, draws = Window(file), np.random.default_rng(1)
    place = 0
    for turn in range(2000):
        size = int(draws.integers(0, 40))
        place = int(draws.integers(0, 5100)) if turn % 7 == 0 else place + int(draws.integers(0, 3))
        assert pieces.read(place, size) == data[place : place + size]
        place += size


def test_one_read_brings_many_pieces(opened, monkeypatch):
    data, file = opened
    reads, pread = [], os.pread
    monkeypatch.setattr(os, "pread", lambda *what: reads.append(what) or pread(*what))
    pieces = Window(file)
    assert b"".join(pieces.read(place, 10) for place in range(0, 5000, 10)) == data
    assert len(reads) == 1
    for place in (4000, 3000, 2000):
        pieces.read(place, 10)
    assert len(reads) == 1, "they are still there"


def test_pieces_far_apart_do_not_bring_others(tmp_path, monkeypatch):
    monkeypatch.setattr(window, "AHEAD", 64)
    (tmp_path / "x").write_bytes(bytes(1000))
    sizes, pread = [], os.pread
    monkeypatch.setattr(os, "pread", lambda file, size, place: sizes.append(size) or pread(file, size, place))
    with open(tmp_path / "x", "rb") as file:
        pieces = Window(file.fileno())
        for place in (900, 500, 100, 700):
            pieces.read(place, 10)
    assert sizes == [10, 10, 10, 10]
