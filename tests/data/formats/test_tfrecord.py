import gzip
import struct
import zlib
from concurrent.futures import ThreadPoolExecutor

import google_crc32c
import pytest
from tensorflow_datasets.proto import tf_example_pb2

from facemae_jax.data.formats.tfrecord import TFRecordReader, open_tfrecord
from facemae_jax.data.images import BadImage
from facemae_jax.types import FacemaeError


def framed(data):
    """A TFRecord by its published layout, not by the package's own writer."""

    def masked(part):
        crc = google_crc32c.value(part)
        return struct.pack("<I", ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF)

    length = struct.pack("<Q", len(data))
    return length + masked(length) + data + masked(data)


def example(**features):
    """A serialized Example; ``__`` in a name stands for a stroke."""
    made = tf_example_pb2.Example()
    for name, value in features.items():
        feature = made.features.feature[name.replace("__", "/")]
        for one in value if isinstance(value, list) else [value]:
            if isinstance(one, bytes):
                feature.bytes_list.value.append(one)
            elif isinstance(one, float):
                feature.float_list.value.append(one)
            else:
                feature.int64_list.value.append(one)
    return made.SerializeToString()


def write(file, *examples):
    file.write_bytes(b"".join(map(framed, examples)))
    return file


def whom(source):
    return {key: source.identity(n) for n, key in enumerate(source.keys)}


def test_several_files_labels_and_places(tmp_path):
    write(tmp_path / "f.tfrecord-00000-of-00002", example(image=b"one", label=10), example(image=b"two", label=9))
    write(tmp_path / "f.tfrecord-00001-of-00002", example(image=b"three", label=9))
    (tmp_path / "readme.txt").write_text("x")
    source = open_tfrecord(tmp_path)
    first, second = "f.tfrecord-00000-of-00002", "f.tfrecord-00001-of-00002"
    assert whom(source) == {f"{first}/00000000": "10", f"{first}/00000001": "09", f"{second}/00000000": "09"}
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(source.read, [2, 0, 1])) == [b"three", b"one", b"two"]
    assert source.where(2) == f"{tmp_path}/{second}, record {second}/00000000" and not source.ignored
    source.close()


@pytest.mark.parametrize(
    ("features", "person"),
    [
        (dict(image__encoded=b"I", image__class__label=3, image__height=8, image__format=b"jpeg"), "3"),
        (dict(image_raw=b"I", id=5), "5"),
        (dict(jpg=b"I", cls=b"ada"), "ada"),
        (dict(only=b"I", identity="李".encode()), "李"),
    ],
)
def test_features_by_their_usual_names(tmp_path, features, person):
    source = open_tfrecord(write(tmp_path / "x.tfrecord", example(**features)))
    assert source.read(0) == b"I" and source.identity(0) == person


def test_features_that_are_told(tmp_path):
    file = write(tmp_path / "x.tfrecord", example(image=b"no", crop=b"I", label=1, who=2))
    source = open_tfrecord(file, image="crop", label="who")
    assert source.read(0) == b"I" and source.identity(0) == "2"
    with pytest.raises(FacemaeError, match=r"record 0: there is no label called whom \(did you mean who\?\)"):
        open_tfrecord(file, label="whom")


def test_own_keys_where_all_differ_and_unknown_people(tmp_path):
    rows = [example(image=b"I", label=1, filename=b"b.jpg"), example(image=b"J", label=0, filename=b"a.jpg")]
    source = open_tfrecord(write(tmp_path / "x.tfrecord", *rows, example(image=b"K", label=-1, filename=b"c.jpg")))
    assert whom(source) == {"a.jpg": "0", "b.jpg": "1"} and source.read(0) == b"J"
    assert source.ignored == {"records without a label (-1)": 1}
    again = open_tfrecord(write(tmp_path / "y.tfrecord", *rows, rows[0]))
    assert list(again.keys) == [f"y.tfrecord/{number:08d}" for number in range(3)]


@pytest.mark.parametrize(
    ("examples", "said"),
    [
        ([b"\xff\xff"], "record 0: this is no tf.train.Example"),
        ([example(a=b"x", b=b"y", label=1)], "which of a, b is the image cannot be told"),
        ([example(image=b"x")], "label cannot be told"),
        ([example(image=b"x", label=[1, 2])], "record 0: the feature label holds 2 values"),
        ([example(image=b"x", label=1), example(image=b"x")], "record 1: the feature label holds 0 values"),
        ([example(image=b"x", label=b"a"), example(image=b"x", label=1)], "record 1: the label 1 is no whole number or name"),
        ([example(image=b"x", label=0.5)], "record 0: the label 0.5 is no whole number"),
        ([example(image=b"x", label=b"\xff")], "record 0: the label .* is not valid UTF-8"),
    ],
)  # fmt: skip
def test_records_of_another_form(tmp_path, examples, said):
    with pytest.raises(FacemaeError, match=rf"x\.tfrecord, .*{said}|x\.tfrecord: {said}"):
        open_tfrecord(write(tmp_path / "x.tfrecord", *examples))


@pytest.mark.parametrize(
    ("harm", "said"),
    [
        (lambda d: d[:-1], "would have"),
        (lambda d: d[:5], "no whole TFRecord length"),
        (lambda d: b"\1" + d[1:], "at byte 0 there is no whole TFRecord length"),
        (lambda d: d + framed(b"x")[:13], "would have"),
        (lambda d: d[:-9] + b"#" + d[-8:], "does not fit its checksum"),
        (lambda d: d[:-1] + b"#", "does not fit its checksum"),
        (lambda d: d + framed(b"")[:8] + b"abcd", "no whole TFRecord length"),
        (gzip.compress, "a compressed file"),
        (zlib.compress, "a compressed file"),
    ],
)
def test_damage_is_told(tmp_path, harm, said):
    file = write(tmp_path / "x.tfrecord", example(image=b"one", label=1))
    file.write_bytes(harm(file.read_bytes()))
    with pytest.raises(FacemaeError, match=rf"x\.tfrecord: .*{said}"):
        list(TFRecordReader(file).records())


def test_a_huge_length_allocates_nothing(tmp_path):
    head = struct.pack("<Q", 1 << 40)
    (tmp_path / "x.tfrecord").write_bytes(head + framed(head)[12 + 8 :] + b"x")
    with pytest.raises(FacemaeError, match="the record at byte 0 would have 1,099,511,627,776 bytes"):
        list(TFRecordReader(tmp_path / "x.tfrecord").records())


def test_damage_after_opening_is_a_bad_image(tmp_path):
    file = write(tmp_path / "x.tfrecord", example(image=b"one", label=1))
    source = open_tfrecord(file)
    file.write_bytes(file.read_bytes()[:-1] + b"#")
    with pytest.raises(BadImage, match=r"record x\.tfrecord/00000000: the record cannot be read"):
        source.read(0)


@pytest.mark.tf
def test_what_tensorflow_writes(tmp_path):
    import tensorflow as tf

    with tf.io.TFRecordWriter(str(tmp_path / "x.tfrecord")) as writer:
        for label in range(3):
            bytes_list = tf.train.BytesList(value=[b"image %d" % label])
            features = {
                "image": tf.train.Feature(bytes_list=bytes_list),
                "label": tf.train.Feature(int64_list=tf.train.Int64List(value=[label])),
            }
            writer.write(tf.train.Example(features=tf.train.Features(feature=features)).SerializeToString())
    source = open_tfrecord(tmp_path / "x.tfrecord")
    assert [source.read(n) for n in range(3)] == [b"image 0", b"image 1", b"image 2"]
    assert [source.identity(n) for n in range(3)] == ["0", "1", "2"]
