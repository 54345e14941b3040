import numpy as np
import pytest

from facemae_jax.data.templates import read_templates
from facemae_jax.types import FacemaeError


class Faces:
    """Keys alone."""

    def __init__(self, *keys):
        self._keys = list(keys)

    def keys(self):
        return self._keys


FACES = Faces(*(f"loose_crop/{number}.png" for number in (3, 1, 2, 4, 11)))
MEDIA = ["1.jpg 70 900", "2.jpg 70 900", "3.jpg 70 12", "4.jpg 5 12", "11.jpg 1400 7"]
PAIRS = ["5 70 1", "1400 5 0", "70 1400 0"]


def written(tmp_path, media=MEDIA, pairs=PAIRS):
    paths = tmp_path / "face_tid_mid.txt", tmp_path / "template_pair_label.txt"
    for path, lines in zip(paths, (media, pairs), strict=True):
        path.write_text("\n".join(lines) + "\n")
    return paths


def test_numbers_become_places(tmp_path):
    read = read_templates(*written(tmp_path), FACES)
    assert read.image_n.tolist() == [1, 2, 0, 3, 4]  # by the whole name: 1.jpg is not 11.jpg
    assert read.template_n.tolist() == [1, 1, 1, 0, 2]  # 5, 70, 1400
    assert read.media_n.tolist() == [2, 2, 1, 1, 0]  # 7, 12, 900
    assert read.left_p.tolist() == [0, 2, 1] and read.right_p.tolist() == [1, 0, 2]
    assert read.same_p.tolist() == [True, False, False] and read.same_p.dtype == bool


def test_a_list_as_large_as_many_pairs_is_read_without_loss(tmp_path):
    """More pairs than NumPy reads at once (50,000)."""
    random = np.random.default_rng(0)
    numbers_p3 = np.stack(
        [random.integers(0, 4000, 60_001), random.integers(0, 4000, 60_001), random.integers(0, 2, 60_001)], 1
    )
    media = [f"{n}.jpg {n} {n}" for n in range(4000)]
    pairs = [" ".join(map(str, row)) for row in numbers_p3.tolist()]
    read = read_templates(*written(tmp_path, media, pairs), Faces(*(f"{n}.jpg" for n in range(4000))))
    for name, column in (("left_p", 0), ("right_p", 1), ("same_p", 2)):
        np.testing.assert_array_equal(getattr(read, name), numbers_p3[:, column])


@pytest.mark.parametrize("bad", ["1.jpg 70", "1.jpg 70 x", "1.jpg 70 -1", ""])
def test_a_malformed_line_of_images(tmp_path, bad):
    with pytest.raises(FacemaeError, match=f"mid.txt, line 3: expected 'name template medium', .* found {bad!r}"):
        read_templates(*written(tmp_path, [*MEDIA[:2], bad, *MEDIA[3:]]), FACES)


@pytest.mark.parametrize("bad", ["5 70", "5 70 1 1", "5 70 x", "5 70.5 1", "5 -70 1", "99999999999 5 1", "# 5 70 1"])
@pytest.mark.parametrize("line", [1, 3])
def test_a_malformed_line_of_pairs(tmp_path, bad, line):
    pairs = PAIRS.copy()
    pairs[line - 1] = bad
    told = f"label.txt, line {line}: expected 'template template label', like '1 11065 1', found '{bad}'"
    told = "pair 1: 1 template.s. have no image|pair 3: 1 template.s." if "-70" in bad else told
    with pytest.raises(FacemaeError, match=told):
        read_templates(*written(tmp_path, pairs=pairs), FACES)


def test_two_columns_throughout(tmp_path):
    with pytest.raises(FacemaeError, match="label.txt, line 1: expected 'template template label'"):
        read_templates(*written(tmp_path, pairs=["5 70", "70 5"]), FACES)


def test_labels_are_one_or_zero(tmp_path):
    with pytest.raises(FacemaeError, match="label.txt, pair 2: label 2 is neither 1 .one person. nor 0"):
        read_templates(*written(tmp_path, pairs=[PAIRS[0], "1400 5 2"]), FACES)


@pytest.mark.parametrize(("pair", "lost"), [("71 5 0", "71"), ("5 1401 0", "1401"), ("4 5 0", "4")])
def test_a_pair_of_a_template_without_images(tmp_path, pair, lost):
    with pytest.raises(FacemaeError, match=f"label.txt, pair 3: 1 template.s. have no image in .*mid.txt: {lost};"):
        read_templates(*written(tmp_path, pairs=[*PAIRS[:2], pair]), FACES)


def test_missing_images_and_files(tmp_path):
    with pytest.raises(FacemaeError, match="mid.txt names 2 image.s. that verify.faces does not hold: 2.jpg, 4.jpg;"):
        read_templates(*written(tmp_path), Faces("1.jpg", "3.jpg", "11.jpg"))
    media, pairs = written(tmp_path)
    with pytest.raises(FacemaeError, match="none.txt cannot be read .* give ijbb_template_pair_label.txt"):
        read_templates(media, tmp_path / "none.txt", FACES)
    with pytest.raises(FacemaeError, match="none.txt cannot be read .* give ijbb_face_tid_mid.txt"):
        read_templates(tmp_path / "none.txt", pairs, FACES)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("text", ["", "\n\n"])
def test_empty_lists(tmp_path, text):
    media, pairs = written(tmp_path)
    (tmp_path / "empty.txt").write_text(text)
    with pytest.raises(FacemaeError, match="empty.txt is empty"):
        read_templates(media, tmp_path / "empty.txt", FACES)
    with pytest.raises(FacemaeError, match="empty.txt is empty"):
        read_templates(tmp_path / "empty.txt", pairs, FACES)
