import struct
import warnings
import zipfile
from concurrent.futures import ThreadPoolExecutor

import pytest

from facemae_jax.data.formats import archive
from facemae_jax.data.formats.archive import ArchiveSource
from facemae_jax.data.images import BadImage
from facemae_jax.types import FacemaeError


def pack(path, *names: str, method=zipfile.ZIP_DEFLATED, data=None):
    file = path / "faces.zip"
    with zipfile.ZipFile(file, "w", method) as made, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of names that stand twice
        for name in names:
            made.writestr(name, name.encode() if data is None else data)
    return file


def test_any_nesting_in_the_order_of_the_keys(tmp_path):
    names = [
        "top/b/1.jpg",
        "top/a/x/2.PNG",
        "top/a/x/1.webp",
        "top/李/ß y.bmp",
        "top/a/.DS_Store",
        "top/n.txt",
        "__MACOSX/a/1.jpg",
    ]
    source = ArchiveSource(pack(tmp_path, *names))
    assert source.keys == sorted(names[:4])
    assert source.ignored == {"hidden files": 1, ".txt files": 1, "files of __MACOSX": 1}
    assert [source.identity(i) for i in range(4)] == ["top/a/x", "top/a/x", "top/b", "top/李"]
    assert [source.read(i) for i in range(4)] == [key.encode() for key in source.keys]
    assert source.where(0) == f"{tmp_path / 'faces.zip'}, entry top/a/x/1.webp"
    source.close()


def test_folders_stored_and_small_oddities(tmp_path):
    file = pack(tmp_path, "a/", "./b//1.jpg", "c\\2.jpg", method=zipfile.ZIP_STORED)
    source = ArchiveSource(file)
    assert source.keys == ["b/1.jpg", "c/2.jpg"] and source.identity(1) == "c" and not source.ignored


def test_names_of_programs_that_do_not_say_utf8(tmp_path):
    file = pack(tmp_path, "xxx/1.jpg", "yyy/1.jpg")
    data = file.read_bytes().replace(b"xxx/", "李/".encode()).replace(b"yyy/", b"\x82\x83\x84/")
    file.write_bytes(data)
    assert ArchiveSource(file).keys == sorted(
        ["李/1.jpg", "éâä/1.jpg"]
    )  # UTF-8 where it can be, else the old code page


def test_threads_share_it(tmp_path):
    source = ArchiveSource(pack(tmp_path, *(f"a/{i}.jpg" for i in range(50)), data=bytes(range(256)) * 50))
    with ThreadPoolExecutor(8) as pool:
        assert set(pool.map(source.read, list(range(50)) * 4)) == {bytes(range(256)) * 50}


@pytest.mark.parametrize(
    "name", ["../a/1.jpg", "a/../../1.jpg", "/etc/a/1.jpg", "C:\\a\\1.jpg", "\\a\\1.jpg", "a\\..\\1.txt", "../n.txt"]
)
def test_paths_that_lead_out_are_refused(tmp_path, name):
    with pytest.raises(FacemaeError, match=r"faces\.zip: the entry .* leads out of the archive"):
        ArchiveSource(pack(tmp_path, "a/1.jpg", name))


def test_double_names_are_refused(tmp_path):
    with pytest.raises(FacemaeError, match=r"the entry 'a/1\.jpg' stands twice"):
        ArchiveSource(pack(tmp_path, "a/1.jpg", "b/1.jpg", "a/1.jpg"))


@pytest.mark.parametrize("damage", [lambda data: data[:-30], lambda data: b"no zip at all", lambda data: b""])
def test_what_is_no_zip_is_refused(tmp_path, damage):
    file = pack(tmp_path, "a/1.jpg", "b/1.jpg")
    file.write_bytes(damage(file.read_bytes()))
    with pytest.raises(FacemaeError, match=r"faces\.zip: this is no whole zip file"):
        ArchiveSource(file)


def test_damaged_entry_is_a_bad_image(tmp_path):
    file = pack(tmp_path, "a/1.jpg", "b/1.jpg", method=zipfile.ZIP_STORED)
    data = bytearray(file.read_bytes())
    data[30 + len("a/1.jpg") + 2] ^= 1  # in the content of the first entry
    file.write_bytes(data)
    source = ArchiveSource(file)
    with pytest.raises(BadImage, match=r"entry a/1\.jpg: the archive is damaged here \(Bad CRC"):
        source.read(0)
    assert source.read(1) == b"b/1.jpg"


def test_damaged_stream_and_lost_header_are_bad_images(tmp_path):
    file = pack(tmp_path, "a/1.jpg", "b/1.jpg", data=bytes(range(200)) * 9)
    data = bytearray(file.read_bytes())
    data[40:60] = b"\xff" * 20
    second = data.index(b"PK\x03\x04", 30)
    data[second : second + 4] = b"gone"
    file.write_bytes(data)
    source = ArchiveSource(file)
    for position in (0, 1):
        with pytest.raises(BadImage, match="the archive is damaged here"):
            source.read(position)


def test_encrypted_zip_is_refused(tmp_path):
    file = pack(tmp_path, "a/1.jpg")
    data = bytearray(file.read_bytes())
    data[data.index(b"PK\x01\x02") + 8] |= 1
    file.write_bytes(data)
    with pytest.raises(FacemaeError, match=r"the entry 'a/1\.jpg' is encrypted; unpack the zip with its password"):
        ArchiveSource(file)


@pytest.mark.parametrize(("method", "name"), [(zipfile.ZIP_BZIP2, "bzip2"), (zipfile.ZIP_LZMA, "lzma")])
def test_methods_without_a_limit_are_refused(tmp_path, method, name):
    with pytest.raises(
        FacemaeError, match=rf"the entry 'a/1\.jpg' is compressed by {name}; make the zip again with deflate"
    ):
        ArchiveSource(pack(tmp_path, "a/1.jpg", method=method))


def test_bomb_is_refused_by_what_it_declares(tmp_path, monkeypatch):
    file = pack(tmp_path, "a/1.bmp", "b/1.bmp", data=bytes(300_000))
    assert ArchiveSource(file).keys  # this little does no harm
    monkeypatch.setattr(archive, "HARMLESS", 500_000)
    with pytest.raises(FacemaeError, match=r"bytes that unpack to 600,000 are taken for a zip bomb"):
        ArchiveSource(file)
    monkeypatch.setattr(archive, "MAX_RATIO", 1000)
    assert ArchiveSource(file).keys


def test_bomb_of_overlapping_entries_is_refused(tmp_path, monkeypatch):
    file = pack(
        tmp_path, *(f"a/{i:03d}.bmp" for i in range(100)), data=b"".join(bytes([i % 251]) for i in range(20_000))
    )
    data = bytearray(file.read_bytes())
    start = data.index(b"PK\x01\x02")
    directory = bytearray(data[start:])
    at = 0
    while (at := directory.find(b"PK\x01\x02", at)) >= 0:  # every entry points to the one content
        directory[at + 42 : at + 46] = struct.pack("<I", 0)
        at += 4
    kept = data[: data.index(b"PK\x03\x04", 10)]
    end = directory.index(b"PK\x05\x06")
    directory[end + 16 : end + 20] = struct.pack("<I", len(kept))
    file.write_bytes(kept + directory)
    monkeypatch.setattr(archive, "HARMLESS", 1_000_000)
    with pytest.raises(FacemaeError, match="taken for a zip bomb"):
        ArchiveSource(file)


def test_bomb_that_lies_about_its_size_is_not_unpacked(tmp_path):
    file = pack(tmp_path, "a/1.bmp", data=bytes(50_000_000))
    data = file.read_bytes().replace(struct.pack("<I", 50_000_000), struct.pack("<I", 1000))
    file.write_bytes(data)
    source = ArchiveSource(file)
    import tracemalloc

    tracemalloc.start()
    with pytest.raises(BadImage, match="the archive is damaged here"):
        source.read(0)
    assert tracemalloc.get_traced_memory()[1] < 5_000_000
    tracemalloc.stop()


def test_huge_entry_is_a_bad_image(tmp_path, monkeypatch):
    monkeypatch.setattr(archive, "MAX_FILE", 6)
    with pytest.raises(BadImage, match=r"the file has 7 bytes, more than 6"):
        ArchiveSource(pack(tmp_path, "a/1.jpg")).read(0)
