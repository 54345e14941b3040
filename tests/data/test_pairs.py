import unicodedata
from collections import Counter

import numpy as np
import pytest

from facemae_jax.data.pairs import Pairs, generate_pairs, read_pairs, write_pairs
from facemae_jax.types import FacemaeError


class Faces:
    """Keys alone: all that pairs need of a face set."""

    def __init__(self, *keys):
        self._keys = list(keys)

    def keys(self):
        return self._keys


PEOPLE = ("Ada_Lovelace", "Bo Diddley", "José Núñez", "李 小龍")
FACES = Faces(*(f"lfw/{name}/{name}_{number:04d}.jpg" for name in PEOPLE for number in (1, 2, 13)))
GOOD = ["2\t1", "Ada_Lovelace\t1\t13", "Bo Diddley\t2\t李 小龍\t1", "José Núñez\t1\t2", "李 小龍\t13\tAda_Lovelace\t2"]


def written(tmp_path, lines):
    path = tmp_path / "pairs.txt"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def named(pairs, faces=FACES):
    keys = faces.keys()
    return [(keys[a].split("/")[-1], keys[b].split("/")[-1]) for a, b in zip(pairs.left_n, pairs.right_n, strict=True)]


def test_folds_header_names_and_numbers(tmp_path):
    pairs = read_pairs(written(tmp_path, GOOD), FACES)
    assert named(pairs) == [
        ("Ada_Lovelace_0001.jpg", "Ada_Lovelace_0013.jpg"),
        ("Bo Diddley_0002.jpg", "李 小龍_0001.jpg"),
        ("José Núñez_0001.jpg", "José Núñez_0002.jpg"),
        ("李 小龍_0013.jpg", "Ada_Lovelace_0002.jpg"),
    ]
    assert pairs.same_n.tolist() == [True, False, True, False] and pairs.fold_n.tolist() == [0, 0, 1, 1]
    assert pairs.same_n.dtype == bool


def test_lfw_order_of_a_fold_is_first_same_then_other(tmp_path):
    lines = ["1\t2", "Ada_Lovelace\t1\t2", "Bo Diddley\t1\t2", *["Ada_Lovelace\t1\tBo Diddley\t1"] * 2]
    pairs = read_pairs(written(tmp_path, lines), FACES)
    assert pairs.same_n.tolist() == [True, True, False, False] and set(pairs.fold_n.tolist()) == {0}


def test_a_header_of_one_number_is_one_fold(tmp_path):
    pairs = read_pairs(written(tmp_path, ["2", *GOOD[1:2], *GOOD[3:4], *GOOD[2:3], *GOOD[4:5]]), FACES)
    assert pairs.fold_n.tolist() == [0] * 4 and pairs.same_n.tolist() == [True, True, False, False]


def test_other_unicode_forms_spaces_for_tabs_and_blank_ends(tmp_path):
    decomposed = [unicodedata.normalize("NFD", line) for line in GOOD]
    assert decomposed != GOOD
    expected = named(read_pairs(written(tmp_path, GOOD), FACES))
    assert named(read_pairs(written(tmp_path, [*decomposed, "", ""]), FACES)) == expected
    stored = Faces(*(unicodedata.normalize("NFD", key) for key in FACES.keys()))
    assert len(read_pairs(written(tmp_path, GOOD), stored).left_n) == 4
    path = tmp_path / "windows.txt"  # byte order mark, carriage returns
    path.write_bytes(b"\xef\xbb\xbf" + "\r\n".join(GOOD).encode())
    assert named(read_pairs(path, FACES)) == expected
    spaced = ["1  1", "Ada_Lovelace 1   2", "Ada_Lovelace 1 Ada_Lovelace 13"]
    assert len(read_pairs(written(tmp_path, spaced), FACES).left_n) == 2


def test_any_ending_and_any_common_folder(tmp_path):
    for shape in ("{0}/{0}_{1:04d}.png", "a/b c/{0}/{0}_{1:04d}.jpeg", "{0}/{0}_{1:04d}.WEBP"):
        faces = Faces(*(shape.format(name, number) for name in PEOPLE for number in (1, 2, 13)))
        np.testing.assert_array_equal(
            read_pairs(written(tmp_path, GOOD), faces).left_n, read_pairs(written(tmp_path, GOOD), FACES).left_n
        )


def test_missing_images_are_named(tmp_path):
    few = Faces(*(key for key in FACES.keys() if "_0013" not in key and "Bo" not in key))
    with pytest.raises(FacemaeError) as error:
        read_pairs(written(tmp_path, GOOD), few)
    told = str(error.value)
    assert "Ada_Lovelace/Ada_Lovelace_0013, Bo Diddley/Bo Diddley_0002, 李 小龍/李 小龍_0013;" in told
    assert "verify.faces" in told and "José" not in told
    lines = [
        "1\t8",
        *(f"Nobody\t{number}\t{number}" for number in range(1, 9)),
        *["Ada_Lovelace\t1\tBo Diddley\t1"] * 8,
    ]
    with pytest.raises(FacemaeError, match="Nobody_0005 and 3 more;"):  # a list, not a flood
        read_pairs(written(tmp_path, lines), FACES)


def test_an_image_that_two_keys_may_be_is_refused(tmp_path):
    """As with the halves of a set in two folders: either may be the one that was meant."""
    doubled = Faces(*FACES.keys(), "more/Bo Diddley/Bo Diddley_0001.png", "more/Bo Diddley/Bo Diddley_0002.png")
    with pytest.raises(FacemaeError, match="line 3: Bo Diddley/Bo Diddley_0002 may be either of two images"):
        read_pairs(written(tmp_path, GOOD), doubled)
    unused = Faces(*FACES.keys(), "more/Bo Diddley/Bo Diddley_0001.png")
    assert named(read_pairs(written(tmp_path, GOOD), unused), unused) == named(
        read_pairs(written(tmp_path, GOOD), FACES)
    )


@pytest.mark.parametrize(
    ("number", "line"),
    [
        (2, "Ada_Lovelace\t1"),
        (2, "Ada_Lovelace\t1\tBo Diddley\t2"),  # two people where one was promised
        (3, "Bo Diddley\t2\t1"),
        (3, "Bo Diddley\ttwo\tAda_Lovelace\t1"),
        (4, ""),
        (5, "李 小龍\t13\tAda_Lovelace\t-2"),
        (5, "李 小龍\t13\tAda_Lovelace\t²"),  # a digit to Unicode, no number to anybody
    ],
)
def test_a_malformed_line_is_told_by_its_number(tmp_path, number, line):
    lines = GOOD.copy()
    lines[number - 1] = line
    with pytest.raises(FacemaeError) as error:
        read_pairs(written(tmp_path, lines), FACES)
    form = "name<TAB>i<TAB>j" if number in (2, 4) else "name1<TAB>i<TAB>name2<TAB>j"
    assert f"pairs.txt, line {number}: expected '{form}', found {line!r}" in str(error.value)


@pytest.mark.parametrize("header", ["", "two folds", "0\t1", "1\t1\t1", "-1", "²"])
def test_a_malformed_header(tmp_path, header):
    with pytest.raises(FacemaeError, match="line 1: expected 'folds<TAB>pairs' or 'pairs', found"):
        read_pairs(written(tmp_path, [header, *GOOD[1:]]), FACES)


def test_a_torn_or_missing_file(tmp_path):
    with pytest.raises(FacemaeError, match="line 1 promises 2 × 1 pairs .* 4 lines, but 3 follow"):
        read_pairs(written(tmp_path, GOOD[:-1]), FACES)
    with pytest.raises(FacemaeError, match="line 1: .*found 'nothing'"):
        read_pairs(written(tmp_path, []), FACES)
    with pytest.raises(FacemaeError, match="verify.pairs=.*none.txt cannot be read"):
        read_pairs(tmp_path / "none.txt", FACES)
    (tmp_path / "latin.txt").write_bytes("1\t1\nJosé\t1\t2\n".encode("latin-1"))
    with pytest.raises(FacemaeError, match="cannot be read"):
        read_pairs(tmp_path / "latin.txt", FACES)


LABELS = np.repeat(np.arange(20), 5)[np.random.default_rng(0).permutation(100)]


def test_generated_pairs_are_balanced_right_and_never_twice():
    pairs = generate_pairs(LABELS, count=200, folds=5, seed=0)
    assert len(pairs.left_n) == 200 and Counter(pairs.fold_n.tolist()) == dict.fromkeys(range(5), 40)
    np.testing.assert_array_equal(LABELS[pairs.left_n] == LABELS[pairs.right_n], pairs.same_n)
    for fold in range(5):
        assert pairs.same_n[pairs.fold_n == fold].sum() == 20
    unordered = {frozenset(pair) for pair in zip(pairs.left_n.tolist(), pairs.right_n.tolist(), strict=True)}
    assert len(unordered) == 200 and all(len(pair) == 2 for pair in unordered)


def test_no_person_is_in_two_folds():
    pairs = generate_pairs(LABELS, count=200, folds=5, seed=0)
    people = [
        set(LABELS[np.concatenate([pairs.left_n, pairs.right_n])[np.tile(pairs.fold_n, 2) == f]]) for f in range(5)
    ]
    assert sum(map(len, people)) == len(set.union(*people)) == 20


def test_generated_pairs_follow_from_the_seed():
    one, same, other = (generate_pairs(LABELS, count=40, folds=2, seed=seed) for seed in (3, 3, 4))
    for field in Pairs._fields:
        np.testing.assert_array_equal(getattr(one, field), getattr(same, field))
    assert not np.array_equal(one.left_n, other.left_n)


def test_every_pair_there_is_can_be_asked_for():
    """Drawing would hardly ever hit the last pair: 2 people of 3 images each, all 6 pairs of one and 6 of the 9 of two."""
    labels = np.array([4, 4, 4, 9, 9, 9])
    for seed in range(20):
        pairs = generate_pairs(labels, count=12, folds=1, seed=seed)
        assert len({*zip(pairs.left_n.tolist(), pairs.right_n.tolist(), strict=True)}) == 12
    rare = generate_pairs(np.array([0] * 6 + [1]), count=12, folds=1, seed=0)  # 15 of one person, exactly 6 of two
    others = ~rare.same_n
    assert {*rare.left_n[others].tolist(), *rare.right_n[others].tolist()} == set(range(7))


@pytest.mark.parametrize(
    ("labels", "count", "folds", "told"),
    [
        (LABELS, 30, 4, "verify.count=30 must be a multiple of 2 · verify.folds=8"),
        (LABELS, 0, 1, "verify.count=0 must be a multiple"),
        (LABELS, 2000, 5, "200 pairs of each kind .*4 people of a fold allow 40 of one person and 150 of two"),
        (np.arange(20), 2, 1, "20 people of a fold allow 0 of one person and 190 of two"),
        (np.zeros(20, int), 2, 1, "1 people of a fold allow 190 of one person and 0 of two"),
        (np.array([0, 0, 1, 1]), 8, 4, "0 people of a fold|1 people of a fold"),
    ],
)
def test_too_few_people_or_images(labels, count, folds, told):
    with pytest.raises(FacemaeError, match=told):
        generate_pairs(labels, count=count, folds=folds, seed=0)


def test_written_pairs_are_read_back(tmp_path):
    keys = [f"{PEOPLE[label % 4]}{label}/{PEOPLE[label % 4]}{label}_{n + 1:04d}.jpg" for n, label in enumerate(LABELS)]
    faces, pairs = Faces(*keys), generate_pairs(LABELS, count=40, folds=2, seed=1)
    write_pairs(tmp_path / "pairs.txt", pairs, faces)
    assert (tmp_path / "pairs.txt").read_text().startswith("2\t10\n")
    again = read_pairs(tmp_path / "pairs.txt", faces)
    for field in Pairs._fields:
        np.testing.assert_array_equal(getattr(again, field), getattr(pairs, field))
