import random

import numpy as np
import pytest

from facemae_jax.data.formats.lazy_keys import LazyKeys, Texts, filled


def test_names_are_made_when_asked_for():
    asked = []

    def make(position: int) -> str:
        asked.append(position)
        return f"k{position}"

    keys = LazyKeys(10**9, make)
    assert len(keys) == 10**9 and not asked
    assert keys[-1] == "k999999999" and keys[np.int64(3)] == "k3" and keys[2:4] == ["k2", "k3"]
    with pytest.raises(IndexError, match="name 1000000000 of 1000000000"):
        keys[10**9]
    assert list(LazyKeys(3, str)) == ["0", "1", "2"]


def test_texts_sort_as_python_sorts_them():
    words = ["b", "", "a/x", "a", "a-b", "é", "z", "李", "\U0001f600", "\ufffd", "ab" * 40, "A"]
    random.Random(0).shuffle(words)
    texts = Texts()
    for word in words:
        texts.append(word)
    assert [texts[position] for position in range(len(texts))] == words
    assert [texts[position] for position in texts.order_n().tolist()] == sorted(words)
    assert not texts.ascending()


def test_ascending_means_that_none_stands_twice():
    texts = Texts()
    for word in ("a", "b", "c"):
        texts.append(word)
    assert texts.ascending() and texts.order_n().tolist() == [0, 1, 2]
    texts.append("c")
    assert not texts.ascending()


def test_broken_names_come_back_as_they_were():
    texts = Texts()
    texts.append(b"a\xff")
    texts.append(texts[0])
    assert texts[0] == "a\udcff" and texts.raw(1) == b"a\xff"


def test_a_damaged_record_counts_for_its_neighbour():
    labels_n, good_n = np.array([np.nan, 3.0, np.nan, np.nan, 5.0]), np.array([False, True, False, False, True])
    assert filled(labels_n, good_n).tolist() == [3, 3, 3, 3, 5]
