"""The two tables beside Python's own reader: what they have gives its values, and what they lack is a short list."""

import io
import pickle
import pickletools

import pytest

from facemae_jax.pickles.operations import KEY_PARTS, OBJECTS, ROWS, dictionary
from facemae_jax.pickles.reader import read_pickle
from facemae_jax.pickles.vocabulary import Damaged, UnknownOperation, Vocabulary

PLAIN = [
    True,
    False,
    None,
    0,
    -1,
    255,
    65_535,
    2**31,
    -(2**100),
    2**200,
    "ü\n\\u12",
    "x" * 300,
    (),
    (1,),
    (1, 2),
    (1, 2, 3),
    ((4,) * 4),
]


def read(data: bytes, steps=OBJECTS):
    return read_pickle(io.BytesIO(data), Vocabulary(steps, {}, lambda *_: None))


@pytest.mark.parametrize("protocol", range(6))
def test_plain_values(protocol):
    shared = ["again"]
    value = [*PLAIN, shared, shared]
    rows = read(pickle.dumps(value, protocol), ROWS)
    assert rows == value and list(map(type, rows)) == list(map(type, value))
    found = read(pickle.dumps(value, protocol))
    assert found == value and found[-1] is found[-2]


@pytest.mark.parametrize("protocol", range(6))
def test_floats_and_dictionaries(protocol):
    value = {"a": 1.5, "b": {1: -1e-300, ("x", 2): []}, **{str(n): n for n in range(5)}, "c": {}}
    assert read(pickle.dumps(value, protocol)) == value
    with pytest.raises(UnknownOperation, match="DICT|MARK|EMPTY_DICT"):
        read(pickle.dumps(value, protocol), ROWS)
    with pytest.raises(UnknownOperation, match="FLOAT"):
        read(pickle.dumps(1.5, protocol), ROWS)


@pytest.mark.parametrize("protocol", [4, 5])
def test_sets_come_as_lists(protocol):
    assert sorted(read(pickle.dumps({1, 2}, protocol))) == [1, 2]
    assert sorted(read(pickle.dumps([frozenset({1, 2})], protocol))[0]) == [1, 2]


def test_what_is_in_no_table():
    known = {bytes(operation.code, "latin1"): operation.name for operation in pickletools.opcodes}
    lacking = {name for code, name in known.items() if code not in OBJECTS}
    assert lacking == {
        "STOP", "INST", "OBJ", "NEWOBJ_EX", "EXT1", "EXT2", "EXT4", "PERSID", "NEXT_BUFFER", "READONLY_BUFFER",
    }  # fmt: skip
    assert {known[code] for code in set(OBJECTS) - set(ROWS)} == {
        "FLOAT", "BINFLOAT", "EMPTY_DICT", "DICT", "SETITEM", "SETITEMS", "EMPTY_SET", "FROZENSET", "ADDITEMS", "NEWOBJ", "BINPERSID",
    }  # fmt: skip


def test_keys_of_many_parts_are_refused():
    assert dictionary([((1,) * (KEY_PARTS - 2), 0)]) == {(1,) * (KEY_PARTS - 2): 0}
    with pytest.raises(Damaged, match="too many parts"):
        dictionary([((1,) * KEY_PARTS, 0)])
