"""Verification sets in InsightFace's form: read as images and as pairs, and written so that Python's own pickle reads them."""

import os
import pickle

import numpy as np
import pytest

from facemae_jax.data.formats import verification_bin
from facemae_jax.data.formats.verification_bin import VerificationBinSource, is_bin, read_bin_pairs, write_bin
from facemae_jax.data.images import decode_record, encode_png
from facemae_jax.types import FacemaeError


def png(number: int) -> bytes:
    return encode_png(np.random.default_rng(number).integers(0, 256, (12, 12, 3), np.uint8))


def small(tmp_path, images, same, **options):
    path = tmp_path / "small.bin"
    path.write_bytes(pickle.dumps((images, same), **options))
    return path


class Faces:
    """What is needed of a face set."""

    def __init__(self, keys):
        self._keys = list(keys)

    def keys(self):
        return self._keys


def test_images_and_whom_they_show(tmp_path):
    a, b, c, d, e, f = map(png, range(6))
    # Pairs of one person: a b, b c, d e; of two: a d, f a.
    source = VerificationBinSource(small(tmp_path, [a, b, a, d, b, c, f, a, d, e], [True, False, True, False, True]))
    assert source.keys == [
        "pair-00000/left", "pair-00000/right", "pair-00001/right", "pair-00002/right", "pair-00003/left", "pair-00004/right",
    ]  # fmt: skip
    assert [source.read(n) for n in range(6)] == [a, b, d, c, f, e] and source.ignored == {"repeated images": 4}
    assert source.places_2n.tolist() == [0, 1, 0, 2, 1, 3, 4, 0, 2, 5]
    people = [source.identity(n) for n in range(6)]
    assert people == [f"person-{n:05d}" for n in (0, 0, 1, 0, 2, 1)]
    assert source.where(3) == f"{tmp_path}/small.bin, image pair-00002/right"
    source.close()


@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize("form", ["bytes", "array", "column"])
@pytest.mark.parametrize(
    "answers", [list, np.array, lambda same: list(np.array(same)), lambda same: [int(s) for s in same]]
)
def test_every_form_that_is_about(tmp_path, protocol, form, answers):
    files, same = [png(n) for n in range(6)], [True, False, False]
    shape = {"array": -1, "column": (-1, 1)}
    images = files if form == "bytes" else [np.frombuffer(file, np.uint8).reshape(shape[form]) for file in files]
    source = VerificationBinSource(small(tmp_path, images, answers(same), protocol=protocol))
    assert [source.read(n) for n in range(6)] == files
    assert source.same_n.tolist() == same and source.same_n.dtype == bool


def test_many_answers_in_an_array(tmp_path):
    """Longer than what the reader keeps in memory."""
    random = np.random.default_rng(0)
    same_n = random.random(700) < 0.5
    source = VerificationBinSource(small(tmp_path, [bytes([n % 7]) for n in range(1400)], same_n))
    np.testing.assert_array_equal(source.same_n, same_n)
    assert len(source.keys) == 7


def test_more_digits_than_usual_keep_the_order(tmp_path, monkeypatch):
    monkeypatch.setattr(verification_bin, "DIGITS", 2)
    source = VerificationBinSource(small(tmp_path, [b"%d" % n for n in range(202)], [False] * 101))
    assert source.keys == sorted(source.keys) and source.keys[-1] == "pair-100/right"
    assert source.identity(201) == "person-201" and source.identity(0) == "person-000"


@pytest.mark.parametrize(
    ("images", "same", "said"),
    [
        ([b"a", b"b"], [], "2 images do not make 0 pairs"),
        ([], [], "0 images do not make 0 pairs"),
        ([b"a", b"b", b"c"], [True], "3 images do not make 1 pairs"),
        ([b"a", 7], [True], "image 1: neither bytes nor an array of bytes"),
        ([b"a", "text"], [True], "image 1: neither bytes"),
        ([b"a", np.array([True, False])], [True], "image 1: neither bytes"),
        ([b"a", np.zeros((4, 4, 3), np.uint8)], [True], r"image 1: it is an array of pixels, 4×4×3, .* red or blue"),
        ([b"a", b"b"], [2], "list of truth values"),
        ([b"a", b"b"], ["yes"], "list of truth values"),
        ([b"a", b"b"], True, "list of truth values"),
        (b"ab", [True], r"a pickle of \(images, same\)"),
    ],
)
def test_what_is_no_verification_set(tmp_path, images, same, said):
    with pytest.raises(FacemaeError, match=rf"small\.bin.*{said}"):
        VerificationBinSource(small(tmp_path, images, same))


@pytest.mark.parametrize("value", [7, [], ([b"a", b"b"], [True], 1), np.arange(4, dtype=np.uint8), np.ndarray])
def test_other_pickles_are_refused(tmp_path, value):
    path = tmp_path / "other.bin"
    path.write_bytes(pickle.dumps(value))
    with pytest.raises(FacemaeError, match=r"other\.bin: a verification set is a pickle of \(images, same\)"):
        VerificationBinSource(path)


def test_a_malicious_one_runs_nothing(tmp_path):
    class Harm:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "made"),)

    with pytest.raises(FacemaeError, match=r"small\.bin: this pickle asks for (posix|nt)\.mkdir"):
        VerificationBinSource(small(tmp_path, [b"a", Harm()], [True]))
    with pytest.raises(FacemaeError, match="asks for .*mkdir"):
        read_bin_pairs(small(tmp_path, [b"a", b"b"], Harm()), Faces([]))
    assert not (tmp_path / "made").exists()


def test_missing_file_and_names(tmp_path):
    with pytest.raises(FacemaeError, match=r"none\.bin: cannot be read \(No such file"):
        VerificationBinSource(tmp_path / "none.bin")
    assert is_bin("a/lfw.bin") and is_bin("LFW.BIN") and not is_bin("lfw.zip") and not is_bin("bin")


def test_pairs_are_found_among_the_imported(tmp_path):
    random = np.random.default_rng(3)
    images = [png(n) for n in random.integers(0, 30, 80)]
    same = [bool(n % 2) for n in range(40)]
    path = small(tmp_path, images, same)
    source = VerificationBinSource(path)
    order = random.permutation(len(source.keys))  # a face set in another order
    pairs = read_bin_pairs(path, Faces([source.keys[n] for n in order]))
    held = [source.read(n) for n in order]
    assert [held[n] for n in pairs.left_n] == images[::2] and [held[n] for n in pairs.right_n] == images[1::2]
    assert pairs.same_n.tolist() == same
    np.testing.assert_array_equal(pairs.fold_n, np.arange(40) // 4)  # consecutive tenths, as InsightFace takes them
    with pytest.raises(FacemaeError, match=r"small\.bin has 1 image\(s\) that its face set does not hold: pair-0000\d"):
        read_bin_pairs(path, Faces(source.keys[1:]))
    with pytest.raises(FacemaeError, match="cannot be cut into 10 folds"):
        read_bin_pairs(small(tmp_path, images[:18], [True] * 9), Faces(source.keys))


def test_written_ones_are_read_as_insightface_does(tmp_path):
    images, same = [png(n) for n in range(6)] + [b"", bytes(70_000)], [True, False, True, False]
    write_bin(tmp_path / "one.bin", iter(images), same)
    for options in ({}, {"encoding": "bytes"}):
        with open(tmp_path / "one.bin", "rb") as file:
            found = pickle.load(file, **options)
        assert found == (images, same) and isinstance(found[0], list) and found[1][0] is True
    write_bin(tmp_path / "two.bin", images, np.array(same))
    assert (tmp_path / "one.bin").read_bytes() == (tmp_path / "two.bin").read_bytes()
    assert (tmp_path / "one.bin").read_bytes()[:2] == b"\x80\x03"  # the protocol that brought strings of bytes
    source = VerificationBinSource(tmp_path / "one.bin")
    assert [source.read(n) for n in range(8)] == images and source.same_n.tolist() == same
    assert decode_record(source.read(2)).shape == (12, 12, 3)


@pytest.mark.parametrize(("images", "same"), [(3, 2), (5, 2), (0, 0)])
def test_what_makes_no_pairs_is_not_written(tmp_path, images, same):
    with pytest.raises(FacemaeError, match=f"{images} images do not make {same} pairs"):
        write_bin(tmp_path / "a.bin", [b"x"] * images, [True] * same)
    assert list(tmp_path.iterdir()) == []
