from pathlib import Path

import pytest

from facemae_jax.data.formats.brace import expand_braces
from facemae_jax.types import FacemaeError


@pytest.mark.parametrize(
    ("pattern", "names"),
    [
        ("a.tar", ["a.tar"]),
        ("a-{08..11}.tar", ["a-08.tar", "a-09.tar", "a-10.tar", "a-11.tar"]),
        ("{b,a}-{0..1}.tar", ["a-0.tar", "a-1.tar", "b-0.tar", "b-1.tar"]),
    ],
)
def test_files_of_a_pattern(pattern, names):
    assert [str(path) for path in expand_braces(Path(pattern))] == names


@pytest.mark.parametrize("pattern", ["a-{3..2}.tar", "a-{0..99999999}.tar", "{0..999}{0..999}{0..999}"])
def test_backwards_and_endless_ones_are_refused(pattern):
    with pytest.raises(FacemaeError, match="backwards|more than"):
        expand_braces(Path(pattern))
