import tarfile
import zipfile
from pathlib import Path

import pytest

from facemae_jax.data.face_record import to_example
from facemae_jax.data.face_set import FaceSetWriter
from facemae_jax.data.formats.archive import ArchiveSource
from facemae_jax.data.formats.examples import ExampleSource
from facemae_jax.data.formats.face_set_source import FaceSetSource
from facemae_jax.data.formats.folder import FolderSource
from facemae_jax.data.formats.source import open_source
from facemae_jax.data.formats.tar import TarSource
from facemae_jax.data.formats.tface import TFaceSource
from facemae_jax.data.record_files import TFRecordFile
from facemae_jax.types import FacemaeError, Record


def test_each_kind_is_found(tmp_path):
    (tmp_path / "folder" / "a").mkdir(parents=True)
    assert isinstance(open_source(tmp_path / "folder"), FolderSource)
    for name in ("faces.zip", "faces.without"):
        with zipfile.ZipFile(tmp_path / name, "w") as file:
            file.writestr("a/1.jpg", b"x")
        assert isinstance(open_source(tmp_path / name), ArchiveSource)
    writer = FaceSetWriter(tmp_path / "toy" / "1.0.0", name="toy", image_size=8)
    writer.write_shard(0, [Record(b"x", 0, "k")])
    for path in (writer.finish(1), tmp_path / "toy"):
        assert isinstance(open_source(path), FaceSetSource)


def test_shards_and_record_files_are_found(tmp_path):
    def tar(file):
        file.parent.mkdir(exist_ok=True)
        with tarfile.open(file, "w") as made:
            made.addfile(tarfile.TarInfo("a/1.jpg"))

    tar(tmp_path / "s" / "s-0.tar")
    for path in (tmp_path / "s", tmp_path / "s" / "s-0.tar", tmp_path / "s" / "s-{0..0}.tar"):
        source = open_source(path)
        assert isinstance(source, TarSource) and list(source.keys) == ["a/1.jpg"]
    (tmp_path / "s" / "ada").mkdir()
    assert isinstance(open_source(tmp_path / "s"), TarSource)  # the folder holds nobody
    (tmp_path / "s" / "ada" / "1.jpg").touch()
    assert isinstance(open_source(tmp_path / "s"), FolderSource)
    (tmp_path / "r").mkdir()
    file = TFRecordFile(tmp_path / "r" / "x.tfrecord-00000-of-00001")
    file.write(to_example(Record(b"i", 3, "k")))
    file.close()
    for path in (tmp_path / "r", next((tmp_path / "r").iterdir())):
        source = open_source(path)
        assert isinstance(source, ExampleSource) and list(source.keys) == ["k"] and source.identity(0) == "3"
    (tmp_path / "r" / "x.index").write_text("")
    assert isinstance(open_source(tmp_path / "r"), TFaceSource)
    with pytest.raises(FacemaeError, match="tfds:nobody: TFDS has no data set of that name"):
        open_source(Path("tfds:nobody"))


def test_nothing_and_other_things_are_refused(tmp_path):
    with pytest.raises(FacemaeError, match="nowhere: no such file or folder"):
        open_source(tmp_path / "nowhere")
    (tmp_path / "faces.rar").write_bytes(b"x" * 100)
    with pytest.raises(
        FacemaeError, match=r"faces\.rar: this is no folder, no zip, tar or TFRecord file and no TFDS directory"
    ):
        open_source(tmp_path / "faces.rar")
    (tmp_path / "broken.zip").write_bytes(b"x" * 100)
    with pytest.raises(FacemaeError, match=r"broken\.zip: this is no whole zip"):
        open_source(tmp_path / "broken.zip")
