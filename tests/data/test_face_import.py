import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from facemae_jax.data import face_import, shard_import
from facemae_jax.data.face_import import Wanted, import_source, make_plan, write_json
from facemae_jax.data.face_set import FaceSet, open_face_set
from facemae_jax.data.images import BadImage, decode_record, encode_jpeg, encode_png
from facemae_jax.types import FacemaeError

SIZE = 8


def picture(number: int, size: int = SIZE) -> np.ndarray:
    return np.random.default_rng(number).integers(0, 256, (size, size, 3), np.uint8)


class Made:
    """A source in memory: key → bytes, pixels, or what goes wrong."""

    def __init__(self, images: dict):
        self.images, self.keys, self.ignored = images, sorted(images), Counter()

    def identity(self, position: int) -> str:
        return self.keys[position].rpartition("/")[0]

    def where(self, position: int) -> str:
        return self.keys[position]

    def read(self, position: int):
        found = self.images[self.keys[position]]
        return found() if callable(found) else found

    def close(self) -> None:
        pass


def good(*counts: int) -> dict:
    """``counts[k]`` images of person k."""
    return {
        f"p{k}/{i}.jpg": encode_jpeg(picture(10 * k + i), 90) for k, count in enumerate(counts) for i in range(count)
    }


def run(tmp_path: Path, images: dict, **wanted) -> tuple[face_import.Imported, FaceSet]:
    notes, version = tmp_path / "notes", tmp_path / "faces" / "1.0.0"
    imported = import_source(Made(images), version, notes, Wanted(SIZE, **wanted), "toy")
    return imported, open_face_set(version)


@pytest.fixture(autouse=True)
def small_shards(monkeypatch):
    monkeypatch.setattr(face_import, "SHARD_RECORDS", 4)


def test_labels_follow_names_and_records_keys(tmp_path):
    images = {"b/2.jpg": 1, "a-x/1.jpg": 2, "b/1.jpg": 3, "a/9.jpg": 4, "a/10.jpg": 5}
    images = {key: encode_jpeg(picture(number), 90) for key, number in images.items()}
    imported, faces = run(tmp_path, images)
    assert faces.keys() == ["a-x/1.jpg", "a/10.jpg", "a/9.jpg", "b/1.jpg", "b/2.jpg"]
    assert faces.identity_names == ["a", "a-x", "b"] and faces.labels_n.tolist() == [1, 0, 0, 2, 2]
    assert [record.image for record in faces] == [images[key] for key in faces.keys()]
    assert imported.unchanged == 5 and imported.skipped == [] and imported.plan.shards == 2
    assert len(list(faces.path.glob("*-of-00002"))) == 2 and faces.image_size == SIZE


def test_pixels_other_forms_and_other_sizes(tmp_path):
    images = good(1, 1) | {
        "p0/a.png": encode_png(picture(1)),
        "p0/b.png": encode_png(picture(2, 20)),
        "p1/c": picture(3),
    }
    imported, faces = run(tmp_path, images, jpeg_quality=100)
    assert imported.unchanged == 2
    found = {record.key: decode_record(record.image) for record in faces}
    assert all(image.shape == (SIZE, SIZE, 3) for image in found.values())
    assert np.abs(found["p0/a.png"].astype(int) - picture(1)).mean() < 2
    assert np.abs(found["p1/c"].astype(int) - picture(3)).mean() < 2


def test_other_size_is_refused_on_demand(tmp_path):
    with pytest.raises(BadImage, match=r"p0/b\.png: it has 20×20 pixels, not 8×8"):
        run(tmp_path, good(1, 1) | {"p0/b.png": encode_png(picture(2, 20))}, resize=False)


@pytest.mark.parametrize("identities", [0, 1])
def test_fewer_than_two_people_are_refused(tmp_path, identities):
    with pytest.raises(FacemaeError, match=rf"toy: {identities} identit.* at least two are needed; put the images"):
        run(tmp_path, good(*[3] * identities))


def test_min_images_leaves_people_out(tmp_path):
    imported, faces = run(tmp_path, good(3, 1, 2, 1), min_images=2)
    assert faces.identity_names == ["p0", "p2"] and faces.labels_n.tolist() == [0, 0, 0, 1, 1]
    assert imported.plan.left_out == {"p1": 1, "p3": 1}
    with pytest.raises(
        FacemaeError, match=r"1 identity with images \(and 3 left out, with fewer than data\.min_images=3\)"
    ):
        make_plan(Made(good(3, 1, 2, 1)), 3, (), "toy")


def test_single_image_of_a_person_is_fine(tmp_path):
    _, faces = run(tmp_path, good(1, 1))
    assert len(faces) == 2


def test_first_bad_image_in_order_stops_the_import(tmp_path):
    def slow():
        time.sleep(0.2)
        raise BadImage("p0/1.jpg", "it is spoiled")

    with pytest.raises(BadImage, match=r"p0/1\.jpg: it is spoiled"):
        run(tmp_path, good(5, 5) | {"p0/1.jpg": slow, "p0/2.jpg": b""}, threads=4)
    assert not (tmp_path / "faces" / "1.0.0").exists()


def test_bad_images_are_skipped_and_listed(tmp_path):
    spoiled = {"p0/1.jpg": b"", "p0/4.jpg": b"text", "p1/5.jpg": encode_jpeg(picture(1), 90)[:100]}
    imported, faces = run(tmp_path, good(5, 6) | spoiled, on_bad_record="skip")
    keys = sorted(set(good(5, 6)) - set(spoiled))
    assert faces.keys() == keys and len(faces) == 8 and faces.labels_n.tolist() == [0] * 3 + [1] * 5
    positions = [sorted(good(5, 6)).index(key) for key in sorted(spoiled)]
    assert [position for position, _ in imported.skipped] == positions
    for (_, reason), word in zip(imported.skipped, ("empty", "no image", "truncated"), strict=True):
        assert word in reason and "on_bad_record" not in reason


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (lambda file: file[:-40], "truncated or damaged"),
        (lambda file: file[:300], "truncated or damaged"),
        (
            lambda file: file[: file.index(b"\xff\xc4") + 2] + b"\xff" * 80 + file[file.index(b"\xff\xc4") + 82 :],
            "damaged",
        ),
    ],
    ids=["cut end", "cut header", "damaged table"],
)
def test_damaged_jpeg_among_those_that_pass_through(tmp_path, damage, reason):
    images = good(5, 6)
    images["p0/3.jpg"] = damage(images["p0/3.jpg"])
    with pytest.raises(BadImage, match=rf"^p0/3\.jpg: .*({reason}).*on_bad_record=skip"):
        run(tmp_path, images)
    imported, faces = run(tmp_path, images, on_bad_record="skip")
    assert [position for position, _ in imported.skipped] == [3] and imported.unchanged == 10 == len(faces)
    assert [record.image for record in faces] == [images[key] for key in sorted(images) if key != "p0/3.jpg"]


def test_bytes_between_segments_are_not_passed_on(tmp_path):
    images = good(5, 6)
    whole = images["p0/3.jpg"]
    at = whole.index(b"\xff\xc4")
    images["p0/3.jpg"] = whole[:at] + b"rubbish" + whole[at:]
    imported, faces = run(tmp_path, images, jpeg_quality=100)
    assert imported.unchanged == 10 and len(faces) == 11
    found = decode_record(faces[3].image).astype(int)
    assert b"rubbish" not in faces[3].image and np.abs(found - decode_record(whole)).mean() < 3


def test_damaged_pixels_are_found_on_demand(tmp_path):
    images = good(5, 6)
    whole = images["p1/2.jpg"]
    images["p1/2.jpg"] = whole[:-40] + bytes(38) + whole[-2:]
    imported, _ = run(tmp_path, images)
    assert imported.unchanged == 11
    (tmp_path / "checked").mkdir()
    imported, faces = run(tmp_path / "checked", images, check_pixels=True, on_bad_record="skip")
    assert [(position, "pixels are damaged" in reason) for position, reason in imported.skipped] == [(7, True)]
    assert len(faces) == 10


def test_person_with_nothing_but_bad_images_leaves_no_label(tmp_path):
    images = good(3, 2, 3) | {"p1/0.jpg": b"", "p1/1.jpg": b"text"}
    imported, faces = run(tmp_path, images, on_bad_record="skip")
    assert faces.identity_names == ["p0", "p2"] and faces.labels_n.tolist() == [0, 0, 0, 1, 1, 1]
    assert [position for position, _ in imported.skipped] == [3, 4] and imported.plan.left_out == {"p1": 2}


def test_bad_images_count_against_min_images(tmp_path):
    images = good(3, 3, 4, 2) | {"p1/0.jpg": b"", "p2/3.jpg": b""}
    imported, faces = run(tmp_path, images, on_bad_record="skip", min_images=3)
    assert faces.identity_names == ["p0", "p2"] and faces.labels_n.tolist() == [0, 0, 0, 1, 1, 1]
    assert imported.plan.left_out == {"p1": 3, "p3": 2}
    assert [position for position, _ in imported.skipped] == [3, 9]


def test_one_person_left_after_skipping_is_refused(tmp_path):
    with pytest.raises(FacemaeError, match=r"1 identity .*2 left out"):
        run(tmp_path, good(3, 3, 2) | {"p1/0.jpg": b""}, on_bad_record="skip", min_images=3)


@pytest.mark.parametrize(
    ("images", "records", "shards"),
    [
        (2, 250, 1),
        (250, 250, 1),
        (251, 250, 2),
        (5_000, 250, 20),
        (5_001, 251, 20),
        (20_000, 1_000, 20),
        (200_001, 10_000, 21),
    ],
)
def test_medium_sets_have_shards_for_all_processes(monkeypatch, images, records, shards):
    monkeypatch.setattr(face_import, "SHARD_RECORDS", 10_000)
    plan = face_import.Plan(range(images), range(images), [], Counter())
    assert plan.shard_records == records and plan.shards == shards
    assert [number for shard in range(shards) for number in plan.shard(shard)] == list(range(images))


def test_shards_do_not_depend_on_threads(tmp_path):
    images = good(6, 5) | {"p0/3.jpg": b""}
    for threads in (1, 3):
        (tmp_path / str(threads)).mkdir()
        run(tmp_path / str(threads), images, on_bad_record="skip", threads=threads)
    one, three = (tmp_path / str(threads) / "faces" / "1.0.0" for threads in (1, 3))
    assert {f.name: f.read_bytes() for f in one.iterdir()} == {f.name: f.read_bytes() for f in three.iterdir()}


def test_only_a_bounded_number_is_in_work(tmp_path, monkeypatch):
    monkeypatch.setattr(face_import, "SHARD_RECORDS", 1000)
    begun, release = [], threading.Event()

    def first():
        assert release.wait(10)
        return encode_jpeg(picture(0), 90)

    def other():
        begun.append(1)
        return encode_jpeg(picture(1), 90)

    images = {f"p{i // 100}/{i:03d}.jpg": other for i in range(200)} | {"p0/000.jpg": first}
    worker = threading.Thread(target=run, args=(tmp_path, images), kwargs={"threads": 2})
    worker.start()
    time.sleep(0.5)
    waiting = len(begun)
    release.set()
    worker.join()
    assert waiting <= 2 * shard_import.WAITING and len(begun) == 199


def test_interrupted_import_goes_on_with_the_missing_shards(tmp_path):
    images, reads = good(6, 6) | {"p0/1.jpg": b""}, []

    def stop():
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, images | {"p1/1.jpg": stop}, on_bad_record="skip")
    counted = {key: (lambda key=key: reads.append(key) or images[key]) for key in images}
    imported, faces = run(tmp_path, counted, on_bad_record="skip")
    assert sorted(reads) == sorted(images)[4:], "the first shard was there"
    assert len(faces) == 11 and imported.unchanged == 11
    assert [reason for _, reason in imported.skipped] == ["the file is empty (0 bytes)"]
    (tmp_path / "other").mkdir()
    _, unbroken = run(tmp_path / "other", images, on_bad_record="skip")
    assert faces.digest == unbroken.digest


def test_finished_import_is_told_again_from_its_notes(tmp_path):
    images = good(6, 6) | {"p0/1.jpg": b""}
    before, _ = run(tmp_path, images, on_bad_record="skip")

    def never():
        raise AssertionError("read again")

    again, faces = run(tmp_path, dict.fromkeys(images, never), on_bad_record="skip")
    assert again == before and len(faces) == 11


def test_killed_import_goes_on(tmp_path, repository):
    code = """
import sys, time
from pathlib import Path
from facemae_jax.data import face_import, shard_import
from facemae_jax.data.formats.folder import FolderSource
face_import.SHARD_RECORDS = 4
convert = shard_import._convert
def slowly(source, position, wanted):
    if position > 5:
        print(position, flush=True)
        time.sleep(60)
    return convert(source, position, wanted)
shard_import._convert = slowly
out = Path(sys.argv[1])
face_import.import_source(FolderSource(out / "in"), out / "faces" / "1.0.0", out / "notes", face_import.Wanted(8), "toy")
"""
    images = good(6, 6)
    for key, data in images.items():
        (tmp_path / "in" / key).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "in" / key).write_bytes(data)
    command = [sys.executable, "-c", code, str(tmp_path)]
    with subprocess.Popen(
        command, cwd=repository, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as process:
        assert process.stdout.readline(), "it stopped by itself"
        time.sleep(0.3)
        process.send_signal(signal.SIGKILL)
    assert not (tmp_path / "faces" / "1.0.0").exists()
    assert [file.name for file in (tmp_path / "notes").iterdir()] == ["00000.json"]
    _, faces = run(tmp_path, images)
    assert faces.keys() == sorted(images) and [record.image for record in faces] == [
        images[key] for key in sorted(images)
    ]


def test_full_disk_passes_up_and_the_import_goes_on_later(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("facemae_jax.data.record_files.ArrayRecordFile.write", full)
    with pytest.raises(OSError, match="No space left"):
        run(tmp_path, good(3, 3))
    monkeypatch.undo()
    _, faces = run(tmp_path, good(3, 3))
    assert len(faces) == 6


def test_json_is_written_whole(tmp_path, monkeypatch):
    write_json(tmp_path / "x.json", {"name": "李"})
    assert json.loads((tmp_path / "x.json").read_text(encoding="utf-8")) == {"name": "李"}
    monkeypatch.setattr(os, "replace", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        write_json(tmp_path / "x.json", {})
    assert json.loads((tmp_path / "x.json").read_text(encoding="utf-8")) == {"name": "李"}
