import numpy as np
import pytest

from facemae_jax.export.budget import Budget, Rate, budget_lines, left_out, painted_again, rate, refusal
from facemae_jax.metrics.bootstrap import bootstrap_mean
from facemae_jax.types import FacemaeError

PEOPLE_A = np.repeat(np.arange(5), 4)  # 20 images


def one_judge(found, margins=None):
    """``found_JA`` and ``margin_JA``: the images at the positions ``found``, the first the clearest."""
    found_JA = np.zeros((1, len(PEOPLE_A)), bool)
    found_JA[0, found] = True
    margin_JA = np.full((1, len(PEOPLE_A)), -0.5)
    margin_JA[0, found] = np.linspace(0.9, 0.1, len(found)) if margins is None else margins
    return found_JA, margin_JA


def high(found_JA, stays_A):
    return [rate(found_A[stays_A], PEOPLE_A[stays_A]).high for found_A in found_JA]


def test_the_rate_has_an_interval_over_people():
    found_A = np.arange(20) < 5
    found = rate(found_A, PEOPLE_A)
    assert found.value == 0.25 and (found.low, found.high) == tuple(bootstrap_mean(found_A, PEOPLE_A))
    assert found.low < 0.25 < found.high
    assert rate(np.zeros(20, bool), PEOPLE_A) == (0, 0, 0)
    with pytest.raises(FacemaeError, match="at least 2"):
        rate(found_A[:4], PEOPLE_A[:4])
    assert str(Rate(0.123, 0.1, 0.151)) == "12.3 % (95 % interval 10.0 to 15.1 %)"


def test_the_clearest_finds_are_left_out_and_no_more_than_needed():
    order = [7, 2, 19, 11, 3, 16, 8, 0]
    found_JA, margin_JA = one_judge(order)
    for limit in (0.0, 0.1, 0.3, 0.5):
        out_A = left_out(found_JA, margin_JA, PEOPLE_A, limit=limit)
        count = int(out_A.sum())
        assert set(np.flatnonzero(out_A)) == set(order[:count])
        assert high(found_JA, ~out_A)[0] <= limit
        if count:
            fewer_A = out_A.copy()
            fewer_A[order[count - 1]] = False
            assert high(found_JA, ~fewer_A)[0] > limit
    assert left_out(found_JA, margin_JA, PEOPLE_A, limit=0.0).sum() == 8


def test_nothing_is_chosen_within_the_budget():
    found_JA, margin_JA = one_judge([7, 2])
    limit = high(found_JA, np.ones(20, bool))[0]
    assert not left_out(found_JA, margin_JA, PEOPLE_A, limit=limit).any()
    assert not painted_again(found_JA, margin_JA, PEOPLE_A, limit=limit).any()


def test_the_budget_must_hold_for_every_judge():
    """Leaving out what the first finds raises the share of the second, which was within the budget before."""
    people_A, random = np.repeat(np.arange(40), 5), np.random.default_rng(0)
    found_JA = np.stack([np.arange(200) % 5 < 3, np.arange(200) % 5 == 3])
    found_JA[1] &= random.random(200) < 0.5  # by person, one image or none
    margin_JA = random.random((2, 200))
    limit = rate(found_JA[1], people_A).high
    assert limit < 0.25 < rate(found_JA[0], people_A).low
    out_A = left_out(found_JA, margin_JA, people_A, limit=limit)
    assert all(rate(found_A[~out_A], people_A[~out_A]).high <= limit for found_A in found_JA)
    assert not out_A[~found_JA.any(axis=0)].any()
    alone_A = left_out(found_JA[:1], margin_JA[:1], people_A, limit=limit)
    assert rate(found_JA[1, ~alone_A], people_A[~alone_A]).high > limit
    assert 0 < np.count_nonzero(out_A & found_JA[1]) < found_JA[1].sum()  # as far as its own figure needs it


def test_what_no_budget_allows_is_refused():
    found_JA, margin_JA = one_judge(np.arange(1, 20))
    with pytest.raises(FacemaeError, match="fewer than two people would stay"):
        left_out(found_JA, margin_JA, PEOPLE_A, limit=0.01)


def test_painted_again_are_as_few_as_could_do():
    order = [7, 2, 19, 11, 3, 16, 8, 0]
    found_JA, margin_JA = one_judge(order)
    again_A = painted_again(found_JA, margin_JA, PEOPLE_A, limit=0.3)
    count = int(again_A.sum())
    assert 0 < count < 8 and set(np.flatnonzero(again_A)) == set(order[:count])
    hidden_A = np.isin(np.arange(20), order[:count])
    everyone_A = np.ones(20, bool)
    assert high(found_JA & ~hidden_A, everyone_A)[0] <= 0.3
    hidden_A[order[count - 1]] = False
    assert high(found_JA & ~hidden_A, everyone_A)[0] > 0.3
    assert set(order[: min(8, 2 * count)]) == set(
        np.flatnonzero(painted_again(found_JA, margin_JA, PEOPLE_A, limit=0.3, times=2))
    )
    assert painted_again(found_JA, margin_JA, PEOPLE_A, limit=0.3, times=64).sum() == 8


def test_a_judge_within_the_budget_has_no_say_in_what_is_painted_again():
    found_JA, margin_JA = one_judge([0, 1, 4, 5, 8, 9])
    other, _ = one_judge([2])
    found_JA, margin_JA = np.concatenate([found_JA, other]), np.concatenate([margin_JA, np.full((1, 20), 5.0)])
    again_A = painted_again(found_JA, margin_JA, PEOPLE_A, limit=0.25)
    assert again_A.any() and not again_A[2] and again_A[0]


def test_the_refusal_names_judge_figure_budget_and_ways_out():
    text = refusal(Budget("", "same_identity", 1, 0.2), {"dlib": Rate(0.3, 0.25, 0.35)})
    for words in (
        "same_identity rank-1 rate of single images", "judge dlib: 30.0 % (95 % interval 25.0 to 35.0 %)", "publish.budget.limit = 20.0 %",
        "publish.on_excess", "mae.mask_ratio", "nothing is published",
    ):  # fmt: skip
        assert words in text, words
    fused = refusal(Budget("", "same_identity", 8, 0.2), {"dlib": Rate(0.3, 0.25, 0.35)})
    assert "8 images of a person fused" in fused and "on_excess" not in fused


def told(**more):
    row = dict(judge="dlib", value=0.15, interval=[0.1, 0.2], before=dict(value=0.4, interval=[0.3, 0.5]))
    base = dict(judge="", figure="same_image", images=1, limit=0.2, figures=[row], left_out=None, painted_again=None)
    return "\n".join(budget_lines(base | more))


def test_the_card_tells_of_the_budget():
    assert budget_lines(None) == []
    text = told()
    assert "at most 20.0 % for every judge" in text and "upper end of the 95 % interval" in text
    assert "- dlib: 15.0 % (95 % interval 10.0 to 20.0 %); before: 40.0 % (95 % interval 30.0 to 50.0 %)." in text
    assert "Left out" not in text and "Painted again" not in text
    assert "for the judge dlib" in told(judge="dlib")
    text = told(left_out=dict(images=1200, of=5000, people=3))
    assert "Left out: 1,200 of 5,000 images over budget; 3 people lost all." in text and "measured before that" in text
    text = told(painted_again=dict(images=7, of=50, rounds=2))
    assert "Painted again under other masks: 7 of 50 images, in 2 rounds." in text and "measured before that" in text
    assert "the choice itself leaks" in text
