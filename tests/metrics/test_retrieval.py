import itertools

import numpy as np
import pytest

from facemae_jax.metrics import retrieval as r


def blind_orders(gallery, right):
    """All ways in which ``right`` images can lie among ``gallery`` ranks."""
    return np.array(list(itertools.combinations(range(1, gallery + 1), right)))


def test_by_hand():
    # Right images of three queries at ranks {1, 3}, {6}, {2, 4}.
    result = r.retrieval(np.array([[3, 1], [6, 0], [2, 4]]), np.array([20, 20, 20]))
    assert result["queries"] == 3
    assert result["rank"] == {"1": pytest.approx(1 / 3), "5": pytest.approx(2 / 3), "10": 1.0}
    # Average precisions (1/1 + 2/3)/2, 1/6, (1/2 + 2/4)/2.
    assert result["map"] == pytest.approx((5 / 6 + 1 / 6 + 1 / 2) / 3)
    assert result["median_rank"] == 2
    assert result["standard_error"]["rank_1"] == pytest.approx((1 / 3 * 2 / 3 / 3) ** 0.5)


@pytest.mark.parametrize("gallery,right", [(7, 1), (7, 3), (12, 2), (5, 5), (1, 1)])
def test_chance_is_the_mean_over_all_orders(gallery, right):
    orders = blind_orders(gallery, right)
    for at in (1, 2, 5, 10):
        assert r.chance_of_rank(at, np.array([gallery]), np.array([right])) == pytest.approx(
            (orders[:, 0] <= at).mean()
        )
    assert r.chance_of_precision(np.array([gallery]), np.array([right])) == pytest.approx(
        r.average_precision(orders).mean()
    )


def test_chance_is_averaged_over_queries_with_galleries_of_their_own():
    both = r.chance_of_rank(1, np.array([10, 20]), np.array([1, 4]))
    assert both == pytest.approx((1 / 10 + 4 / 20) / 2)


def test_chance_of_a_large_gallery_is_exact():
    assert r.chance_of_rank(1, np.array([1_000_000]), np.array([1])) == pytest.approx(1e-6, rel=1e-6)
    assert r.chance_of_rank(10, np.array([1_000_000]), np.array([3])) == pytest.approx(3e-5, rel=1e-4)


def test_blind_ranks_reach_chance():
    random = np.random.default_rng(0)
    ranks_QR = np.array([random.choice(50, 3, replace=False) + 1 for _ in range(4000)])
    result = r.retrieval(ranks_QR, np.full(4000, 50))
    for at in ("1", "5", "10"):
        assert result["rank"][at] == pytest.approx(result["chance"]["rank"][at], abs=0.03)
    assert result["map"] == pytest.approx(result["chance"]["map"], abs=4 * result["standard_error"]["map"])


def test_cmc_rises_to_one():
    best_Q = np.array([1, 1, 2, 50, 1000])
    curve = r.cmc(best_Q, 1000)
    assert curve["rank"][0] == 1 and curve["rank"][-1] == 1000
    assert curve["rate"][0] == pytest.approx(2 / 5) and curve["rate"][-1] == 1.0
    assert curve["rate"] == sorted(curve["rate"]) and len(set(curve["rank"])) == len(curve["rank"])


def test_padding_is_no_rank_in_any_type_of_integer():
    for kind in (np.int32, np.int64, np.uint16):
        np.testing.assert_array_equal(r.best_ranks(np.array([[3, 0], [0, 7]], kind)), [3, 7])
