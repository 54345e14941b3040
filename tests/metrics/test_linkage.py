import numpy as np
import pytest
from scipy.stats import norm

from facemae_jax.metrics.linkage import d_sys, linkage, local_linkability, maximal_linkability
from facemae_jax.types import FacemaeError


def normal(count, mean, seed):
    return np.random.default_rng(seed).normal(mean, 1, count)


def test_by_hand():
    """Two bins, mated 3:1, non-mated 1:3: LR = 3 in the first, so D↔ = 2·3/4 − 1 = 0.5 there and 0 in the other."""
    mated, non_mated = np.array([3, 1]), np.array([10, 30])
    np.testing.assert_allclose(local_linkability(mated, non_mated), [0.5, 0])
    assert d_sys(mated, non_mated) == pytest.approx(0.75 * 0.5)
    assert maximal_linkability(mated, non_mated) == pytest.approx(np.log2(1.5))  # 1 + total variation of 1/2


def test_rounding_makes_nothing_negative():
    found = [maximal_linkability(np.ones(bins), np.ones(bins)) for bins in range(1, 60)]
    assert min(found) == 0 and max(found) < 1e-15


def test_the_prior_ratio():
    """ω = 1/2: LR·ω = 1.5, D↔ = 2·1.5/2.5 − 1 = 0.2; at ω = 1/3 nothing is more likely mated than not."""
    mated, non_mated = np.array([3, 1]), np.array([10, 30])
    np.testing.assert_allclose(local_linkability(mated, non_mated, 0.5), [0.2, 0], atol=1e-15)
    assert d_sys(mated, non_mated, 0.5) == pytest.approx(0.15)
    assert d_sys(mated, non_mated, 1 / 3) == pytest.approx(0, abs=1e-12)


def test_counts_of_several_draws_at_once():
    mated, non_mated = np.array([[3, 1, 0], [0, 0, 2]]), np.array([[10, 30, 0], [5, 5, 0]])
    np.testing.assert_allclose(d_sys(mated, non_mated), [0.375, 1])
    np.testing.assert_allclose(maximal_linkability(mated, non_mated), [np.log2(1.5), 1])


@pytest.mark.parametrize("sign", [1, -1])
def test_disjoint_scores_are_fully_linkable(sign):
    found = linkage(sign * (4 + np.random.default_rng(0).random(500)), sign * np.random.default_rng(1).random(5000))
    assert found["d_sys"] == 1 and found["maximal"] == 1


def test_a_release_and_its_copy():
    found = linkage(np.ones(300), np.random.default_rng(0).uniform(-0.4, 0.7, 3000))
    assert found["d_sys"] == 1 and found["maximal"] == 1


def test_one_distribution_is_not_linkable_and_reads_what_chance_reads():
    for seed in range(5):
        found = linkage(normal(5000, 0, seed), normal(5000, 0, seed + 100))
        assert found["d_sys"] < 0.05 and found["maximal"] < 0.1
        assert found["unlinked"]["d_sys"] == pytest.approx(found["d_sys"], abs=0.01)
        assert found["unlinked"]["maximal"] == pytest.approx(found["maximal"], abs=0.02)
    same = np.full(50, 0.25)
    assert linkage(same, same)["d_sys"] == linkage(same, same)["maximal"] == 0


def test_few_scores_are_told_by_what_chance_reads():
    few, many = (linkage(normal(count, 0, 0), normal(count, 0, 1)) for count in (200, 20000))
    assert few["unlinked"]["maximal"] > 3 * many["unlinked"]["maximal"] > 0
    assert few["unlinked"]["d_sys"] > 3 * many["unlinked"]["d_sys"] > 0


def test_normal_scores_have_their_known_linkability():
    """Mean 2 against 0: total variation 2Φ(1) − 1; D_sys by integration of the densities."""
    found = linkage(normal(100_000, 2, 0), normal(100_000, 0, 1))
    assert found["maximal"] == pytest.approx(np.log2(2 * norm.cdf(1)), abs=0.005)
    at = np.linspace(1, 12, 20001)
    mated, non_mated = norm.pdf(at, 2), norm.pdf(at)
    expected = np.trapezoid((mated - non_mated) / (mated + non_mated) * mated, at)
    assert found["d_sys"] == pytest.approx(expected, abs=0.005)


def test_grows_with_the_distance_of_the_means():
    found = [linkage(normal(4000, mean, 0), normal(4000, 0, 1)) for mean in (0, 0.5, 1, 2, 4, 8)]
    for name in ("d_sys", "maximal"):
        values = [one[name] for one in found]
        assert values == sorted(values) and values[0] < 0.1 and values[-1] > 0.99


def of_people(seed, mean, people=60, images=6):
    """Mated and non-mated scores with a part of each person's own, and whose they are."""
    random = np.random.default_rng(seed)
    own = 0.6 * random.normal(size=(people, 1))
    mated = mean + own + 0.8 * random.normal(size=(people, images))
    non_mated = own + 0.8 * random.normal(size=(people, 4 * images))
    who = np.arange(people)[:, None]
    return mated.ravel(), non_mated.ravel(), (np.broadcast_to(who, mated.shape).ravel(), np.repeat(who, 4 * images))


def test_intervals_hold_the_true_figure():
    """At a low linkability, where the bias of histograms is as large as the interval's half width."""
    *scores, _ = of_people(0, 0.6, people=40_000)
    truth = linkage(*scores)
    inside = {"d_sys": 0, "maximal": 0}
    widths = []
    for seed in range(100):
        mated, non_mated, people = of_people(seed + 1, 0.6)
        found = linkage(mated, non_mated, people=people, draws=200)
        for name in inside:
            low, high = found["interval"][name]
            assert 0 <= low < high <= 1
            inside[name] += low <= truth[name] <= high
        widths.append(high - low)
    assert found["level"] == 0.95
    # Stated: about nine in ten; Binomial(100, 0.9) has the deviation 3.
    assert min(inside.values()) >= 81 and np.mean(widths) < 0.25
    assert "interval" not in linkage(mated, non_mated)
    assert linkage(mated, non_mated, people=people, draws=200) == found
    half = linkage(mated, non_mated, people=people, level=0.5)["interval"]["d_sys"]
    assert half[1] - half[0] < 0.5 * np.subtract(*linkage(mated, non_mated, people=people)["interval"]["d_sys"][::-1])


def test_intervals_of_unlinked_scores_begin_at_zero_and_of_linked_ones_end_at_one():
    begins = 0
    for seed in range(20):
        random = np.random.default_rng(seed)
        people = (np.repeat(np.arange(50), 10), np.repeat(np.arange(50), 20))
        begins += (
            linkage(random.normal(size=500), random.normal(size=1000), people=people, draws=50)["interval"]["d_sys"][0]
            == 0
        )
    assert begins >= 17  # 97.5 % of 20, less twice the deviation
    apart = linkage(2 + np.random.default_rng(0).random(500), random.random(1000), people=people, draws=50)
    for ends in apart["interval"].values():
        assert ends == pytest.approx([1, 1], abs=1e-12) and ends[1] <= 1


def test_the_curve_is_that_of_the_figure():
    found = linkage(normal(500, 1, 0), normal(900, 0, 1))
    curve = found["curve"]
    assert len(curve["edges"]) == 51 and len(curve["local"]) == len(curve["mated"]) == len(curve["non_mated"]) == 50
    assert sum(curve["mated"]) == pytest.approx(1) and sum(curve["non_mated"]) == pytest.approx(1)
    assert found["d_sys"] == pytest.approx(np.dot(curve["local"], curve["mated"]))
    assert found["counts"] == {"mated": 500, "non_mated": 900}
    assert linkage(normal(500, 1, 0), normal(900, 0, 1)) == found  # the seed fixes what chance reads
    assert len(linkage(normal(500, 1, 0), normal(900, 0, 1), bins=7)["curve"]["local"]) == 7
    assert len(linkage(normal(5000, 1, 0), normal(9000, 0, 1))["curve"]["local"]) == 100


def test_too_few_or_broken_scores_are_refused():
    with pytest.raises(FacemaeError, match="9 mated and 500 non-mated scores are too few, at least 10"):
        linkage(np.zeros(9), np.zeros(500))
    with pytest.raises(FacemaeError, match="1 of 40 scores are not finite"):
        linkage(np.r_[np.zeros(19), np.nan], np.zeros(20))
