import numpy as np
import pytest

from facemae_jax.data.cfp_pairs import read_cfp_pairs
from facemae_jax.types import FacemaeError

PEOPLE, FRONTAL, PROFILE = 12, 3, 2


class Faces:
    """Keys alone."""

    def __init__(self, keys):
        self._keys = list(keys)

    def keys(self):
        return self._keys


def images(kind, each):
    return [f"{person:03d}/{kind}/{number:02d}" for person in range(1, PEOPLE + 1) for number in range(1, each + 1)]


FACES = Faces(f"Data/Images/{name}.webp" for name in images("frontal", FRONTAL) + images("profile", PROFILE))


def number(person, image, each):
    """As in the lists: counted from 1, person after person."""
    return (person - 1) * each + image


@pytest.fixture
def protocol(tmp_path):
    """CFP's layout with small numbers: 12 people, 3 frontal and 2 profile images, 2 + 1 pairs a fold."""
    folder = tmp_path / "Protocol"
    for name, kind, each in (("F", "frontal", FRONTAL), ("P", "profile", PROFILE)):
        (folder / "Split" / f"F{name}").mkdir(parents=True)
        lines = [f"{n} ../Data/Images/{image}.jpg" for n, image in enumerate(images(kind, each), start=1)]
        (folder / f"Pair_list_{name}.txt").write_text("\n".join(lines) + "\n")
    for fold in range(1, 11):
        for split, each in (("FF", FRONTAL), ("FP", PROFILE)):
            where = folder / "Split" / split / f"{fold:02d}"
            where.mkdir()
            same = [
                (number(fold, 1, FRONTAL), number(fold, 2, each)),
                (number(fold, 3, FRONTAL), number(fold, 1, each)),
            ]
            (where / "same.txt").write_text("".join(f"{a},{b}\n" for a, b in same))
            (where / "diff.txt").write_text(f"{number(fold, 1, FRONTAL)},{number(fold + 2, 2, each)}\n")
    return folder


@pytest.mark.parametrize(("profile", "second"), [(False, "frontal"), (True, "profile")])
def test_ten_folds_of_both_protocols(protocol, profile, second):
    pairs = read_cfp_pairs(protocol, FACES, profile=profile)
    keys = FACES.keys()
    told = [(keys[a], keys[b]) for a, b in zip(pairs.left_n, pairs.right_n, strict=True)]
    assert told[:3] == [
        ("Data/Images/001/frontal/01.webp", f"Data/Images/001/{second}/02.webp"),
        ("Data/Images/001/frontal/03.webp", f"Data/Images/001/{second}/01.webp"),
        ("Data/Images/001/frontal/01.webp", f"Data/Images/003/{second}/02.webp"),
    ]
    assert told[-1] == ("Data/Images/010/frontal/01.webp", f"Data/Images/012/{second}/02.webp")
    assert pairs.same_n.tolist() == [True, True, False] * 10
    assert pairs.fold_n.tolist() == np.repeat(np.arange(10), 3).tolist()


@pytest.mark.parametrize(
    ("file", "text", "told"),
    [
        (
            "Pair_list_F.txt",
            "1 ../Data/Images/001/frontal/01.jpg\nx\n",
            "Pair_list_F.txt, line 2: expected 'number path'.*'x'",
        ),
        ("Pair_list_P.txt", "1 01.jpg\n", "Pair_list_P.txt, line 1: expected 'number path'"),
        ("Pair_list_P.txt", "1 a/b/c.jpg\n1 a/b/d.jpg\n", "Pair_list_P.txt, line 2: number 1 stands on line 1, too"),
        ("Split/FP/07/diff.txt", "1,2\n3\n", "07/diff.txt, line 2: expected 'number,number', found '3'"),
        ("Split/FP/07/diff.txt", "1,²\n", "07/diff.txt, line 1: expected"),
        ("Split/FP/07/same.txt", "1,25\n", "07/same.txt, line 1: Pair_list_P.txt has no number 25"),
        ("Split/FP/07/same.txt", "37,1\n", "07/same.txt, line 1: Pair_list_F.txt has no number 37"),
        ("Split/FP/10/same.txt", "", "10/same.txt is empty"),
    ],
)
def test_a_malformed_file_is_told_with_its_line(protocol, file, text, told):
    (protocol / file).write_text(text)
    with pytest.raises(FacemaeError, match=f"{told}.*give the whole folder Protocol"):
        read_cfp_pairs(protocol, FACES, profile=True)


@pytest.mark.parametrize("file", ["Pair_list_F.txt", "Pair_list_P.txt", "Split/FP/10/diff.txt"])
def test_a_missing_file(protocol, file):
    (protocol / file).unlink()
    with pytest.raises(FacemaeError, match=f"{file} cannot be read .* give the whole folder Protocol"):
        read_cfp_pairs(protocol, FACES, profile=True)
    if file != "Pair_list_F.txt":
        assert len(read_cfp_pairs(protocol, FACES, profile=False).left_n) == 30  # its files are all there


def test_images_that_the_set_lacks(protocol):
    frontal = Faces(key for key in FACES.keys() if "profile" not in key)
    with pytest.raises(
        FacemaeError, match="Pair_list_P.txt names 22 image.s. .* 001/profile/02.jpg, 001/profile/01.jpg, 003/"
    ):
        read_cfp_pairs(protocol, frontal, profile=True)
    assert len(read_cfp_pairs(protocol, frontal, profile=False).left_n) == 30
