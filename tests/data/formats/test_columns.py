import pytest

from facemae_jax.data.formats.columns import LABELS, choose
from facemae_jax.types import FacemaeError


def test_told_usual_or_the_only_one():
    assert choose("label", ["id", "label", "x"], "x", LABELS, "s") == "x"
    assert choose("label", ["id", "label", "x"], "", LABELS, "s") == "label"  # before id
    assert choose("label", ["odd"], "", LABELS, "s") == "odd"


@pytest.mark.parametrize(
    ("present", "told", "said"),
    [
        (["label", "x"], "lable", r"s: there is no label called lable \(did you mean label\?\)"),
        (["p", "q"], "", "s: which of p, q is the label cannot be told"),
        ([], "", "there is none that fits"),
    ],
)
def test_what_cannot_be_told(present, told, said):
    with pytest.raises(FacemaeError, match=said):
        choose("label", present, told, LABELS, "s")
