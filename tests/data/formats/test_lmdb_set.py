"""The environments are written here by lmdb and msgpack themselves, as the peers' converters do."""

import builtins
import pickle

import lmdb
import msgpack
import numpy as np
import pytest

from facemae_jax.data.face_import import Wanted, import_source
from facemae_jax.data.face_set import FaceSetWriter, open_face_set
from facemae_jax.data.formats import lmdb_set
from facemae_jax.data.formats.lmdb_set import LmdbSource, lmdb_file, write_lmdb
from facemae_jax.data.formats.msgpack_parts import items
from facemae_jax.data.formats.source import open_source
from facemae_jax.data.images import BadImage, encode_jpeg, encode_png
from facemae_jax.types import FacemaeError, Record


def jpeg(number: int) -> bytes:
    return encode_jpeg(np.random.default_rng(number).integers(0, 256, (8, 8, 3), np.uint8), 90)


def write(path, values: dict, subdir: bool = False):
    with lmdb.open(str(path), subdir=subdir, map_size=1 << 24) as env, env.begin(write=True) as transaction:
        for key, value in values.items():
            transaction.put(key if isinstance(key, bytes) else key.encode(), value)
    return path


def told(source):
    return [(source.keys[n], source.identity(n), source.read(n)) for n in range(len(source.keys))]


@pytest.mark.parametrize("feature", [(), (bytes(300),), (b"x" * 70000,)])
@pytest.mark.parametrize("subdir", [False, True])
def test_lists_of_image_and_label_as_the_trainers_have_them(tmp_path, feature, subdir):
    keys = [str(n).encode() for n in range(12)]
    values = {key: msgpack.dumps((jpeg(n), *feature, 37 * n)) for n, key in enumerate(keys)}
    about = {"__keys__": msgpack.dumps(keys), "__len__": msgpack.dumps(12), "__classnum__": msgpack.dumps(408)}
    source = open_source(write(tmp_path / "x.lmdb", values | about, subdir))
    assert isinstance(source, LmdbSource)
    assert told(source) == [(str(n), f"{37 * n:03d}", jpeg(n)) for n in sorted(range(12), key=str)]
    assert source.ignored == {"values about the set": 3} and source.where(1).endswith("x.lmdb, key 1")
    source.close()


def test_bare_images_in_keys_that_name_folders(tmp_path):
    source = open_source(
        write(
            tmp_path / "x.lmdb",
            {"b/1.jpg": jpeg(1), "a/é.png": encode_png(np.zeros((8, 8, 3), np.uint8)), "b/0.jpg": jpeg(0)},
        )
    )
    assert [(key, who) for key, who, _ in told(source)] == [("a/é.png", "a"), ("b/0.jpg", "b"), ("b/1.jpg", "b")]
    assert source.read(2) == jpeg(1)


@pytest.mark.parametrize("subdir", [False, True])
def test_bare_images_and_a_list_of_labels(tmp_path, subdir):
    write(tmp_path if subdir else tmp_path / "x.lmdb", {str(n): jpeg(n) for n in range(11)}, subdir)
    (tmp_path / "x_labels.txt").write_text("".join(f"{n // 4}\n" for n in range(11)))
    source = open_source(tmp_path)
    assert told(source) == [(str(n), str(n // 4), jpeg(n)) for n in sorted(range(11), key=str)]
    source.close()
    (tmp_path / "x_labels.txt").unlink()
    with pytest.raises(
        FacemaeError, match="the key '0' names no person and there is no list of labels; put labels.txt"
    ):
        open_source(tmp_path)


class Trap:
    def __reduce__(self):
        return exec, ("raise SystemExit('it ran')",)


@pytest.mark.parametrize("protocol", [2, 4, 5])
def test_pickles_are_refused_and_not_run(tmp_path, protocol):
    write(tmp_path / "x.lmdb", {"0": pickle.dumps(Trap(), protocol), "__keys__": pickle.dumps(Trap(), protocol)})
    with pytest.raises(FacemaeError, match="its values are pickled, and to read them could run any code"):
        open_source(tmp_path / "x.lmdb")


@pytest.mark.parametrize(
    "values, match",
    [
        ({"0": b"\x08\x03\x10\x01"}, r"neither encoded images nor MessagePack lists .*begin with 08 03 10 01"),
        ({"0": b""}, "neither encoded images"),
        ({"0": msgpack.dumps({"image": 1})}, "neither encoded images"),
        ({"0": msgpack.dumps([1, 2])}, "no value is a list of an image and a label"),
        ({"0": msgpack.dumps([b"x", -1])}, "no value is a list of an image and a label"),
        ({"__len__": b"x"}, "holds no images"),
        ({}, "holds no images"),
    ],
)
def test_other_values_are_refused(tmp_path, values, match):
    with pytest.raises(FacemaeError, match=match):
        open_source(write(tmp_path / "x.lmdb", values))


def test_damaged_values_are_bad_images(tmp_path):
    whole = msgpack.dumps((jpeg(1), 5))
    values = {
        "0": whole[:-30],
        "1": whole,
        "2": msgpack.dumps((jpeg(2), 1.5)),
        "3": msgpack.dumps((jpeg(3), "name"))[:1],
        "4": msgpack.dumps((jpeg(4), 6)),
    }
    source = open_source(write(tmp_path / "x.lmdb", values))
    assert [source.identity(n) for n in range(5)] == ["5", "5", "5", "5", "6"]
    for position in (0, 2, 3):
        with pytest.raises(BadImage, match=rf"key {position}: the value is damaged"):
            source.read(position)
    assert source.read(1) == jpeg(1) and source.read(4) == jpeg(4)


def test_file_that_is_cut_off_kills_nothing(tmp_path):
    write(tmp_path / "x.lmdb", {str(n): msgpack.dumps((jpeg(n), n)) for n in range(300)})
    data = (tmp_path / "x.lmdb").read_bytes()
    (tmp_path / "x.lmdb").write_bytes(data[: len(data) // 2])
    with pytest.raises(FacemaeError, match=r"x\.lmdb: the file is cut off"):
        open_source(tmp_path / "x.lmdb")
    (tmp_path / "x.lmdb").write_bytes(data[:24] + b"\xff" * 200)
    with pytest.raises(FacemaeError, match=r"x\.lmdb: this is no LMDB environment|x\.lmdb: the file is cut off"):
        open_source(tmp_path / "x.lmdb")


def test_which_file(tmp_path):
    assert lmdb_file(tmp_path) is None
    (tmp_path / "x").write_bytes(b"short")
    assert lmdb_file(tmp_path / "x") is None
    with pytest.raises(FacemaeError, match="holds no LMDB environment"):
        LmdbSource(tmp_path)
    for name in ("a.lmdb", "b.lmdb"):
        write(tmp_path / name, {"a/b": jpeg(0)})
    with pytest.raises(FacemaeError, match="holds 2 LMDB environments; name the one"):
        open_source(tmp_path)


def test_without_the_library(tmp_path, monkeypatch):
    write(tmp_path / "x.lmdb", {"a/b": jpeg(0)})
    found = builtins.__import__

    def without(name, *rest):
        if name == "lmdb":
            raise ImportError(name)
        return found(name, *rest)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(FacemaeError, match="LMDB needs a library: pip install 'lmdb"):
        open_source(tmp_path / "x.lmdb")


@pytest.mark.parametrize(
    "value",
    [
        0,
        127,
        128,
        255,
        65535,
        65536,
        2**32,
        2**64 - 1,
        -1,
        -32,
        -33,
        -128,
        -129,
        -(2**31) - 1,
        b"",
        "é",
        "x" * 40,
        b"y" * 300,
        "z" * 70000,
    ],
)
def test_every_kind_of_item(value):
    found = items(memoryview(msgpack.packb((value, 1))))[0]
    assert (bytes(found) if isinstance(found, memoryview) else found) == (
        value.encode() if isinstance(value, str) else value
    )
    for end in range(1, min(len(msgpack.packb(value)), 8)):
        with pytest.raises(ValueError, match="early"):
            items(memoryview(msgpack.packb((value, 1))[: 1 + end]))


def test_last_item_that_ends_early():
    with pytest.raises(ValueError, match="early"):
        items(memoryview(msgpack.packb((b"x", "name"))[:-1]))


@pytest.mark.parametrize("value", [{}, 1.5, None, [1], msgpack.ExtType(1, b"x")])
def test_other_items_are_refused(value):
    with pytest.raises(ValueError, match="item of kind"):
        items(memoryview(msgpack.packb((b"x", value))))


def made_set(tmp_path, keys, people=12):
    records = [Record(jpeg(n), n % people, key) for n, key in enumerate(keys)]
    writer = FaceSetWriter(tmp_path / "made" / "1.0.0", name="made", image_size=8, num_labels=people)
    writer.write_shard(0, records)
    return open_face_set(writer.finish(len(records))), records


def test_a_thousand_images_there_and_back(tmp_path, monkeypatch):
    monkeypatch.setattr(lmdb_set, "MAP", 1 << 18)  # so that it must grow
    monkeypatch.setattr(lmdb_set, "PER_WRITE", 300)
    faces, records = made_set(tmp_path, [f"{number:024x}" for number in np.random.default_rng(0).permutation(1000)])
    out = write_lmdb(faces, tmp_path / "out.lmdb")
    assert [file.name for file in out.iterdir()] == ["data.mdb"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["made", "out.lmdb"]
    ordered = sorted(records, key=lambda record: record.key)
    with lmdb.open(str(out), readonly=True, lock=False) as env, env.begin() as transaction:
        keys = msgpack.loads(transaction.get(b"__keys__"))
        assert [key.decode() for key in keys] == [record.key for record in ordered]
        assert (msgpack.loads(transaction.get(b"__len__")), msgpack.loads(transaction.get(b"__classnum__"))) == (
            1000,
            12,
        )
        assert [msgpack.loads(transaction.get(key)) for key in keys] == [
            [record.image, record.label] for record in ordered
        ]
    source = open_source(out)
    import_source(source, tmp_path / "back" / "1.0.0", tmp_path / "notes", Wanted(8), "x")
    source.close()
    assert list(open_face_set(tmp_path / "back")) == ordered
    again = write_lmdb(faces, tmp_path / "again")
    assert (again / "data.mdb").read_bytes() == (out / "data.mdb").read_bytes()


@pytest.mark.parametrize("key", ["k" * 512, "__len__"])
def test_keys_that_it_cannot_hold(tmp_path, key):
    faces, _ = made_set(tmp_path, ["a", key], 2)
    with pytest.raises(FacemaeError, match="LMDB cannot hold the key"):
        write_lmdb(faces, tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["made"]
