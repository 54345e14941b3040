import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from facemae_jax.data.face_set import FaceSetWriter, open_face_set
from facemae_jax.data.images import encode_jpeg, encode_png
from facemae_jax.types import FacemaeError, Record

SIZE = 8


def record(number: int) -> Record:
    image = np.random.default_rng(number).integers(0, 256, (SIZE, SIZE, 3), np.uint8)
    return Record(encode_jpeg(image, 90), number % 3, f"key-{number:03d}")


RECORDS = [record(number) for number in range(7)]


def writer(path: Path, **changes) -> FaceSetWriter:
    arguments = dict(name="toy", image_size=SIZE, shard_records=3, num_labels=3, metadata={"b": 1, "a": [1, "ü"]})
    return FaceSetWriter(path, **(arguments | changes))


def write(path: Path, records=RECORDS, **changes) -> Path:
    out = writer(path, **changes)
    for shard in range(-(-len(records) // 3)):
        if not out.shard_done(shard):
            out.write_shard(shard, records[3 * shard : 3 * shard + 3])
    return out.finish(len(records))


def content(path: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in sorted(path.iterdir())}


def test_tfds_reads_it_without_tensorflow(tmp_path, repository):
    path = write(tmp_path / "toy" / "1.2.3", description="A toy.")
    code = """
import json, sys
import tensorflow_datasets as tfds
builder = tfds.builder_from_directory(sys.argv[1])
source = builder.as_data_source(split="train")
first = source[3]
print(json.dumps([len(source), first["image"].shape, int(first["label"]), first["key"].decode(), dict(builder.info.metadata),
    builder.info.description, str(builder.info.version), builder.info.features["label"].num_classes,
    builder.info.splits["train"].shard_lengths, len(tfds.data_source("toy", split="train", data_dir=sys.argv[2])),
    "tensorflow" in sys.modules]))
"""
    told = subprocess.run(
        [sys.executable, "-c", code, str(path), str(tmp_path)],
        cwd=repository,
        capture_output=True,
        text=True,
        check=True,
    )
    metadata = {"b": 1, "a": [1, "ü"]}
    expected = [7, [SIZE, SIZE, 3], 0, "key-003", metadata, "A toy.", "1.2.3", 3, [3, 3, 1], 7, False]
    assert json.loads(told.stdout) == expected


@pytest.mark.tf
def test_tfds_load_reads_both_formats(tmp_path):
    pytest.importorskip("tensorflow", reason="tfds.load needs tensorflow-cpu, an optional package")
    import tensorflow_datasets as tfds

    write(tmp_path / "toy" / "1.0.0", formats=("array_record", "tfrecord"))
    keys = [example["key"].decode() for example in tfds.as_numpy(tfds.load("toy", split="train", data_dir=tmp_path))]
    assert sorted(keys) == [record.key for record in RECORDS]


def test_both_formats_hold_the_same_records(tmp_path):
    path = write(tmp_path / "1.0.0", formats=("array_record", "tfrecord"))
    info = json.loads((path / "dataset_info.json").read_text())
    assert info["fileFormat"] == "tfrecord" and info["alternativeFileFormats"] == ["array_record"]
    names = sorted(file.name for file in path.glob("toy-train.*"))
    assert names == [f"toy-train.{kind}-{i:05d}-of-00003" for kind in ("array_record", "tfrecord") for i in range(3)]
    faces = open_face_set(path)
    assert [faces[i] for i in range(7)] == RECORDS
    packed = b"".join((path / name).read_bytes() for name in names if "tfrecord" in name)
    assert all(record.image in packed and record.key.encode() in packed for record in RECORDS)


def test_bytes_follow_from_arguments_and_records_alone(tmp_path):
    options = dict(formats=("tfrecord", "array_record"), identity_names=["ada", "bo", "李"])
    one = write(tmp_path / "a" / "1.0.0", **options)
    time.sleep(1.1)  # any time of day in a file would differ now
    out = writer(tmp_path / "b" / "deeper" / "1.0.0", **options)
    for shard in (2, 0, 1):
        out.write_shard(shard, iter(RECORDS[3 * shard : 3 * shard + 3]))
    assert content(one) == content(out.finish(7))


def test_nothing_is_there_before_the_finish(tmp_path):
    out = writer(tmp_path / "1.0.0")
    out.write_shard(0, RECORDS[:3])
    assert not out.version_dir.exists()
    with pytest.raises(FacemaeError, match="no such folder"):
        open_face_set(out.version_dir)
    with pytest.raises(FacemaeError, match="found no dataset_info"):
        open_face_set(tmp_path)


def test_finish_needs_all_records(tmp_path):
    out = writer(tmp_path / "1.0.0")
    out.write_shard(0, RECORDS[:3])
    out.write_shard(2, RECORDS[6:])
    with pytest.raises(FacemaeError, match="3 of 7 records.*shard 1 is missing"):
        out.finish(7)
    with pytest.raises(FacemaeError, match="3 of 3 records.*shard 1 is missing"):
        out.finish(3)
    out.write_shard(1, RECORDS[3:6])
    with pytest.raises(FacemaeError, match="7 of 8 records"):
        out.finish(8)
    assert len(open_face_set(out.finish(7))) == 7
    with pytest.raises(FacemaeError, match="0 of 0 records"):
        writer(tmp_path / "2.0.0").finish(0)


def test_a_failing_shard_leaves_nothing(tmp_path):
    def failing():
        yield RECORDS[0]
        raise RuntimeError("the source broke")

    out = writer(tmp_path / "1.0.0", formats=("array_record", "tfrecord"))
    with pytest.raises(RuntimeError, match="the source broke"):
        out.write_shard(0, failing())
    assert not out.shard_done(0) and not list((tmp_path / "1.0.0.partial" / "shards").iterdir())


def test_shards_too_long_wrong_labels_and_double_keys_are_refused(tmp_path):
    out = writer(tmp_path / "1.0.0")
    with pytest.raises(FacemaeError, match="more than 3 records"):
        out.write_shard(0, RECORDS[:4])
    with pytest.raises(FacemaeError, match=r"record key-000 has the label 3; labels go from 0 to 2"):
        out.write_shard(0, [RECORDS[0]._replace(label=3)])
    out.write_shard(0, RECORDS[:3])
    out.write_shard(1, RECORDS[1:2])
    with pytest.raises(FacemaeError, match="the key 'key-001' stands twice"):
        out.finish(4)


def test_second_writer_goes_on(tmp_path):
    writer(tmp_path / "1.0.0").write_shard(1, RECORDS[3:6])
    out = writer(tmp_path / "1.0.0")
    assert [out.shard_done(shard) for shard in range(3)] == [False, True, False]
    assert content(write(tmp_path / "1.0.0")) == content(write(tmp_path / "other" / "1.0.0"))


def test_attempt_with_other_arguments_is_thrown_away(tmp_path):
    writer(tmp_path / "1.0.0").write_shard(0, RECORDS[:3])
    assert not writer(tmp_path / "1.0.0", num_labels=4).shard_done(0)


def test_finishing_again_is_harmless(tmp_path):
    before = content(write(tmp_path / "1.0.0"))
    out = writer(tmp_path / "1.0.0")
    assert out.is_whole() and out.shard_done(99) and out.finish(7) == tmp_path / "1.0.0"
    assert content(tmp_path / "1.0.0") == before and not (tmp_path / "1.0.0.partial").exists()


def test_finish_interrupted_between_moves_goes_on(tmp_path, monkeypatch):
    out = writer(tmp_path / "1.0.0", formats=("array_record", "tfrecord"))
    for shard in range(3):
        out.write_shard(shard, RECORDS[3 * shard : 3 * shard + 3])
    replace, moved = os.replace, []

    def stopping(source, target):
        if "toy-train" in str(target):
            moved.append(target)
            if len(moved) == 4:
                raise KeyboardInterrupt
        replace(source, target)

    monkeypatch.setattr(os, "replace", stopping)
    with pytest.raises(KeyboardInterrupt):
        out.finish(7)
    monkeypatch.undo()
    again = write(tmp_path / "1.0.0", formats=("array_record", "tfrecord"))
    assert content(again) == content(write(tmp_path / "other" / "1.0.0", formats=("array_record", "tfrecord")))


def test_foreign_folder_is_not_overwritten(tmp_path):
    (tmp_path / "1.0.0").mkdir()
    (tmp_path / "1.0.0" / "thesis.txt").write_text("mine")
    with pytest.raises(FacemaeError, match="holds something that is no face set"):
        writer(tmp_path / "1.0.0")
    (tmp_path / "2.0.0").mkdir()
    assert len(open_face_set(write(tmp_path / "2.0.0"))) == 7


def test_empty_shards_get_no_file(tmp_path):
    out = writer(tmp_path / "1.0.0")
    for shard, records in enumerate((RECORDS[:2], [], RECORDS[2:3])):
        out.write_shard(shard, records)
    faces = open_face_set(out.finish(3))
    assert [faces[i].key for i in range(3)] == ["key-000", "key-001", "key-002"]
    assert len(list(faces.path.glob("*.array_record-*-of-00002"))) == 2


def test_png_scalar_labels_and_no_private_files(tmp_path):
    images = [Record(encode_png(np.full((SIZE, SIZE, 3), 9, np.uint8)), 5, "a")]
    path = write(tmp_path / "1.0.0", images, encoding="png", num_labels=None, index=False, split="test")
    assert sorted(file.name for file in path.iterdir()) == [
        "dataset_info.json",
        "features.json",
        "metadata.json",
        "toy-test.array_record-00000-of-00001",
    ]
    features = (path / "features.json").read_text()
    assert '"png"' in features and "classLabel" not in features
    assert open_face_set(path)[0] == images[0]


def test_kill_while_writing(tmp_path, repository):
    code = """
import sys, time
from pathlib import Path
from facemae_jax.data.face_set import FaceSetWriter
from facemae_jax.types import Record
out = FaceSetWriter(Path(sys.argv[1]), name="toy", image_size=8, shard_records=3, num_labels=3, metadata={"b": 1, "a": [1, "ü"]})
def slowly():
    for number in range(3):
        yield Record(b"x", 0, f"{number}")
        print(number, flush=True)
        time.sleep(0.5 if number else 0)
out.write_shard(0, [Record(b"x", 0, f"0-{n}") for n in range(3)])
out.write_shard(1, slowly())
"""
    with subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path / "1.0.0")], cwd=repository, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout.readline() and process.stdout.readline()  # in the middle of shard 1
        process.send_signal(signal.SIGKILL)
    out = writer(tmp_path / "1.0.0")
    assert out.shard_done(0) and not out.shard_done(1)
    assert list((tmp_path / "1.0.0.partial" / "shards").glob(".*")), "the kill came too late to test anything"
    out.write_shard(0, RECORDS[:3])
    assert content(write(tmp_path / "1.0.0")) == content(write(tmp_path / "other" / "1.0.0"))


def test_tfds_is_imported_before_any_record_is_made(tmp_path):
    # Importing it beside running threads makes their imports fail now and then: in a fresh interpreter it must come first.
    code = (
        "import sys; from pathlib import Path; from facemae_jax.data.face_set_writer import FaceSetWriter; "
        "assert 'tensorflow_datasets' not in sys.modules; "
        f"FaceSetWriter(Path({str(tmp_path)!r}) / '1.0.0', name='toy', image_size=16); "
        "assert 'tensorflow_datasets' in sys.modules"
    )
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
