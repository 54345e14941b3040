"""pyarrow writes what is read here, as ``datasets`` and others have it written; it comes with tensorflow-datasets."""

import json
import threading

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import parquet as pq

from facemae_jax.data.face_import import Wanted, import_source
from facemae_jax.data.face_set import FaceSetWriter, open_face_set
from facemae_jax.data.formats import parquet
from facemae_jax.data.formats.folder import FolderSource
from facemae_jax.data.formats.parquet import ParquetSource
from facemae_jax.data.formats.parquet_writer import write_parquet
from facemae_jax.data.formats.source import open_source
from facemae_jax.data.images import BadImage, encode_jpeg
from facemae_jax.types import FacemaeError, Record

IMAGE = pa.struct([("bytes", pa.binary()), ("path", pa.string())])


def jpeg(number: int) -> bytes:
    return encode_jpeg(np.random.default_rng(number).integers(0, 256, (8, 8, 3), np.uint8), 90)


def hugging(names=None) -> dict:
    label = {"names": names, "_type": "ClassLabel"} if names else {"dtype": "int64", "_type": "Value"}
    return {"huggingface": json.dumps({"info": {"features": {"image": {"_type": "Image"}, "label": label}}})}


def table(labels, names=None, start=0, kind=None):
    images = [{"bytes": jpeg(start + n), "path": f"{n}.jpg"} for n in range(len(labels))]
    fields = [("image", IMAGE), ("label", kind or pa.int64())]
    return pa.Table.from_pydict({"image": images, "label": labels}, pa.schema(fields, hugging(names)))


def told(source):
    return [(source.keys[n], source.identity(n), source.read(n)) for n in range(len(source.keys))]


def test_class_labels_of_hugging_face(tmp_path):
    pq.write_table(table([1, 0, 2, 1], ["zoe", "ada", "bo"]), tmp_path / "x.parquet")
    source = open_source(tmp_path / "x.parquet")
    assert isinstance(source, ParquetSource)
    assert told(source) == [(f"x.parquet/{n}", name, jpeg(n)) for n, name in enumerate(["ada", "zoe", "bo", "ada"])]
    assert source.where(2).endswith("x.parquet, row 2") and not source.ignored
    source.close()


@pytest.mark.parametrize("folder", ["", "data"])
def test_shards_of_a_folder_and_other_splits(tmp_path, folder):
    place = tmp_path / folder
    place.mkdir(exist_ok=True)
    (tmp_path / "README.md").write_text("---\n")
    for shard, labels in enumerate(([11, 3], [], [3, 0, 11])):
        pq.write_table(table(labels, start=10 * shard), place / f"train-{shard:05d}-of-00003.parquet")
    pq.write_table(table([5]), place / "test-00000-of-00001.parquet")
    source = open_source(tmp_path)
    prefix = f"{folder}/" if folder else ""
    assert [key for key, _, _ in told(source)] == [
        f"{prefix}train-0000{f}-of-00003.parquet/{row}" for f, row in ((0, 0), (0, 1), (2, 0), (2, 1), (2, 2))
    ]
    assert list(source.keys) == sorted(source.keys) and source.ignored == {"files of other splits": 1}
    assert [(who, image) for _, who, image in told(source)] == [
        ("11", jpeg(0)),
        ("03", jpeg(1)),
        ("03", jpeg(20)),
        ("00", jpeg(21)),
        ("11", jpeg(22)),
    ]


def test_order_of_files_is_that_of_their_keys(tmp_path):
    for name in ("a", "a-b", "a0"):
        pq.write_table(table([0, 1]), tmp_path / f"{name}.parquet")
    source = open_source(tmp_path)
    assert list(source.keys) == sorted(source.keys) and len(source.keys) == 6


@pytest.mark.parametrize("kind", [pa.string(), pa.large_string(), pa.dictionary(pa.int32(), pa.string())])
@pytest.mark.parametrize("image", [pa.binary(), pa.large_binary()])
def test_plain_bytes_and_names(tmp_path, kind, image):
    columns = {"jpg": pa.array([jpeg(n) for n in range(4)], image), "person": pa.array(["é/b", "a", None, "é/b"], kind)}
    pq.write_table(pa.table(columns | {"age": [1, 2, 3, 4], "score": [0.5] * 4}), tmp_path / "x.parquet")
    source = ParquetSource(tmp_path / "x.parquet")
    assert told(source) == [
        ("x.parquet/0", "é/b", jpeg(0)),
        ("x.parquet/1", "a", jpeg(1)),
        ("x.parquet/3", "é/b", jpeg(3)),
    ]
    assert source.ignored == {"rows without a label": 1}


def test_numbers_in_a_dictionary(tmp_path):
    labels = pa.array([30, 4, None, 30]).dictionary_encode()
    pq.write_table(pa.table({"jpg": [jpeg(n) for n in range(4)], "label": labels}), tmp_path / "x.parquet")
    assert [who for _, who, _ in told(ParquetSource(tmp_path / "x.parquet"))] == ["30", "04", "30"]


def test_labels_that_are_not_known(tmp_path):
    pq.write_table(table([-1, 4, None, 2]), tmp_path / "x.parquet")
    source = ParquetSource(tmp_path / "x.parquet")
    assert [who for _, who, _ in told(source)] == ["4", "2"] and source.ignored == {"rows without a label": 2}


@pytest.mark.parametrize(
    "keys, own",
    [(["a", "b", "c"], True), (["a", "c", "b"], False), (["a", "b", "b"], False), (["a", None, "c"], False)],
)
def test_keys_are_taken_where_they_ascend(tmp_path, keys, own):
    pq.write_table(table([0, 1, 0]).append_column("key", pa.array(keys)), tmp_path / "x.parquet")
    source = ParquetSource(tmp_path / "x.parquet")
    assert list(source.keys) == (keys if own else [f"x.parquet/{n}" for n in range(3)])


def test_any_order_and_any_thread(tmp_path, monkeypatch):
    monkeypatch.setattr(parquet, "BATCH", 4)
    for file in range(2):
        pq.write_table(table(list(range(50)), start=50 * file), tmp_path / f"{file}.parquet", row_group_size=17)
    source = open_source(tmp_path)
    order, wrong = np.random.default_rng(0).permutation(100), []

    def read(part):
        wrong.extend(n for n in part if source.read(n) != jpeg(n))

    threads = [threading.Thread(target=read, args=(order[n::3].tolist(),)) for n in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_in_order_every_batch_is_decoded_once(tmp_path, monkeypatch):
    monkeypatch.setattr(parquet, "BATCH", 8)
    pq.write_table(table(list(range(64))), tmp_path / "x.parquet", row_group_size=64)
    source, steps = ParquetSource(tmp_path / "x.parquet"), []
    step = source._step
    monkeypatch.setattr(source, "_step", lambda wanted: steps.append(wanted) or step(wanted))
    for position in [5, 2, 0, 9, 3, *range(10, 64), 63 - 8 * 3]:
        assert source.read(position) == jpeg(position)
    assert len(steps) == 8 and len(source._batches) <= parquet.KEPT
    assert source.read(0) == jpeg(0) and len(steps) == 9, "what is no longer kept is decoded again"


def test_rows_without_an_image(tmp_path):
    images = [{"bytes": None, "path": "there/1.jpg"}, None, {"bytes": jpeg(2), "path": None}]
    pq.write_table(
        pa.Table.from_pydict(
            {"image": images, "label": [0, 1, 1]}, pa.schema([("image", IMAGE), ("label", pa.int64())])
        ),
        tmp_path / "x.parquet",
    )
    source = ParquetSource(tmp_path / "x.parquet")
    with pytest.raises(BadImage, match=r"x\.parquet, row 0: only the path 'there/1\.jpg' is there, no image"):
        source.read(0)
    with pytest.raises(BadImage, match=r"x\.parquet, row 1: there is no image"):
        source.read(1)
    assert source.read(2) == jpeg(2)


def test_damage(tmp_path):
    (tmp_path / "x.parquet").write_bytes(b"PAR1" + bytes(50))
    with pytest.raises(FacemaeError, match=r"x\.parquet: this is no whole Parquet file"):
        open_source(tmp_path / "x.parquet")
    pq.write_table(
        table(list(range(200))), tmp_path / "x.parquet", row_group_size=100, compression="gzip", use_dictionary=False
    )
    data = bytearray((tmp_path / "x.parquet").read_bytes())
    place = pq.ParquetFile(tmp_path / "x.parquet").metadata.row_group(1).column(0).data_page_offset
    data[place : place + 2000] = bytes(2000)
    (tmp_path / "x.parquet").write_bytes(data)
    source = ParquetSource(tmp_path / "x.parquet")
    assert source.read(7) == jpeg(7)
    with pytest.raises(BadImage, match=r"x\.parquet, row 150: the file is damaged here"):
        source.read(150)


@pytest.mark.parametrize(
    "columns, match",
    [
        ({"label": [1]}, "which of its fields .* is the image cannot be told"),
        ({"image": [b"x"], "score": [0.5]}, "which of its fields .* is the label cannot be told"),
        ({"one": [b"x"], "two": [b"x"], "label": [1]}, "which of one, two is the image cannot be told"),
    ],
)
def test_columns_that_cannot_be_told(tmp_path, columns, match):
    pq.write_table(pa.table(columns), tmp_path / "x.parquet")
    with pytest.raises(FacemaeError, match=rf"x\.parquet: {match}"):
        open_source(tmp_path / "x.parquet")


def test_columns_that_are_named(tmp_path):
    pq.write_table(pa.table({"a": [b"x"], "b": [b"y"], "label": [1], "who": [7]}), tmp_path / "x.parquet")
    assert told(ParquetSource(tmp_path / "x.parquet", image="b", label="who")) == [("x.parquet/0", "7", b"y")]
    with pytest.raises(FacemaeError, match="no label called whom"):
        ParquetSource(tmp_path / "x.parquet", image="b", label="whom")


def test_what_does_not_fit_together(tmp_path):
    pq.write_table(table([0, 3], ["a", "b", "c"]), tmp_path / "x.parquet")
    with pytest.raises(FacemaeError, match="label 3 in the column label is beyond the names of its ClassLabel"):
        ParquetSource(tmp_path / "x.parquet")
    pq.write_table(table([0, 2], ["a", "b", "c"]), tmp_path / "x.parquet")
    pq.write_table(table([0, 2], ["a", "c", "b"]), tmp_path / "y.parquet")
    with pytest.raises(FacemaeError, match=r"y\.parquet: has other columns or names of people than .*x\.parquet"):
        open_source(tmp_path)
    (tmp_path / "none").mkdir()
    with pytest.raises(FacemaeError, match=r"none: holds no \.parquet files"):
        ParquetSource(tmp_path / "none")


def test_images_in_folders_go_before_a_table_about_them(tmp_path):
    (tmp_path / "ada").mkdir()
    (tmp_path / "ada" / "1.jpg").write_bytes(jpeg(0))
    pq.write_table(table([0]), tmp_path / "metadata.parquet")
    assert isinstance(open_source(tmp_path), FolderSource)


def made_set(tmp_path, count=1000, people=12, names=None):
    rng = np.random.default_rng(0)
    keys = [f"{number:024x}" for number in rng.permutation(count)]
    labels = [*range(people), *rng.integers(people, size=count - people).tolist()]
    records = [Record(jpeg(n), label, key) for n, (label, key) in enumerate(zip(labels, keys, strict=True))]
    writer = FaceSetWriter(
        tmp_path / "made" / "1.0.0", name="made", image_size=8, num_labels=people, identity_names=names
    )
    writer.write_shard(0, records)
    return open_face_set(writer.finish(count)), records


def test_a_thousand_images_there_and_back(tmp_path):
    faces, records = made_set(tmp_path)
    out = write_parquet(faces, tmp_path / "out", shard_records=300)
    files = sorted(out.iterdir())
    assert [file.name for file in files] == [f"train-0000{n}-of-00004.parquet" for n in range(4)]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["made", "out"]
    read = pa.concat_tables(map(pq.read_table, files))
    ordered = sorted(records, key=lambda record: record.key)
    assert read.column("image").to_pylist() == [{"bytes": record.image, "path": None} for record in ordered]
    assert read.column("label").to_pylist() == [record.label for record in ordered]
    assert read.column("key").to_pylist() == [record.key for record in ordered]
    features = json.loads(read.schema.metadata[b"huggingface"])["info"]["features"]
    assert features["image"] == {"_type": "Image"} and features["label"] == {
        "names": [f"{n:02d}" for n in range(12)],
        "_type": "ClassLabel",
    }
    assert pq.ParquetFile(files[0]).metadata.num_row_groups == 3
    import_source(open_source(out), tmp_path / "back" / "1.0.0", tmp_path / "notes", Wanted(8), "x")
    assert list(open_face_set(tmp_path / "back")) == ordered
    again = write_parquet(faces, tmp_path / "again", shard_records=300)
    assert [file.read_bytes() for file in files] == [file.read_bytes() for file in sorted(again.iterdir())]


def test_names_of_a_set_that_keeps_them_and_many_numbers(tmp_path, monkeypatch):
    faces, records = made_set(tmp_path, 6, 3, ["ada", "bo", "李"])
    assert sorted(who for _, who, _ in told(open_source(write_parquet(faces, tmp_path / "named")))) == sorted(
        ["ada", "bo", "李"][r.label] for r in records
    )
    (tmp_path / "x").mkdir()
    monkeypatch.setattr("facemae_jax.data.formats.parquet_writer.MANY", 11)
    faces, records = made_set(tmp_path / "x", 20)
    source = open_source(write_parquet(faces, tmp_path / "numbered"))
    assert sorted(int(who) for _, who, _ in told(source)) == sorted(record.label for record in records)
    schema = pq.read_schema(next((tmp_path / "numbered").iterdir()))
    assert json.loads(schema.metadata[b"huggingface"])["info"]["features"]["label"] == {
        "dtype": "int64",
        "_type": "Value",
    }


def test_nothing_half_written_stays(tmp_path, monkeypatch):
    faces, _ = made_set(tmp_path, 20)

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(type(faces), "__getitem__", full)
    with pytest.raises(OSError, match="No space left"):
        write_parquet(faces, tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["made"]
