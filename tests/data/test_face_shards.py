import pickle
from concurrent.futures import ThreadPoolExecutor

import pytest

from facemae_jax.data import face_shards
from facemae_jax.data.face_record import index_records, join, save_index
from facemae_jax.data.face_shards import Shards
from facemae_jax.data.packed_keys import PackedKeys
from facemae_jax.data.record_files import ArrayRecordFile
from facemae_jax.types import FacemaeError, Record

LENGTHS = (3, 1, 4)
RECORDS = [Record(bytes([number]) * 100, number % 3, f"k{number}") for number in range(sum(LENGTHS))]


@pytest.fixture
def shards(tmp_path):
    from facemae_jax.data.face_record import to_example

    records, files = iter(RECORDS), []
    for number, length in enumerate(LENGTHS):
        files.append(str(tmp_path / f"shard {number}"))
        file = ArrayRecordFile(tmp_path / f"shard {number}")
        for _ in range(length):
            file.write(to_example(next(records)))
        file.close()
    return Shards(files, LENGTHS, tmp_path / "index.npz")


def test_every_position(shards):
    assert len(shards) == 8 and [shards.read(position) for position in range(8)] == RECORDS


def test_threads_share_it(shards):
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda number: shards.read(number % 8), range(800)))
    assert found == RECORDS * 100


def test_pickled_copy_reads(shards):
    shards.read(0)
    assert pickle.loads(pickle.dumps(shards)).read(7) == RECORDS[7]


@pytest.mark.parametrize("block", [1, 2, 256])
def test_index_is_read_from_the_records(shards, monkeypatch, block):
    monkeypatch.setattr(face_shards, "BLOCK", block)
    assert shards.index.keys == [record.key for record in RECORDS]
    assert shards.index.labels_n.tolist() == [record.label for record in RECORDS]
    parts = [index_records(RECORDS[:3]), index_records(RECORDS[3:4]), index_records(RECORDS[4:])]
    assert shards.index.digest == join(parts).digest


def test_index_file_is_believed(shards, tmp_path):
    told = index_records(RECORDS)._replace(keys=PackedKeys.of("abcdefgh"))
    save_index(tmp_path / "index.npz", told)
    assert shards.index.keys == list("abcdefgh")


def test_index_of_other_shards_is_refused(shards, tmp_path):
    save_index(tmp_path / "index.npz", index_records(RECORDS[:5]))
    with pytest.raises(FacemaeError, match=r"index\.npz: it counts 5 records and the shards hold 8; delete it"):
        _ = shards.index


def test_damaged_shard_is_named(shards, tmp_path):
    file = tmp_path / "shard 2"
    data = bytearray(file.read_bytes())
    at = data.index(bytes([5]) * 100)
    data[at + 50] ^= 1
    file.write_bytes(data)
    assert shards.read(3) == RECORDS[3]
    with pytest.raises(FacemaeError, match=r"shard 2: records 1…1 cannot be read .*damaged"):
        shards.read(5)


def test_cut_off_shard_is_named(shards, tmp_path):
    file = tmp_path / "shard 0"
    file.write_bytes(file.read_bytes()[:1000])
    with pytest.raises(FacemaeError, match="shard 0: records 0…0 cannot be read"):
        shards.read(0)


def test_shard_of_another_length_is_named(shards, tmp_path):
    (tmp_path / "shard 2").replace(tmp_path / "shard 1")
    with pytest.raises(FacemaeError, match=r"shard 1: .*4 records where dataset_info\.json says 1"):
        shards.read(3)
