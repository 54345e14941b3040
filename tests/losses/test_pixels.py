import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

from facemae_jax.losses import pixels
from facemae_jax.losses.pixels import VARIANCE_FLOOR

pixel_loss = jax.jit(pixels.pixel_loss, static_argnames=("patch", "normalise"))


def pictures(seed, shape=(2, 4, 4, 3)):
    return np.random.default_rng(seed).uniform(-1, 1, shape).astype(np.float32)


def test_mean_over_all_pixels_by_hand():
    painted, images = np.zeros((3, 2, 2, 3), np.float32), np.zeros((3, 2, 2, 3), np.float32)
    images[1, 0, 0, 0] = 0.6  # one number of twelve
    painted[2], images[2] = 0.5, -0.5
    np.testing.assert_allclose(pixel_loss(painted, images), [0, 0.03, 1], rtol=1e-6)


def test_loss_is_float32_whatever_comes_in():
    half = pictures(0).astype(np.float16)
    assert pixel_loss(half, half).dtype == np.float32


def test_gradient_is_twice_the_difference_over_the_count():
    painted, images = pictures(0), pictures(1)
    gradient = jax.grad(lambda p: pixel_loss(p, images).sum())(painted)
    np.testing.assert_allclose(gradient, 2 * (painted - images) / 48, rtol=1e-5, atol=1e-8)


def test_normalised_target_by_hand():
    # Patches side by side: left half 1, half 3 (mean 2, variance 1); right constant, so its target is 0 everywhere.
    image = np.full((1, 2, 4, 3), 7.0, np.float32)
    image[0, 0, :2], image[0, 1, :2] = 1.0, 3.0
    target = np.zeros_like(image)
    target[0, 0, :2], target[0, 1, :2] = -1.0, 1.0
    at_target = pixel_loss(target, image, patch=2, normalise=True)
    np.testing.assert_allclose(at_target, 0, atol=VARIANCE_FLOOR)
    # With nothing painted, half of the numbers are off by one.
    np.testing.assert_allclose(pixel_loss(np.zeros_like(image), image, patch=2, normalise=True), 0.5, rtol=1e-5)


def test_normalised_target_has_mean_0_and_variance_1_in_each_patch():
    images, patch = pictures(2, (1, 6, 6, 3)) * np.linspace(0.2, 3, 6, dtype=np.float32)[:, None, None], 3
    expected = np.empty_like(images)
    for row in range(0, 6, patch):
        for column in range(0, 6, patch):
            part = images[:, row : row + patch, column : column + patch].astype(np.float64)
            expected[:, row : row + patch, column : column + patch] = (part - part.mean()) / part.std()
    np.testing.assert_allclose(pixel_loss(expected, images, patch=patch, normalise=True), 0, atol=1e-8)
    far = ((pictures(3, images.shape) - expected) ** 2).mean()
    np.testing.assert_allclose(
        pixel_loss(pictures(3, images.shape), images, patch=patch, normalise=True), far, rtol=1e-4
    )


@pytest.mark.parametrize("normalise", [False, True])
def test_gradients_agree_with_differences(normalise):
    images = pictures(1)
    check_grads(lambda p: pixel_loss(p, images, patch=2, normalise=normalise), (pictures(0),), 1, ["rev"], 1e-2, 1e-2)


def test_constant_patch_has_a_finite_target():
    image = np.full((1, 4, 4, 3), 0.5, np.float32)
    value, gradient = jax.value_and_grad(lambda p: pixel_loss(p, image, patch=2, normalise=True)[0])(
        jnp.ones_like(image)
    )
    assert value == 1 and np.isfinite(gradient).all()
