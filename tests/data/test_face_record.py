import hashlib

import numpy as np
import pytest

from facemae_jax.data.face_record import (
    Index,
    from_example,
    hash_record,
    index_records,
    join,
    load_index,
    save_index,
    to_example,
)
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


def test_digest_of_a_record_is_sha256_of_sizes_and_content():
    expected = hashlib.sha256()
    expected.update((3).to_bytes(8, "little") + (5).to_bytes(8, "little") + (2).to_bytes(8, "little") + b"abcki")
    found = hashlib.sha256()
    hash_record(found, Record(b"abc", 5, "ki"))
    assert found.hexdigest() == expected.hexdigest()


def test_join_leaves_empty_shards_aside():
    empty = Index(np.zeros(0, np.int64), [], hashlib.sha256().hexdigest())
    parts = [index_records(RECORDS[:1]), empty, index_records(RECORDS[1:])]
    whole = join(parts)
    assert whole.keys == [record.key for record in RECORDS] and whole.labels_n.tolist() == [0, 7, 2**40]
    assert whole.digest == join([parts[0], parts[2]]).digest != join([parts[2], parts[0]]).digest
    assert join([]).keys == [] and join([]).labels_n.dtype == np.int64
