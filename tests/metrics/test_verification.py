import json

import numpy as np
import pytest

from facemae_jax.metrics import verification as v
from facemae_jax.types import FacemaeError


def crowd(seed=0, count=2000, folds=10, gap=1.5):
    """Similarities of same and different pairs, ``gap`` standard deviations apart."""
    random = np.random.default_rng(seed)
    same_n = np.arange(count) % 2 == 0
    return random.normal(size=count) + gap * same_n, same_n, np.arange(count) // 2 % folds


def test_by_hand():
    # Fold 0: same .9 .4, different .5 .1. Fold 1: same .8 .7, different .3 .2.
    similarities_n = np.array([0.9, 0.4, 0.5, 0.1, 0.8, 0.7, 0.3, 0.2])
    same_n = np.array([1, 1, 0, 0, 1, 1, 0, 0], bool)
    fold_n = np.array([0, 0, 0, 0, 1, 1, 1, 1])
    accuracy_f, threshold_f = v.fold_accuracies(similarities_n, same_n, fold_n)
    # Fold 0 is decided by fold 1, where only a threshold between .3 and .7 makes no mistake: .4 is missed.
    assert threshold_f[0] == pytest.approx(0.5)
    # ≥ .5 accepts .9 and .5: one of the same missed, one different accepted.
    assert accuracy_f[0] == pytest.approx(0.5)
    # Fold 1 is decided by fold 0: accepting {.9} or {.9 .5 .4} is right 3 times of 4; the lower middle of the two is .25.
    assert threshold_f[1] == pytest.approx(0.25)
    assert accuracy_f[1] == pytest.approx(0.75)  # .3 is falsely accepted
    result = v.verification(similarities_n, same_n, fold_n)
    assert result["accuracy"]["mean"] == pytest.approx(0.625)
    assert result["accuracy"]["std"] == pytest.approx(0.125 * 2**0.5)  # n − 1
    assert result["accuracy"]["standard_error"] == pytest.approx(0.125)
    # 16 (same, different) couples, one in the wrong order: (.4, .5).
    assert result["auc"] == pytest.approx(15 / 16)
    assert result["eer"] == pytest.approx(0.25)  # one of four is missed where one of four is falsely accepted


def test_equal_similarities_are_decided_together():
    similarities_n = np.zeros(40)
    same_n = np.arange(40) % 4 == 0
    result = v.verification(similarities_n, same_n, np.arange(40) // 4 % 5)
    assert result["accuracy"]["mean"] == pytest.approx(0.75)  # the best one can do blindly is to accept nobody
    assert result["auc"] == pytest.approx(0.5)
    assert result["eer"] == pytest.approx(0.5)


def test_best_threshold_at_both_ends_and_between_neighbouring_floats():
    assert v.best_threshold(np.array([0.1, 0.2]), np.array([True, True])) == 0.1
    assert v.best_threshold(np.array([0.1, 0.2]), np.array([False, False])) > 0.2
    low, high = 1.0, np.nextafter(1.0, 2.0)
    threshold = v.best_threshold(np.array([low, high]), np.array([False, True]))
    assert low < threshold <= high


def test_of_equally_good_thresholds_the_middle_one_is_taken():
    # Rejecting below .15, below .35 or below .55 is right four times of six; the candidates between are right three times.
    threshold = v.best_threshold(np.array([0.1, 0.2, 0.3, 0.4, 0.5, 0.6]), np.array([0, 1, 0, 1, 0, 1], bool))
    assert threshold == pytest.approx(0.35)


def test_order_of_pairs_does_not_matter():
    similarities_n, same_n, fold_n = crowd()
    similarities_n = similarities_n.round(1)  # many ties
    order = np.random.default_rng(1).permutation(len(same_n))
    left = v.verification(similarities_n, same_n, fold_n)
    right = v.verification(similarities_n[order], same_n[order], fold_n[order])
    assert left == right


def test_threshold_comes_from_the_other_folds():
    similarities_n, same_n, fold_n = crowd()
    moved_n = np.where(fold_n == 3, similarities_n + 100, similarities_n)  # fold 3 accepts everybody
    _, before_f = v.fold_accuracies(similarities_n, same_n, fold_n)
    accuracy_f, after_f = v.fold_accuracies(moved_n, same_n, fold_n)
    assert after_f[3] == before_f[3]
    assert accuracy_f[3] == pytest.approx(0.5)


def test_the_known_answer_of_two_normal_distributions():
    similarities_n, same_n, fold_n = crowd(count=100_000, gap=2.0)
    result = v.verification(similarities_n, same_n, fold_n)
    # Φ(1) = 0.8413 for accuracy and 1 − EER, Φ(√2) = 0.9214 for AUC, 1 − Φ(1.2816 − 2) = 0.7638 for TAR at FAR 0.1.
    assert result["accuracy"]["mean"] == pytest.approx(0.8413, abs=0.005)
    assert result["eer"] == pytest.approx(0.1587, abs=0.005)
    assert result["auc"] == pytest.approx(0.9214, abs=0.003)
    assert result["tar_at_far"]["0.1"] == pytest.approx(0.7638, abs=0.01)


def test_tar_only_where_ten_false_accepts_are_expected():
    for negatives, supported in (
        (99, []),
        (100, ["0.1"]),
        (3000, ["0.1", "0.01"]),
        (100_000, ["0.1", "0.01", "0.001", "0.0001"]),
    ):
        curve = v.roc(np.arange(negatives + 5.0), np.arange(negatives + 5) >= negatives)
        assert list(v.tar_at_far(curve)) == supported


def test_tar_is_the_largest_within_the_rate():
    # 100 different pairs 0…99; same pairs at 89.5 and 90.5: the ten highest different ones are 90…99.
    similarities_n = np.concatenate([np.arange(100.0), [89.5, 90.5]])
    curve = v.roc(similarities_n, np.arange(102) >= 100)
    # FAR 0.1 allows ten false accepts; the threshold may fall to just above 89 and so takes both.
    assert v.tar_at_far(curve) == {"0.1": 1.0}
    similarities_n[100] = 88.5
    assert v.tar_at_far(v.roc(similarities_n, np.arange(102) >= 100)) == {"0.1": 0.5}


def test_thinned_curve_lies_on_the_curve_and_fits_into_json():
    similarities_n, same_n, _ = crowd(count=20_000)
    curve = v.roc(similarities_n, same_n)
    points = v.thin(curve)
    assert 20 < len(points["far"]) <= 120
    assert points["far"][-1] == points["tar"][-1] == 1.0
    assert points["far"] == sorted(points["far"]) and points["tar"] == sorted(points["tar"])
    every = set(zip(curve.far_t.tolist(), curve.tar_t.tolist(), strict=True))
    assert set(zip(points["far"], points["tar"], strict=True)) <= every
    assert json.loads(json.dumps(points)) == points


def test_paired_difference_knows_more_than_two_separate_errors():
    hardness_f = np.linspace(0.6, 0.9, 10)
    better_f = hardness_f + 0.02 + 0.001 * np.array([1, -1] * 5)
    difference = v.paired_fold_difference(better_f, hardness_f)
    assert difference["mean"] == pytest.approx(0.02)
    assert difference["standard_error"] == pytest.approx(0.001 * (10 / 9) ** 0.5 / 10**0.5)
    assert v.paired_fold_difference(hardness_f, better_f)["mean"] == pytest.approx(-0.02)


def test_mistakes_are_told():
    similarities_n, same_n, fold_n = crowd(count=40)
    with pytest.raises(FacemaeError, match="0 of 40 pairs show one person"):
        v.verification(similarities_n, np.zeros(40, bool), fold_n)
    with pytest.raises(FacemaeError, match="40 of 40 pairs show one person"):
        v.verification(similarities_n, np.ones(40, bool), fold_n)
    with pytest.raises(FacemaeError, match="at least 2"):
        v.verification(similarities_n, same_n, np.zeros(40, int))
    similarities_n[7] = np.nan
    with pytest.raises(FacemaeError, match="1 of 40 similarities are not finite"):
        v.verification(similarities_n, same_n, fold_n)


def test_gap_to_real():
    assert v.gap_to_real(0.9, 0.75) == pytest.approx(0.2)
    assert v.gap_to_real(0.75, 0.9) < 0  # better than real
    for nothing in (0.0, float("nan")):
        with pytest.raises(FacemaeError, match="Gap-to-Real divides by the accuracy on synthetic faces"):
            v.gap_to_real(0.9, nothing)
