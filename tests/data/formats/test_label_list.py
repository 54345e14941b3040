import numpy as np
import pytest

from facemae_jax.data.formats.label_list import find_list, labels_from
from facemae_jax.data.formats.lazy_keys import Texts
from facemae_jax.types import FacemaeError


def texts(*keys: str) -> Texts:
    made = Texts()
    for key in keys:
        made.append(key)
    return made


def said(path, text: str, *keys: str):
    path.write_text(text, encoding="utf-8")
    labels_n, known = labels_from(path, texts(*keys))
    assert labels_n.dtype == np.int32
    return labels_n.tolist(), list(known)


def test_labels_with_keys_in_any_order_of_lines(tmp_path):
    file = tmp_path / "labels.txt"
    assert said(file, "c 3\na 1\n\nb 1\n", "a", "b", "c") == ([1, 1, 3], [])
    assert said(file, "a b.jpg\tada\nc,bo\n", "a b.jpg", "c") == ([0, 1], ["ada", "bo"])


def test_labels_alone_follow_numbers_where_keys_are_numbers(tmp_path):
    file, keys = tmp_path / "x_labels.txt", [str(n) for n in sorted(map(str, range(12)))]
    labels, known = said(file, "".join(f"{n:.18e}\n" for n in range(0, 24, 2)), *keys)  # as numpy.savetxt writes them
    assert labels == [2 * int(key) for key in keys] and not known
    assert said(file, "7\n5\n", "10a", "9a") == ([7, 5], [])


def test_numpy_arrays(tmp_path):
    np.save(tmp_path / "labels.npy", np.array([4, 5, 6]))
    labels_n, _ = labels_from(tmp_path / "labels.npy", texts("0", "10", "2"))
    assert labels_n.tolist() == [4, 6, 5]
    for wrong, match in (
        (np.array([{}, 1], object), "no plain array"),
        (np.zeros((2, 2), int), r"array int64\[2, 2\]"),
        (np.zeros(3), "array float64"),
    ):
        np.save(tmp_path / "labels.npy", wrong, allow_pickle=True)
        with pytest.raises(FacemaeError, match=match):
            labels_from(tmp_path / "labels.npy", texts("0", "10", "2"))


@pytest.mark.parametrize(
    "text, match",
    [
        ("a 1\nb\n", r"some lines have a key and some have none \(line 2\)"),
        ("a\nb 1\n", r"some lines have a key and some have none \(line 2\)"),
        ("a 1\nc 2\n", "the key 'c' there and the key 'b' among the images are not the same"),
        ("a 1\nb 2\nc 3\n", r"the key 'c' there and the key '\(none\)' among"),
        ("a 1\n", "has 1 labels for 2 images"),
        ("1\n", "has 1 labels for 2 images"),
        ("1\n2\n3\n", "has 3 labels for 2 images"),
        ("1\nada\n", "some labels are whole numbers and some are not"),
        ("0\nada\n", "some labels are whole numbers and some are not"),
        ("1\nnan\n", "some labels are whole numbers and some are not"),
        ("1\n-1\n", "labels go from -1 to 1"),
        ("", "has 0 labels for 2 images"),
    ],
)
def test_lists_that_do_not_fit(tmp_path, text, match):
    with pytest.raises(FacemaeError, match=rf"labels\.txt: {match}"):
        said(tmp_path / "labels.txt", text, "a", "b")


def test_which_list(tmp_path):
    images = tmp_path / "data.mdb"
    assert find_list(images, tmp_path) is None
    (tmp_path / "notes.txt").touch()
    (tmp_path / "casia_labels.txt").touch()
    assert find_list(images, tmp_path) == tmp_path / "casia_labels.txt"
    with pytest.raises(FacemaeError, match=r"its labels are in casia_labels\.txt beside it; name the folder"):
        find_list(images, images)
    (tmp_path / "label.npy").touch()
    with pytest.raises(FacemaeError, match=r"several lists of labels \(casia_labels\.txt, label\.npy\)"):
        find_list(images, tmp_path)
