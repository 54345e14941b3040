"""Landmarks in every form that is about, found for the images of a source."""

import numpy as np
import pytest

from facemae_jax.data.landmarks import read_landmarks
from facemae_jax.types import FacemaeError

TAB = "\t"
HEADER = "path,x1,y1,x2,y2,x3,y3,x4,y4,x5,y5"
FIRST = np.array([[30.5, 50], [70, 51], [50, 70], [35, 90], [66, 91]])
SECOND = FIRST + 100


class Faces:
    def keys(self):
        return ["a b/1.jpg", "c/1.jpg", "c/2.webp"]


def joined(points, between):
    return between.join(f"{number:g}" for number in points.ravel())


def read(tmp_path, *lines):
    (tmp_path / "points.txt").write_text("\n".join(lines) + "\n")
    return read_landmarks(tmp_path / "points.txt", Faces())


def test_csv(tmp_path):
    found = read(
        tmp_path,
        HEADER,
        f'"a b/1.jpg",{joined(FIRST, ",")}',
        "",
        f"c/2, {joined(SECOND, ' , ')}",
        f"z/9,{joined(FIRST, ',')}",
    )
    assert found.listed_n.tolist() == [True, False, True]
    np.testing.assert_array_equal(found.points_n52[[0, 2]], [FIRST, SECOND])
    assert np.isnan(found.points_n52[1]).all()


@pytest.mark.parametrize(
    "line",
    [
        lambda name, points: f"{name}\t{joined(points, TAB)}",
        lambda name, points: f"{name}\t7\t{joined(points, TAB)}",
        lambda name, points: f"1\t{name}\t7\t0\t0\t112\t112\t{joined(points.T, TAB)}",
    ],
)
def test_text_with_tabs(tmp_path, line):
    found = read(tmp_path, line("a b/1.jpg", FIRST), line("c/1.jpg", SECOND))
    assert found.listed_n.tolist() == [True, True, False]
    np.testing.assert_array_equal(found.points_n52[:2], [FIRST, SECOND])


def test_text_with_blanks_and_celeba(tmp_path):
    lines = f"c/1.jpg {joined(FIRST, ' ')}", f"2.jpg   {joined(SECOND, '  ')}"
    for before in ((), ("202599", "lefteye_x lefteye_y righteye_x righteye_y nose_x")):
        found = read(tmp_path, *before, *lines)
        assert found.listed_n.tolist() == [False, True, True]
        np.testing.assert_array_equal(found.points_n52[1:], [FIRST, SECOND])


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        ([HEADER.replace("x1,y1", "y1,x1")], "line 1: expected the header path,x1"),
        ([HEADER, "c/1.jpg,1,2"], "line 2: 3 columns are no five points: give a CSV"),
        ([f"c/1.jpg {joined(FIRST, ' ')}", "c/2.webp 1 2"], "line 2: 3 columns"),
        ([f"c/1.jpg {joined(FIRST, ' ')[:-2]}x"], "line 1: a coordinate is no number"),
        ([f"c/1.jpg {joined(FIRST, ' ')}", f"c/1 {joined(FIRST, ' ')}"], "line 2: c/1 stands in line 1 already"),
        ([f"1.jpg {joined(FIRST, ' ')}"], "line 1: 1.jpg may be either of two images"),
        ([f"z/1.jpg {joined(FIRST, ' ')}"], "names none of the 3 images; the first name in it is 'z/1.jpg'"),
        ([HEADER], "names none of the 3 images; the first name in it is 'missing'"),
        ([""], "names none of the 3 images"),
    ],
)
def test_what_is_wrong_is_said_with_its_line(tmp_path, lines, said):
    with pytest.raises(FacemaeError, match=rf"points\.txt.*{said}"):
        read(tmp_path, *lines)


def test_missing_file(tmp_path):
    with pytest.raises(FacemaeError, match=r"data\.landmarks=.*none\.csv cannot be read"):
        read_landmarks(tmp_path / "none.csv", Faces())
