import numpy as np
import pytest

from facemae_jax.metrics import roc_intervals as r
from facemae_jax.metrics.bootstrap import people_weights
from facemae_jax.metrics.verification import area, equal_error_rate, roc, tar_at_far
from facemae_jax.types import FacemaeError


def scores(people=15, images=6, strangers=40, apart=1.0, seed=0):
    """Mated and non-mated scores in which the person matters, and whose they are."""
    random = np.random.default_rng(seed)
    own, other = np.repeat(np.arange(people), images), np.repeat(np.arange(people), images * strangers)
    level = random.normal(scale=0.7, size=people)
    mated = apart + level[own] + random.normal(size=len(own))
    return mated, random.normal(size=len(other)), (own, other)


def figures(mated, non_mated):
    curve = roc(np.r_[mated, non_mated], np.r_[np.ones(len(mated), bool), np.zeros(len(non_mated), bool)])
    return {"tar_at_far": tar_at_far(curve), "eer": equal_error_rate(curve), "auc": area(curve)}


def flat(found):
    return np.array([*found["tar_at_far"].values(), found["eer"], found["auc"]])


@pytest.mark.parametrize("apart", [0.0, 1.0, 4.0])
def test_they_are_those_of_exact_resampling(apart):
    mated, non_mated, (own, other) = scores(apart=apart)
    exact = figures(mated, non_mated)
    assert list(exact["tar_at_far"]) == ["0.1", "0.01"]
    found = r.roc_intervals(mated, non_mated, (own, other), exact, draws=100, seed=3)
    drawn = []
    for weights_K in next(people_weights(np.arange(15), draws=100, seed=3)).astype(int):
        drawn.append(flat(figures(np.repeat(mated, weights_K[own]), np.repeat(non_mated, weights_K[other]))))
    right = np.quantile(drawn, [0.025, 0.975], axis=0).T
    assert np.abs(right - flat(found)).max() < 0.012
    assert (right[:, 1] - right[:, 0]).max() > 0.05  # so that this says something
    assert all(low - 1e-9 <= value <= high + 1e-9 for (low, high), value in zip(flat(found), flat(exact), strict=True))


def test_images_of_one_person_are_no_independent_observations():
    mated, non_mated, (own, other) = scores(people=30)
    exact = figures(mated, non_mated)
    people = r.roc_intervals(mated, non_mated, (own, other), exact)
    images = r.roc_intervals(mated, non_mated, (np.arange(len(own)), np.arange(len(other)) // 40), exact)
    wide, narrow = (flat(found)[:, 1] - flat(found)[:, 0] for found in (people, images))
    assert (wide > 1.2 * narrow).all()
    half = flat(r.roc_intervals(mated, non_mated, (own, other), exact, level=0.5))
    assert (half[:, 1] - half[:, 0] < 0.5 * wide).all()


def test_perfect_scores_have_no_width():
    mated, non_mated, people = scores(apart=100.0)
    found = r.roc_intervals(mated, non_mated, people, figures(mated, non_mated), draws=50)
    assert found["tar_at_far"] == {"0.1": [1, 1], "0.01": [1, 1]} and found["eer"] == [0, 0]
    assert found["auc"] == pytest.approx([1, 1], abs=1e-12)


def test_single_curves_by_hand():
    far, tar = np.array([[0.0, 0.0, 0.5, 1.0]]), np.array([[0.0, 0.4, 0.8, 1.0]])
    assert r.tar_where(far, tar, 0.0) == 0.4  # the largest TAR at that FAR
    assert r.tar_where(far, tar, 0.25) == pytest.approx(0.6) and r.tar_where(far, tar, 1.0) == 1.0
    assert r.area_under(far, tar) == pytest.approx(0.5 * 0.6 + 0.5 * 0.9)
    assert r.error_where_equal(far, tar) == pytest.approx(1 / 3)  # 0.6 − 0.8 x = x
    mated, non_mated, _ = scores()
    exact = figures(mated, non_mated)
    curve = roc(np.r_[mated, non_mated], np.r_[np.ones(len(mated), bool), np.zeros(len(non_mated), bool)])
    assert r.error_where_equal(curve.far_t[None], curve.tar_t[None]) == pytest.approx(exact["eer"])
    assert r.area_under(curve.far_t[None], curve.tar_t[None]) == pytest.approx(exact["auc"])


def test_one_person_cannot_be_resampled():
    mated, non_mated, people = scores(people=1)
    with pytest.raises(FacemaeError, match="at least 2 of them, got 1"):
        r.roc_intervals(mated, non_mated, people, figures(mated, non_mated))
