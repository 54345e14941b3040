import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from facemae_jax.keys import image_keys
from facemae_jax.models.masking import (
    grey,
    hidden_patches,
    hidden_pixels,
    mix_patches,
    nearness_to_middle,
    paste,
    patch_owners,
    patchify,
    random_mask,
    unpatchify,
    visible_count,
)

KEY = jax.random.key(7)


def numbered(height, width):
    """Every number of an image is its place: 3·(width·row + column) + colour."""
    return np.arange(height * width * 3, dtype=np.float32).reshape(1, height, width, 3)


def test_order_of_patches_and_of_the_numbers_inside():
    # 4 × 6 pixels in 2 × 2 patches: two rows of three.
    patches = np.asarray(patchify(numbered(4, 6), 2))
    assert patches.shape == (1, 6, 12)
    first = [0, 1, 2, 3, 4, 5, 18, 19, 20, 21, 22, 23]  # two pixels of the first row, two below them
    np.testing.assert_array_equal(patches[0, 0], first)
    np.testing.assert_array_equal(patches[0, 1], np.add(first, 6))  # the next patch is to the right
    np.testing.assert_array_equal(patches[0, 3], np.add(first, 36))  # the fourth begins the second row


@pytest.mark.parametrize(("size", "patch"), [(8, 2), (12, 4), (6, 6), (5, 1)])
def test_joining_undoes_cutting(size, patch):
    images = np.random.default_rng(0).normal(size=(3, size, size, 3)).astype(np.float32)
    patches = patchify(images, patch)
    assert patches.shape == (3, (size // patch) ** 2, patch * patch * 3)
    np.testing.assert_array_equal(unpatchify(patches, patch), images)


@pytest.mark.parametrize(
    ("patches", "ratio", "visible"), [(100, 0.9, 10), (25, 0.8, 5), (196, 0.75, 49), (49, 0.75, 12), (100, 0.0, 100)]
)
def test_visible_patches_are_rounded(patches, ratio, visible):
    # int(100 · (1 − 0.9)) is 9 and int(25 · (1 − 0.8)) is 4.
    assert visible_count(patches, ratio) == visible
    assert isinstance(visible_count(patches, ratio), int)


@pytest.mark.parametrize("visible", [1, 5, 16])
def test_mask_is_ascending_distinct_and_complete(visible):
    mask = random_mask(image_keys(KEY, 50), patches=16, visible=visible)
    assert mask.visible_BV.shape == (50, visible) and mask.visible_BV.dtype == np.int32
    assert mask.hidden_BN.shape == (50, 16) and mask.hidden_BN.dtype == bool
    for seen, hidden in zip(np.asarray(mask.visible_BV), np.asarray(mask.hidden_BN), strict=True):
        assert (np.diff(seen) > 0).all()
        assert sorted([*seen, *np.flatnonzero(hidden)]) == list(range(16))


def test_mask_depends_on_its_own_key_alone():
    keys = image_keys(KEY, 8)
    together = random_mask(keys, patches=16, visible=4)
    for row in range(8):
        alone = random_mask(keys[row : row + 1], patches=16, visible=4)
        np.testing.assert_array_equal(alone.visible_BV[0], together.visible_BV[row])
    np.testing.assert_array_equal(random_mask(keys[::-1], patches=16, visible=4).visible_BV, together.visible_BV[::-1])
    assert len({tuple(row) for row in np.asarray(together.visible_BV).tolist()}) > 6  # and on the key


def test_masks_are_uniform():
    count, patches, visible = 4000, 16, 4
    mask = random_mask(image_keys(KEY, count), patches=patches, visible=visible)
    seen = ~np.asarray(mask.hidden_BN)
    # Binomial counts within five standard deviations: of each patch, and of each pair.
    single, pair = visible / patches, visible * (visible - 1) / (patches * (patches - 1))
    assert np.abs(seen.sum(0) - count * single).max() < 5 * (count * single * (1 - single)) ** 0.5
    pairs = [(seen[:, a] & seen[:, b]).sum() for a, b in itertools.combinations(range(patches), 2)]
    assert np.abs(np.array(pairs) - count * pair).max() < 5 * (count * pair * (1 - pair)) ** 0.5


def test_focus_hides_the_middle_of_the_face_more_often_and_knows_only_positions():
    count, patches, visible = 3000, 49, 12
    nearness = nearness_to_middle(patches)
    assert (
        nearness.shape == (49,) and nearness.argmax() == 4 * 7 + 3 and 0 < nearness.min() < 0.05 < 0.9 < nearness.max()
    )
    keys = image_keys(KEY, count)
    shares = []
    for focus in (0.0, 1.0, 4.0):
        mask = random_mask(keys, patches=patches, visible=visible, focus=focus)
        assert mask.visible_BV.shape == (count, visible) and (np.diff(mask.visible_BV, axis=1) > 0).all()
        np.testing.assert_array_equal(mask.hidden_BN.sum(1), patches - visible)
        shares.append(1 - np.asarray(mask.hidden_BN).mean(0))
    near, far = nearness > 0.8, nearness < 0.1
    uniform, little, much = ((share[near].mean(), share[far].mean()) for share in shares)
    assert uniform == pytest.approx((visible / patches, visible / patches), abs=0.01)
    assert much[0] < 0.3 * little[0] < 0.3 * uniform[0] and uniform[1] < little[1] < much[1]
    together = random_mask(keys[:8], patches=patches, visible=visible, focus=4.0)
    alone = random_mask(keys[5:6], patches=patches, visible=visible, focus=4.0)
    np.testing.assert_array_equal(alone.visible_BV[0], together.visible_BV[5])


def test_a_focused_draw_has_the_probabilities_of_its_weights():
    """One visible patch: its probability is exp(−focus · nearness) over their sum."""
    count, focus = 20_000, 2.0
    weights = np.exp(-focus * nearness_to_middle(9))
    first = np.asarray(random_mask(image_keys(KEY, count), patches=9, visible=1, focus=focus).visible_BV)[:, 0]
    expected = count * weights / weights.sum()
    assert (np.abs(np.bincount(first, minlength=9) - expected) < 5 * expected**0.5).all()


def test_hidden_is_what_is_not_listed():
    hidden = hidden_patches(np.array([[0, 3], [1, 2]], np.int32), 4)
    np.testing.assert_array_equal(hidden, [[False, True, True, False], [True, False, False, True]])


def test_mask_on_the_pixel_grid():
    pixels = hidden_pixels(np.array([[False, True, True, False]]), 2)
    expected = [[0, 0, 1, 1], [0, 0, 1, 1], [1, 1, 0, 0], [1, 1, 0, 0]]
    assert pixels.shape == (1, 4, 4, 1)
    np.testing.assert_array_equal(pixels[0, ..., 0], expected)


def test_paste_and_grey_agree_with_the_patches():
    images, painted = numbered(6, 6) + 1, -numbered(6, 6) - 1  # no number is 0
    hidden = np.array([[True, False, True, False, False, True, False, True, True]])
    pasted = np.asarray(patchify(paste(painted, images, hidden, 2), 2))
    shown = np.asarray(patchify(grey(images, hidden, 2), 2))
    for patch in range(9):
        source = painted if hidden[0, patch] else images
        np.testing.assert_array_equal(pasted[0, patch], patchify(source, 2)[0, patch])
        expected = np.zeros(12) if hidden[0, patch] else patchify(images, 2)[0, patch]
        np.testing.assert_array_equal(shown[0, patch], expected)


def test_owners_share_the_visible_patches_equally_and_hidden_ones_are_ones_own():
    keys_B = jax.random.split(jax.random.key(3), 40)
    mask = random_mask(keys_B, patches=36, visible=10)
    owner_BN = np.asarray(patch_owners(keys_B, mask.visible_BV, patches=36, people=3))
    assert not owner_BN[np.asarray(mask.hidden_BN)].any()
    seen_BV = np.take_along_axis(owner_BN, np.asarray(mask.visible_BV), axis=1)
    assert all(np.bincount(row, minlength=3).tolist() == [4, 3, 3] for row in seen_BV)
    assert len({row.tobytes() for row in seen_BV}) > 35  # whose is which follows from the key


def test_mixed_patches_come_from_their_owners():
    images_BMHWC = np.random.default_rng(0).integers(0, 256, (2, 3, 8, 8, 3), np.uint8)
    owner_BN = np.array([[0, 1, 2, 1], [2, 2, 0, 0]])
    mixed_BHWC = np.asarray(mix_patches(jnp.asarray(images_BMHWC), jnp.asarray(owner_BN), 4))
    for b in range(2):
        for n in range(4):
            rows, columns = slice(4 * (n // 2), 4 * (n // 2) + 4), slice(4 * (n % 2), 4 * (n % 2) + 4)
            np.testing.assert_array_equal(mixed_BHWC[b, rows, columns], images_BMHWC[b, owner_BN[b, n], rows, columns])
