import numpy as np
import pytest

from facemae_jax.data import packed_keys
from facemae_jax.data.packed_keys import PackedKeys

KEYS = ["ada/1.jpg", "", "日本/ß\n2.jpg", "x" * 300, "é"]


def test_keys_come_back():
    keys = PackedKeys.of(KEYS)
    assert (
        list(keys) == KEYS == [keys[position] for position in range(5)]
        and keys[-2] == KEYS[3]
        and keys[1:4] == KEYS[1:4]
    )
    assert (
        keys == KEYS == keys and keys != KEYS[:4] and keys != [*KEYS[:4], "e"] and "é" in keys and keys.index("é") == 4
    )
    assert keys.take(np.array([4, 0, 4])) == ["é", KEYS[0], "é"]
    with pytest.raises(IndexError, match="key 5 of 5"):
        keys[5]


def test_parts_are_joined_in_order():
    parts = [PackedKeys.of(KEYS[:2]), PackedKeys.of([]), PackedKeys.of(KEYS[2:])]
    assert PackedKeys.join(parts) == KEYS and PackedKeys.join([]) == []


@pytest.mark.parametrize("digest", [8, 1])
def test_a_twin_is_found_and_an_equal_digest_is_none(monkeypatch, digest):
    monkeypatch.setattr(packed_keys, "DIGEST", digest)
    keys = [f"k{number}" for number in range(1000)]
    assert PackedKeys.of(keys).twin() is None and PackedKeys.of([]).twin() is None
    assert PackedKeys.of([*keys, "k500"]).twin() == "k500"


def test_iterating_spans_blocks():
    keys = list(map(str, range((1 << 16) + 3)))
    assert PackedKeys.of(keys) == keys
