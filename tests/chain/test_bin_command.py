"""make-bin, from the command line: read back by Python's own pickle, as InsightFace does, and by our own reader."""

import pickle

import numpy as np
import pytest

from facemae_jax import __main__ as door
from facemae_jax.chain import bin_command, command_line
from facemae_jax.data.formats.folder import FolderSource
from facemae_jax.data.formats.verification_bin import VerificationBinSource, read_bin_pairs
from facemae_jax.data.images import decode_record, encode_jpeg, encode_png, to_square
from facemae_jax.data.pairs import read_pairs

SIZE = 16


class Keys:
    def __init__(self, keys):
        self._keys = list(keys)

    def keys(self):
        return self._keys


def pixels(number, size=SIZE):
    return np.random.default_rng(number).integers(0, 256, (size, size, 3), np.uint8)


@pytest.fixture
def faces(tmp_path):
    """Twelve people with two images, JPEG and PNG of the right size, and one larger."""
    for person in range(12):
        folder = tmp_path / "faces" / f"p{person:02d}"
        folder.mkdir(parents=True)
        (folder / f"p{person:02d}_0001.jpg").write_bytes(encode_jpeg(pixels(person), 90))
        (folder / f"p{person:02d}_0002.png").write_bytes(encode_png(pixels(100 + person, SIZE + 4 * (person == 3))))
    lines = ["2\t5"]
    for fold in range(2):
        lines += [f"p{5 * fold + n:02d}\t1\t2" for n in range(5)]
        lines += [f"p{5 * fold + n:02d}\t1\tp{5 * fold + n + 1:02d}\t2" for n in range(5)]
    (tmp_path / "pairs.txt").write_text("\n".join(lines) + "\n")
    return tmp_path


def make(folder, *more, out="lfw.bin"):
    return door.main(
        ["make-bin", f"--faces={folder}/faces", f"--pairs={folder}/pairs.txt", f"--out={folder}/{out}", *more]
    )


def test_what_is_written(faces, capsys):
    assert make(faces, f"--image-size={SIZE}") == 0
    assert "lfw.bin (20 pairs, 10 of them of one person; images of 16×16 pixels)" in capsys.readouterr().out
    images, same = pickle.loads((faces / "lfw.bin").read_bytes(), encoding="bytes")
    assert same == ([True] * 5 + [False] * 5) * 2 and len(images) == 40
    source = FolderSource(faces / "faces")
    pairs = read_pairs(faces / "pairs.txt", Keys(source.keys))
    for image, position in zip(images, np.stack([pairs.left_n, pairs.right_n], 1).ravel(), strict=True):
        file = source.read(position)
        if source.keys[position].endswith("jpg"):
            assert image == file
        else:
            np.testing.assert_array_equal(decode_record(image), to_square(decode_record(file), SIZE, True, ""))
    assert make(faces, f"--image-size={SIZE}", out="again.bin") == 0
    assert (faces / "again.bin").read_bytes() == (faces / "lfw.bin").read_bytes()


def test_folds_lie_one_after_another(faces):
    """Readers cut consecutive tenths: here the list gives its folds backwards."""
    rows = []
    for n in range(10):
        rows += [
            f"p{n:02d}/p{n:02d}_0001,p{other:02d}/p{other:02d}_0002,{int(n == other)},{9 - n}" for other in (n, n + 1)
        ]
    (faces / "pairs.txt").write_text("\n".join(["left,right,same,fold", *rows]))
    assert make(faces, "--protocol=csv", f"--image-size={SIZE}") == 0
    source = VerificationBinSource(faces / "lfw.bin")
    pairs = read_bin_pairs(faces / "lfw.bin", Keys(source.keys))
    np.testing.assert_array_equal(pairs.fold_n, np.arange(20) // 2)
    assert pairs.same_n.tolist() == [True, False] * 10
    left = [source.read(n) for n in pairs.left_n[::2]]
    assert left == [(faces / f"faces/p{n:02d}/p{n:02d}_0001.jpg").read_bytes() for n in range(9, -1, -1)]


def test_help_and_flags(faces, capsys):
    assert door.main(["make-bin", "--help"]) == 0
    told = capsys.readouterr().out
    assert all(f"--{flag}" in told for flag in bin_command.FLAGS) and bin_command.FLAGS == command_line.BIN_FLAGS
    for arguments, said in (
        (["make-bin"], "--faces is missing; see make-bin --help"),
        (["make-bin", "word", "--faces=a", "--pairs=b", "--out=c.bin"], "make-bin takes no word, found word"),
        (
            ["make-bin", "--config=configs/demo.py", "--faces=a"],
            "--config: make-bin takes neither a config nor a workdir",
        ),
        (["make-bin", "--faces=a", "--pairs=b", "--out=c.rec"], "c.rec: by the ending .bin"),
        (["make-bin", "--faces=a", "--pairs=b", "--out=/no/such/c.bin"], "there is no folder /no/such"),
        (["make-bin", "--faces=a", "--pairs=b", "--out=c.bin", "--image-size=1e2"], "--image-size=1e2: give a number"),
        (["make-bin", "--faces=/no/such", "--pairs=b", "--out=c.bin"], "/no/such: no such file"),
        (["plan", "--faces=a", "--config=configs/demo.py"], "--faces belongs to the verb make-bin"),
    ):
        assert door.main(arguments) == 2, arguments
        assert said in capsys.readouterr().err
    assert make(faces, "--protocol=lfv") == 2
    assert "'lfv' is no verification protocol" in capsys.readouterr().err
    (faces / "lfw.bin").write_bytes(b"mine")
    assert make(faces) == 2 and "is there already" in capsys.readouterr().err
    assert (faces / "lfw.bin").read_bytes() == b"mine"


def test_a_bad_image_leaves_nothing(faces, capsys):
    (faces / "faces/p09/p09_0002.png").write_bytes(b"x")
    assert make(faces) == 2
    assert "p09_0002.png: this is no image" in capsys.readouterr().err
    assert not list(faces.glob("lfw.bin*"))
