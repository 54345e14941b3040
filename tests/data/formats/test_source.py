import zipfile

import pytest

from facemae_jax.data.face_set import FaceSetWriter
from facemae_jax.data.formats.archive import ArchiveSource
from facemae_jax.data.formats.face_set_source import FaceSetSource
from facemae_jax.data.formats.folder import FolderSource
from facemae_jax.data.formats.source import open_source
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


def test_nothing_and_other_things_are_refused(tmp_path):
    with pytest.raises(FacemaeError, match="nowhere: no such file or folder"):
        open_source(tmp_path / "nowhere")
    (tmp_path / "faces.tar").write_bytes(b"x" * 100)
    with pytest.raises(FacemaeError, match=r"faces\.tar: this is no folder, no zip and no face set directory"):
        open_source(tmp_path / "faces.tar")
    (tmp_path / "broken.zip").write_bytes(b"x" * 100)
    with pytest.raises(FacemaeError, match=r"broken\.zip: this is no whole zip"):
        open_source(tmp_path / "broken.zip")
