import math

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.test_util import check_grads

from facemae_jax.losses import margin as module
from facemae_jax.losses.margin import EDGE, softmax_loss, unit

NUMBERS = ("m1", "m2", "m3", "scale")
margin_logits = jax.jit(module.margin_logits, static_argnames=NUMBERS)
margin_loss = jax.jit(module.margin_loss, static_argnames=NUMBERS)

MARGINS = {
    "arcface": dict(m2=0.5),
    "cosface": dict(m3=0.35),
    "sphereface": dict(m1=1.35),
    "combined": dict(m1=0.9, m2=0.4, m3=0.15),
    "arcface and cosface": dict(m2=0.3, m3=0.2),
}


def own_logit(cosine, scale=1.0, **margin):
    """Logit of the own class where the cosine with it is ``cosine``."""
    return margin_logits(jnp.reshape(cosine, (1, 1)), np.zeros(1, int), scale=scale, **margin)[0, 0]


@pytest.mark.parametrize(
    ("margin", "expected"),
    [
        # cos θ = 0.5, so θ = π/3.
        (dict(m2=0.5), math.cos(math.pi / 3 + 0.5)),
        (dict(m3=0.35), 0.15),
        (dict(m1=1.35), math.cos(1.35 * math.pi / 3)),
        (dict(m1=0.9, m2=0.4, m3=0.15), math.cos(0.9 * math.pi / 3 + 0.4) - 0.15),
        (dict(m2=0.3, m3=0.2), math.cos(math.pi / 3 + 0.3) - 0.2),
        (dict(), 0.5),
    ],
)
def test_own_class_by_hand_and_others_untouched(margin, expected):
    cosines = jnp.array([[0.5, 0.9, -0.25], [0.9, -0.25, 0.5]])
    logits = margin_logits(cosines, jnp.array([0, 2]), scale=64.0, **margin)
    np.testing.assert_allclose(logits, 64 * np.array([[expected, 0.9, -0.25], [0.9, -0.25, expected]]), rtol=1e-5)
    assert logits.dtype == jnp.float32


def test_beyond_pi_by_hand():
    # θ = arccos(−0.95) = 2.82; with 0.5 more it passes π.
    np.testing.assert_allclose(own_logit(-0.95, m2=0.5), -0.95 - 0.5 * math.sin(0.5), rtol=1e-6)
    np.testing.assert_allclose(own_logit(-0.95, m1=1.35, m3=0.1), -1.1, rtol=1e-6)


@pytest.mark.parametrize("margin", MARGINS.values(), ids=MARGINS)
def test_nearer_never_means_a_lower_logit(margin):
    cosines = jnp.linspace(-1.0, 1.0, 2001)[:, None]
    logits = np.asarray(margin_logits(cosines, jnp.zeros(2001, int), scale=1.0, **margin))[:, 0]
    assert np.diff(logits).min() > -1e-6
    assert logits[-1] - logits[0] > 1.5
    assert (logits <= np.asarray(cosines)[:, 0] + 1e-4).all()  # a margin never helps


@pytest.mark.parametrize("label", [-1, 3, 1000])
@pytest.mark.parametrize("margin", MARGINS.values(), ids=MARGINS)
def test_padded_labels_get_no_margin(label, margin):
    cosines = jnp.array([[0.5, 0.9, -0.25]])
    np.testing.assert_array_equal(margin_logits(cosines, jnp.array([label]), scale=10.0, **margin), 10 * cosines)


@pytest.mark.parametrize("margin", MARGINS.values(), ids=MARGINS)
def test_gradients_agree_with_differences_away_from_the_ends(margin):
    # The kinks of these margins (θ·m1 + m2 = π) lie below −0.6.
    cosines = jnp.array([[0.9, 0.1], [-0.3, 0.4], [0.05, 0.7]])
    labels = jnp.array([0, 0, 1])
    check_grads(lambda c: margin_logits(c, labels, scale=1.0, **margin), (cosines,), 1, ["rev"], 1e-2, 1e-2, 1e-3)


def test_gradient_at_plus_1_is_that_of_the_clipped_angle():
    # The true slope is infinite at θ = 0; the convention takes it at cos θ = 1 − 1e-4.
    c = 1 - EDGE
    theta = math.acos(c)
    arcface = math.cos(0.5) + math.sin(0.5) * c / math.sqrt(1 - c * c)
    np.testing.assert_allclose(jax.grad(own_logit)(1.0, 64.0, m2=0.5), 64 * arcface, rtol=1e-3)
    sphereface = 1.35 * math.sin(1.35 * theta) / math.sin(theta)
    np.testing.assert_allclose(jax.grad(own_logit)(1.0, 64.0, m1=1.35), 64 * sphereface, rtol=1e-3)
    np.testing.assert_allclose(jax.grad(own_logit)(1.0, 64.0, m3=0.35), 64, rtol=1e-6)


def test_gradient_at_minus_1():
    # m1 = 1 goes on as a straight line of slope 1; other m1 stay at the bottom.
    for margin in (dict(m2=0.5), dict(m3=0.35), dict(m2=0.3, m3=0.2)):
        np.testing.assert_allclose(jax.grad(own_logit)(-1.0, 64.0, **margin), 64, rtol=1e-6)
    np.testing.assert_allclose(jax.grad(own_logit)(-1.0, 64.0, m1=1.35), 0, atol=1e-4)


def test_gradient_passes_through_the_margin_and_not_around_it():
    # insightface would give 64 here: its margin changes the value only.
    slope = math.sin(math.pi / 3 + 0.5) / math.sin(math.pi / 3)
    np.testing.assert_allclose(jax.grad(own_logit)(0.5, 64.0, m2=0.5), 64 * slope, rtol=1e-5)


def test_embedding_on_its_centre_or_opposite_has_a_finite_gradient():
    embeddings, centres = jnp.array([[3.0, 0.0], [-3.0, 0.0]]), jnp.eye(2)  # cosines of exactly 1 and −1

    def gradients(embeddings, centres):
        def loss(e, c, margin):
            return module.margin_loss(e, c, jnp.zeros(2, int), **margin).sum()

        return {name: jax.grad(loss, argnums=(0, 1))(embeddings, centres, margin) for name, margin in MARGINS.items()}

    for name, found in jax.jit(gradients)(embeddings, centres).items():  # one program, for compiling takes longest
        assert all(np.isfinite(gradient).all() for gradient in found), name


def test_without_a_margin_it_is_softmax_of_scaled_cosines():
    random = np.random.default_rng(0)
    embeddings, centres = random.normal(size=(6, 5)).astype(np.float32), random.normal(size=(4, 5)).astype(np.float32)
    labels = np.array([0, 1, 2, 3, 0, 1])
    e64, c64 = (
        x.astype(np.float64) / np.linalg.norm(x.astype(np.float64), axis=1)[:, None] for x in (embeddings, centres)
    )
    expected = optax.softmax_cross_entropy_with_integer_labels(jnp.asarray(16 * e64 @ c64.T, jnp.float32), labels)
    np.testing.assert_allclose(margin_loss(embeddings, centres, labels, scale=16.0), expected, rtol=1e-5)
    logits = 3 * random.normal(size=(6, 4)).astype(np.float32)
    by_hand = np.log(np.exp(logits).sum(1)) - logits[np.arange(6), labels]
    np.testing.assert_allclose(softmax_loss(jnp.asarray(logits), labels), by_hand, rtol=1e-5)


def test_a_margin_makes_the_task_harder():
    embeddings, centres, labels = jnp.eye(3), jnp.eye(3) + 0.2, jnp.arange(3)

    def losses(embeddings):
        each = [dict(), *MARGINS.values()]
        return [module.margin_loss(embeddings, centres, labels, scale=4.0, **margin) for margin in each]

    plain, *harder = jax.jit(losses)(embeddings)
    for name, loss in zip(MARGINS, harder, strict=True):
        assert (loss > plain).all(), name


def test_rows_of_norm_1_and_a_zero_row():
    value, back = jax.vjp(unit, jnp.array([[3.0, 4.0], [0.0, 0.0]]))
    np.testing.assert_allclose(value, [[0.6, 0.8], [0, 0]], rtol=1e-6)
    (gradient,) = back(jnp.ones((2, 2)))
    assert np.isfinite(gradient).all()
    np.testing.assert_allclose(gradient[0], [0.16 / 5, -0.12 / 5], rtol=1e-5)  # (1 − u·Σu) / 5


def test_a_negative_angle_eases_the_task_up_to_a_logit_of_1():
    # AdaFace takes up to m from the angle of a sharp face: θ = 0.3 would become −0.1, whose cosine falls again.
    np.testing.assert_allclose(own_logit(math.cos(0.3), m2=-0.4), 1.0, rtol=1e-6)
    np.testing.assert_allclose(own_logit(0.5, m2=-0.4), math.cos(math.pi / 3 - 0.4), rtol=1e-6)
    cosines = jnp.linspace(-1.0, 1.0, 2001)[:, None]
    logits = np.asarray(module.margin_logits(cosines, jnp.zeros(2001, int), scale=1.0, m2=jnp.full(2001, -0.4)))[:, 0]
    assert np.diff(logits).min() > -1e-6 and (logits >= np.asarray(cosines)[:, 0] - 1e-4).all()


NORMS = np.array([3.0, 17.0, 21.0, 26.0, 90.0, 400.0], np.float32)  # norms count up to 100


def test_adaface_margins_by_hand():
    m2, m3 = module.adaface_margins(jnp.asarray(NORMS), jnp.asarray(20.0), jnp.asarray(5.0), m=0.3, h=0.5)
    quality = np.array([-1, -3 * 0.5 / 5.001, 0.5 / 5.001, 3 / 5.001, 1, 1])
    np.testing.assert_allclose(m2, -0.3 * quality, rtol=1e-5)
    np.testing.assert_allclose(m3, 0.3 * quality + 0.3, rtol=1e-5, atol=1e-7)
    # The paper's own: m = 0.4, h = 0.333.
    m2, _ = module.adaface_margins(jnp.array([25.0]), jnp.asarray(20.0), jnp.asarray(5.0))
    np.testing.assert_allclose(m2, [-0.4 * 0.333], rtol=1e-3)


def test_statistics_of_norms_by_hand():
    mean, std = module.norm_statistics(jnp.asarray(NORMS), jnp.asarray(20.0), jnp.asarray(5.0))
    norms = np.minimum(NORMS, 100).astype(np.float64)
    np.testing.assert_allclose(mean, 0.01 * norms.mean() + 0.99 * 20, rtol=1e-6)
    np.testing.assert_allclose(std, 0.01 * (((norms - norms.mean()) ** 2).sum() / 5) ** 0.5 + 0.99 * 5, rtol=1e-6)
    mean, _ = module.norm_statistics(jnp.asarray(NORMS), jnp.asarray(20.0), jnp.asarray(5.0), momentum=0.25)
    np.testing.assert_allclose(mean, 0.25 * norms.mean() + 0.75 * 20, rtol=1e-6)


@jax.jit
def adaface_slopes(norms_B):
    """Of margins and of statistics."""

    def margins(norms_B):
        m2_B, m3_B = module.adaface_margins(norms_B, jnp.asarray(20.0), jnp.asarray(5.0))
        return (m2_B + 2.0 * m3_B).sum()

    def statistics(norms_B):
        mean, std = module.norm_statistics(norms_B, jnp.asarray(20.0), jnp.asarray(5.0))
        return mean + 2.0 * std

    return jax.grad(margins)(norms_B), jax.grad(statistics)(norms_B)


def test_no_gradient_flows_through_norms():
    for slope_B in adaface_slopes(NORMS):
        assert not np.asarray(slope_B).any()
