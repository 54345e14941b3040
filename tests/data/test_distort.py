import dataclasses
import pickle

import numpy as np
import pytest

from facemae_jax.data.distort import NAMES, Distortion
from facemae_jax.types import FacemaeError

GREY = 128
CHANGES = dict(mask_ratio=0.5, patch=4, blur=2.0, pixelate=16, noise=0.1, dppix_epsilon=9.0, dppix_m=1, seed=1)


def photograph(size=32, seed=0):
    """Random pixels, none of them grey, so that a painted patch cannot be taken for an untouched one."""
    image = np.random.default_rng(seed).integers(0, 256, (size, size, 3), np.uint8)
    image[image == GREY] = GREY + 1
    return image


def visible_patches(distorted, image, patch):
    """Patch numbers that are untouched; every other patch must be grey throughout."""
    side = len(image) // patch
    found = []
    for number in range(side**2):
        rows, columns = (slice(k * patch, (k + 1) * patch) for k in divmod(number, side))
        if np.array_equal(distorted[rows, columns], image[rows, columns]):
            found.append(number)
        else:
            assert (distorted[rows, columns] == GREY).all()
    return found


@pytest.mark.parametrize("name", NAMES)
def test_fixed_by_image_and_key_alone(name):
    image, other = photograph(), photograph(seed=9)
    kept = image.copy()
    first = Distortion(name, 32)(image, "ada/1.jpg")
    again = Distortion(name, 32)
    again(other, "bo/2.jpg")  # what was distorted before does not matter
    np.testing.assert_array_equal(again(image, "ada/1.jpg"), first)
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(again))(image, "ada/1.jpg"), first)  # as workers get it
    assert first.dtype == np.uint8 and first.shape == image.shape
    np.testing.assert_array_equal(image, kept)
    by_key = not np.array_equal(again(image, "ada/2.jpg"), first)
    assert by_key == (name in ("mask", "noise", "dppix"))


def test_original_is_untouched():
    np.testing.assert_array_equal(Distortion("original", 32)(photograph(), "k"), photograph())


@pytest.mark.parametrize(("ratio", "expected"), [(0.75, 4), (0.5, 8), (0.9, 2), (0.0, 16)])
def test_mask_leaves_its_share_of_whole_patches(ratio, expected):
    image = photograph()
    for key in ("a", "b", "c"):
        masked = Distortion("mask", 32, mask_ratio=ratio, patch=8)(image, key)
        assert len(visible_patches(masked, image, 8)) == expected


def test_mask_prefers_no_patch():
    image, distortion = photograph(), Distortion("mask", 32, mask_ratio=0.75, patch=8)
    seen = np.zeros(16, int)
    for key in range(400):
        seen[visible_patches(distortion(image, str(key)), image, 8)] += 1
    # Binomial(400, 1/4): mean 100, standard deviation 8.7; 16 patches stay within 4.5 of them.
    assert seen.sum() == 1600 and abs(seen - 100).max() < 39


@pytest.mark.parametrize(("size", "sigma"), [(112, 4.0), (56, 2.0), (28, 1.0)])
@pytest.mark.parametrize("axis", [0, 1])
def test_blur_is_gaussian_and_scales_with_the_image(size, sigma, axis):
    edge = np.zeros((size, size, 3), np.uint8)
    edge[:, size // 2 :] = 200
    expected = 200 * np.cumsum(kernel(sigma))  # a step becomes the running sum of the kernel
    edge, middle = (
        (edge.swapaxes(0, 1), lambda image: image[:, 3, 1]) if axis == 0 else (edge, lambda image: image[3, :, 1])
    )
    profile = middle(Distortion("blur", size, blur=4.0)(np.ascontiguousarray(edge), "k")).astype(int)
    radius, middle_of_edge = len(expected) // 2, size // 2
    touched = slice(middle_of_edge - radius, middle_of_edge + radius + 1)
    np.testing.assert_allclose(profile[touched], expected, rtol=0, atol=0.501)  # rounded to bytes
    assert (profile[: touched.start] == 0).all() and (profile[touched.stop :] == 200).all()


def kernel(sigma):
    """Normalised Gaussian, cut at three σ."""
    at = np.arange(-round(3 * sigma), round(3 * sigma) + 1)
    weights = np.exp(-0.5 * (at / sigma) ** 2)
    return weights / weights.sum()


def test_pixelate_takes_the_mean_of_each_block():
    image = np.zeros((28, 28, 3), np.uint8)  # 8 pixels at 112 are 2 here
    image[0:2, 0:2, 0] = [[0, 10], [20, 31]]  # 15.25
    image[2:4, 26:28] = 77
    image[27, 27] = 200  # 50, alone in its block
    pixelated = Distortion("pixelate", 28, pixelate=8)(image, "k")
    assert (pixelated[0:2, 0:2, 0] == 15).all() and (pixelated[0:2, 0:2, 1:] == 0).all()
    assert (pixelated[2:4, 26:28] == 77).all() and (pixelated[26:28, 26:28] == 50).all()
    assert pixelated.sum() == 4 * 15 + 3 * 4 * 77 + 3 * 4 * 50


def test_pixelate_at_112_and_where_the_last_block_is_smaller():
    image = photograph(112)
    pixelated = Distortion("pixelate", 112, pixelate=8)(image, "k")
    means = image.reshape(14, 8, 14, 8, 3).mean(axis=(1, 3))
    np.testing.assert_array_equal(pixelated, np.round(means).astype(np.uint8).repeat(8, 0).repeat(8, 1))
    image = photograph(40)  # blocks of 3: thirteen of them, and one row left
    pixelated = Distortion("pixelate", 40, pixelate=8)(image, "k")
    np.testing.assert_array_equal(pixelated[39, 39], image[39, 39])
    np.testing.assert_array_equal(pixelated[39, 0], np.round(image[39, 0:3].mean(axis=0)))


def test_noise_has_its_sigma():
    grey = np.full((112, 112, 3), 127, np.uint8)
    drawn = Distortion("noise", 112, noise=0.2)(grey, "k").astype(float) - 127
    expected = np.hypot(0.2 * 127.5, 12**-0.5)  # and the variance of rounding
    count = drawn.size
    assert abs(drawn.mean()) < 4 * expected / count**0.5
    assert abs(drawn.std() - expected) < 4 * expected / (2 * count) ** 0.5
    other = Distortion("noise", 112, noise=0.2)(grey, "l").astype(float) - 127
    assert abs(np.corrcoef(drawn.ravel(), other.ravel())[0, 1]) < 4 / count**0.5


def test_noise_stays_within_bytes():
    white = np.full((16, 16, 3), 255, np.uint8)
    noisy = Distortion("noise", 16, noise=0.5)(white, "k")
    assert (
        noisy.min() > 30 and 0.4 < (noisy == 255).mean() < 0.6
    )  # what would exceed 255 is 255, and does not wrap around


def laplace_scale(noisy, clean):
    """Maximum-likelihood scale of Laplace noise: the mean distance."""
    return np.abs(noisy.astype(float) - clean).mean()


@pytest.mark.parametrize(("m", "epsilon"), [(1, 20.0), (2, 20.0), (1, 40.0)])
def test_private_pixels_have_the_noise_of_their_epsilon(m, epsilon):
    """Three colours share ε: the scale is 3·255·m/(b²·ε), here with blocks of 2·2 pixels."""
    grey = np.full((112, 112, 3), 127, np.uint8)
    distortion = Distortion("dppix", 112, pixelate=2, dppix_m=m, dppix_epsilon=epsilon)
    drawn = np.stack([distortion(grey, str(key))[::2, ::2] for key in range(4)])
    expected = 3 * 255 * m / (2**2 * epsilon)  # 9.6, 19.1, 4.8: far enough from 0 and 255
    assert (
        abs(laplace_scale(drawn, 127) / expected - 1) < 5 / drawn.size**0.5
    )  # the mean of n has the deviation scale/√n
    assert abs(drawn.mean() - 127) < 5 * 2**0.5 * expected / drawn.size**0.5


def test_private_pixels_of_smaller_blocks_have_more_noise():
    """A block of 1·1 pixels at the edge moves nine times as far as one of 3·3 when m pixels change."""
    grey = np.full((40, 40, 3), 127, np.uint8)  # blocks of 3: thirteen of them, and one row left
    distortion = Distortion("dppix", 40, pixelate=8, dppix_m=1, dppix_epsilon=45.0)
    drawn = np.stack([distortion(grey, str(key)) for key in range(400)])
    whole, corner = laplace_scale(drawn[:, 0:39:3, 0:39:3], 127), laplace_scale(drawn[:, 39, 39], 127)
    assert abs(whole / (17 / 9) - 1) < 0.02 and abs(corner / 17 - 1) < 5 / 1200**0.5


def test_private_pixels_keep_block_means_and_bytes():
    image = photograph(112)
    means = image.reshape(14, 8, 14, 8, 3).mean(axis=(1, 3)).repeat(8, 0).repeat(8, 1)
    weak = Distortion("dppix", 112, dppix_epsilon=1e7)(image, "k")
    np.testing.assert_allclose(weak, means, rtol=0, atol=0.501)  # rounded to bytes
    white = np.full((112, 112, 3), 255, np.uint8)
    noisy = Distortion("dppix", 112, dppix_epsilon=20.0, dppix_m=4)(white, "k")
    assert 0.4 < (noisy == 255).mean() < 0.6 and noisy.min() > 100  # clipped, not wrapped around
    assert (noisy == noisy[::8, ::8].repeat(8, 0).repeat(8, 1)).all()  # one value per block
    assert not np.array_equal(noisy, Distortion("dppix", 112, dppix_epsilon=20.0, dppix_m=4)(white, "l"))


def test_the_likelihood_of_private_pixels_moves_by_epsilon():
    """The definition, where m pixels turn from black to white in several blocks: log p(y | x) − log p(y | x′) reaches ε."""
    epsilon, m, block = 35.0, 3, 4  # so large that next to nothing is clipped
    image = np.zeros((28, 28, 3), np.uint8)  # 16 at 112 are 4 here
    neighbour = image.copy()
    for row, column in [(0, 0), (1, 1), (9, 20)]:
        neighbour[row, column] = 255
    private = Distortion("dppix", 28, pixelate=16, dppix_m=m, dppix_epsilon=epsilon)
    drawn = np.stack([private(np.full_like(image, 128), str(key))[::block, ::block] for key in range(400)])
    moved = np.abs(neighbour.astype(float) - image).reshape(7, block, 7, block, 3).mean(axis=(1, 3)).sum()
    # The mean of |Laplace| over n draws has the deviation scale/√n; rounding adds less than 1 % at this scale (4.1).
    assert moved / laplace_scale(drawn, 128) == pytest.approx(epsilon, rel=5 / drawn.size**0.5 + 0.01)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("field", CHANGES)
def test_repr_names_exactly_what_the_result_depends_on(name, field):
    """The repr keys the cache of embeddings: a field left out would give back those of another distortion."""
    one = Distortion(name, 32)
    two = dataclasses.replace(one, **{field: CHANGES[field]})
    differs = not np.array_equal(one(photograph(), "k"), two(photograph(), "k"))
    assert (repr(one) != repr(two)) == differs
    if (name, field) in {
        ("mask", "mask_ratio"),
        ("blur", "blur"),
        ("pixelate", "pixelate"),
        ("noise", "seed"),
        ("dppix", "dppix_m"),
    }:
        assert differs


def test_reprs_of_different_distortions_differ():
    assert len({repr(Distortion(name, 32)) for name in NAMES}) == len(NAMES)


def test_an_unknown_name_is_told_its_neighbour():
    with pytest.raises(
        FacemaeError, match=r"pixelated: .*did you mean pixelate\?.*original, mask, blur, pixelate, noise, dppix"
    ):
        Distortion("pixelated", 32)
    with pytest.raises(FacemaeError, match="no such distortion; choose one of"):
        Distortion("zzz", 32)


def test_a_patch_that_does_not_divide_is_refused_only_where_patches_matter():
    with pytest.raises(FacemaeError, match="mae.patch=5 does not divide data.image_size=32"):
        Distortion("mask", 32, patch=5)
    Distortion("blur", 32, patch=5)
