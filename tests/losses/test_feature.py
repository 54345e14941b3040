import jax
import jax.numpy as jnp
import numpy as np

from facemae_jax.losses.feature import feature_loss, own_cosine, unlink_loss

# Cosines by hand: 0.6·0.8 + 0.8·0.6 = 0.96; 1; 0; −1.
REAL = jnp.array([[0.6, 0.8], [1.0, 0.0], [1.0, 0.0], [1.0, 0.0]])
PAINTED = jnp.array([[0.8, 0.6], [1.0, 0.0], [0.0, 1.0], [-1.0, 0.0]])


def test_each_image_is_compared_with_its_own():
    np.testing.assert_allclose(own_cosine(REAL, PAINTED), [0.96, 1, 0, -1], atol=1e-6)


def test_feature_loss_by_hand():
    np.testing.assert_allclose(feature_loss(REAL, PAINTED), [0.04, 0, 1, 2], atol=1e-6)


def test_unlink_costs_nothing_below_the_margin():
    np.testing.assert_allclose(unlink_loss(REAL, PAINTED, 0.3), [0.66, 0.7, 0, 0], atol=1e-6)


def test_feature_gradient_pulls_towards_the_original_and_leaves_that_alone():
    real, painted = jax.grad(lambda r, p: feature_loss(r, p).sum(), argnums=(0, 1))(REAL, PAINTED)
    np.testing.assert_array_equal(real, jnp.zeros_like(REAL))
    np.testing.assert_allclose(painted, -REAL, atol=1e-6)


def test_unlink_gradient_pushes_away_above_the_margin_only():
    real, painted = jax.grad(lambda r, p: unlink_loss(r, p, 0.3).sum(), argnums=(0, 1))(REAL, PAINTED)
    np.testing.assert_array_equal(real, jnp.zeros_like(REAL))
    np.testing.assert_allclose(painted, [[0.6, 0.8], [1, 0], [0, 0], [0, 0]], atol=1e-6)
