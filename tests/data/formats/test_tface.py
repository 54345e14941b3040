import pytest

from facemae_jax.data.formats.tface import TFaceSource, tface_list
from facemae_jax.data.images import BadImage
from facemae_jax.data.record_files import TFRecordFile
from facemae_jax.types import FacemaeError


def image_only(data):
    """A tf.train.Example with the one feature ``image``, by hand."""
    entry = (
        b"\x0a\x05image\x12"
        + bytes([len(data) + 4])
        + b"\x0a"
        + bytes([len(data) + 2])
        + b"\x0a"
        + bytes([len(data)])
        + data
    )
    inner = b"\x0a" + bytes([len(entry)]) + entry
    return b"\x0a" + bytes([len(inner)]) + inner


@pytest.fixture
def folder(tmp_path):
    offsets = []
    for shard in range(2):
        file, at = TFRecordFile(tmp_path / f"TFR-X-{shard:05d}.tfrecord"), 0
        for number in range(2):
            data = image_only(b"image %d %d" % (shard, number))
            file.write(data)
            offsets.append((shard, at))
            at += len(data) + 16
        file.close()
    lines = [f"set/{'ada' if n < 3 else 'bo'}/{n}.jpg\t{s}\t{at}\n" for n, (s, at) in enumerate(offsets)]
    (tmp_path / "TFR-X.index").write_text("".join(lines))
    lines = [f"TFR-X\t{s}\t{at}\t{12 - n}\n" for n, (s, at) in enumerate(offsets)]
    (tmp_path / "listed.txt").write_text("".join(lines))
    return tmp_path


def test_the_converter_s_index(folder):
    source = TFaceSource(folder, folder / "TFR-X.index")
    assert list(source.keys) == ["set/ada/0.jpg", "set/ada/1.jpg", "set/ada/2.jpg", "set/bo/3.jpg"]
    assert [source.identity(n) for n in range(4)] == ["set/ada"] * 3 + ["set/bo"]
    assert [source.read(n) for n in range(4)] == [b"image 0 0", b"image 0 1", b"image 1 0", b"image 1 1"]
    assert source.where(3).startswith(f"{folder}/TFR-X-00001.tfrecord, byte ") and not source.ignored
    source.close()


def test_the_training_list_comes_first(folder):
    assert tface_list(folder) == folder / "listed.txt"
    source = TFaceSource(folder, folder / "listed.txt")
    assert [source.identity(n) for n in range(4)] == ["12", "11", "10", "09"]
    assert [source.read(n) for n in range(4)] == [b"image 0 0", b"image 0 1", b"image 1 0", b"image 1 1"]
    (folder / "listed.txt").write_text("a readme\n")
    assert tface_list(folder) == folder / "TFR-X.index"
    (folder / "TFR-X.index").unlink()
    assert tface_list(folder) is None


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("TFR-X\t0\t0\tada", "line 1: NAME, SHARD, OFFSET, LABEL"),
        ("TFR-X\t0\t0", "line 1: NAME, SHARD, OFFSET, LABEL"),
        ("../TFR-X\t0\t0\t1", r"line 1: '\.\./TFR-X' is no name"),
        ("TFR-X\t7\t0\t1", r"TFR-X-00007\.tfrecord: this shard is missing \(listed\.txt, line 1\)"),
    ],
)
def test_other_lines_are_told(folder, line, said):
    (folder / "listed.txt").write_text(line + "\n")
    with pytest.raises(FacemaeError, match=said):
        TFaceSource(folder, folder / "listed.txt")


def test_a_wrong_offset_is_a_bad_image(folder):
    (folder / "listed.txt").write_text("TFR-X\t0\t5\t1\n")
    with pytest.raises(BadImage, match="byte 5: the record cannot be read"):
        TFaceSource(folder, folder / "listed.txt").read(0)
