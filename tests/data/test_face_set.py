import json
import os
import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from facemae_jax.data.face_set import FaceSet, FaceSetWriter, check_image_size, find_versions, open_face_set
from facemae_jax.data.images import encode_jpeg
from facemae_jax.types import FacemaeError, Record

SIZE = 8
LABELS = [0, 0, 2, 3, 2, 5, 0]
NAMES = ["ada", "bo", "cy", "dee", "eve", "李"]


def image(number: int) -> bytes:
    return encode_jpeg(np.random.default_rng(number).integers(0, 256, (SIZE, SIZE, 3), np.uint8), 90)


RECORDS = [Record(image(number), label, f"{NAMES[label]}/{number}.jpg") for number, label in enumerate(LABELS)]


def write(path: Path, **changes) -> Path:
    arguments = dict(name="toy", image_size=SIZE, shard_records=3, num_labels=6, identity_names=NAMES)
    out = FaceSetWriter(path, **(arguments | changes))
    for shard in range(3):
        out.write_shard(shard, RECORDS[3 * shard : 3 * shard + 3])
    return out.finish(7)


@pytest.fixture
def faces(tmp_path) -> FaceSet:
    return open_face_set(write(tmp_path / "toy" / "1.0.0"))


def test_records_labels_keys_names(faces):
    assert len(faces) == 7 and [faces[position] for position in range(7)] == RECORDS == list(faces)
    assert faces.labels_n.dtype == np.int64 and faces.labels_n.tolist() == LABELS
    assert faces.keys() == [record.key for record in RECORDS]
    assert faces.identity_names == NAMES and faces.identities == 4 and faces.image_size == SIZE
    assert faces[np.int64(2)] == RECORDS[2] and faces[-1] == RECORDS[-1]
    for outside in (7, -8):
        with pytest.raises(IndexError, match="of 7"):
            faces[outside]
    assert repr(faces) == f"FaceSet({str(faces.path)!r}, 7 records, 8 pixels)"


def test_without_private_files_the_same_is_read_from_the_records(faces):
    for name in ("index.npz", "identities.json"):
        (faces.path / name).unlink()
    bare = open_face_set(faces.path)
    assert bare.digest == faces.digest and bare.keys() == faces.keys()
    np.testing.assert_array_equal(bare.labels_n, faces.labels_n)
    assert bare.identity_names == ["0", "1", "2", "3", "4", "5"]


def test_index_spares_reading_the_records(faces, monkeypatch):
    monkeypatch.setattr("facemae_jax.data.face_shards.Shards._records", None)
    assert faces.labels_n.tolist() == LABELS and len(faces.keys()) == 7 and faces.digest


def test_subset(faces):
    part = faces.subset(np.array([5, 1, 2]))
    assert list(part) == [RECORDS[5], RECORDS[1], RECORDS[2]]
    assert part.labels_n.tolist() == [5, 0, 2] and part.keys() == [RECORDS[i].key for i in (5, 1, 2)]
    assert part.identity_names == NAMES and part.identities == 3
    assert list(part.subset(np.array([2, 0]))) == [RECORDS[2], RECORDS[5]]
    assert len(faces.subset(np.array([], np.int64))) == 0
    for outside in ([0, 3], [-1]):
        with pytest.raises(IndexError):
            part.subset(np.array(outside))


def test_relabelled(faces):
    packed = faces.subset(np.array([3, 5, 2, 4])).relabelled()
    assert packed.labels_n.tolist() == [1, 2, 0, 0] == [record.label for record in packed]
    assert packed.identity_names == ["cy", "dee", "李"] and packed.identities == 3
    again = packed.subset(np.array([1, 2])).relabelled()
    assert again.labels_n.tolist() == [1, 0] == [record.label for record in again]
    assert again.identity_names == ["cy", "李"] and [r.key for r in again] == ["李/5.jpg", "cy/2.jpg"]
    (faces.path / "identities.json").unlink()
    assert open_face_set(faces.path).relabelled().identity_names == ["0", "2", "3", "5"]


def test_digest_tells_contents_apart(faces, tmp_path):
    same = open_face_set(write(tmp_path / "elsewhere" / "2.0.0", name="other", description="moved"))
    order = np.arange(7)
    digests = [
        faces.digest,
        faces.subset(order).digest,
        faces.subset(order[::-1]).digest,
        faces.subset(order[:3]).digest,
        faces.relabelled().digest,
        faces.subset(order).relabelled().digest,
    ]
    assert same.digest == faces.digest and len(set(digests)) == 6
    assert faces.subset(order[::2]).digest == same.subset(order[::2]).digest


def test_pickled_and_forked_copies_read(faces):
    part = faces.subset(np.array([4, 6])).relabelled()
    assert part[0].key == RECORDS[4].key  # opens the readers, which a fork must not share
    copy = pickle.loads(pickle.dumps(part))
    assert list(copy) == list(part) and copy.digest == part.digest
    child = os.fork()
    if not child:
        os._exit(0 if list(part) == list(copy) else 1)
    assert os.waitpid(child, 0)[1] == 0


def test_parent_may_be_named(faces, tmp_path):
    stage = tmp_path / "stage"
    write(stage / "faces" / "1.0.0")
    (stage / "faces" / "9.9.9.partial").mkdir()
    (stage / "faces" / "9.9.9.partial" / "dataset_info.json").write_text("{}")
    assert open_face_set(faces.path.parent).path == faces.path
    assert open_face_set(str(stage)).path == stage / "faces" / "1.0.0" == find_versions(stage / "faces")[0]


def test_none_or_several_are_refused(faces, tmp_path):
    with pytest.raises(FacemaeError, match="no such folder"):
        open_face_set(tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(FacemaeError, match="one face set .* was expected, found no dataset_info.json"):
        open_face_set(tmp_path / "empty")
    write(faces.path.with_name("1.1.0"))
    with pytest.raises(FacemaeError, match=r"found 1\.0\.0, 1\.1\.0; name the directory"):
        open_face_set(faces.path.parent)


def test_damage_is_named(faces):
    shard = faces.path / "toy-train.array_record-00001-of-00003"
    shard.rename(shard.with_suffix(".moved"))
    with pytest.raises(FacemaeError, match=r"array_record-00001-of-00003: this shard of the face set is missing"):
        open_face_set(faces.path)
    (faces.path / "dataset_info.json").write_text("{ no json")
    with pytest.raises(FacemaeError, match=r"1\.0\.0: TFDS cannot open this directory"):
        open_face_set(faces.path)


def test_tfrecord_alone_is_refused(tmp_path):
    with pytest.raises(FacemaeError, match="is stored as tfrecord; write it as array_record"):
        open_face_set(write(tmp_path / "1.0.0", formats=("tfrecord",)))


def foreign(path: Path, features: dict, examples: dict[str, list[dict]]) -> Path:
    """A data set that TFDS itself writes, as somebody else would."""
    import tensorflow_datasets as tfds

    class Foreign(tfds.core.GeneratorBasedBuilder, skip_registration=True):
        VERSION = tfds.core.Version("3.0.0")

        def _info(self):
            return tfds.core.DatasetInfo(builder=self, features=tfds.features.FeaturesDict(features))

        def _split_generators(self, manager):
            return {split: enumerate(of) for split, of in examples.items()}

        def _generate_examples(self):
            raise AssertionError("not used")

    builder = Foreign(data_dir=str(path), file_format="array_record")
    builder.download_and_prepare()
    return Path(builder.data_path)


def features(tfds, shape=(SIZE, SIZE, 3)) -> dict:
    return {
        "image": tfds.features.Image(shape=shape, encoding_format="jpeg"),
        "label": tfds.features.ClassLabel(names=["zoe", "yan"]),
        "key": tfds.features.Text(),
        "mood": tfds.features.Text(),
    }


EXAMPLES = [{"image": image(n), "label": ["zoe", "yan"][n % 2], "key": f"k{n}", "mood": "gay"} for n in range(4)]


def test_set_of_others_opens(tmp_path):
    import tensorflow_datasets as tfds

    faces = open_face_set(foreign(tmp_path, features(tfds), {"validation": EXAMPLES}))
    assert sorted(faces.keys()) == ["k0", "k1", "k2", "k3"] and faces.identity_names == ["zoe", "yan"]
    assert {record.key: record.image for record in faces} == {e["key"]: e["image"] for e in EXAMPLES}
    assert faces.labels_n.tolist() == [int(key[1]) % 2 for key in faces.keys()] and len(faces.digest) == 64


def test_split_train_is_taken_and_others_are_asked_about(tmp_path):
    import tensorflow_datasets as tfds

    both = {"test": EXAMPLES[:1], "train": EXAMPLES[1:]}
    assert len(open_face_set(foreign(tmp_path / "a", features(tfds), both))) == 3
    neither = {"test": EXAMPLES[:1], "validation": EXAMPLES[1:]}
    with pytest.raises(FacemaeError, match="holds the splits test, validation, neither train nor a single one"):
        open_face_set(foreign(tmp_path / "b", features(tfds), neither))


def test_set_with_other_features_is_refused(tmp_path):
    import tensorflow_datasets as tfds

    only = {name: features(tfds)[name] for name in ("image", "mood")}
    examples = [{name: example[name] for name in only} for example in EXAMPLES]
    with pytest.raises(FacemaeError, match="has the features image, label and key, this one has image, mood"):
        open_face_set(foreign(tmp_path, only, {"train": examples}))


def test_image_size_is_checked(faces, tmp_path):
    import tensorflow_datasets as tfds

    check_image_size(faces, SIZE)
    with pytest.raises(FacemaeError, match=r"has 8×8 pixels, but data\.image_size=16; .*import-faces resizes"):
        check_image_size(faces, 16)
    loose = open_face_set(foreign(tmp_path / "loose", features(tfds, (None, None, 3)), {"train": EXAMPLES}))
    with pytest.raises(FacemaeError, match=r"has images of varying size, but recognizer\.size=8"):
        check_image_size(loose, 8, "recognizer.size")


def test_reading_needs_no_tensorflow(faces, repository):
    code = """
import json, sys
from facemae_jax.data.face_set import open_face_set
assert "tensorflow_datasets" not in sys.modules, "slow to import, and --help need not wait for it"
faces = open_face_set(sys.argv[1])
print(json.dumps([faces[1].key, len(faces.keys()), len(faces.digest), "tensorflow" in sys.modules]))
"""
    command = [sys.executable, "-c", code, str(faces.path)]
    told = subprocess.run(command, cwd=repository, capture_output=True, text=True, check=True)
    assert json.loads(told.stdout) == ["ada/1.jpg", 7, 64, False]
