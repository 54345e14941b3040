"""A face set into every form and back: bytes, people, names, cards; and nothing half-written."""

import importlib.util
import json
import os
import zipfile

import numpy as np
import pytest

from facemae_jax.data.face_import import Wanted, import_source
from facemae_jax.data.face_set import FaceSetWriter, open_face_set
from facemae_jax.data.formats.source import open_source
from facemae_jax.data.images import encode_jpeg
from facemae_jax.export import exporter, forms
from facemae_jax.export.exporter import export_faces, find_faces
from facemae_jax.types import FacemaeError, Record

PEOPLE = [f"person {number:02d}" for number in range(20)]
NEEDS = {"lmdb": "lmdb", "parquet": "pyarrow"}


def jpeg(number):
    return encode_jpeg(np.random.default_rng(number).integers(0, 256, (8, 8, 3), np.uint8), 90)


def people(root, images):
    """A folder of 20 people with ``images`` images in all."""
    for number in range(images):
        file = root / PEOPLE[number % 20] / f"{number // 20:02d}.jpg"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(jpeg(number))
    return root


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return people(tmp_path_factory.mktemp("source") / "faces", 60)


@pytest.fixture(scope="module")
def faces(folder, tmp_path_factory):
    return imported(folder, tmp_path_factory.mktemp("import"))


def imported(place, work):
    work.mkdir(exist_ok=True)
    source = open_source(place)
    import_source(source, work / "faces" / "1.0.0", work / "notes", Wanted(8), "faces")
    source.close()
    return find_faces(work)


def groups(source):
    """The images of each person, as sets: what must survive when names do not."""
    found = {}
    for position in range(len(source.keys)):
        found.setdefault(source.identity(position), []).append(source.read(position))
    return sorted(sorted(images) for images in found.values())


def skip_without(form):
    if form in NEEDS and importlib.util.find_spec(NEEDS[form]) is None:
        pytest.skip(f"{NEEDS[form]} is not installed")


def round_trip(form, folder, faces, images, tmp_path):
    skip_without(form)
    out = tmp_path / f"out.{form}"
    made = export_faces(faces, form, out)
    assert (made.images, made.identities, made.names, made.sealed, made.release) == (images, 20, False, False, False)
    texts = b"".join(file.read_bytes() for file in ([out] if out.is_file() else out.rglob("*")) if file.is_file())
    assert b"person 0" not in texts and not any("person" in str(path) for path in out.rglob("*"))
    source, origin = open_source(out), open_source(folder)
    assert groups(source) == groups(origin)
    assert [groups_of(source, n) for n in range(20)] == [
        groups_of(origin, n) for n in range(20)
    ]  # labels keep their order
    source.close()
    export_faces(imported(out, tmp_path / "again"), "folder", tmp_path / "back")
    assert groups(open_source(tmp_path / "back")) == groups(origin)


@pytest.mark.parametrize("form", forms.FORMS)
def test_bytes_and_people_go_through_every_form(form, folder, faces, tmp_path):
    round_trip(form, folder, faces, 60, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("form", forms.FORMS)
def test_a_thousand_images_go_through_every_form(form, tmp_path):
    folder = people(tmp_path / "source", 1000)
    round_trip(form, folder, imported(folder, tmp_path / "import"), 1000, tmp_path)


def groups_of(source, label):
    """The images of the person at a place among the sorted names."""
    name = sorted({source.identity(n) for n in range(len(source.keys))})[label]
    return sorted(source.read(n) for n in range(len(source.keys)) if source.identity(n) == name)


@pytest.mark.parametrize("form", ["folder", "zip", "webdataset", "tfds", "parquet"])
def test_names_and_paths_come_back_where_they_may_go(form, folder, faces, tmp_path):
    skip_without(form)
    made = export_faces(faces, form, tmp_path / f"out.{form}", allow_names=True)
    assert made.names
    source, origin = open_source(made.out), open_source(folder)
    assert list(source.keys) == list(origin.keys)
    assert [source.identity(n) for n in range(60)] == [origin.identity(n) for n in range(60)]
    assert "go along" in card(made.out)


def card(out, name="README.md"):
    return zipfile.ZipFile(out).read(name).decode() if out.is_file() else (out / name).read_text()


@pytest.mark.parametrize("form", forms.FORMS)
def test_a_card_and_metadata_go_along(form, faces, tmp_path):
    skip_without(form)
    made = export_faces(faces.subset(np.arange(6)), form, tmp_path / f"out.{form}")
    text, told = card(made.out), json.loads(card(made.out, "croissant.json"))
    assert (
        text.startswith("---\npretty_name: ") and "\nsize_categories:\n- n<1K\n" in text and "license: unknown" in text
    )
    assert "6 face crops of 2 people" in text and "photographs of real people" in text and "were left out" in text
    assert forms.FORMS[form].said in text
    assert told["conformsTo"] == "http://mlcommons.org/croissant/1.0" and told["distribution"]
    if made.out.is_dir():
        names = {file.relative_to(made.out).as_posix() for file in made.out.rglob("*") if file.is_file()}
        listed = {entry["@id"] for entry in told["distribution"] if entry["@type"] == "cr:FileObject"}
        assert form == "folder" or listed == names - {"README.md", "croissant.json"}


@pytest.fixture
def release(tmp_path):
    """A release as publish leaves it: sealed keys in a random order, facts and card."""
    version = tmp_path / "publish-1" / "release" / "toy" / "1.2.0"
    facts = {"made_with": "facemae_jax", "sealed_fingerprint": "00ff", "terms": "Research only."}
    writer = FaceSetWriter(version, name="toy", image_size=8, metadata=facts, num_labels=4, index=False)
    rows = [Record(jpeg(n), n % 3, f"{n * 0x9E3779B97F4A7C15 % (1 << 96):024x}") for n in range(9)]
    writer.write_shard(0, rows)
    writer.finish(9)
    (version / "card.md").write_text("# toy 1.2.0\n\nPainted faces.\n")
    return rows, tmp_path / "publish-1"


@pytest.mark.parametrize("form", ["folder", "recordio", "webdataset", "tfds"])
def test_a_release_keeps_keys_labels_and_card(form, release, tmp_path):
    rows, place = release
    for where in (place, place / "release", place / "release" / "toy", place / "release" / "toy" / "1.2.0"):
        assert len(find_faces(where)) == 9
    made = export_faces(find_faces(place), form, tmp_path / "out", allow_names=form == "folder")
    assert made.sealed and made.release and not made.names
    source = open_source(tmp_path / "out")
    found = [
        (source.keys[n].removesuffix(".jpg").rpartition("/")[2], source.read(n), source.identity(n)) for n in range(9)
    ]
    assert sorted(found) == sorted((row.key, row.image, str(row.label)) for row in rows)
    text = card(tmp_path / "out")
    assert (
        "# toy 1.2.0\n\nPainted faces.\n\n## Files" in text and "license: other" in text and "photographs" not in text
    )
    if form == "tfds":
        assert json.loads((tmp_path / "out/faces/1.0.0/metadata.json").read_text())["terms"] == "Research only."


def test_a_reconstruction_says_that_it_was_not_audited(tmp_path):
    writer = FaceSetWriter(tmp_path / "faces" / "1.0.0", name="reconstruction", image_size=8, num_labels=2)
    writer.write_shard(0, [Record(jpeg(n), n % 2, f"{n:024x}") for n in range(4)])
    writer.finish(4)
    made = export_faces(find_faces(tmp_path), "folder", tmp_path / "out")
    assert made.sealed and not made.release and "not audited" in card(tmp_path / "out")


def test_nothing_half_written_stays_and_nothing_is_written_over(faces, tmp_path, monkeypatch):
    few = faces.subset(np.arange(3))
    (tmp_path / "there").mkdir()
    with pytest.raises(FacemaeError, match="there is something already"):
        export_faces(few, "folder", tmp_path / "there")
    with pytest.raises(FacemaeError, match="there is no folder"):
        export_faces(few, "folder", tmp_path / "no" / "x")

    def broken(*args, **more):
        raise OSError(28, "No space left on device")

    for form in ("folder", "zip", "webdataset", "tfds"):
        (tmp_path / f"{form}.partial").write_text("left by a killed one")
        with monkeypatch.context() as patched:
            patched.setattr(exporter.os, "rename", broken)
            with pytest.raises(OSError):
                export_faces(few, form, tmp_path / form)
        assert sorted(path.name for path in tmp_path.iterdir()) == ["there"]
        (tmp_path / f"{form}.partial").write_text("left by a killed one")
        export_faces(few, form, tmp_path / form)
        assert sorted(path.name for path in tmp_path.iterdir()) == sorted([form, "there"])
        os.replace(tmp_path / form, tmp_path / "there" / form)


@pytest.mark.parametrize("form", ["folder", "zip"])
def test_two_records_with_one_path_are_told(form, tmp_path):
    writer = FaceSetWriter(tmp_path / "1.0.0", name="toy", image_size=8, identity_names=["a"])
    writer.write_shard(0, [Record(jpeg(n), 0, key) for n, key in enumerate(["a/x/1.jpg", "a/x_1.jpg"])])
    faces = open_face_set(writer.finish(2))
    with pytest.raises(FacemaeError, match=r"record a/x_1\.jpg: another record has the file .*x_1\.jpg too"):
        export_faces(faces, form, tmp_path / "out", allow_names=True)
    assert export_faces(faces, form, tmp_path / "out").images == 2


def test_keys_that_lead_out_are_never_written(tmp_path):
    for n, key in enumerate(["../../evil", "..", ".."]):
        writer = FaceSetWriter(
            tmp_path / str(n) / "1.0.0", name="toy", image_size=8, identity_names=[["a", "../b", "a/.."][n]]
        )
        writer.write_shard(0, [Record(jpeg(0), 0, key)])
        faces = open_face_set(writer.finish(1))
        for form in ("folder", "zip"):
            if n == 0:
                export_faces(faces, form, tmp_path / f"{form}{n}", allow_names=True)
                assert list(open_source(tmp_path / f"{form}{n}").keys) == ["a/_.._.._evil.jpg"]
            else:
                with pytest.raises(FacemaeError, match="cannot be a path in a folder; export without --allow-names"):
                    export_faces(faces, form, tmp_path / f"{form}{n}", allow_names=True)
    assert not (tmp_path.parent / "evil.jpg").exists() and not (tmp_path / "evil.jpg").exists()
