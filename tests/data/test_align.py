"""Alignment against oracles that share nothing with it: a linear least-squares fit, sampling pixel by pixel, crosses drawn where the points are."""

import numpy as np
import pytest
from PIL import Image

from facemae_jax.data.align import TEMPLATE_52, Misplaced, align, similarity, template


def moved(points_n2, angle, scale, shift):
    cos, sin = scale * np.cos(angle), scale * np.sin(angle)
    return points_n2 @ np.array([[cos, sin], [-sin, cos]]) + shift


def fitted(from_n2, to_n2):
    """Least squares for a, b, c, d in x' = a x − b y + c, y' = b x + a y + d."""
    (x, y), one, zero = from_n2.T, np.ones(len(from_n2)), np.zeros(len(from_n2))
    rows = np.concatenate([np.stack([x, -y, one, zero], 1), np.stack([y, x, zero, one], 1)])
    a, b, c, d = np.linalg.lstsq(rows, to_n2.T.ravel(), rcond=None)[0]
    return np.array([[a, -b, c], [b, a, d]])


def test_a_known_transform_is_found():
    for angle, scale, shift in ((0, 1, (0, 0)), (0.4, 3.7, (300, -20)), (3.0, 0.2, (-5, 90))):
        to_52 = moved(TEMPLATE_52, angle, scale, shift)
        found = similarity(TEMPLATE_52, to_52)
        np.testing.assert_allclose(TEMPLATE_52 @ found[:, :2].T + found[:, 2], to_52, atol=1e-9)


def test_the_least_squared_error_without_mirroring():
    random = np.random.default_rng(0)
    for n in range(40):
        from_52, to_52 = random.normal(size=(5, 2)) * 50, random.normal(size=(5, 2)) * 9
        if n % 2:
            to_52 = from_52 * [-1, 1] + random.normal(size=(5, 2))  # nearest to a mirror image
        found = similarity(from_52, to_52)
        np.testing.assert_allclose(found, fitted(from_52, to_52), rtol=1e-8, atol=1e-8)
        assert np.linalg.det(found[:, :2]) > 0


@pytest.mark.parametrize("size", [112, 64, 224])
@pytest.mark.parametrize("resample", [Image.Resampling.BILINEAR, Image.Resampling.BICUBIC])
@pytest.mark.parametrize(("angle", "scale"), [(0, 1), (0.5, 1.7), (-2.0, 2.6), (0.1, 7.3)])
def test_red_crosses_land_on_the_template(size, resample, angle, scale):
    turned_52 = moved(TEMPLATE_52, angle, scale, (0, 0))
    points_52 = turned_52 - turned_52.mean(0) + (430.3, 410.7)
    rows, columns = np.mgrid[:820, :860]
    red = np.zeros(rows.shape)
    for x, y in points_52:  # bars whose ends may lie between two pixels
        for wide, high in ((5 * scale, scale), (scale, 5 * scale)):
            bar = np.clip(wide + 0.5 - abs(columns - x), 0, 1) * np.clip(high + 0.5 - abs(rows - y), 0, 1)
            red = np.maximum(red, bar)
    image = np.rint(np.stack([255 * red, 0 * red, 255 * (1 - red)], -1)).astype(np.uint8)  # on blue
    crop = align(image, points_52, size, resample)
    assert crop.shape == (size, size, 3) and crop.dtype == np.uint8 and crop[..., 1].max() == 0
    rows, columns = np.mgrid[:size, :size]
    for x, y in template(size):
        near = crop[..., 0] * (np.hypot(columns - x, rows - y) < 8 * size / 112).astype(float)
        assert near.max() > 200
        np.testing.assert_allclose(
            [(near * columns).sum() / near.sum(), (near * rows).sum() / near.sum()], [x, y], atol=0.25
        )


def sampled(image_HWC, there_23, size):
    """Bilinear, pixel by pixel; edge pixels reach half a pixel outwards, and beyond that all is black."""
    height, width, _ = image_HWC.shape
    back = np.linalg.inv(np.vstack([there_23, [0, 0, 1]]))
    out = np.zeros((size, size, 3))
    for row in range(size):
        for column in range(size):
            x, y, _ = back @ [column, row, 1]
            if not (-0.5 <= x < width - 0.5 and -0.5 <= y < height - 0.5):
                continue
            left, top = int(np.floor(x)), int(np.floor(y))
            for dy, dx in ((0, 0), (0, 1), (1, 0), (1, 1)):
                weight = (1 - abs(x - left - dx)) * (1 - abs(y - top - dy))
                out[row, column] += (
                    weight * image_HWC[np.clip(top + dy, 0, height - 1), np.clip(left + dx, 0, width - 1)]
                )
    return out


@pytest.mark.parametrize(("angle", "scale", "shift"), [(0, 1, (0, 0)), (0.3, 0.9, (20, -30)), (2.5, 1.4, (60, 70))])
def test_every_pixel_to_the_border(angle, scale, shift):
    image = np.random.default_rng(0).integers(0, 256, (100, 90, 3), np.uint8)
    points_52 = moved(template(40), angle, scale, shift)
    expected = sampled(image, fitted(points_52, template(40)), 40)
    np.testing.assert_allclose(align(image, points_52, 40), expected, atol=1.01)
    assert angle == 0 or (expected.sum(-1) == 0).any()  # a part is outside


def test_points_on_the_template_change_nothing():
    image = np.random.default_rng(0).integers(0, 256, (112, 112, 3), np.uint8)
    for resample in (Image.Resampling.BILINEAR, Image.Resampling.BICUBIC):
        np.testing.assert_array_equal(align(image, TEMPLATE_52, 112, resample), image)
    larger = np.repeat(np.repeat(image, 3, 0), 3, 1)  # each pixel a block; its corner stays where it is
    np.testing.assert_array_equal(align(larger, template(336)), image)
    np.testing.assert_allclose((template(224) + 0.5) / 2, TEMPLATE_52 + 0.5)


def test_a_large_face_is_made_smaller_without_false_patterns():
    image = np.zeros((600, 600, 3), np.uint8)
    image[::2, ::2] = image[1::2, 1::2] = 255
    crop = align(image, moved(TEMPLATE_52, 0.05, 5.3, (10, 10)))
    inside = crop[10:-10, 10:-10].astype(float)
    assert abs(inside.mean() - 127.5) < 3 and inside.std() < 25


@pytest.mark.parametrize(
    ("points", "said"),
    [
        (np.zeros((5, 2)), "all in one place"),
        (np.full((5, 2), np.nan), "no finite number"),
        (TEMPLATE_52 * [1, np.inf], "no finite number"),
        (TEMPLATE_52 + 1000, "outside the image"),
        (TEMPLATE_52 - [0, 200], "outside the image"),
        (TEMPLATE_52 * 1e5, "no size"),
    ],
)
def test_points_of_no_use(points, said):
    with pytest.raises(Misplaced, match=said):
        align(np.zeros((50, 60, 3), np.uint8), points)
