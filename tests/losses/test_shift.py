import jax
import jax.numpy as jnp
import numpy as np
import pytest

from facemae_jax.losses.relation import relation_loss
from facemae_jax.losses.shift import fit_shift, shift_loss, shifted
from facemae_jax.types import FacemaeError


def faces(count=200, length=8):
    """Unit rows around a mean, with unequal spread."""
    random = np.random.default_rng(0)
    rows = random.normal(size=(count, length)) * np.linspace(0.1, 1.0, length) + np.eye(length)[0]
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def test_the_map_keeps_mean_covariance_and_distances_and_undoes_itself():
    rows = faces()
    shift = fit_shift(rows, share=0.5, seed=0)
    moved = shift.mean_E + (rows - shift.mean_E) @ shift.map_EE
    np.testing.assert_allclose(moved.mean(0), rows.mean(0), atol=1e-5)
    np.testing.assert_allclose(np.cov(moved, rowvar=False), np.cov(rows, rowvar=False), atol=1e-5)
    np.testing.assert_allclose(
        np.linalg.norm(moved[:50, None] - moved[None, :50], axis=-1),
        np.linalg.norm(rows[:50, None] - rows[None, :50], axis=-1),
        atol=1e-5,
    )
    np.testing.assert_allclose(shift.map_EE @ shift.map_EE, np.eye(8), atol=1e-5)
    assert np.abs(moved - rows).max() > 0.3


@pytest.mark.parametrize("share", [0.25, 0.5, 0.9])
def test_at_least_the_share_of_the_variance_is_flipped_and_no_component_more_than_needed(share):
    rows = faces()
    values = np.linalg.eigvalsh(np.cov(rows.astype(np.float64), rowvar=False))
    for seed in range(5):
        shift = fit_shift(rows, share=share, seed=seed)
        centred = rows - shift.mean_E
        flipped = (1 - np.sum(centred * (centred @ shift.map_EE)) / np.sum(centred**2)) / 2  # of the variance
        assert share - 1e-4 <= flipped <= share + values.max() / values.sum() + 1e-4


def test_a_share_of_0_moves_nothing_and_1_moves_to_the_far_side():
    rows = faces()
    np.testing.assert_allclose(shifted(rows, fit_shift(rows, share=0.0, seed=0)), rows, atol=1e-5)
    shift = fit_shift(rows, share=1.0, seed=0)
    np.testing.assert_allclose(shift.map_EE, -np.eye(8), atol=1e-5)


def test_seeds_choose_other_components():
    one, same, other = (fit_shift(faces(), share=0.5, seed=seed).map_EE for seed in (1, 1, 2))
    np.testing.assert_array_equal(one, same)
    assert np.abs(one - other).max() > 0.1


def test_a_painting_at_the_moved_place_costs_nothing_and_keeps_the_relations_about_the_mean():
    rows = faces(32)
    shift = fit_shift(faces(), share=0.5, seed=0)
    moved = shifted(rows, shift)
    np.testing.assert_allclose(np.linalg.norm(moved, axis=1), 1, atol=1e-5)
    np.testing.assert_allclose(shift_loss(rows, moved, shift), 0, atol=1e-5)
    assert np.mean(shift_loss(rows, jnp.asarray(rows), shift)) > 0.1
    assert relation_loss(rows, moved) < 0.05 * relation_loss(rows, jnp.asarray(faces(64)[32:]))


def test_no_gradient_flows_into_the_real_embeddings():
    rows, shift = faces(4), fit_shift(faces(), share=0.5, seed=0)
    grad = jax.grad(lambda real: shift_loss(real, jnp.asarray(rows), shift).sum())(jnp.asarray(rows))
    np.testing.assert_array_equal(grad, 0)


def test_one_face_has_no_variance():
    with pytest.raises(FacemaeError, match="mae.shift_weight needs at least 2"):
        fit_shift(faces(1), share=0.5, seed=0)
