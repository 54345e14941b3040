import numpy as np
import pytest

from facemae_jax.data.labelled_pairs import read_one_line_pairs, read_two_line_pairs
from facemae_jax.types import FacemaeError


class Faces:
    """Keys alone."""

    def __init__(self, *keys):
        self._keys = list(keys)

    def keys(self):
        return self._keys


PEOPLE = [f"Person_{letter}" for letter in "ABCDEFGHIJKLMNOPQRST"]
FACES = Faces(*(f"aligned images/{name}_{number:04d}.png" for name in PEOPLE for number in (1, 2)))


def two_lines(labels):
    """20 pairs of one person, labelled as told, and 20 of two; positives first, as published."""
    lines = []
    for n, label in enumerate(labels):
        lines += [f"{PEOPLE[n]}_0001.jpg {label}", f"{PEOPLE[n]}_0002.jpg {label}"]
    for n in range(len(labels)):
        lines += [f"{PEOPLE[n]}_0001.jpg 0", f"{PEOPLE[(n + 1) % 20]}_0002.jpg 0"]
    return lines


def written(tmp_path, lines):
    path = tmp_path / "list.txt"
    path.write_text("\n".join(lines) + "\n")
    return path


def test_calfw_labels_are_folds_of_the_pairs_of_one_person(tmp_path):
    labels = np.repeat(np.arange(1, 11), 2)
    pairs = read_two_line_pairs(written(tmp_path, two_lines(labels)), FACES)
    assert pairs.same_n.tolist() == [True] * 20 + [False] * 20
    assert pairs.left_n.tolist() == [2 * n for n in range(20)] * 2
    assert pairs.right_n.tolist() == [2 * n + 1 for n in range(20)] + [2 * (n + 1) % 40 + 1 for n in range(20)]
    assert pairs.fold_n.tolist() == [*(labels - 1), *(labels - 1)]
    moved = np.roll(labels, 3)  # the label says it, not the order
    again = read_two_line_pairs(written(tmp_path, two_lines(moved)), FACES)
    assert again.fold_n[:20].tolist() == (moved - 1).tolist()
    assert again.fold_n[20:].tolist() == (labels - 1).tolist()


def test_cplfw_has_one_label_and_ten_folds_in_order(tmp_path):
    pairs = read_two_line_pairs(written(tmp_path, two_lines([1] * 20)), FACES)
    assert pairs.same_n.tolist() == [True] * 20 + [False] * 20
    assert pairs.fold_n.tolist() == np.repeat(np.arange(10), 2).tolist() * 2


@pytest.mark.parametrize(
    ("line", "text", "told"),
    [
        (3, "Person_B_0001.jpg", "line 3: expected 'name label', found 'Person_B_0001.jpg'"),
        (3, "", "line 3: expected 'name label'"),
        (4, "Person_B_0002.jpg -1", "line 4: expected 'name label'"),
        (4, "Person_B_0002.jpg 0", "line 4: label 0 beside label 1 on the line before"),
        (40, "Nobody_0001.jpg 1", "names 1 image.s. that verify.faces does not hold: Nobody_0001.jpg"),
    ],
)
def test_what_is_wrong_is_told_with_its_line(tmp_path, line, text, told):
    lines = two_lines([1] * 20)
    lines[line - 1] = text
    with pytest.raises(FacemaeError, match=f"list.txt.*{told}"):
        read_two_line_pairs(written(tmp_path, lines), FACES)


@pytest.mark.parametrize("kept", [79, 78, 40])
def test_a_torn_list(tmp_path, kept):
    with pytest.raises(FacemaeError, match=f"{kept} lines, two for each pair, .*get the whole file again"):
        read_two_line_pairs(written(tmp_path, two_lines([1] * 20)[:kept]), FACES)


def test_an_empty_list(tmp_path):
    with pytest.raises(FacemaeError, match="0 pair.s. of one person and 0 of two cannot be cut into 10 folds"):
        read_two_line_pairs(written(tmp_path, []), FACES)


def test_one_line_a_pair(tmp_path):
    lines = [f"{name}_0001.jpg {name}_0002.jpg 1" for name in PEOPLE[:10]]
    lines += [f"{PEOPLE[n]}_0001.jpg {PEOPLE[n + 1]}_0002.jpg {0 if n % 2 else -1}" for n in range(10)]
    pairs = read_one_line_pairs(written(tmp_path, lines), FACES)
    assert pairs.left_n.tolist() == [2 * n for n in range(10)] * 2
    assert pairs.right_n.tolist() == [2 * n + 1 for n in range(10)] + [2 * n + 3 for n in range(10)]
    assert pairs.same_n.tolist() == [True] * 10 + [False] * 10 and pairs.fold_n.tolist() == [*range(10)] * 2
    for bad in ("Person_A_0001.jpg Person_B_0001.jpg 2", "Person_A_0001.jpg 1", ""):
        with pytest.raises(FacemaeError, match=f"list.txt, line 12: expected 'left right label' .*found {bad!r}"):
            read_one_line_pairs(written(tmp_path, [*lines[:11], bad, *lines[12:]]), FACES)
    with pytest.raises(FacemaeError, match="line 13: Person_C may be either"):
        read_one_line_pairs(
            written(tmp_path, [*lines[:12], "Person_C Person_A_0001.jpg 0", *lines[13:]]),
            Faces(*FACES.keys(), "x/Person_C.jpg", "y/Person_C.png"),
        )
