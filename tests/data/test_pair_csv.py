import numpy as np
import pytest

from facemae_jax.data.pair_csv import read_pair_csv
from facemae_jax.types import FacemaeError


class Faces:
    """Keys alone."""

    def __init__(self, *keys):
        self._keys = list(keys)

    def keys(self):
        return self._keys


FACES = Faces("set/Ilka/1.jpg", "set/Ilka/2.jpg", 'set/Tarn, Jo "J"/1.jpg', "set/Wren/1.jpg", "set/Wren/7.png")
HEADER = "left,right,same,fold"
GOOD = [
    "set/Ilka/1.jpg,Ilka/2,1,0",
    '"Tarn, Jo ""J""/1",2.jpg,0,0',
    " Wren/1.jpg , Wren/7.jpg ,True,3",
    "",
    "Wren/7,Ilka/1,false,3",
]


def written(tmp_path, *lines):
    path = tmp_path / "pairs.csv"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8-sig")
    return path


def test_with_folds(tmp_path):
    pairs = read_pair_csv(written(tmp_path, HEADER, *GOOD), FACES)
    assert pairs.left_n.tolist() == [0, 2, 3, 4] and pairs.right_n.tolist() == [1, 1, 4, 0]
    assert pairs.same_n.tolist() == [True, False, True, False] and pairs.same_n.dtype == bool
    assert pairs.fold_n.tolist() == [0, 0, 3, 3]


def test_without_folds_there_are_ten(tmp_path):
    lines = ["Ilka/1,Ilka/2,1", "Ilka/1,Wren/1,0"] * 20
    pairs = read_pair_csv(written(tmp_path, "left, right, same", *lines), FACES)
    assert pairs.fold_n.tolist() == np.repeat(np.arange(10), 4).tolist()
    with pytest.raises(
        FacemaeError, match="pairs.csv: 9 pair.s. of one person and 9 of two cannot be cut into 10 folds"
    ):
        read_pair_csv(written(tmp_path, "left,right,same", *lines[:18]), FACES)


@pytest.mark.parametrize(
    ("number", "line", "told"),
    [
        (1, "left,right", "line 1: expected the header left,right,same or left,right,same,fold, found 'left,right'"),
        (1, "left,right,same,folds", "line 1: expected the header"),
        (1, "left;right;same", "line 1: expected the header"),
        (2, "Ilka/1,Ilka/2,1", "line 2: expected 4 cells, left,right,same,fold, found 'Ilka/1,Ilka/2,1'"),
        (4, ",Ilka/2,1,0", "line 4: expected the names of two images"),
        (6, "Ilka/1,Ilka/2,2,0", "line 6: expected 1 or true .one person., 0 or false .two. as 'same'"),
        (6, "Ilka/1,Ilka/2,1,-1", "line 6: expected a whole number from 0 as 'fold'"),
        (3, "1,Ilka/2,1,0", "line 3: 1 may be either of two images"),
        (6, "Ilka/3,Ilka/2,1,0", "names 1 image.s. that verify.faces does not hold: Ilka/3"),
    ],
)
def test_what_is_wrong_is_told_with_its_line(tmp_path, number, line, told):
    lines = [HEADER, *GOOD]
    lines[number - 1] = line
    with pytest.raises(FacemaeError, match=f"pairs.csv.*{told}"):
        read_pair_csv(written(tmp_path, *lines), FACES)


def test_no_pairs(tmp_path):
    with pytest.raises(FacemaeError, match="pairs.csv holds no pair"):
        read_pair_csv(written(tmp_path, HEADER), FACES)
    with pytest.raises(FacemaeError, match="line 1: expected the header .* found ''"):
        read_pair_csv(written(tmp_path, ""), FACES)
    with pytest.raises(
        FacemaeError, match="cannot be read .* give a CSV file with the header left,right,same.,fold.$|cannot be read"
    ):
        read_pair_csv(tmp_path / "none.csv", FACES)
