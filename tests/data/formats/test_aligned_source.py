"""Faces of another source, aligned: by a file of points, or by a detector."""

from collections import Counter
from contextlib import closing

import numpy as np
import pytest

from facemae_jax.data.align import TEMPLATE_52, align
from facemae_jax.data.formats.aligned_source import AlignedSource, detected, listed
from facemae_jax.data.formats.folder import FolderSource
from facemae_jax.data.images import BadImage, encode_png
from facemae_jax.types import FacemaeError

POINTS = TEMPLATE_52 * 1.5 + (40, 10)
PIXELS = np.random.default_rng(0).integers(0, 256, (220, 260, 3), np.uint8)


@pytest.fixture
def folder(tmp_path):
    for name in ("ann/1.png", "ann/2.png", "bob/1.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(encode_png(PIXELS))
    return tmp_path


def points_file(folder, *names):
    file = folder / "points.txt"
    file.write_text("".join(f"{name} {' '.join(map(str, POINTS.ravel()))}\n" for name in names))
    return file


def test_listed_images_are_aligned_and_others_are_bad(folder):
    inner = FolderSource(folder)
    with closing(
        AlignedSource(inner, listed(points_file(folder, "ann/1.png", "bob/1.png"), inner), 48, 10**6)
    ) as source:
        assert source.keys == inner.keys and source.ignored is inner.ignored
        assert [source.identity(n) for n in range(3)] == ["ann", "ann", "bob"] and source.where(0) == inner.where(0)
        for n in (0, 2):
            np.testing.assert_array_equal(source.read(n), align(PIXELS, POINTS, 48))
        with pytest.raises(BadImage, match=r"ann/2\.png: points\.txt has no landmarks of it; replace or remove"):
            source.read(1)
    with pytest.raises(FacemaeError, match="names none of the 3 images"):
        listed(points_file(folder, "x/1.png"), inner)


def test_a_detector_sees_red_green_blue(folder):
    (folder / "bob/1.png").write_bytes(encode_png(np.full((30, 30, 3), (255, 0, 0), np.uint8)))
    seen = []

    def detector(image_HWC):
        seen.append(image_HWC)
        return POINTS if len(image_HWC) > 30 else None

    source = AlignedSource(FolderSource(folder), detected(detector), 48, 10**6)
    np.testing.assert_array_equal(source.read(0), align(PIXELS, POINTS, 48))
    with pytest.raises(BadImage, match=r"bob/1\.png: no face was found in it"):
        source.read(2)
    np.testing.assert_array_equal(seen[0], PIXELS)
    np.testing.assert_array_equal(seen[1][0, 0], [255, 0, 0])


class Pixels:
    """A source that gives pixels, and is closed."""

    keys, ignored, closed = ["a/1"], Counter(), False

    def identity(self, position):
        return "a"

    where = identity

    def read(self, position):
        return PIXELS

    def close(self):
        self.closed = True


def test_pixels_need_no_decoding_and_the_source_is_closed_too():
    inner = Pixels()
    source = AlignedSource(inner, lambda position, image: POINTS, 48, 10)
    np.testing.assert_array_equal(source.read(0), align(PIXELS, POINTS, 48))
    source.close()
    assert inner.closed


def test_bad_images_and_bad_points(folder):
    inner = FolderSource(folder)
    with pytest.raises(BadImage, match=r"ann/1\.png: .* more than data\.max_pixels"):
        AlignedSource(inner, lambda position, image: POINTS, 48, 100).read(0)
    with pytest.raises(BadImage, match=r"ann/1\.png: its landmarks lie all in one place"):
        AlignedSource(inner, lambda position, image: np.ones((5, 2)), 48, 10**6).read(0)
