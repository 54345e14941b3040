"""The utility of the best distortion at a leakage."""

import pytest

from facemae_jax.report.equal_leakage import below_all, best_at

POINTS = [(0.8, 0.9), (0.2, 0.6), (0.5, 0.8)]


def test_between_two_points_stands_the_line():
    assert best_at(POINTS, 0.35) == pytest.approx(0.7) and best_at(POINTS, 0.65) == pytest.approx(0.85)
    assert best_at(POINTS, 0.5) == 0.8 and best_at(POINTS, 0.2) == 0.6 and best_at(POINTS, 0.8) == 0.9


def test_beyond_the_most_leaking_point_nothing_is_said():
    assert best_at(POINTS, 0.81) is None and best_at([], 0.5) is None
    assert best_at([(0.5, 0.8)], 0.5) == 0.8 and best_at([(0.5, 0.8)], 0.6) is None


def test_below_all_points_stands_the_most_useful_of_the_least_leaking():
    assert best_at(POINTS, 0.19) == 0.6 and best_at([*POINTS, (0.2, 0.7)], 0.0) == 0.7
    assert below_all(POINTS, 0.19) and not below_all(POINTS, 0.2) and not below_all([], 0.1)


def test_a_useless_distortion_in_between_does_not_pull_the_line_down():
    assert best_at([*POINTS, (0.35, 0.1)], 0.36) == pytest.approx(0.6 + 0.2 * 16 / 30)


def test_less_leakage_for_more_utility_counts():
    assert best_at([(0.2, 0.9), (0.8, 0.7)], 0.7) == 0.9
