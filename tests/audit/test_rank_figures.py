import json

import numpy as np
import pytest

from facemae_jax.audit.rank_figures import rank_figures
from facemae_jax.metrics.retrieval import best_ranks
from facemae_jax.types import FacemaeError


def test_figures_by_hand():
    ranks_QR = np.array([[1, 7], [6, 0], [11, 0], [3, 2]])
    found = rank_figures(ranks_QR, np.full(4, 20), np.array([5, 5, 6, 7]))
    assert found["rank"] == {"1": 0.25, "5": 0.5, "10": 0.75}
    assert found["map"] == pytest.approx(np.mean([(1 + 2 / 7) / 2, 1 / 6, 1 / 11, (1 / 2 + 2 / 3) / 2]))
    assert found["queries"] == 4 and found["people"] == 3 and found["level"] == 0.95
    assert found["chance"]["rank"]["1"] == pytest.approx((2 + 1 + 1 + 2) / 4 / 20)
    for name, value in (*found["rank"].items(),):
        low, high = found["interval"]["rank"][name]
        assert 0 <= low <= value <= high <= 1
    low, high = found["interval"]["map"]
    assert low < found["map"] < high
    assert json.loads(json.dumps(found)) == found


def test_intervals_resample_people_not_queries():
    # All queries of one person fare alike: a hundred of them know no more than one.
    identities_Q = np.repeat(np.arange(10), 100)
    ranks_Q1 = np.where(identities_Q < 5, 1, 50)[:, None]
    low, high = rank_figures(ranks_Q1, np.full(1000, 100), identities_Q)["interval"]["rank"]["1"]
    assert low <= 0.2 and high >= 0.8


def test_best_ranks_pass_over_padding():
    np.testing.assert_array_equal(best_ranks(np.array([[0, 4, 2], [9, 0, 0]])), [2, 9])


def test_one_person_has_no_interval():
    with pytest.raises(FacemaeError, match="at least 2"):
        rank_figures(np.array([[1], [2]]), np.full(2, 5), np.zeros(2, int))
