import json

import numpy as np
import pytest

from facemae_jax.data.face_set import FaceSetWriter, open_face_set
from facemae_jax.data.images import encode_jpeg
from facemae_jax.export import croissant
from facemae_jax.export.exporter import export_faces
from facemae_jax.types import Record


def test_files_with_their_sizes_and_sums(tmp_path):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "b.tar").write_bytes(b"abc")
    (tmp_path / "a.parquet").write_bytes(b"")
    one, two = croissant.files_of(tmp_path)
    assert (one["@id"], one["contentSize"], one["encodingFormat"]) == ("a.parquet", "0 B", "application/x-parquet")
    assert (
        two["contentUrl"] == "in/b.tar" and two["encodingFormat"] == "application/x-tar" and two["contentSize"] == "3 B"
    )
    assert two["sha256"] == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"  # of abc, FIPS 180-2


def test_every_field_names_a_source_that_is_there():
    for distribution, records in (croissant.folder_of_images(["jpg"]), croissant.table([])):
        made = croissant.croissant(
            name="a set: 1", version="1.0.0", description="d", licence="l", distribution=distribution, records=records
        )
        assert made["name"] == "a set_ 1" and made["@context"]["recordSet"] == "cr:recordSet"
        ids = {entry["@id"] for entry in distribution}
        assert {field["source"]["fileSet"]["@id"] for field in made["recordSet"][0]["field"]} <= ids
    assert "recordSet" not in croissant.croissant(
        name="a", version="1", description="d", licence="l", distribution=[], records=[]
    )


@pytest.fixture
def faces(tmp_path):
    rows = [Record(encode_jpeg(np.full((8, 8, 3), 9 * n, np.uint8), 90), n % 2, f"k{n}") for n in range(4)]
    writer = FaceSetWriter(tmp_path / "1.0.0", name="toy", image_size=8, num_labels=2)
    writer.write_shard(0, rows)
    return open_face_set(writer.finish(4))


@pytest.mark.peers
@pytest.mark.parametrize("form", ["folder", "recordio", "webdataset", "tfds", "parquet"])
def test_the_library_accepts_it(form, faces, tmp_path):
    import mlcroissant

    out = export_faces(faces, form, tmp_path / "out").out
    read = mlcroissant.Dataset(jsonld=out / "croissant.json")
    assert not read.metadata.ctx.issues.errors and read.metadata.name == "toy"
    assert json.loads((out / "croissant.json").read_text())["version"] == "1.0.0"
    if form in ("folder", "parquet"):
        rows = list(read.records("faces"))
        assert len(rows) == 4
        labels = sorted(int(row["faces/label"]) for row in rows)
        assert labels == [0, 0, 1, 1] and all(row["faces/image"].size == (8, 8) for row in rows)
