import json

import jax
import numpy as np
import pytest

from facemae_jax.audit import copy_detector as c
from facemae_jax.audit.contributors import Contributors
from facemae_jax.data.images import decode_record, encode_jpeg
from facemae_jax.data.synthetic import render
from facemae_jax.models.masking import paste, random_mask
from facemae_jax.types import FacemaeError

PEOPLE, IMAGES, SIZE, PATCH, VISIBLE = 12, 3, 112, 8, 49
LABELS_G = np.repeat(np.arange(PEOPLE), IMAGES)
COUNT = len(LABELS_G)


def jpeg(images_nHWC):
    return np.stack([decode_record(encode_jpeg(image_HWC, 95)) for image_HWC in images_nHWC])


@pytest.fixture(scope="module")
def faces():
    return np.stack([render(n // IMAGES, n % IMAGES, seed=3, size=SIZE) for n in range(COUNT)])


@pytest.fixture(scope="module")
def painted(faces):
    """A painter that sees where things are and nothing exactly: large pixels, in other light."""
    coarse = faces.reshape(COUNT, 7, 16, 7, 16, 3).mean(axis=(2, 4)).repeat(16, axis=1).repeat(16, axis=2)
    return np.clip(0.85 * coarse + 30, 0, 255).astype(np.uint8)


@pytest.fixture(scope="module")
def pasted(faces, painted):
    mask = random_mask(jax.random.split(jax.random.key(0), COUNT), patches=196, visible=VISIBLE)
    return np.asarray(paste(painted, faces, mask.hidden_BN, PATCH)), ~np.asarray(mask.hidden_BN)


def test_a_paste_composition_shows_a_quarter(faces, pasted):
    images, visible_nN = pasted
    found = c.visible_share(jpeg(images), faces, LABELS_G, patch=PATCH)
    assert found["mean"] == pytest.approx(0.25, abs=0.01)
    assert all(abs(value - 0.25) < 0.02 for value in found["quantiles"].values())
    low, high = found["interval"]
    assert low <= found["mean"] <= high and high - low < 0.02
    assert found["chance"]["mean"] < 0.01 and found["excess"]["interval"][0] > 0.23
    exact = c.copied_patches(images, faces, patch=PATCH, tolerance=0)
    np.testing.assert_array_equal(exact, visible_nN)  # patches are numbered as masks number them
    assert json.loads(json.dumps(found)) == found


def test_a_full_composition_shows_next_to_nothing(faces, painted):
    found = c.visible_share(jpeg(painted), faces, LABELS_G, patch=PATCH)
    assert found["mean"] < 0.02 and found["quantiles"]["0.95"] < 0.05


def test_the_source_itself_is_all_copy_and_the_tolerance_covers_jpeg(faces):
    again = jpeg(faces)
    assert (again != faces).mean() > 0.5
    assert c.visible_share(again, faces, LABELS_G, patch=PATCH)["mean"] > 0.99
    assert c.visible_share(again, faces, LABELS_G, patch=PATCH, tolerance=0)["mean"] < 0.01


def test_flat_regions_count_as_chance():
    """Half of every image is the same grey: no copy, and the control says so."""
    random = np.random.default_rng(0)
    sources = random.integers(0, 256, (COUNT, 32, 32, 3), np.uint8)
    protected = random.integers(0, 256, (COUNT, 32, 32, 3), np.uint8)
    sources[:, :16], protected[:, :16] = 100, 101
    found = c.visible_share(protected, sources, LABELS_G, patch=8)
    assert found["mean"] == found["chance"]["mean"] == 0.5
    assert found["excess"] == {"mean": 0.0, "interval": [0.0, 0.0]}


def test_the_control_is_another_person():
    """Images of one person are alike here; were they compared with each other, the control would read 1."""
    sources = np.broadcast_to((LABELS_G * 20)[:, None, None, None], (COUNT, 16, 16, 3)).astype(np.uint8)
    for seed in range(3):
        found = c.visible_share(sources, sources, LABELS_G, patch=8, seed=seed)
        assert found["mean"] == 1.0 and found["chance"]["mean"] == 0.0


def test_a_patch_counts_up_to_the_tolerance_and_in_place():
    left = np.zeros((1, 16, 16, 3), np.uint8)
    right = left.copy()
    right[0, :8, 8:] = 4  # patch 1: just within
    right[0, 8:, :8] = 5  # patch 2: beyond
    right[0, 8:, 8:][0, 0] = 255  # patch 3: one pixel of 64, 3.98 on average
    found = c.copied_patches(left, right, patch=8, tolerance=4)
    np.testing.assert_array_equal(found, [[True, True, False, True]])
    np.testing.assert_array_equal(c.copied_patches(right, left, patch=8, tolerance=4), found)  # no wrap-around


def test_blocks_do_not_change_the_result(faces, pasted, monkeypatch):
    images, _ = pasted
    whole = c.copied_patches(images, faces, patch=PATCH)
    monkeypatch.setattr(c, "BLOCK", 5)
    np.testing.assert_array_equal(c.copied_patches(images, faces, patch=PATCH), whole)


def test_images_that_cannot_be_compared_are_refused(faces):
    with pytest.raises(FacemaeError, match="patches of 9 pixels"):
        c.visible_share(faces, faces, LABELS_G, patch=9)
    with pytest.raises(FacemaeError, match="of one size that the patch divides"):
        c.copied_patches(faces, faces[:, ::2, ::2], patch=8)
    with pytest.raises(FacemaeError, match="of 1 people"):
        c.visible_share(faces, faces, np.zeros(COUNT, int), patch=8)


def nearest(protected, faces, **more):
    return c.nearest_pixel(
        c.thumbnails(protected), c.thumbnails(faces), sources_Q=np.arange(COUNT), labels_G=LABELS_G, **more
    )


def test_copies_are_found_by_their_pixels(faces, pasted, painted):
    """Both compositions of this painter keep the layout of the picture, and that is enough (less so where the light changed)."""
    for images, least in ((faces, 1.0), (jpeg(faces), 1.0), (jpeg(pasted[0]), 0.8), (painted, 0.5)):
        found = nearest(images, faces)
        assert found["rank"]["1"] >= least and found["ceiling"]["rank"]["1"] == 1.0
        assert found["chance"]["rank"]["1"] == pytest.approx(1 / COUNT)
    assert nearest(faces, faces)["rank"] == {"1": 1.0, "5": 1.0, "10": 1.0}
    assert json.loads(json.dumps(found)) == found


def test_unrelated_images_are_found_by_chance():
    """Two thousand queries against the same originals, drawn from the same distribution."""
    random = np.random.default_rng(0)
    gallery_GE = random.normal(size=(400, 64)).astype(np.float32)
    queries_QE = random.normal(size=(2000, 64)).astype(np.float32)
    found = c.nearest_pixel(queries_QE, gallery_GE, sources_Q=np.arange(2000) % 400, labels_G=np.arange(400) // 4)
    for at, rate in found["rank"].items():
        blind = int(at) / 400
        assert found["chance"]["rank"][at] == pytest.approx(blind)
        assert abs(rate - blind) < 4 * (blind * (1 - blind) / 2000) ** 0.5
    assert found["interval"]["rank"]["10"][0] < 10 / 400 < found["interval"]["rank"]["10"][1]


def test_ranks_are_those_of_squared_distances():
    random = np.random.default_rng(1)
    gallery_GE = 1000 + random.random((50, 16)).astype(np.float32) * random.random((50, 1)).astype(np.float32)
    queries_QE = 1000 + random.random((50, 16)).astype(np.float32)
    gap_QG = ((queries_QE[:, None].astype(np.float64) - gallery_GE[None]) ** 2).sum(axis=2)
    rank_Q = 1 + (gap_QG < np.diag(gap_QG)[:, None]).sum(axis=1)
    found = c.nearest_pixel(queries_QE, gallery_GE, sources_Q=np.arange(50), labels_G=np.arange(50) // 2)
    assert found["rank"] == {at: float(np.mean(rank_Q <= int(at))) for at in ("1", "5", "10")}
    assert found["median_rank"] == np.median(rank_Q)


def test_a_thumbnail_is_a_box_average_in_grey():
    image = np.zeros((2, 8, 8, 3), np.uint8)
    image[1, :4, :4] = 200
    image[1, 4:, 4:] = np.arange(4)[:, None, None] * 40
    small = c.thumbnails(image, side=2)
    assert small.shape == (2, 4) and small.dtype == np.float32
    np.testing.assert_allclose(small[1], np.array([200, 0, 0, 60]) / 255, atol=1e-6)


def test_a_copy_of_an_image_that_was_used_is_a_copy():
    rows = np.random.default_rng(0).random((12, 64)).astype(np.float32)
    labels_G, sources_Q, used_Q = np.repeat(np.arange(6), 2), np.arange(0, 12, 2), np.roll(np.arange(0, 12, 2), 1)
    others = Contributors(used_Q[:, None], labels_G[used_Q][:, None])
    alone = c.nearest_pixel(rows[used_Q], rows, sources_Q=sources_Q, labels_G=labels_G)
    found = c.nearest_pixel(rows[used_Q], rows, sources_Q=sources_Q, labels_G=labels_G, others=others)
    assert alone["rank"]["1"] == 0.0 and found["rank"]["1"] == 1.0
