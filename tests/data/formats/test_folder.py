import os

import pytest

from facemae_jax.data.formats import folder
from facemae_jax.data.formats.folder import FolderSource
from facemae_jax.data.images import BadImage
from facemae_jax.types import FacemaeError


def fill(path, *names: str):
    for name in names:
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_bytes(name.encode())
    return path


def test_any_nesting_in_the_order_of_the_keys(tmp_path):
    names = ["b/1.jpg", "a/x/2.PNG", "a/x/1.webp", "a/1.bmp", "李/ß y.jpeg"]
    source = FolderSource(fill(tmp_path, *names))
    assert source.keys == sorted(names) and not source.ignored
    assert [source.identity(i) for i in range(5)] == ["a", "a/x", "a/x", "b", "李"]
    assert [source.read(i) for i in range(5)] == [key.encode() for key in source.keys]
    assert source.where(0) == str(tmp_path / "a/1.bmp")


def test_other_files_are_counted(tmp_path):
    fill(
        tmp_path,
        "a/1.jpg",
        "a/Thumbs.db",
        "a/.DS_Store",
        "2.jpg",
        "a/n.txt",
        "b/m.txt",
        ".git/x/1.jpg",
        "__MACOSX/a/1.jpg",
    )
    source = FolderSource(tmp_path)
    assert source.keys == ["a/1.jpg"]
    assert source.ignored == {
        ".db files": 1,
        "hidden files": 1,
        "images outside the folders of identities": 1,
        ".txt files": 2,
        "hidden folders": 1,
        "files of __MACOSX": 1,
    }


def test_empty_folder(tmp_path):
    assert FolderSource(tmp_path).keys == []


def test_links_to_files_are_followed_and_to_folders_counted(tmp_path):
    fill(tmp_path, "real/1.jpg", "people/a/2.jpg")
    (tmp_path / "people/a/1.jpg").symlink_to(tmp_path / "real/1.jpg")
    (tmp_path / "people/round").symlink_to(tmp_path / "people")
    source = FolderSource(tmp_path / "people")
    assert source.keys == ["a/1.jpg", "a/2.jpg"] and source.ignored == {"links to folders": 1}
    assert source.read(0) == b"real/1.jpg"
    (tmp_path / "link").symlink_to(tmp_path / "people")
    assert FolderSource(tmp_path / "link").keys == source.keys


def test_pipes_are_not_opened(tmp_path):
    fill(tmp_path, "a/1.jpg")
    os.mkfifo(tmp_path / "a/2.jpg")
    assert FolderSource(tmp_path).ignored == {"pipes and devices": 1}


def test_missing_and_forbidden_files_are_bad_images(tmp_path, monkeypatch):
    source = FolderSource(fill(tmp_path, "a/1.jpg", "a/2.jpg"))
    (tmp_path / "a/1.jpg").unlink()
    (tmp_path / "a/1.jpg").symlink_to(tmp_path / "nowhere")
    with pytest.raises(BadImage, match=r"a/1\.jpg: the file cannot be read \(No such file"):
        source.read(0)

    def forbidden(*_, **__):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(folder.os, "open", forbidden)  # the owner of this test may be root, whom nothing is forbidden
    with pytest.raises(BadImage, match=r"a/2\.jpg: the file cannot be read \(Permission denied\)"):
        source.read(1)


def test_forbidden_folder_is_named(tmp_path, monkeypatch):
    fill(tmp_path, "a/1.jpg", "b/1.jpg")
    scandir = os.scandir

    def forbidden(path):
        if str(path).endswith("b"):
            raise PermissionError(13, "Permission denied")
        return scandir(path)

    monkeypatch.setattr(os, "scandir", forbidden)
    with pytest.raises(FacemaeError, match=r"/b: the folder may not be read; give yourself permission"):
        FolderSource(tmp_path)


def test_huge_file_is_not_read_whole(tmp_path, monkeypatch):
    monkeypatch.setattr(folder, "MAX_FILE", 6)
    source = FolderSource(fill(tmp_path, "a/1.jpg"))
    with pytest.raises(BadImage, match=r"the file has more than 6 bytes"):
        source.read(0)


def test_trouble_with_the_disk_passes_up(tmp_path, monkeypatch):
    source = FolderSource(fill(tmp_path, "a/1.jpg"))

    def broken(*_, **__):
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(folder.os, "open", broken)
    with pytest.raises(OSError, match="Input/output error") as caught:
        source.read(0)
    assert not isinstance(caught.value, PermissionError)


@pytest.mark.parametrize("size", [0, 1, (64 << 10) - 1, 64 << 10, (64 << 10) + 1, 3 << 20])
def test_files_of_every_size_are_read_whole(tmp_path, size):
    data = bytes(range(256)) * (size // 256) + bytes(size % 256)
    (tmp_path / "a").mkdir()
    (tmp_path / "a/1.jpg").write_bytes(data)
    assert FolderSource(tmp_path).read(0) == data
