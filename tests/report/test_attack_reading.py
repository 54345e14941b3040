"""Sentences on the further attacks follow the numbers."""

import copy

import pytest
from report_help import audit

from facemae_jax.report import attack_reading as reading
from facemae_jax.report.measured import measures


def test_an_attack_weaker_than_a_simpler_one_is_called_so():
    said = {sentence.split(" finds")[0]: sentence for sentence in reading.attackers(audit()["judges"][0])}
    assert len(said) == 4
    blurred = said["blur@2: a network that paints the original back first"]
    assert "less than the plain search" in blurred and "this attacker was weaker than the simpler one" in blurred
    assert "15.2 dB to the original after painting back, 12.5 dB before" in blurred
    learned = said["reconstruction: an attacker who learned from pairs of other people"]
    assert "more than the plain search" in learned and "weaker" not in learned and "held out" not in learned
    assert "told it to go by the plain search" in said["blur@2: an attacker who learned from pairs of other people"]


@pytest.mark.parametrize(
    ("interval", "told"),
    [([0.4, 0.6], "no better than a blind guess"), ([0.6, 0.8], "visible whose images"), ([0.2, 0.4], "turned around")],
)
def test_membership_is_read_by_its_interval(interval, told):
    changed = audit() | dict(membership=audit()["membership"] | dict(interval=interval))
    assert told in reading.membership(changed) and reading.membership({}) == ""


@pytest.mark.parametrize(("low", "told"), [(0.0, "no more than chance explains"), (0.1, "more than chance explains")])
def test_linkage_is_read_by_its_interval(low, told):
    judge = copy.deepcopy(audit()["judges"][0])
    link = judge["variants"]["reconstruction"]["linkage"]
    link["same_image"]["linkage"]["interval"]["d_sys"] = [low, 0.9]
    link["same_identity"] = None
    (said,) = reading.linkage(judge)
    assert f", {told} (" in said


@pytest.mark.parametrize(
    ("low", "told"), [(-0.1, "no more than another person's image"), (0.1, "another person's image: ")]
)
def test_copies_are_read_against_other_peoples_images(low, told):
    pixels = copy.deepcopy(audit()["pixels"])
    pixels["mask"]["visible"]["excess"]["interval"] = [low, 0.5]
    said = reading.pixels(dict(pixels=dict(mask=pixels["mask"])))
    assert len(said) == 1 and told in said[0] and "25.0 % of patches" in said[0] and reading.pixels({}) == []


@pytest.mark.parametrize(
    ("gain", "interval", "told"),
    [
        (0.2, [0.1, 0.3], "more than one by 20.0"),
        (-0.2, [-0.3, -0.1], "less than one by 20.0"),
        (0.1, [-0.1, 0.2], "no clear"),
    ],
)
def test_fusion_is_read_by_the_paired_gain(gain, interval, told):
    changed = copy.deepcopy(audit())
    judge = changed["judges"][0]
    judge["variants"] = {"mask": judge["variants"]["mask"]}
    point = judge["variants"]["mask"]["fusion"]["points"][-1]
    point["without_sources"]["gain"] = {"1": gain, "interval": interval}
    assert told in reading.fusion(measures(changed), "teacher")
    assert reading.fusion(measures(audit(attacks=())), "teacher") == ""


@pytest.mark.parametrize(
    ("interval", "told"),
    [([0.4, 0.6], "more than"), ([0.1, 0.2], "less than"), ([0.2, 0.4], "not clearly more or less than")],
)
def test_a_trained_attacker_is_compared_by_its_interval(interval, told):
    judge = copy.deepcopy(audit()["judges"][0])
    judge["variants"] = {"reconstruction": judge["variants"]["reconstruction"]}
    attacked = judge["variants"]["reconstruction"]
    del attacked["inversion"]
    attacked["retrieval"]["same_identity"]["rank"]["1"] = 0.3
    attacked["aware"]["retrieval"]["same_identity"]["interval"]["rank"]["1"] = interval
    (said,) = reading.attackers(judge)
    assert f", {told} the plain search (30.0 %)" in said
    del attacked["aware"]["retrieval"]["same_identity"]["interval"]  # one person: by the standard errors
    assert len(reading.attackers(judge)) == 1


def test_the_set_is_read_beside_the_originals():
    judge = copy.deepcopy(audit()["judges"][0])
    assert reading.set_quality(judge, audit()) == ""
    judge["variants"]["reconstruction"]["set"] = dict(classes=12, uniqueness=0.5, consistency=0.25, far=0.01)
    judge["variants"]["original"]["set"] = dict(classes=12, uniqueness=0.75, consistency=None, far=0.01)
    said = reading.set_quality(judge, {"set": {"reconstruction": {"ratio": 0.4}}})
    for words in (
        "50.0 % of 12 people have no double (originals 75.0)",
        "25.0 % of images lie near",
        "0.40 times as much",
        "in 1 % of pairs",
    ):
        assert words in said, words
    judge["variants"]["reconstruction"]["set"]["consistency"] = None
    alone = reading.set_quality(judge, {"set": {"reconstruction": None}})
    assert "times as much" not in alone and "lie near" not in alone
