from pathlib import Path

import numpy as np
import pytest

from facemae_jax.data.face_set import FaceSetWriter, open_face_set
from facemae_jax.data.formats.examples import ExampleSource
from facemae_jax.data.formats.face_set_source import FaceSetSource
from facemae_jax.data.formats.tfds_source import open_tfds, tfds_folder, write_tfds
from facemae_jax.data.images import BadImage, encode_jpeg, encode_png
from facemae_jax.types import FacemaeError, Record

JPEGS = [encode_jpeg(np.full((8, 8, 3), 40 * n, np.uint8), 90) for n in range(3)]
ROWS = [{"photo": image, "who": name} for image, name in zip(JPEGS, ["bo", "ada", "bo"], strict=True)]


def made(folder, features, splits, kind="array_record"):
    """A data set that TFDS itself writes, as somebody else would."""
    import tensorflow_datasets as tfds

    class Others(tfds.core.GeneratorBasedBuilder, skip_registration=True):
        VERSION = tfds.core.Version("2.0.0")

        def _info(self):
            return tfds.core.DatasetInfo(builder=self, features=tfds.features.FeaturesDict(features))

        def _split_generators(self, manager):
            return {split: enumerate(rows) for split, rows in splits.items()}

        def _generate_examples(self):
            raise AssertionError("not used")

    builder = Others(data_dir=str(folder), file_format=kind)
    builder.download_and_prepare()
    return Path(builder.data_path)


def features(label=None, **more):
    import tensorflow_datasets as tfds

    label = tfds.features.ClassLabel(names=["ada", "bo"]) if label is None else label
    return {"photo": tfds.features.Image(shape=(None, None, 3), encoding_format="jpeg"), "who": label} | more


def whom(source):
    return {source.read(n): source.identity(n) for n in range(len(source.keys))}


WANT = {JPEGS[0]: "bo", JPEGS[1]: "ada", JPEGS[2]: "bo"}


def test_other_names_of_features(tmp_path):
    path = made(tmp_path, features(), {"train": ROWS, "test": ROWS[:1]})
    for place in (path, path.parent):
        source = open_tfds(place)
        assert isinstance(source, ExampleSource) and whom(source) == WANT and len(source.keys) == 3
    assert source.keys[0] == f"{next(path.glob('*-train.array_record*')).name}/00000000"
    assert open_tfds(path, image="photo", label="who").keys[:] == source.keys[:]
    with pytest.raises(FacemaeError, match="there is no image called image"):
        open_tfds(path, image="image")


def test_names_and_numbers_as_labels(tmp_path):
    import tensorflow_datasets as tfds

    text = made(
        tmp_path / "a",
        features(tfds.features.Text(), age=tfds.features.Scalar(np.int64)),
        {"train": [row | {"age": 3, "who": row["who"]} for row in ROWS]},
    )
    with pytest.raises(FacemaeError, match="which of"):
        open_tfds(text)
    assert whom(open_tfds(text, label="who")) == WANT
    numbers = [{"image": row["photo"], "id": {"bo": 11, "ada": 7}[row["who"]], "size": 8} for row in ROWS]
    made_of = {
        "image": features()["photo"],
        "id": tfds.features.Tensor(shape=(), dtype=np.int32),
        "size": tfds.features.Scalar(np.int64),
    }
    source = open_tfds(made(tmp_path / "b", made_of, {"train": numbers}))
    assert whom(source) == {JPEGS[0]: "11", JPEGS[1]: "07", JPEGS[2]: "11"}


def test_nested_features(tmp_path):
    import tensorflow_datasets as tfds

    nested = {"crop": {"image": features()["photo"]}, "person": {"label": tfds.features.ClassLabel(num_classes=2)}}
    rows = [{"crop": {"image": row["photo"]}, "person": {"label": 1}} for row in ROWS]
    assert set(whom(open_tfds(made(tmp_path, nested, {"train": rows}))).values()) == {"1"}


def test_tfrecord_alone_and_own_form(tmp_path):
    for name, formats, kind in (("a", ("tfrecord",), ExampleSource), ("b", ("array_record",), FaceSetSource)):
        writer = FaceSetWriter(tmp_path / name / "1.0.0", name="toy", image_size=8, formats=formats, num_labels=2)
        writer.write_shard(0, [Record(JPEGS[0], 1, "z"), Record(JPEGS[1], 0, "a")])
        source = open_tfds(writer.finish(2))
        assert isinstance(source, kind) and list(source.keys) == ["a", "z"]
        assert [(source.read(n), source.identity(n)) for n in range(2)] == [(JPEGS[1], "0"), (JPEGS[0], "1")]


def test_what_cannot_be_opened(tmp_path):
    path = made(tmp_path / "a", features(), {"test": ROWS, "validation": ROWS})
    with pytest.raises(FacemaeError, match="holds the splits test, validation, neither train"):
        open_tfds(path)
    path = made(tmp_path / "b", features(), {"train": ROWS})
    with pytest.raises(
        FacemaeError, match="one TFDS version directory was expected, found a/others/2.0.0, b/others/2.0.0|found "
    ):
        open_tfds(tmp_path)
    (shard,) = path.glob("*.array_record*")
    data = shard.read_bytes()
    shard.write_bytes(data[: len(data) // 2])
    with pytest.raises(
        FacemaeError,
        match="others-train.array_record-00000-of-00001: (cannot be read|holds 0 records where 3 are told)",
    ):
        open_tfds(path)
    shard.unlink()
    with pytest.raises(FacemaeError, match="this shard is missing"):
        open_tfds(path)
    (path / "features.json").write_text("{")
    with pytest.raises(FacemaeError, match="TFDS cannot open this directory"):
        open_tfds(path)


def test_by_the_name_that_tfds_knows(tmp_path, monkeypatch):
    from tensorflow_datasets.core.utils import file_utils

    path = made(tmp_path, features(), {"train": ROWS})
    monkeypatch.setattr(file_utils, "list_data_dirs", lambda **_: [str(tmp_path)])
    assert tfds_folder("tfds:others") == tfds_folder("tfds:others:2.0.0") == path
    with pytest.raises(FacemaeError, match="tfds:nobody: TFDS has no data set of that name prepared here"):
        tfds_folder("tfds:nobody")


def test_written_for_tfds(tmp_path):
    import tensorflow_datasets as tfds

    writer = FaceSetWriter(tmp_path / "toy" / "1.0.0", name="toy", image_size=8, identity_names=["ada", "bo"])
    writer.write_shard(0, [Record(image, n % 2, f"k{n}") for n, image in enumerate(JPEGS)])
    faces = open_face_set(writer.finish(3))
    write_tfds(faces, tmp_path / "out", metadata={"terms": "none"}, shard_records=2)
    (tmp_path / "out" / "faces").joinpath("1.0.0").resolve(strict=True)
    assert (
        len(list(tmp_path.glob("out/faces/1.0.0/*.tfrecord*")))
        == len(list(tmp_path.glob("out/faces/1.0.0/*.array_record*")))
        == 2
    )
    read = tfds.data_source(
        "faces", data_dir=tmp_path / "out", split="train", decoders={"image": tfds.decode.SkipDecoding()}
    )
    assert [(row["image"], row["label"], row["key"].decode()) for row in read] == [
        (r.image, r.label, r.key) for r in faces
    ]
    assert tfds.builder_from_directory(str(tmp_path / "out/faces/1.0.0")).info.metadata == {"terms": "none"}
    again = open_face_set(tmp_path / "out")
    assert again.identity_names == ["0", "1"]
    write_tfds(faces, tmp_path / "named", names=True)
    assert open_face_set(tmp_path / "named").identity_names == ["ada", "bo"]


def test_png_is_told_and_varying_sizes_are_refused(tmp_path):
    png = encode_png(np.zeros((8, 8, 3), np.uint8))
    writer = FaceSetWriter(tmp_path / "1.0.0", name="toy", image_size=8, encoding="png")
    writer.write_shard(0, [Record(png, 0, "a")])
    faces = open_face_set(writer.finish(1))
    write_tfds(faces, tmp_path / "out")
    assert '"png"' in (tmp_path / "out/faces/1.0.0/features.json").read_text()
    faces.image_size = 0
    with pytest.raises(FacemaeError, match="images are of varying size"):
        write_tfds(faces, tmp_path / "more")


def test_damage_after_opening_is_a_bad_image(tmp_path):
    path = made(tmp_path, features(), {"train": ROWS})
    source = open_tfds(path)
    (shard,) = path.glob("*.array_record*")
    data = bytearray(shard.read_bytes())
    source = open_tfds(path)
    source._files[0]._readers.clear()
    shard.write_bytes(data[:100])
    with pytest.raises(BadImage, match="the record cannot be read"):
        source.read(0)
