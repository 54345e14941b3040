import unicodedata

import pytest

from facemae_jax.data.groups import read_groups
from facemae_jax.types import FacemaeError

NAMES = ["Ilka", "Tarn, Jo", "Wren", unicodedata.normalize("NFD", "Zoë")]


def written(tmp_path, *lines):
    path = tmp_path / "groups.csv"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8-sig")
    return path


def test_groups_in_the_order_of_the_names(tmp_path):
    path = written(tmp_path, "identity, group", "Wren,b", '"Tarn, Jo", a ', "", "Somebody else,c", "Zoë,b", "Wren,b")
    assert read_groups(path, NAMES) == ["", "a", "b", "b"]


@pytest.mark.parametrize(
    ("lines", "told"),
    [
        (["name,group"], "line 1: expected the header identity,group, found 'name,group'"),
        (["identity,group", "Ilka"], "line 2: expected 'identity,group', found 'Ilka'"),
        (["identity,group", "", "Ilka,a,b"], "line 3: expected 'identity,group'"),
        (["identity,group", "Ilka,"], "line 2: expected 'identity,group'"),
        (["identity,group", "Ilka,a", "Wren,a", "Ilka,b"], "line 4: Ilka is in group b here and in a above"),
        (
            ["identity,group", "ilka,a"],
            "names none of the 4 people .*Ilka, Tarn, Jo, .* but 1 others .ilka.*write their names",
        ),
    ],
)
def test_what_is_wrong_is_told(tmp_path, lines, told):
    with pytest.raises(FacemaeError, match=f"groups.csv.*{told}"):
        read_groups(written(tmp_path, *lines), NAMES)


def test_a_missing_file(tmp_path):
    with pytest.raises(FacemaeError, match="none.csv cannot be read .* give a CSV file with the header identity,group"):
        read_groups(tmp_path / "none.csv", NAMES)
