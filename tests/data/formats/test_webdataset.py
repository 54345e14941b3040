import json
import tarfile

import numpy as np
import pytest

from facemae_jax.data.face_set import FaceSetWriter, open_face_set
from facemae_jax.data.formats.tar import TarSource
from facemae_jax.data.formats.webdataset import write_webdataset
from facemae_jax.data.images import encode_jpeg, encode_png
from facemae_jax.types import Record

JPEGS = [encode_jpeg(np.full((8, 8, 3), 5 * n, np.uint8), 90) for n in range(7)]
NAMES = ["ada", "bo", "李"]
RECORDS = [Record(image, n % 3, f"{NAMES[n % 3]}/{n}.jpg") for n, image in enumerate(JPEGS)]


@pytest.fixture
def faces(tmp_path):
    writer = FaceSetWriter(tmp_path / "1.0.0", name="toy", image_size=8, identity_names=NAMES)
    writer.write_shard(0, RECORDS)
    return open_face_set(writer.finish(7))


def test_samples_of_a_shard(faces, tmp_path):
    write_webdataset(faces, tmp_path / "a", shard_records=3)
    write_webdataset(faces, tmp_path / "b", shard_records=3)
    shards = sorted((tmp_path / "a").iterdir())
    assert [path.name for path in shards] == [f"faces-{n:06d}.tar" for n in range(3)]
    assert all(path.read_bytes() == (tmp_path / "b" / path.name).read_bytes() for path in shards)
    seen = []
    for shard in shards:
        with tarfile.open(shard) as tar:
            files = {member.name: tar.extractfile(member).read() for member in tar}
        for name in [name for name in files if name.endswith(".jpg")]:
            said = json.loads(files[name.replace(".jpg", ".json")])
            assert said["label"] == int(files[name.replace(".jpg", ".cls")]) and "identity" not in said
            seen.append((name, Record(files[name], said["label"], said["key"])))
    assert [name for name, _ in seen] == [f"{n:09d}.jpg" for n in range(7)]
    order = [record for _, record in seen]
    assert sorted(order) == sorted(RECORDS) and order != RECORDS  # mixed


def test_read_again(faces, tmp_path):
    for names in (False, True):
        write_webdataset(faces, out := tmp_path / f"names{names}", names=names, shard_records=2)
        source = TarSource(out)
        found = [(source.keys[n], source.read(n), source.identity(n)) for n in range(7)]
        whom = NAMES if names else ["0", "1", "2"]
        assert found == sorted((record.key, record.image, whom[record.label]) for record in RECORDS)


def test_the_ending_follows_the_image(tmp_path):
    writer = FaceSetWriter(tmp_path / "1.0.0", name="toy", image_size=8)
    writer.write_shard(0, [Record(encode_png(np.zeros((8, 8, 3), np.uint8)), 0, "a.jpg")])
    write_webdataset(open_face_set(writer.finish(1)), tmp_path / "out")
    with tarfile.open(tmp_path / "out" / "faces-000000.tar") as tar:
        assert tar.getnames() == ["000000000.png", "000000000.cls", "000000000.json"]


@pytest.mark.peers
def test_the_library_of_that_name(faces, tmp_path):
    import webdataset

    write_webdataset(faces, tmp_path / "out", shard_records=3)
    read = webdataset.WebDataset(str(tmp_path / "out/faces-{000000..000002}.tar"), shardshuffle=False).to_tuple(
        "jpg", "cls", "json"
    )
    rows = [(image, int(label), json.loads(said)["key"]) for image, label, said in read]
    assert sorted(rows) == sorted((r.image, r.label, r.key) for r in RECORDS)
    with webdataset.ShardWriter(str(tmp_path / "peer-%06d.tar"), maxcount=4, verbose=0) as writer:
        for n, record in enumerate(RECORDS):
            writer.write({"__key__": f"{n:06d}", "jpg": record.image, "cls": record.label, "json": {"key": record.key}})
    source = TarSource(tmp_path / "peer-{000000..000001}.tar")
    assert sorted((source.read(n), int(source.identity(n)), source.keys[n]) for n in range(7)) == sorted(rows)
