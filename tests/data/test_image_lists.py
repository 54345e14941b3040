import unicodedata
from pathlib import Path

import numpy as np
import pytest

from facemae_jax.data.image_lists import EITHER, NOWHERE, balanced_folds, find_images, lines_of, positions_of
from facemae_jax.types import FacemaeError

LIST = Path("list.txt")


class Faces:
    """Keys alone."""

    def __init__(self, *keys):
        self._keys = list(keys)

    def keys(self):
        return self._keys


SET = Faces("a/Mira/0001.jpg", "a/Mira/0002.png", "b/Mira/0001.webp", "b/Odo.Lund/x_01", "flat.jpg", "Kim.Lund.png")


@pytest.mark.parametrize(
    ("name", "position"),
    [
        ("a/Mira/0001.jpg", 0),  # the whole key
        ("Mira/0001.jpg", 0),  # its end with the extension, though another has the same end without
        ("Mira/0001.webp", 2),
        ("Mira/0001", EITHER),  # without: one of two
        ("Mira/0001.bmp", EITHER),
        ("a/Mira/0001", 0),
        ("0002", 1),
        ("0002.jpg", 1),  # another extension
        ("Odo.Lund/x_01", 3),
        ("x_01.jpg", 3),
        ("flat", 4),
        ("Kim.Lund", 5),  # a point in a name begins no extension when that is how the image is called
        ("Kim.Lund.jpg", 5),
        ("ira/0002", NOWHERE),  # the end of a part is no part
        ("z/a/Mira/0001.jpg", NOWHERE),  # more than the key has
        ("Odo", NOWHERE),
        ("Mira", NOWHERE),
    ],
)
def test_an_image_is_found_by_its_key_or_the_end_of_it(name, position):
    assert find_images([name], SET).tolist() == [position]
    assert find_images(["flat", name, "flat"], SET).tolist() == [4, position, 4]


def test_a_whole_key_goes_before_the_end_of_another():
    assert find_images(["p/1.jpg"], Faces("q/p/1.jpg", "p/1.jpg")).tolist() == [1]


def test_unicode_forms_are_one_name():
    composed = unicodedata.normalize("NFC", "Zoë/01")
    decomposed = unicodedata.normalize("NFD", "Zoë/01")
    assert composed != decomposed
    for asked, stored in ((composed, decomposed), (decomposed, composed)):
        assert positions_of(LIST, [asked], [1], Faces("x/y.jpg", f"s/{stored}.jpg")).tolist() == [1]


def test_what_is_not_there_is_counted_and_named_once():
    names = ["gone/1", "flat", "gone/1", *(f"lost/{n}" for n in range(6))]
    with pytest.raises(FacemaeError) as error:
        positions_of(LIST, names, range(1, 10), SET)
    assert (
        "list.txt names 7 image(s) that verify.faces does not hold: gone/1, lost/0, lost/1, lost/2, lost/3 and 2 more;"
        in str(error.value)
    )


def test_what_may_be_either_is_told_with_its_line():
    with pytest.raises(FacemaeError, match="list.txt, line 12: Mira/0001 may be either of two images of verify.faces"):
        positions_of(LIST, ["flat", "Mira/0001", "nowhere"], [11, 12, 13], SET)


def test_lines(tmp_path):
    (tmp_path / "a.txt").write_bytes(b"\xef\xbb\xbfone\r\n\r\ntwo\r\n \r\n\r\n")
    assert lines_of(tmp_path / "a.txt", give="x") == ["one", "", "two"]
    (tmp_path / "b.txt").write_bytes("Zoë".encode("latin-1"))
    for name in ("b.txt", "none.txt"):
        with pytest.raises(FacemaeError, match=f"^verify.pairs=.*{name} cannot be read .*: give something else.$"):
            lines_of(tmp_path / name, give="give something else", field="verify.pairs=")


def test_folds_are_runs_of_each_kind():
    same_n = np.array([1, 1, 1, 1, 0, 0, 0, 0, 0], bool)
    assert balanced_folds(LIST, same_n, 2).tolist() == [0, 0, 1, 1, 0, 0, 0, 1, 1]
    in_lfw_order = np.tile(np.repeat([True, False], 3), 10)
    assert balanced_folds(LIST, in_lfw_order).tolist() == np.repeat(np.arange(10), 6).tolist()


def test_too_few_pairs_for_the_folds():
    with pytest.raises(
        FacemaeError, match="list.txt: 10 pair.s. of one person and 9 of two cannot be cut into 10 folds"
    ):
        balanced_folds(LIST, np.arange(19) < 10)
