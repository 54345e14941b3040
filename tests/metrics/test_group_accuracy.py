import json

import numpy as np
import pytest

from facemae_jax.metrics.groups import group_accuracy
from facemae_jax.metrics.verification import fold_accuracies
from facemae_jax.types import FacemaeError


def test_by_hand():
    # Fold 0 decides fold 1 and the reverse. Thresholds: fold 4's from fold 7 is .5 (between .7 and .3), fold 7's from fold 4 is .25
    # (see test_verification.test_by_hand).
    similarities_n = np.array([0.9, 0.4, 0.5, 0.1, 0.8, 0.7, 0.3, 0.2])
    same_n = np.array([1, 1, 0, 0, 1, 1, 0, 0], bool)
    fold_n = np.array([4, 4, 4, 4, 7, 7, 7, 7])
    left = np.array(["x", "x", "y", "x", "y", "y", "y", ""])
    right = np.array(["x", "x", "y", "y", "y", "x", "y", ""])
    found = group_accuracy(similarities_n, same_n, fold_n, left, right)
    # x: .9 right, .4 missed. y: .5 falsely accepted, .8 right, .3 falsely accepted. Across groups: .1, .7; no group: .2.
    assert found["groups"] == {
        "x": {"accuracy": 0.5, "pairs": 2, "positive": 2},
        "y": {"accuracy": pytest.approx(1 / 3), "pairs": 3, "positive": 1},
    }
    assert found["mean"] == pytest.approx(5 / 12) and found["std"] == pytest.approx(1 / 12)  # not divided by n − 1
    assert found["trade_off"] == pytest.approx(1 / 3)
    assert (found["pairs"], found["left_out"]) == (5, 3)
    json.dumps(found)


def test_one_group_of_all_is_the_accuracy_of_the_protocol():
    random = np.random.default_rng(0)
    same_n = np.arange(400) % 2 == 0
    similarities_n, fold_n = random.normal(size=400) + same_n, np.arange(400) // 2 % 10
    everybody = np.full(400, "all")
    found = group_accuracy(similarities_n, same_n, fold_n, everybody, everybody)
    assert found["mean"] == pytest.approx(fold_accuracies(similarities_n, same_n, fold_n)[0].mean())
    assert found["std"] == 0 and found["trade_off"] == found["mean"]


def test_a_group_that_the_common_threshold_suits_badly_shows():
    """Group b's pairs of two people are as alike as group a's of one: within b alone they are told apart perfectly."""
    random = np.random.default_rng(1)
    same_n, group_n = np.arange(2000) % 2 == 0, np.where(np.arange(2000) % 10 < 8, "a", "b")
    similarities_n = 0.3 * same_n + 0.3 * (group_n == "b") + random.uniform(-0.05, 0.05, 2000)
    found = group_accuracy(similarities_n, same_n, np.arange(2000) // 20 % 10, group_n, group_n)
    assert found["groups"]["a"]["accuracy"] == 1 and found["groups"]["b"]["accuracy"] == 0.5
    assert found["trade_off"] == pytest.approx(0.75 - 0.25)


def test_no_pair_within_a_group():
    pairs = np.array([0.1, 0.9]), np.array([False, True]), np.array([0, 1])
    with pytest.raises(FacemaeError, match="None of 2 pairs shows people of one group"):
        group_accuracy(*pairs, np.array(["a", ""]), np.array(["b", ""]))
