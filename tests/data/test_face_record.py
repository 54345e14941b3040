import hashlib

import numpy as np
import pytest

from facemae_jax.data import face_record
from facemae_jax.data.face_record import (
    Index,
    from_example,
    index_records,
    join,
    load_index,
    save_index,
    to_example,
)
from facemae_jax.data.packed_keys import PackedKeys
from facemae_jax.types import FacemaeError, Record

RECORDS = [Record(b"\xff\xd8 one", 0, "ada/1.jpg"), Record(b"\0", 7, "日本/ß\n2.jpg"), Record(b"", 2**40, "")]


def test_example_comes_back():
    assert [from_example(to_example(record)) for record in RECORDS] == RECORDS


def test_example_is_what_tfds_reads():
    import tensorflow_datasets as tfds

    features = tfds.features.FeaturesDict(
        {
            "image": tfds.features.Image(shape=(8, 8, 3)),
            "label": tfds.features.Scalar(np.int64),
            "key": tfds.features.Text(),
        }
    )
    parser = tfds.core.example_parser.ExampleParserNp(features.get_serialized_info())
    parsed = parser.parse_example(to_example(RECORDS[1]))
    assert (parsed["image"], parsed["label"], parsed["key"].decode()) == RECORDS[1]


def test_index_comes_back_and_its_bytes_are_repeatable(tmp_path):
    index = index_records(RECORDS)
    save_index(tmp_path / "a.npz", index, more=np.arange(3))
    save_index(tmp_path / "b.npz", index, more=np.arange(3))
    found, more = load_index(tmp_path / "a.npz")
    assert found.keys == [record.key for record in RECORDS] and found.digest == index.digest
    np.testing.assert_array_equal(found.labels_n, [0, 7, 2**40])
    np.testing.assert_array_equal(more["more"], np.arange(3))
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()


def test_damaged_index_is_named(tmp_path):
    file = tmp_path / "index.npz"
    save_index(file, index_records(RECORDS))
    for damage in (file.read_bytes()[:60], b"nothing of the kind"):
        file.write_bytes(damage)
        with pytest.raises(FacemaeError, match=r"index\.npz: the index of this face set is damaged.*delete it"):
            load_index(file)


def test_digest_depends_on_every_part_and_on_where_one_ends():
    def digest(*records: Record) -> str:
        return index_records(records).digest

    one = RECORDS[0]
    others = [
        one._replace(image=b"x"),
        one._replace(label=1),
        one._replace(key="bo/1.jpg"),
        Record(b"\xff\xd8 oneada", 0, "/1.jpg"),
    ]
    assert len({digest(one), *map(digest, others), digest(one, one), digest(*RECORDS), digest(*RECORDS[::-1])}) == 8


@pytest.mark.parametrize("together", [1, 4, 1 << 18])
def test_digest_is_sha256_of_sizes_and_content(monkeypatch, together):
    monkeypatch.setattr(face_record, "TOGETHER", together)
    expected = hashlib.sha256()
    for image, label, key in [(b"abc", 5, b"ki"), (b"d", -2, "ß".encode())]:
        sizes = [len(image), label, len(key)]
        expected.update(b"".join(size.to_bytes(8, "little", signed=True) for size in sizes) + image + key)
    assert index_records([Record(b"abc", 5, "ki"), Record(b"d", -2, "ß")]).digest == expected.hexdigest()


@pytest.mark.parametrize("length", [0, 1, 120, 127, 128, 16_300, 16_384, 2_100_000])
@pytest.mark.parametrize("label", [0, 127, 128, 2**40, -1])
def test_example_has_the_bytes_of_protobuf(length, label):
    from tensorflow_datasets.proto import tf_example_pb2

    example = tf_example_pb2.Example()
    feature = example.features.feature
    feature["image"].bytes_list.value.append(b"x" * length)
    feature["label"].int64_list.value.append(label)
    feature["key"].bytes_list.value.append("ß".encode() * (length % 1000))
    made = to_example(Record(b"x" * length, label, "ß" * (length % 1000)))
    assert made == example.SerializeToString(deterministic=True)


def test_join_leaves_empty_shards_aside():
    empty = Index(np.zeros(0, np.int64), PackedKeys.of([]), hashlib.sha256().hexdigest())
    parts = [index_records(RECORDS[:1]), empty, index_records(RECORDS[1:])]
    whole = join(parts)
    assert whole.keys == [record.key for record in RECORDS] and whole.labels_n.tolist() == [0, 7, 2**40]
    assert whole.digest == join([parts[0], parts[2]]).digest != join([parts[2], parts[0]]).digest
    assert join([]).keys == [] and join([]).labels_n.dtype == np.int64
