"""Files are made here by a little writer of its own, from the published layout; mxnet itself can no longer be installed."""

import struct

import numpy as np
import pytest

from facemae_jax.data.face_import import Wanted, import_source
from facemae_jax.data.face_set import FaceSetWriter, open_face_set
from facemae_jax.data.formats import recordio_writer
from facemae_jax.data.formats.recordio import RecordIOSource, recordio_file
from facemae_jax.data.formats.recordio_writer import write_recordio
from facemae_jax.data.formats.source import open_source
from facemae_jax.data.images import BadImage, encode_jpeg, encode_png
from facemae_jax.types import FacemaeError, Record


def jpeg(number: int, size: int = 8) -> bytes:
    return encode_jpeg(np.random.default_rng(number).integers(0, 256, (size, size, 3), np.uint8), 90)


def packed(label, number: int, image: bytes) -> bytes:
    """MXNet's ``pack``: a number gives flag 0, several give an array before the image."""
    if isinstance(label, list):
        return struct.pack("<IfQQ", len(label), 0, number, 0) + struct.pack(f"<{len(label)}f", *label) + image
    return struct.pack("<IfQQ", 0, label, number, 0) + image


def write(folder, records, index=True):
    """``records``: (number, label or labels, image); an image of None: labels alone."""
    folder.mkdir(exist_ok=True)
    places = []
    with open(folder / "train.rec", "wb") as file:
        for number, label, image in records:
            places.append(f"{number}\t{file.tell()}\n")
            data = packed(label, number, image or b"")
            file.write(struct.pack("<II", 0xCED7230A, len(data)) + data + b"\0" * (-len(data) % 4))
    if index:
        (folder / "train.idx").write_text("".join(places))
    return folder


def insightface(header_last: bool = False):
    """Five images of three people: 0 has two, 1 one, 2 two; a header and a record per person."""
    images = [
        (1, 0, jpeg(1)),
        (2, 0, jpeg(2)),
        (3, 1, jpeg(3)),
        (4, [2.0, 1.0], jpeg(4)),
        (5, 2, encode_png(np.zeros((8, 8, 3), np.uint8))),
    ]
    header, people = [(0, [6, 9], None)], [(6, [1, 3], None), (7, [3, 4], None), (8, [4, 6], None)]
    return images + header + people if header_last else header + images + people


@pytest.mark.parametrize("index", [True, False])
@pytest.mark.parametrize("header_last", [False, True])
def test_both_label_styles_and_the_header(tmp_path, index, header_last):
    source = open_source(write(tmp_path / "set", insightface(header_last), index))
    assert isinstance(source, RecordIOSource) and not source.ignored
    assert list(source.keys) == ["0/1", "0/2", "1/3", "2/4", "2/5"]
    assert [source.identity(i) for i in range(5)] == ["0", "0", "1", "2", "2"]
    images = {number: image for number, _, image in insightface()}
    assert [source.read(i) for i in range(5)] == [images[number] for number in range(1, 6)]
    assert source.where(3).endswith("train.rec, record 4")
    source.close()


@pytest.mark.parametrize("index", [True, False])
def test_without_a_header_every_record_is_an_image(tmp_path, index):
    records = [(number, number % 12, jpeg(number)) for number in range(20)]
    source = RecordIOSource(write(tmp_path / "set", records, index) / "train.rec")
    assert list(source.keys) == sorted(f"{number % 12:02d}/{number:02d}" for number in range(20)) == sorted(source.keys)
    assert source.identity(0) == "00" and source.read(1) == jpeg(12)


def test_label_array_in_the_first_record_is_no_header(tmp_path):
    source = RecordIOSource(write(tmp_path / "set", [(0, [3.0, 4.0], jpeg(0)), (1, [5.0, 0.0], jpeg(1))]))
    assert list(source.keys) == ["3/0", "5/1"] and source.read(0) == jpeg(0)


def test_numbers_that_repeat_are_not_trusted_without_an_index(tmp_path):
    source = RecordIOSource(write(tmp_path / "set", [(7, 0, jpeg(0)), (7, 1, jpeg(1)), (7, 0, jpeg(2))], index=False))
    assert list(source.keys) == ["0/0", "0/2", "1/1"] and source.read(1) == jpeg(2)


def test_word_of_the_format_inside_an_image(tmp_path):
    word = struct.pack("<I", 0xCED7230A)
    head, tail = packed(1, 0, jpeg(1) + b"\0" * (-len(jpeg(1)) % 4)), b"rest"
    with open(tmp_path / "a.rec", "wb") as file:
        for flag, data in ((1, head), (2, b""), (3, tail)):
            file.write(word + struct.pack("<I", flag << 29 | len(data)) + data)
    source = RecordIOSource(tmp_path / "a.rec")
    assert source.read(0) == (head + word + word + tail)[24:]


def test_damaged_records_are_bad_images_of_somebody(tmp_path):
    folder = write(tmp_path / "set", [(number, number // 3, jpeg(number)) for number in range(6)])
    places = [int(line.split()[1]) for line in (folder / "train.idx").read_text().splitlines()]
    data = bytearray((folder / "train.rec").read_bytes())
    data[places[1]] ^= 1
    data[places[3] + 12 : places[3] + 16] = struct.pack("<f", 1.5)
    data[places[4] + 12 : places[4] + 16] = struct.pack("<f", np.nan)
    (folder / "train.rec").write_bytes(data[: places[5] + 100])
    for index in (True, False):
        if not index:
            (folder / "train.idx").unlink()
        source = RecordIOSource(folder)
        assert [source.identity(i) for i in range(6)] == ["0", "0", "0", "0", "0", "1"]
        reasons = [
            "",
            "no record begins at byte",
            "",
            "its label is 1.5, which is no identity",
            "its label is nan",
            "the file ends inside",
        ]
        for position, reason in enumerate(reasons):
            if reason:
                with pytest.raises(BadImage, match=rf"train\.rec, record {position}: the record is damaged: {reason}"):
                    source.read(position)
            else:
                assert source.read(position) == jpeg(position)


def test_damaged_list_of_a_person_is_no_image(tmp_path):
    folder = write(tmp_path / "set", insightface())
    data = bytearray((folder / "train.rec").read_bytes())
    data[int((folder / "train.idx").read_text().splitlines()[-1].split()[1])] ^= 1
    (folder / "train.rec").write_bytes(data)
    assert list(RecordIOSource(folder).keys) == ["0/1", "0/2", "1/3", "2/4", "2/5"]


def test_empty_images_and_an_index_beyond_the_file(tmp_path):
    folder = write(tmp_path / "set", [(0, 0, jpeg(0)), (1, 1, b""), (2, 1, jpeg(2))])
    with open(folder / "train.idx", "a") as file:
        file.write("3\t99999\n")
    source = RecordIOSource(folder)
    with pytest.raises(BadImage, match="record 1: the record is damaged: it holds no image"):
        source.read(1)
    with pytest.raises(BadImage, match="record 3: the record is damaged: the file ends before it"):
        source.read(3)


def test_bad_records_are_skipped_by_the_import(tmp_path):
    folder = write(tmp_path / "set", [(number, number // 3, jpeg(number)) for number in range(9)])
    data = bytearray((folder / "train.rec").read_bytes())
    data[int((folder / "train.idx").read_text().splitlines()[4].split()[1])] ^= 1
    (folder / "train.rec").write_bytes(data)
    done = import_source(
        RecordIOSource(folder), tmp_path / "faces" / "1.0.0", tmp_path / "notes", Wanted(8, on_bad_record="skip"), "x"
    )
    assert [position for position, _ in done.skipped] == [4] and done.unchanged == 8
    assert open_face_set(tmp_path / "faces").labels_n.tolist() == [0, 0, 0, 1, 1, 2, 2, 2]


@pytest.mark.parametrize(
    "text, match",
    [
        ("0\t0\nx\t5\n", r"train\.idx: a line is not NUMBER, tab, OFFSET .*delete the file"),
        ("0\n1\n", r"train\.idx: a line is not NUMBER"),
        ("0\t0\n1\t60\n", r"record 0 promises 5 images, and 1 are in its \.idx; copy both again, or delete"),
    ],
)
def test_index_that_does_not_fit(tmp_path, text, match):
    folder = write(tmp_path / "set", insightface())
    (folder / "train.idx").write_text(text)
    with pytest.raises(FacemaeError, match=match):
        RecordIOSource(folder)
    (folder / "train.idx").write_text("")
    assert len(RecordIOSource(folder).keys) == 5, "an empty one is as good as none"


def test_file_cut_between_records_is_found_out_by_its_header(tmp_path):
    folder = write(tmp_path / "set", insightface()[:4], index=False)
    with pytest.raises(FacemaeError, match="record 0 promises 5 images, and 3 are there; the file is cut off"):
        RecordIOSource(folder)


@pytest.mark.parametrize("data", [b"", b"no such format at all", b"\xff\xd8" + bytes(100)])
def test_other_files_are_refused(tmp_path, data):
    (tmp_path / "x.rec").write_bytes(data)
    with pytest.raises(FacemaeError, match=r"x\.rec: not one whole image record is in it"):
        open_source(tmp_path / "x.rec")


def test_which_file_of_a_folder(tmp_path):
    assert recordio_file(tmp_path) is None
    with pytest.raises(FacemaeError, match=r"holds no \.rec file"):
        RecordIOSource(tmp_path)
    for name in ("b.rec", "a.rec"):
        (tmp_path / name).touch()
    with pytest.raises(FacemaeError, match=r"holds a\.rec, b\.rec; name the one"):
        open_source(tmp_path)
    (tmp_path / "train.rec").touch()
    assert recordio_file(tmp_path) == tmp_path / "train.rec"


def test_keys_beside_the_file(tmp_path):
    records = [(4, 0, jpeg(4)), (2, 1, jpeg(2)), (9, 0, jpeg(9))]
    folder = write(tmp_path / "set", records)
    (folder / "train.tsv").write_text("2\tz/é.jpg\t1\n4\tb\t0\n9\ta\t0\n", encoding="utf-8")
    source = RecordIOSource(folder)
    assert list(source.keys) == ["a", "b", "z/é.jpg"]
    assert [(source.identity(i), source.read(i)) for i in range(3)] == [("0", jpeg(9)), ("0", jpeg(4)), ("1", jpeg(2))]
    for text in (
        "2\tx\t1\n4\ty\t0\n",
        "2\tx\t1\n5\ty\t0\n9\tz\t0\n",
        "2\tx\t1\n4\ty\t0\n9\tz\t0\n10\tw\t0\n",
        "2\n4\n9\n",
    ):
        (folder / "train.tsv").write_text(text)
        with pytest.raises(FacemaeError, match=r"train\.tsv: line \d should be the number, key and label of record"):
            RecordIOSource(folder)


def read_as_peers_do(folder):
    """What arcface_torch's loader makes of a set: ``(label, image)`` of the records that it takes for images, in their order."""
    index = dict(tuple(map(int, line.split("\t"))) for line in (folder / "train.idx").read_text().splitlines())
    data = (folder / "train.rec").read_bytes()

    def unpack(number):
        place = index[number]
        magic, word = struct.unpack_from("<II", data, place)
        assert magic == 0xCED7230A and word >> 29 == 0
        record = data[place + 8 : place + 8 + word]
        flag, label, own, _ = struct.unpack_from("<IfQQ", record)
        assert own == number
        labels = struct.unpack_from(f"<{flag}f", record, 24)
        return flag, list(labels) if flag else label, record[24 + 4 * flag :]

    flag, labels, _ = unpack(0)
    numbers = range(1, int(labels[0])) if flag else sorted(index)
    people = [unpack(number)[1] for number in range(int(labels[0]), int(labels[1]))] if flag else []
    return [unpack(number)[1:] for number in numbers], people


def made_set(tmp_path, count=1000, people=12):
    rng = np.random.default_rng(0)
    keys = [f"{number:024x}" for number in rng.permutation(count)]
    records = [
        Record(jpeg(n), int(label), key)
        for n, (label, key) in enumerate(zip(rng.integers(people, size=count), keys, strict=True))
    ]
    writer = FaceSetWriter(tmp_path / "made" / "1.0.0", name="made", image_size=8, num_labels=people)
    writer.write_shard(0, records[: count // 2])
    writer.write_shard(1, records[count // 2 :])
    return open_face_set(writer.finish(count)), records


def test_a_thousand_images_there_and_back(tmp_path):
    faces, records = made_set(tmp_path)
    out = write_recordio(faces, tmp_path / "out")
    assert sorted(file.name for file in tmp_path.iterdir()) == ["made", "out"]
    assert (out / "property").read_text().strip().split(",") == ["12", "8", "8"]
    found, people = read_as_peers_do(out)
    grouped = sorted(records, key=lambda record: record.label)  # a stable sort: within a label the set's own order
    assert found == [(record.label, record.image) for record in grouped]
    for label, (start, end) in enumerate(people):
        assert {found[number - 1][0] for number in range(int(start), int(end))} == {label}
    assert sum(end - start for start, end in people) == 1000
    source = open_source(out)
    import_source(source, tmp_path / "back" / "1.0.0", tmp_path / "notes", Wanted(8), "x")
    back = open_face_set(tmp_path / "back")
    assert list(back) == sorted(records, key=lambda record: record.key)
    assert len(set(map(int, map(source.identity, range(1000))))) == 12
    again = write_recordio(faces, tmp_path / "again")
    assert {f.name: f.read_bytes() for f in out.iterdir()} == {f.name: f.read_bytes() for f in again.iterdir()}


def test_too_many_records_for_the_header(tmp_path, monkeypatch):
    faces, records = made_set(tmp_path, 20, 3)
    monkeypatch.setattr(recordio_writer, "EXACT", 23)
    found, people = read_as_peers_do(write_recordio(faces, tmp_path / "out"))
    assert len(found) == 20 and people == []
    assert list(RecordIOSource(tmp_path / "out").keys) == sorted(record.key for record in records)
    monkeypatch.setattr(recordio_writer, "EXACT", 24)
    assert len(read_as_peers_do(write_recordio(faces, tmp_path / "just"))[1]) == 3
    monkeypatch.setattr(recordio_writer, "EXACT", 1)
    with pytest.raises(FacemaeError, match="labels from 0 to 1 only, and this set has 2"):
        write_recordio(faces, tmp_path / "never")


def test_nothing_half_written_stays(tmp_path):
    writer = FaceSetWriter(tmp_path / "made" / "1.0.0", name="made", image_size=8, num_labels=2)
    writer.write_shard(0, [Record(jpeg(0), 0, "a"), Record(jpeg(1), 1, "b\tc")])
    faces = open_face_set(writer.finish(2))
    with pytest.raises(FacemaeError, match=r"record 'b\\tc': a key with a tab"):
        write_recordio(faces, tmp_path / "out")
    assert [file.name for file in tmp_path.iterdir()] == ["made"]
