import gzip
import io
import json
import tarfile
from concurrent.futures import ThreadPoolExecutor

import pytest

from facemae_jax.data.formats import tar, unpacked
from facemae_jax.data.formats.tar import TarSource
from facemae_jax.data.images import BadImage
from facemae_jax.types import FacemaeError


def pack(file, *entries, mode="w"):
    """A tar of names (content: the name) or (name, content)."""
    with tarfile.open(file, mode) as made:
        for entry in entries:
            name, data = (entry, entry.encode()) if isinstance(entry, str) else entry
            member = tarfile.TarInfo(name)
            member.size = len(data)
            made.addfile(member, io.BytesIO(data))
    return file


def sample(key, label="", ending="jpg", /, **fields):
    found = [(f"{key}.{ending}", f"image {key}".encode())]
    found += [(f"{key}.cls", label.encode())] if label else []
    return found + ([(f"{key}.json", json.dumps(fields).encode())] if fields else [])


def whom(source):
    return {key: source.identity(n) for n, key in enumerate(source.keys)}


def test_people_in_folders_in_the_order_of_the_keys(tmp_path):
    names = ["top/b/1.jpg", "./top/a/x/2.PNG", "top/a/x/1.webp", "top/a/2.x.bmp", "top/a/.DS_Store", "n.txt", "0.jpg"]
    source = TarSource(pack(tmp_path / "faces.tar", *names))
    assert list(source.keys) == ["top/a/2.x.bmp", "top/a/x/1.webp", "top/a/x/2.PNG", "top/b/1.jpg"]
    assert source.ignored == {"hidden files": 1, ".txt files": 1, "images outside the folders of identities": 1}
    assert [source.identity(n) for n in range(4)] == ["top/a", "top/a/x", "top/a/x", "top/b"]
    assert source.read(1) == b"top/a/x/1.webp" and source.where(1) == f"{tmp_path}/faces.tar, member top/a/x/1.webp"
    with ThreadPoolExecutor(4) as pool:
        assert [d.decode()[-6:] for d in pool.map(source.read, [0, 1, 2, 3] * 20)][:4] == ["/2.x.bmp"[-6:], "1.webp", "/2.PNG", "/1.jpg"]  # fmt: skip


def test_a_text_beside_images_in_folders_labels_nobody(tmp_path):
    entries = ["ada/1.jpg", ("ada/1.txt", b"a smile"), ("ada/1.json", b"{}"), "bo/1.jpg"]
    source = TarSource(pack(tmp_path / "x.tar", *entries))
    assert whom(source) == {"ada/1.jpg": "ada", "bo/1.jpg": "bo"}
    assert source.ignored == {".txt files": 1, ".json files": 1}


def test_shards_with_labels(tmp_path):
    pack(tmp_path / "s-000.tar", *sample("0", "10"), *sample("1", "9"), ("1.seg.png", b"mask"), ("1.wav", b"sound"))
    pack(tmp_path / "s-001.tar", *sample("0", "9", "webp"))
    source = TarSource(tmp_path)
    # 9 and 10 get equally many digits, so that sorted names keep the order of the labels
    assert whom(source) == {"s-000/0.jpg": "10", "s-000/1.jpg": "09", "s-001/0.webp": "09"}
    assert source.read(2) == b"image 0" and source.where(2).startswith(f"{tmp_path}/s-001.tar, member")
    assert source.ignored == {".wav files": 1, "further images of a sample": 1}
    assert whom(TarSource(tmp_path / "s-{000..001}.tar")) == whom(source)
    with pytest.raises(FacemaeError, match=r"s-002\.tar: no such file"):
        TarSource(tmp_path / "s-{000..002}.tar")


@pytest.mark.parametrize(
    ("files", "person"),
    [
        ([("x/0.cls", b"ada\n")], "ada"),
        ([("0.txt", "李\n".encode())], "李"),
        ([("0.json", b'{"caption": "x", "label": 7}')], "7"),
        ([("0.json", b'{"person": "bo"}'), ("0.txt", b"a caption")], "bo"),
        ([("0.cls", b"3"), ("0.json", b'{"identity": "ada", "label": 3}')], "ada"),
        ([("0.cls", b"3"), ("0.json", b'{"label": 4}'), ("0.txt", b"5")], "3"),
    ],
)
def test_whose_label_counts(tmp_path, files, person):
    image = files[0][0].rpartition(".")[0] + ".jpg"
    assert whom(TarSource(pack(tmp_path / "x.tar", image, *files))) == {image: person}


def test_keys_of_the_json_files_where_all_differ(tmp_path):
    entries = [*sample("0", key="ada/1.jpg", label=0), *sample("1", key="ada/2.jpg", label=0)]
    assert list(TarSource(pack(tmp_path / "x.tar", *entries)).keys) == ["ada/1.jpg", "ada/2.jpg"]
    for more in (sample("2", key="ada/1.jpg", label=1), sample("2", "1")):
        assert list(TarSource(pack(tmp_path / "y.tar", *entries, *more)).keys) == ["0.jpg", "1.jpg", "2.jpg"]


@pytest.mark.parametrize(
    ("entry", "said"),
    [
        (("0.json", b'{"caption": "x"}'), r"member 0\.json: it has no field that says whom"),
        (("0.json", b'{"label": '), r"member 0\.json: the label cannot be read .* JSON"),
        (("0.txt", b"\xff"), r"member 0\.txt: the label cannot be read"),
        (("0.cls", b"9" * 2_000_000), r"member 0\.cls: a label of 2,000,000 bytes"),
    ],
)
def test_labels_that_cannot_be_read(tmp_path, entry, said):
    with pytest.raises(FacemaeError, match=rf"x\.tar, {said}"):
        TarSource(pack(tmp_path / "x.tar", "0.jpg", entry))


@pytest.mark.parametrize("name", ["../a/1.jpg", "a/../../1.jpg", "/etc/a/1.jpg", "a/../n.txt"])
def test_paths_that_lead_out_are_refused(tmp_path, name):
    with pytest.raises(FacemaeError, match=r"x\.tar: the member .* leads out of the tar"):
        TarSource(pack(tmp_path / "x.tar", "a/1.jpg", name))


def test_links_are_left_aside(tmp_path):
    file = pack(tmp_path / "x.tar", "a/1.jpg")
    with tarfile.open(file, "a") as made:
        link = tarfile.TarInfo("a/2.jpg")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        made.addfile(link)
    source = TarSource(file)
    assert list(source.keys) == ["a/1.jpg"] and source.ignored == {"links": 1}


def test_gzipped(tmp_path, monkeypatch):
    file = pack(tmp_path / "x.tar.gz", "a/1.jpg", "b/2.jpg", mode="w:gz")
    source = TarSource(file)
    assert whom(source) == {"a/1.jpg": "a", "b/2.jpg": "b"} and source.read(1) == b"b/2.jpg"
    source.close()
    (tmp_path / "cut.tar.gz").write_bytes(file.read_bytes()[:-20])
    with pytest.raises(FacemaeError, match=r"cut\.tar\.gz: the gzip file is damaged or cut off"):
        TarSource(tmp_path / "cut.tar.gz")
    for magic, way in ((b"BZh9", "bunzip2"), (b"\x28\xb5\x2f\xfd", "unzstd")):
        (tmp_path / "y.tar").write_bytes(magic + bytes(100))
        with pytest.raises(FacemaeError, match=rf"y\.tar: .*run {way}"):
            TarSource(tmp_path / "y.tar")
    monkeypatch.setattr(unpacked, "LARGEST", 5000)
    with pytest.raises(FacemaeError, match=r"unpacks to more than 0 GiB, .* run gunzip"):
        TarSource(file)


def test_bomb_is_not_unpacked(tmp_path, monkeypatch):
    (tmp_path / "bomb.tar.gz").write_bytes(gzip.compress(bytes(3_000_000)))
    monkeypatch.setattr(unpacked, "HARMLESS", 1_000_000)
    with pytest.raises(FacemaeError, match=r"bomb\.tar\.gz: .* taken for a bomb"):
        TarSource(tmp_path / "bomb.tar.gz")


def test_huge_images_and_a_shortened_tar_are_bad_images(tmp_path, monkeypatch):
    file = pack(tmp_path / "x.tar", "a/1.jpg", "a/22.jpg")
    source = TarSource(file)
    with open(file, "r+b") as made:
        made.truncate(1540)
    with pytest.raises(BadImage, match="has become shorter"):
        source.read(1)
    monkeypatch.setattr(tar, "MAX_FILE", 6)
    with pytest.raises(BadImage, match="the file has 7 bytes, more than 6"):
        source.read(0)


def test_a_shard_that_is_gone_does_not_spoil_the_others(tmp_path):
    for name in "ab":
        pack(tmp_path / f"{name}.tar", (f"p/{name}.jpg", name.encode()))
    source = TarSource(tmp_path)
    (tmp_path / "b.tar").unlink()
    for _ in range(2):
        assert source.read(0) == b"a"
        with pytest.raises(FileNotFoundError):
            source.read(1)
    source.close()
