import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from facemae_jax.metrics.membership import membership, weighted_auc
from facemae_jax.types import FacemaeError


def scores(shift, seed, people=60, images=5, digits=9):
    """Members are the first half of the people; a person matters as much as an image."""
    random = np.random.default_rng(seed)
    identities = np.repeat(np.arange(people), images)
    member = identities < people // 2
    drawn = random.normal(size=people)[identities] + random.normal(size=len(identities)) + shift * member
    return drawn.round(digits), member, identities


@pytest.mark.parametrize("digits", [9, 0])  # with and without ties
def test_weights_count_images_as_often_as_they_say(digits):
    drawn, member, _ = scores(0.7, 0, digits=digits)
    weights = np.random.default_rng(1).integers(0, 4, (6, len(drawn)))
    expected = [roc_auc_score(np.repeat(member, row), np.repeat(drawn, row)) for row in weights]
    np.testing.assert_allclose(weighted_auc(drawn, member)(weights), expected, rtol=1e-12)
    nobody = np.where(member, 0.0, 1.0)[None]
    assert np.isnan(weighted_auc(drawn, member)(nobody)).all()


def test_figures_of_a_model_that_remembers_and_of_one_that_does_not():
    found = membership(*scores(6, 0))
    assert found["auc"] > 0.99 and found["interval"][0] > 0.98
    assert found["tpr_at_fpr"]["0.1"] > 0.98 and list(found["tpr_at_fpr"]) == ["0.1"]
    assert (found["members"], found["non_members"], found["level"]) == (150, 150, 0.95)
    drawn, member, identities = scores(1, 3)
    found = membership(drawn, member, identities)
    assert found["auc"] == pytest.approx(roc_auc_score(member, drawn))
    assert found["interval"][0] < found["auc"] < found["interval"][1]
    assert membership(drawn, member, identities) == found
    assert membership(drawn, member, identities, level=0.5)["interval"][0] > found["interval"][0]


def test_a_blind_guess_lies_within_its_interval_as_often_as_it_says():
    inside = naive = 0
    for seed in range(150):
        drawn, member, identities = scores(0, seed)
        low, high = membership(drawn, member, identities, draws=200)["interval"]
        inside += low <= 0.5 <= high
        low, high = membership(drawn, member, np.arange(len(drawn)), draws=200)["interval"]
        naive += low <= 0.5 <= high
    # Binomial(150, 0.95) has the deviation 2.7, which is 1.8 %.
    assert 0.88 <= inside / 150 and naive < inside - 20


def test_people_keep_their_side_when_drawn():
    """One member among many others: undivided, a third of the draws would have no member and no AUC."""
    drawn = np.r_[5.0, np.arange(10.0)]
    found = membership(drawn, np.arange(11) == 0, np.arange(11), draws=300)
    assert 0 < found["interval"][0] < found["auc"] < found["interval"][1] < 1
    one_has_both = np.r_[0, np.arange(11)]  # undivided from the others with members, a third would have no non-member
    membership(np.arange(12.0), np.arange(12) > 0, one_has_both, draws=300)
    both = np.array([0, 0, 1, 1, 2, 2])  # images of everybody on both sides
    membership(np.arange(6.0), np.array([1, 0] * 3), both)


def test_what_is_wrong_is_told():
    with pytest.raises(FacemaeError, match="3 of 3 images were trained on"):
        membership(np.arange(3.0), np.ones(3), np.arange(3))
    with pytest.raises(FacemaeError, match="1 of 4 membership scores are not finite"):
        membership(np.array([0, 1, 2, np.nan]), np.array([0, 1, 0, 1]), np.arange(4))
