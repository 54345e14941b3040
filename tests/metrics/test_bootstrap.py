import numpy as np
import pytest

from facemae_jax.metrics import bootstrap as module
from facemae_jax.metrics.bootstrap import bootstrap, bootstrap_mean, mean_intervals, people_weights, percentile
from facemae_jax.types import FacemaeError


def clustered(random, people=40, images=8):
    """Values whose person matters as much as the image: the mean of all is 0."""
    identities = np.repeat(np.arange(people), images)
    return random.normal(size=people)[identities] + random.normal(size=people * images), identities


def test_covers_as_often_as_it_says_and_resampling_images_does_not():
    random = np.random.default_rng(0)
    by_people = by_images = 0
    for seed in range(400):
        values, identities = clustered(random)
        low, high = bootstrap_mean(values, identities, draws=400, level=0.9, seed=seed)
        by_people += low <= 0 <= high
        low, high = bootstrap_mean(values, np.arange(len(values)), draws=400, level=0.9, seed=seed)
        by_images += low <= 0 <= high
    # Binomial(400, 0.9) has the deviation 6; percentile intervals of 40 people are a little narrow. The variance of the mean is
    # (1 + 1/8)/40, images taken as independent say 2/320, which is 0.42 of its deviation: coverage 2Φ(0.42·1.64) − 1 = 0.51.
    assert 0.85 <= by_people / 400 <= 0.93
    assert by_images / 400 < 0.6


def test_the_width_is_that_of_the_normal_interval():
    values, identities = clustered(np.random.default_rng(1), people=400)
    means = values.reshape(400, 8).mean(axis=1)
    low, high = bootstrap_mean(values, identities, draws=4000)
    half = 1.96 * means.std() / 20
    assert low == pytest.approx(means.mean() - half, abs=0.1 * half)
    assert high == pytest.approx(means.mean() + half, abs=0.1 * half)
    narrow = bootstrap_mean(values, identities, draws=4000, level=0.5)
    assert narrow.high - narrow.low == pytest.approx(2 * half * 0.6745 / 1.96, rel=0.1)


@pytest.mark.parametrize("value", [0.0, 1.0, 0.1])
def test_equal_values_have_no_width(value):
    assert bootstrap_mean(np.full(30, value), np.arange(30) // 7) == (value, value)


def test_people_with_many_images_weigh_more():
    """One person holds 9 of 12 images and all the hits: the mean is over images, so resampling moves it far."""
    found, identities = np.r_[np.ones(9), np.zeros(3)], np.r_[np.zeros(9, int), [1, 2, 3]]
    low, high = bootstrap_mean(found, identities, draws=4000)
    assert low == 0 and high > 0.95


def test_any_figure_by_its_weights():
    values, identities = clustered(np.random.default_rng(2), images=3)
    mean = bootstrap_mean(values, identities, seed=5)
    general = bootstrap(lambda weights: weights @ values / weights.sum(axis=1), identities, seed=5)
    np.testing.assert_allclose(general, mean, rtol=1e-12)
    assert bootstrap_mean(values, identities, seed=6) != mean
    names = np.array([f"person {who:03}" for who in identities])  # any labels, in the same order
    assert bootstrap(lambda weights: weights @ values / weights.sum(axis=1), names, seed=5) == general


def test_columns_have_the_intervals_of_each_alone():
    random = np.random.default_rng(0)
    identities_n = random.integers(0, 12, 90)
    values_nM = np.stack([random.random(90), random.random(90) < 0.3, np.ones(90)], axis=1)
    together = mean_intervals(values_nM, identities_n, level=0.9, draws=200, seed=3)
    for column, interval in zip(values_nM.T, together, strict=True):
        alone = bootstrap_mean(column, identities_n, level=0.9, draws=200, seed=3)
        np.testing.assert_allclose(interval, alone, rtol=0, atol=1e-12)
    assert tuple(together[2]) == (1.0, 1.0)


def test_all_images_of_a_person_are_drawn_together():
    identities = np.array([4, 2, 4, 9, 2, 2])
    seen = []

    def statistic(weights):
        assert weights.shape[1] == 6
        np.testing.assert_array_equal(weights[:, 0], weights[:, 2])
        np.testing.assert_array_equal(weights[:, 1], weights[:, 4])
        seen.append(weights[:, [0, 1, 3]])
        return weights[:, 0]

    assert bootstrap(statistic, identities, draws=500).high > 1
    drawn = np.concatenate(seen)
    assert len(drawn) == 500 and (drawn.sum(axis=1) == 3).all()
    assert abs(drawn.mean(axis=0) - 1).max() < 5 * (2 / 3 / 500) ** 0.5  # each person once on average


def test_strata_keep_their_number_of_people():
    identities, strata = np.array([0, 0, 1, 2, 3, 4]), np.array([7, 7, 7, 8, 8, 8])
    weights = np.concatenate(list(people_weights(identities, draws=50, strata_n=strata)))
    assert (weights[:, :2].sum(axis=1) == 2).all() and (weights[:, 2:].sum(axis=1) == 3).all()
    assert len(np.unique(weights, axis=0)) > 5


def test_memory_is_bounded_by_chunks(monkeypatch):
    monkeypatch.setattr(module, "CHUNK", 100)
    shapes = [weights.shape for weights in people_weights(np.arange(10), draws=25, width=20)]
    assert shapes == [(5, 10)] * 5
    sizes = []
    bootstrap(lambda weights: sizes.append(weights.shape) or weights[:, 0], np.arange(30) // 3, draws=7)
    assert sizes == [(3, 30), (3, 30), (1, 30)]


def test_what_cannot_be_resampled_is_told():
    with pytest.raises(FacemaeError, match="at least 2 of them, got 1"):
        bootstrap_mean(np.ones(5), np.zeros(5))
    with pytest.raises(FacemaeError, match="2 of 3 resampled figures are not finite"):
        percentile(np.array([1.0, np.nan, np.inf]), 0.95)
