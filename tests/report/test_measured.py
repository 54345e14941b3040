"""The flat list of figures, checked against the dictionaries it is made from."""

import math

import pytest
from report_help import ATTACKS, VARIANTS, audit

from facemae_jax.report.measured import ATTACKS as KNOWN
from facemae_jax.report.measured import measures, pick

FOUND = measures(audit())
JUDGE = audit()["judges"][0]


def one(attack, question, figure, variant="reconstruction", judge="teacher", n=None):
    return pick(FOUND, judge=judge, variant=variant, attack=attack, question=question, figure=figure, n=n)


def test_every_attack_is_in_the_list_once_per_figure():
    assert {found.attack for found in FOUND} == set(KNOWN)
    keys = [(f.judge, f.variant, f.attack, f.question, f.figure, f.n) for f in FOUND]
    assert len(set(keys)) == len(keys) > 300
    assert all(math.isfinite(found.value) for found in FOUND)


def test_a_search_comes_with_its_error_chance_and_ceiling():
    found, figures = one("retrieval", "same_identity", "rank_1"), JUDGE["variants"]["reconstruction"]["retrieval"]
    assert found.value == figures["same_identity"]["rank"]["1"]
    assert found.error == figures["same_identity"]["standard_error"]["rank_1"]
    assert found.chance == figures["same_identity"]["chance"]["rank"]["1"]
    assert found.ceiling == JUDGE["ceiling"]["same_identity"]["rank"]["1"] and found.independent is False
    assert one("retrieval", "same_identity", "rank_1", judge="recognizer:original").independent is True
    assert one("retrieval", "same_image", "map").value == figures["same_image"]["map"]


def test_an_interval_is_taken_over_where_there_is_one():
    changed = {**audit(), "judges": [JUDGE | {"variants": {"mask": _with_interval(JUDGE["variants"]["mask"])}}]}
    found = pick(
        measures(changed), judge="teacher", variant="mask", attack="retrieval", question="same_image", figure="rank_1"
    )
    assert (found.low, found.high) == (0.25, 0.75)


def _with_interval(attacked):
    retrieval = attacked["retrieval"]
    image = retrieval["same_image"] | {"interval": {"rank": {"1": [0.25, 0.75]}, "map": [0.1, 0.2]}}
    return attacked | {"retrieval": retrieval | {"same_image": image}}


def test_the_other_direction_has_the_originals_as_its_ceiling():
    found = one("reverse", "same_identity", "rank_1", variant="mask")
    assert found.value == JUDGE["variants"]["mask"]["reverse"]["same_identity"]["rank"]["1"]
    assert found.ceiling == JUDGE["variants"]["original"]["reverse"]["same_identity"]["rank"]["1"]
    original = JUDGE["variants"]["original"]
    figures = original["reverse"]["same_identity"] | {"rank": {"1": 0.25, "5": 0.5, "10": 0.75}}
    other = original | {"reverse": original["reverse"] | {"same_identity": figures}}
    changed = dict(judges=[JUDGE | {"variants": {"original": other, "mask": JUDGE["variants"]["mask"]}}])
    asked = dict(judge="teacher", variant="mask", question="same_identity", figure="rank_1")
    assert pick(measures(changed), attack="reverse", **asked).ceiling == 0.25
    assert pick(measures(changed), attack="retrieval", **asked).ceiling == found.ceiling


def test_matching_fusion_and_trained_attackers():
    attacked = JUDGE["variants"]["reconstruction"]
    far = one("matching", "same_image", "tar_at_far_0.1")
    assert far.value == attacked["matching"]["tar_at_far"]["0.1"] and far.chance == 0.1
    assert one("matching", "same_image", "eer").ceiling == 0.0
    point = attacked["fusion"]["points"][-1]
    fused = one("fusion", "same_identity", "rank_1", n=point["n"])
    assert point["n"] > 1 and fused.value == point["without_sources"]["rank"]["1"]
    assert [fused.low, fused.high] == point["without_sources"]["interval"]["rank"]["1"]
    assert fused.ceiling == point["without_sources"]["ceiling"]["rank"]["1"]
    assert one("fusion", "with_sources", "gain", n=point["n"]).value == point["with_sources"]["gain"]["1"]
    aware = one("aware", "same_identity", "rank_1")
    assert aware.value == attacked["aware"]["retrieval"]["same_identity"]["rank"]["1"]
    inverted = attacked["inversion"]["retrieval"]["same_identity"]["rank"]["1"]
    assert one("inversion", "same_identity", "rank_1").value == inverted != aware.value
    assert one("inversion", "same_image", "psnr_inverted").value == 15.25
    assert (
        one("inversion", "same_image", "psnr_input").unit == "dB"
        and one("aware", "same_image", "rank_1", variant="mask") is None
    )


def test_linkage_pixels_and_membership():
    link = JUDGE["variants"]["reconstruction"]["linkage"]["same_image"]["linkage"]
    found = one("linkage", "same_image", "d_sys")
    assert (found.value, found.chance, [found.low, found.high]) == (
        link["d_sys"], link["unlinked"]["d_sys"], link["interval"]["d_sys"]
    )  # fmt: skip
    visible = audit()["pixels"]["mask"]["visible"]
    copied = one("copy", "patches", "visible", variant="mask", judge="")
    assert copied.value == visible["mean"] == pytest.approx(0.25) and copied.chance == visible["chance"]["mean"]
    member = one("membership", "training", "auc", variant="", judge="")
    assert (
        member.value == audit()["membership"]["auc"] > 0.7
        and [member.low, member.high] == audit()["membership"]["interval"]
    )


def test_what_was_not_run_is_not_there():
    found = measures(audit(attacks=("fusion",)))
    assert {one.attack for one in found} == {"retrieval", "reverse", "matching", "fusion"}
    assert {one.variant for one in found} == set(VARIANTS) and len(ATTACKS) == 6


def test_an_audit_of_before_the_further_attacks_can_still_be_read():
    judge = JUDGE | {"variants": {"mask": {k: JUDGE["variants"]["mask"][k] for k in ("retrieval", "matching")}}}
    found = measures(dict(judges=[judge]))
    assert {one.attack for one in found} == {"retrieval", "matching"}
