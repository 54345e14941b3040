import pickle

import pytest

from facemae_jax.data.face_record import load_index
from facemae_jax.data.shard_writer import ShardWriter
from facemae_jax.types import FacemaeError, Record

RECORDS = [Record(bytes([number]) * 9, number % 2, f"k{number}") for number in range(5)]


def writer(folder, **changes) -> ShardWriter:
    folder.mkdir()
    return ShardWriter(folder, folder / "1.0.0", 5, ("array_record", "tfrecord"), 2)._replace(**changes)


def test_another_process_writes_the_same(tmp_path):
    one = writer(tmp_path / "one")
    two = pickle.loads(pickle.dumps(writer(tmp_path / "two")))
    for each in (one, two):
        each.write(7, RECORDS)
    names = ["00007.array_record", "00007.npz", "00007.tfrecord"]
    assert sorted(file.name for file in one.folder.iterdir()) == names
    assert all((one.folder / name).read_bytes() == (two.folder / name).read_bytes() for name in names)
    index, more = load_index(one.index_file(7))
    assert list(index.keys) == [f"k{number}" for number in range(5)] and index.labels_n.tolist() == [0, 1, 0, 1, 0]
    assert more["num_bytes"] > 5 * 9


def test_a_shard_that_fails_leaves_nothing(tmp_path):
    few = writer(tmp_path / "few", shard_records=4)
    with pytest.raises(FacemaeError, match="more than 4 records"):
        few.write(0, RECORDS)
    with pytest.raises(FacemaeError, match=r"record k1 has the label 1; labels go from 0 to 0"):
        few._replace(num_labels=1).write(0, RECORDS)
    assert not list(few.folder.iterdir())


def test_only_what_one_process_left_is_swept(tmp_path):
    shards = writer(tmp_path / "x")
    names = [".00000.array_record-12", ".00000.npz-12", ".00001.array_record-112", "00002.array_record"]
    for name in names:
        (shards.folder / name).touch()
    shards.sweep(12)
    assert sorted(file.name for file in shards.folder.iterdir()) == names[2:]
