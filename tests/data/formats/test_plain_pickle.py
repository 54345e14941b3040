"""Pickles of Python 2 and 3 and of numpy 1 and 2 give their values; one that wants more runs nothing."""

import os
import pickle
import struct

import numpy as np
import pytest

from facemae_jax.data.formats.plain_pickle import Array, read_pickle
from facemae_jax.pickles import reader
from facemae_jax.pickles.vocabulary import Span, content
from facemae_jax.types import FacemaeError

BYTES = bytes(range(256)) + b"\xff\xd8\n\r'\"\\" * 5  # longer than what is kept in memory
SHORT = b"\xff\xd8\x00\n'\\"
WORDS = [b"", SHORT, BYTES]


def read(tmp_path, data: bytes):
    path = tmp_path / "set.bin"
    path.write_bytes(data)
    with open(path, "rb") as file:
        return plain(file, read_pickle(file, path))


def plain(file, value):
    """Spans and arrays in full."""
    if isinstance(value, bytes | Span):
        return content(file, value)
    if isinstance(value, Array):
        return value.kind, value.shape, content(file, value.content)
    return type(value)(plain(file, one) for one in value) if isinstance(value, list | tuple) else value


@pytest.mark.parametrize("protocol", range(6))
def test_what_python_3_writes(tmp_path, protocol):
    value = (
        [*WORDS, BYTES[:300], SHORT],
        [True, False, 0, 1, -3, 300, 70_000, 2**40, None, "ü"],
        (),
        (1,),
        (1, 2, 3, 4),
    )
    assert read(tmp_path, pickle.dumps(value, protocol)) == value


@pytest.mark.parametrize("protocol", range(6))
def test_bytearrays(tmp_path, protocol):
    assert read(tmp_path, pickle.dumps([bytearray(b""), bytearray(BYTES)], protocol)) == [b"", BYTES]


@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize("core", [b"numpy._core", b"numpy.core"])
def test_arrays_of_numpy_2_and_1(tmp_path, protocol, core):
    flat, column = np.frombuffer(BYTES, np.uint8), np.frombuffer(SHORT, np.uint8).reshape(-1, 1)
    truth = np.array([True, False])
    data = pickle.dumps([flat, column, truth, truth[0], truth[1], flat.copy()], protocol)
    for length in (10, 22, 19):  # STACK_GLOBAL takes the name with its length before it
        data = data.replace(
            bytes([0x8C, length]) + b"numpy._core", bytes([0x8C, length - (core == b"numpy.core")]) + core
        )
    data = data.replace(b"cnumpy._core", b"c" + core)
    assert (core in data) or protocol == 5
    expected = [("u1", (len(BYTES),), BYTES), ("u1", (6, 1), SHORT), ("b1", (2,), b"\1\0"), True, False]
    assert read(tmp_path, data) == [*expected, expected[0]]


def string_2(text: bytes) -> bytes:
    """As Python 2 writes its strings, binary."""
    return (b"U" + bytes([len(text)]) if len(text) < 256 else b"T" + struct.pack("<i", len(text))) + text


def test_what_python_2_writes(tmp_path):
    binary = b"\x80\x02]q\x01(" + b"".join(map(string_2, WORDS)) + b"e]q\x02(\x88\x89e\x86q\x03."
    assert read(tmp_path, binary) == (WORDS, [True, False])
    array = (
        b"\x80\x02cnumpy.core.multiarray\n_reconstruct\nq\x01cnumpy\nndarray\nq\x02K\x00\x85U\x01b\x87Rq\x03(K\x01K\x06\x85"
        b"cnumpy\ndtype\nq\x04U\x02u1K\x00K\x01\x87Rq\x05(K\x03U\x01|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb\x89"
        + string_2(SHORT)
        + b"tb."
    )
    assert read(tmp_path, array) == ("u1", (6,), SHORT)
    # protocol 0 is text: strings in quotes of either kind, escaped
    text = b"((lp1\nS'\\xff\\xd8\\x00\\n\\'\\\\'\np2\naS\"it's\"\np3\nag2\na(lp4\nI01\naI00\naI7\naL12L\natp5\n."
    assert read(tmp_path, text) == ([SHORT, b"it's", SHORT], [True, False, 7, 12])


class Call:
    """Calls a function when Python's own pickle reads it."""

    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize("nest", [lambda it: it, lambda it: ([b"a", [it]], [True]), lambda it: ([b"a", b"b"], (it,))])
def test_a_malicious_pickle_is_refused_and_runs_nothing(tmp_path, protocol, nest):
    made = tmp_path / "made"
    for function, argument, name in (
        (os.system, f"touch {made}", rf"{os.system.__module__}\.system"),
        (eval, f"open({str(made)!r}, 'w')", r"(__builtin__|builtins)\.eval"),
        (os.mkdir, str(made), rf"{os.mkdir.__module__}\.mkdir"),
        (np.fromfile, str(made), r"numpy.*fromfile"),
        (getattr, ("a", "b"), r"(__builtin__|builtins)\.getattr"),
    ):
        data = pickle.dumps(nest(Call(function, argument)), protocol)
        with pytest.raises(FacemaeError, match=rf"set\.bin: this pickle asks for {name}, .* nothing in it was run"):
            read(tmp_path, data)
        assert not made.exists()
    pickle.loads(pickle.dumps(nest(Call(os.mkdir, str(made))), protocol))
    assert made.exists()  # such pickles do harm where Python's own reader reads them


def test_other_ways_to_run_something_are_refused(tmp_path):
    for data, said in (
        (b"(S'touch x'\nios\nsystem\n.", r"asks for os\.system"),
        (b"(cos\nsystem\nS'touch x'\no.", r"asks for os\.system"),
        (b"(S'x'\ninumpy\nndarray\n.", "operation INST"),
        (b"(cnumpy\nndarray\nS'x'\no.", "operation OBJ"),
        (b"\x80\x02cnumpy\nndarray\n)\x81.", "operation NEWOBJ"),
        (b"\x80\x02\x82\x01.", "operation EXT1"),
        (b"Pmine\n.", "operation PERSID"),
        (b"\x80\x02U\x01xQ.", "operation BINPERSID"),
        (b"}(K\x01K\x02u.", "operation EMPTY_DICT"),
        (b"\x8c\x02os\x8c\x06system\x93.", r"asks for os\.system"),
        (b"\x8c\x05numpy\x8c\x0cload\x2e\x2esystem\x93.", r"asks for numpy\.load\.\.system"),
        (b"U\x02os)R.", "calls what is no function"),
        (b"cnumpy\ndtype\n]R.", "calls what is no function"),
        (b"cnumpy\ndtype\n)R.", "calls dtype in an unusual way"),
        (b"cnumpy\nndarray\nK\x09\x85\x85R.", "calls ndarray in an unusual way"),
        (b"c__builtin__\nbytes\nK\x09\x85R.", "calls bytes in an unusual way"),
        (b"c_codecs\nencode\n(X\x01\x00\x00\x00aX\x03\x00\x00\x00zlitR.", "calls encode in an unusual way"),
        (b"cnumpy\ndtype\nU\x02u1\x85R(K\x03U\x01|]NNtb.", "changes what it made"),
        (b"cnumpy\nndarray\n(NNtb.", "changes what it made"),
        (b"]U\x01a\x85b.", "changes what it made"),
    ):
        with pytest.raises(FacemaeError, match=f"this pickle (uses the )?{said}.*nothing in it was run"):
            read(tmp_path, data)


@pytest.mark.parametrize("protocol", range(6))
def test_arrays_of_anything_else_are_refused(tmp_path, protocol):
    made = tmp_path / "made"
    inside = Call(os.mkdir, str(made))
    for array, said in (
        (np.array([inside], object), "objects|asks for .*mkdir"),
        (np.array([1.5]), "f8"),
        (np.array(["a"]), "U1"),
        (np.array([(1, 2)], "u1,u1"), "V2"),
        (np.array([1.5])[0], "f8"),
    ):
        with pytest.raises(FacemaeError, match=f"this pickle (holds an array of )?({said})"):
            read(tmp_path, pickle.dumps([array], protocol))
    # numpy itself unpickles the inside of a scalar that says it is an object
    scalar = Call(np._core.multiarray.scalar, np.dtype("O"), pickle.dumps(inside))
    with pytest.raises(FacemaeError, match="holds an array of objects"):
        read(tmp_path, pickle.dumps(scalar, protocol))
    assert not made.exists()


def array_of(shape: tuple[int, ...], data: bytes) -> bytes:
    """One that says it has another shape than its numbers."""
    honest = pickle.dumps(np.frombuffer(data, np.uint8), 2)
    assert honest.count(b"K" + bytes([len(data)]) + b"\x85") == 1
    return honest.replace(b"K" + bytes([len(data)]) + b"\x85", pickle.dumps(shape, 2)[2:].partition(b"q")[0])


def test_bombs_are_refused(tmp_path, monkeypatch):
    eight = struct.pack("<Q", 1 << 60)
    for data, said in (
        (b"\x80\x04\x8e" + eight + b"abc.", r"a string of 1,152,921,504,606,846,976 bytes reaches beyond its end"),
        (b"\x80\x05\x96" + eight + b"abc.", "reaches beyond its end"),
        (b"\x80\x04\x8d" + eight + b"abc.", "reaches beyond its end"),
        (b"T\xff\xff\xff\xff.", "reaches beyond its end"),
        (b"\x8b\xff\xff\xff\x7fabc.", "a number takes 2,147,483,647 bytes"),
        (b"N](0.", "takes a value from an empty stack"),  # from below a mark
        (b"I" + b"9" * 5000 + b"\n.", "too many digits"),
        (array_of((10**5, 10**5), bytes(9)), "shape of an array does not fit"),
        (array_of((10**9, 0), bytes(9)), "shape of an array does not fit"),
    ):
        with pytest.raises(FacemaeError, match=f"no whole pickle .*{said}"):
            read(tmp_path, data)
    text = pickle.dumps("a" * 1000, 2)[:-1]  # kept as number 0 and made into bytes again and again
    again = b"c_codecs\nencode\nh\x00X\x06\x00\x00\x00latin1\x86R0"
    with pytest.raises(FacemaeError, match="copies its own text over and over"):
        read(tmp_path, text + again * 50 + b".")
    assert read(tmp_path, text + again + b".") == "a" * 1000
    monkeypatch.setattr(reader, "MAX_STEPS", 100)
    assert read(tmp_path, b"]" + b"N0" * 49 + b".") == []
    with pytest.raises(FacemaeError, match="takes more than 100 operations"):
        read(tmp_path, b"]" + b"N0" * 50 + b".")


def test_deep_and_circular_values_end(tmp_path):
    read_pickle_only(tmp_path, b"]" * 100_000 + b"a" * 99_999 + b".")
    read_pickle_only(tmp_path, b"]q\x00h\x00a.")


def read_pickle_only(tmp_path, data: bytes):
    path = tmp_path / "deep.bin"
    path.write_bytes(data)
    with open(path, "rb") as file:
        assert isinstance(read_pickle(file, path), list)


@pytest.mark.parametrize("protocol", [0, 2, 4])
def test_a_file_that_was_cut_is_damaged_wherever_it_was_cut(tmp_path, protocol):
    data = pickle.dumps(([SHORT, np.frombuffer(BYTES, np.uint8)], [True]), protocol)
    for end in [*range(0, len(data), 7), len(data) - 1]:
        with pytest.raises(FacemaeError, match=r"set\.bin: near byte .*no whole pickle .*; copy or download"):
            read(tmp_path, data[:end])


def test_random_damage_gives_a_value_or_an_error_of_ours(tmp_path):
    good = pickle.dumps(([SHORT, np.frombuffer(SHORT, np.uint8)], [True, np.True_]), 2)
    random = np.random.default_rng(0)
    refused = 0
    for _ in range(300):
        data = bytearray(good)
        for at in random.integers(0, len(data), 2):
            data[at] = random.integers(256)
        try:
            read(tmp_path, bytes(data))
        except FacemaeError:
            refused += 1
    assert refused > 100


def test_threads_may_read_at_once(tmp_path):
    """content() does not move the file's place."""
    path = tmp_path / "set.bin"
    path.write_bytes(pickle.dumps([BYTES, BYTES[::-1]], 4))
    with open(path, "rb") as file:
        spans = read_pickle(file, path)
        file.seek(0)
        assert [content(file, span) for span in spans] == [BYTES, BYTES[::-1]] and file.tell() == 0
        assert all(isinstance(span, Span) for span in spans)
