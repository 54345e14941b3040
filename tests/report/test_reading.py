"""Sentences follow the numbers: turned numbers turn the words."""

import copy

import pytest
from report_help import audit, verify

from facemae_jax.report import reading
from facemae_jax.report.measured import measures


def judge_with(**changes):
    """A judge whose reconstruction has other figures: question → rank-1."""
    judge = copy.deepcopy(audit()["judges"][0])
    for question, rate in changes.items():
        figures = judge["variants"]["reconstruction"]["retrieval"][question]
        figures["rank"]["1"] = rate
        figures["standard_error"]["rank_1"] = 0.001
    return judge


def useful(**rates):
    changed = copy.deepcopy(verify())
    for row in changed["rows"]:
        row["accuracy"]["standard_error"] = 0.001
        if row["name"] in rates:
            row["accuracy"]["mean"] = rates[row["name"]]
    return changed


RATES = {"original": 0.95, "mask": 0.6, "blur@2": 0.9, "blur@4": 0.7, "reconstruction": 0.8, "teacher": 0.99}


@pytest.mark.parametrize(
    ("mask", "blur", "told"),
    [
        (0.1, 0.1, "at least as useful and no more leaky than mask"),
        (-0.1, 0.1, "more useful, but more leaky than mask"),
        (-0.1, -0.1, "no more useful and no less leaky than blur@2"),
        (0.1, 0.1, "less leaky, but less useful than blur@2"),
    ],
)
def test_the_trade_off_against_each_distortion(mask, blur, told):
    """Two distortions leak by so much more (or less) than the reconstruction; mask is less useful, blur@2 more."""
    judge = judge_with(same_identity=0.5)
    for variant, more in (("mask", mask), ("blur@2", blur)):
        figures = judge["variants"][variant]["retrieval"]["same_identity"]
        figures["rank"]["1"], figures["standard_error"]["rank_1"] = 0.5 + more, 0.001
    judge["variants"] = {name: judge["variants"][name] for name in ("original", "mask", "blur@2", "reconstruction")}
    said = reading.trade_off(useful(**RATES), judge, "same_identity")
    assert "right in 80.0 ± 0.1 % of pairs, and 50.0 ± 0.1 % find the same person" in said and told in said
    assert "original" not in said.replace("originals", "")


def test_small_differences_are_none():
    judge = judge_with(same_image=0.5)
    figures = judge["variants"]["mask"]["retrieval"]["same_image"]
    figures["rank"]["1"], figures["standard_error"]["rank_1"] = 0.502, 0.001
    judge["variants"] = {name: judge["variants"][name] for name in ("mask", "reconstruction")}
    said = reading.trade_off(useful(**RATES | {"mask": 0.802}), judge, "same_image")
    assert "not to be told apart from mask" in said
    assert reading.trade_off(None, judge, "same_image") == ""


def test_the_strongest_search_is_named():
    assert "learned from pairs" in reading.strongest(measures(audit()))
    weak = reading.strongest(measures(audit(attacks=())))
    assert "the plain search with one image" in weak and "same person" in weak
    assert reading.strongest([]) == ""


def test_judges_that_are_no_strangers_are_told():
    teacher, stranger = audit()["judges"]
    assert reading.independence(teacher).startswith("Not independent of the teacher; reason 0.")
    assert reading.independence(stranger) == "Independent of the teacher; reason 1."
    alone = reading.answer(verify(), audit() | dict(judges=[teacher]))
    assert alone[-1].startswith("No attacker of this audit is independent")
    assert not [said for said in reading.answer(verify(), audit()) if "No attacker" in said]


def test_retrieval_matching_verification_and_training():
    judge = judge_with(same_identity=0.125)
    assert "Of the variant reconstruction, 12.5 ± 0.1 % find the same person" in reading.retrieval(judge)
    assert "accepting 1 % of strangers" in reading.matching(judge)
    changed = copy.deepcopy(verify())
    changed["differences"]["mask"]["reconstruction"] = dict(mean=0.1, standard_error=0.01)
    changed["differences"]["original"]["reconstruction"] = dict(mean=-0.01, standard_error=0.01)
    said = reading.verification(changed)
    assert (
        "better than with masked faces (+10.0 ± 1.0 points)" in said
        and "not clearly better or worse than with the originals" in said
    )
    lines = [dict(step=1, loss=2.0), dict(step=2, loss=float("nan")), dict(step=3, loss=0.5)]
    assert reading.training(lines) == "Loss 2 at step 1, 0.5 at step 3. 1 logged losses are no numbers."
    assert reading.training([]) == ""
