"""What both kinds of files refuse: the same payloads, read as a set of verification pairs and as weights."""

import io
import os
import pickle
import re
import struct

import pytest

from facemae_jax.data.formats import plain_pickle
from facemae_jax.models.weights import inert_pickle
from facemae_jax.pickles import reader
from facemae_jax.pickles.operations import OBJECTS, ROWS
from facemae_jax.pickles.vocabulary import Damaged, NoFunction, Span, UnknownOperation, Vocabulary
from facemae_jax.types import FacemaeError

SIZE, DICT = b"ctorch\nSize\n", b"ccollections\nOrderedDict\n"


def as_pairs(tmp_path, data: bytes):
    path = tmp_path / "x"
    path.write_bytes(data)
    with open(path, "rb") as file:
        return plain_pickle.read_pickle(file, path)


def as_weights(tmp_path, data: bytes):
    return inert_pickle.read_pickle(io.BytesIO(data), where=str(tmp_path / "x"), persistent=inert_pickle.storage_of)


def refused(read, tmp_path, data: bytes) -> str:
    with pytest.raises(FacemaeError, match=re.escape(str(tmp_path / "x"))) as error:
        read(tmp_path, data)
    return str(error.value).removeprefix(str(tmp_path / "x"))


class Reduced:
    """Calls a function when Python's own pickle reads it."""

    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


@pytest.mark.parametrize("read", [as_pairs, as_weights])
@pytest.mark.parametrize("protocol", range(6))
def test_a_function_is_refused_by_name_and_not_called(tmp_path, read, protocol):
    made = tmp_path / "made"
    for function, argument, name in (
        (os.system, f"touch {made}", f"{os.system.__module__}.system"),
        (os.mkdir, str(made), f"{os.mkdir.__module__}.mkdir"),
        (eval, f"open({str(made)!r}, 'w')", "__builtin__.eval" if protocol < 3 else "builtins.eval"),
        (getattr, ("a", "b"), "__builtin__.getattr" if protocol < 3 else "builtins.getattr"),
    ):
        for value in (Reduced(function, argument), ([b"a", [Reduced(function, argument)]], [True])):
            said = refused(read, tmp_path, pickle.dumps(value, protocol))
            assert re.search(rf" (names|asks for) {re.escape(name)}, .*nothing (in it )?was run", said), said
        assert not made.exists()


@pytest.mark.parametrize("read", [as_pairs, as_weights])
@pytest.mark.parametrize(
    ("data", "told"),
    [
        (b"cos\nsystem\nU\x04true\x85R.", "os.system"),
        (b"\x8c\x02os\x8c\x06system\x93.", "os.system"),
        (b"U\x02osU\x06system\x93.", "os.system|a name is no text"),  # a string of Python 2 is text or bytes
        (b"\x8c\x05numpy\x8c\x0cload\x2e\x2esystem\x93.", "numpy.load..system"),
        (b"cnumpy\nload\n.", "numpy.load"),
        (b"ctorch\nload\nU\x01x\x85R.", "torch.load"),
        (b"c__builtin__\ngetattr\n.", "__builtin__.getattr"),
        (b"X\x0a\x00\x00\x00subprocessX\x05\x00\x00\x00Popen\x93U\x02ls\x85R.", "subprocess.Popen"),
        (b"(U\x04trueios\nsystem\n.", "os.system|INST"),
        (b"(cos\nsystem\nU\x04trueo.", "os.system"),
        (b"(U\x04trueo.", "OBJ"),
        (b"\x82\x01.", "EXT1"),
        (b"\x83\x01\x00.", "EXT2"),
        (b"Pmine\n.", "PERSID"),
        (b"\x97.", "NEXT_BUFFER"),
        (b"\x98.", "READONLY_BUFFER"),
        (b"))N\x92.", "NEWOBJ_EX"),
        (b"U\x04true)R.", "a str|what is no function"),
        (b"]N\x85R.", "a list|what is no function"),
        (b"c\x1b[31m\n\nx.", r"\x1b[31m."),  # a terminal shall not obey it
    ],
)
def test_other_ways_to_run_something_are_refused(tmp_path, read, data, told):
    said = refused(read, tmp_path, data)
    assert any(re.search(rf"[ (]{re.escape(one)}[,)]", said) for one in told.split("|")) and said.isprintable(), said


@pytest.mark.parametrize("read", [as_pairs, as_weights])
def test_bombs_are_damage(tmp_path, read):
    eight = struct.pack("<Q", 1 << 60)
    for data, told in (
        (b"\x80\x04\x8e" + eight + b"abc.", "reaches beyond its end"),
        (b"\x80\x05\x96" + eight + b"abc.", "reaches beyond its end"),
        (b"\x80\x04\x8d" + eight + b"abc.", "reaches beyond its end"),
        (b"T\xff\xff\xff\xff.", "reaches beyond its end"),
        (b"\x8b\xff\xff\xff\x7fabc.", "a number takes 2,147,483,647 bytes"),
        (b"\x8b\xff\xff\xff\xffabc.", "a number takes -1 bytes"),
        (b"\x8a" + bytes([65]) + bytes(65) + b".", "a number takes 65 bytes"),
        (b"I" + b"9" * 161 + b"\n.", "too many digits"),
        (b"L" + b"9" * 161 + b"L\n.", "too many digits"),
        (b"g" + b"9" * 161 + b"\n.", "too many digits"),
        (b"N](0.", "empty stack"),
        (b"]N(e.", "added to what is no list"),
        (b"t.", "a mark is missing"),
        (b"h\x07.", "KeyError"),
        (b"K", "unpack"),
        (b"]", "it ends too early"),
        (b"\xff.", "0xff is no operation"),
    ):
        said = refused(read, tmp_path, data)
        assert told in said and re.search("no whole pickle|is damaged", said), (data, said)


def test_bombs_of_dictionaries_and_calls_are_refused(tmp_path):
    tuples = b"N" + b"\x85" * 100_000  # to hash it would end the process
    doubled = b"N" + b"2\x86" * 60  # 2^60 parts
    for data, told in (
        (b"}" + tuples + b"Ns.", "a key has too many parts"),
        (b"}" + doubled + b"Ns.", "a key has too many parts"),
        (b"}(" + doubled + b"Nu.", "a key has too many parts"),
        (b"(" + doubled + b"Nd.", "a key has too many parts"),
        (DICT + b"](" + doubled + b"N\x86e\x85R.", "a key has too many parts"),
        (b"}](e]s.", "TypeError: unhashable type: 'list'"),
        (b"]NNs.", "put into what is no dictionary"),
        (b"}(NNNu.", "ValueError"),
        (b"F" + b"1" * 161 + b"\n.", "too many digits"),
        (b"G\x00\x00.", "reaches beyond its end"),
        (b"(U\x07storagectorch\nFloatStorage\n" + b"]" + b"2a" * 60 + b"U\x03cpuK\x06tQ.", "a storage has no name"),
    ):
        said = refused(as_weights, tmp_path, data)
        assert told in said and "is damaged" in said, (data[:40], said)
    storage = b"(U\x07storagectorch\nFloatStorage\nU\x010U\x03cpuK\x06tQ"
    many = b"(" + b"K\x01" * 65 + b"t"
    data = b"ctorch._utils\n_rebuild_tensor\n(" + storage + b"K\x00" + many + many + b"tR."
    assert "too many axes" in refused(as_weights, tmp_path, data)


def test_copies_end(tmp_path):
    """A memo costs two bytes and may stand for a million; weights may copy it into a row or a dictionary."""
    row = b"](" + b"K\x01" * 100 + b"eq\x00"
    again = SIZE + b"h\x00\x85R0"
    assert as_weights(tmp_path, row + again + b".") == [1] * 100
    assert "copies its own text over and over, which no file" in refused(as_weights, tmp_path, row + again * 10 + b".")
    given = b"](" + b"".join(b"K" + bytes([n]) + b"N\x86" for n in range(100)) + b"eq\x00"
    assert "copies its own" in refused(as_weights, tmp_path, given + (DICT + b"h\x00\x85R0") * 50 + b".")
    # what is handed through is no copy
    through = b"c__builtin__\nbytes\nh\x00\x85R0"
    assert as_pairs(tmp_path, b"C\x64" + bytes(100) + b"q\x00" + through * 50 + b".") == bytes(100)


@pytest.mark.parametrize("read", [as_pairs, as_weights])
def test_work_ends(tmp_path, monkeypatch, read):
    monkeypatch.setattr(reader, "MAX_STEPS", 100)
    assert read(tmp_path, b"]" + b"N0" * 49 + b".") == []
    assert "takes more than 100 operations, which" in refused(read, tmp_path, b"]" + b"N0" * 50 + b".")


@pytest.mark.parametrize("read", [as_pairs, as_weights])
def test_deep_and_circular_values_are_read(tmp_path, read):
    assert isinstance(read(tmp_path, b"]" * 100_000 + b"a" * 99_999 + b"."), list)
    value = read(tmp_path, b"]q\x00h\x00a.")
    assert value[0] is value


def test_a_vocabulary_says_what_strings_of_python_2_are():
    data = b"(T" + struct.pack("<i", 300) + b"\xff" * 300 + b'S"\\xe9\'"\nl.'
    for text, wanted in ((True, ["\xff" * 300, "\xe9'"]), (False, [Span(6, 306), b"\xe9'"])):
        assert reader.read_pickle(io.BytesIO(data), Vocabulary(ROWS, {}, lambda *_: None, text=text)) == wanted


def test_what_stands_behind_a_pickle_is_left():
    file = io.BytesIO(b"zz" + pickle.dumps([1, 2], 2) + b"rest")
    file.seek(2)
    assert reader.read_pickle(file, Vocabulary(ROWS, {}, lambda *_: None)) == [1, 2] and file.read() == b"rest"


def test_a_name_without_a_meaning_may_stand_but_not_be_called():
    words = Vocabulary(OBJECTS, {"a.b": None, "a.c": lambda *given: given}, lambda *_: None)
    assert reader.read_pickle(io.BytesIO(b"ca\nb\n."), words) == ("a.b",)
    assert reader.read_pickle(io.BytesIO(b"ca\nc\n(NNtR."), words) == (None, None)
    for code in (b"ca\nb\n)R.", b"ca\nb\n)\x81."):
        with pytest.raises(NoFunction, match=r"^a\.b$"):
            reader.read_pickle(io.BytesIO(code), words)
    with pytest.raises(NoFunction, match=r"^a\.c$"):  # a name is a tuple to Python, but no arguments
        reader.read_pickle(io.BytesIO(b"ca\nc\nca\nb\nR."), words)
    with pytest.raises(UnknownOperation, match="BINPERSID"):
        reader.read_pickle(io.BytesIO(b"NQ."), words._replace(steps=ROWS))
    with pytest.raises(Damaged, match="it ends too early"):
        reader.read_pickle(io.BytesIO(b""), words)
