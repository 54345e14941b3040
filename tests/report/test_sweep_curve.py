"""Curves of a sweep: which points are joined, and what is said about equal leakage."""

import xml.etree.ElementTree as ElementTree

import pytest
from sweep_help import RATIO, crowd, group, ratios

from facemae_jax.report import sweep_curve
from facemae_jax.report.leakages import OVERALL, STRONGEST
from facemae_jax.report.plane import Point

SAME = "same_identity_rank_1"


def test_series_run_along_the_numbers_that_were_swept():
    found = {s.label: s for s in sweep_curve.series(ratios(), RATIO, SAME)}
    assert list(found) == ["original (control)", "blur", "mask", "reconstruction"]
    assert [p.label for p in found["reconstruction"].points] == ["0.5", "0.9"] and found["reconstruction"].joined
    assert found["reconstruction"].points[0] == Point("0.5", 50.0, 86.0, 1.0, 1.0)
    assert [p.label for p in found["blur"].points] == ["@2", "@4"] and found["blur"].joined
    assert not found["mask"].joined and not found["original (control)"].joined


def test_strengths_are_a_family_where_only_seeds_are_swept_too():
    groups = [group(name, {}, 0.8, 0.3) for name in ("blur@10", "blur@2", "reconstruction", "noise@3")]
    found = {s.label: s for s in sweep_curve.series(groups, None, SAME)}
    assert [p.label for p in found["blur"].points] == ["@2", "@10"] and found["blur"].joined
    assert [p.label for p in found["reconstruction"].points] == ["reconstruction"] and "noise@3" in found


def test_one_series_per_value_of_the_other_fields_and_none_without_numbers():
    groups = [
        group("reconstruction", {"irm.kind": kind, RATIO: ratio}, 0.8, ratio)
        for kind in ("cosine", "euclidean") for ratio in (0.5, 0.9)
    ]  # fmt: skip
    found = sweep_curve.series(groups, RATIO, "same_image_rank_1")
    assert [s.label for s in found] == ["reconstruction irm.kind=cosine", "reconstruction irm.kind=euclidean"]
    words = [group("reconstruction", {"irm.kind": kind}, 0.8, 0.1) for kind in ("cosine", "euclidean")]
    (one,) = sweep_curve.series(words, None, SAME)
    assert [p.label for p in one.points] == ["cosine", "euclidean"] and not one.joined
    assert sweep_curve.series([group("mask", None, None, 0.1), group("mask", None, 0.1, None)], None, SAME) == []


def test_a_family_with_a_member_called_by_its_kind_alone_is_joined_by_leakage():
    groups = [group(name, {}, 0.8, leak) for name, leak in (("mask@0.5", 0.3), ("mask", 0.11), ("mask@0.875", 0.04))]
    (found,) = sweep_curve.series(groups, None, SAME)
    assert [p.label for p in found.points] == ["@0.875", "mask", "@0.5"] and found.joined


@pytest.mark.parametrize("std", [None, 0.02])
def test_one_seed_has_no_bars(std):
    (one,) = sweep_curve.series([group("mask", None, 0.7, 0.1, std=std)], None, SAME)
    assert one.points[0].utility_error == one.points[0].leakage_error == pytest.approx(100 * (std or 0))


def test_equal_leakage_is_told_setting_by_setting():
    more, less = sweep_curve.equal_leakage(ratios(), SAME)
    assert more == (
        "At the leakage of mae.mask_ratio = 0.9 (20.0 ± 1.0 % found), the best distortion reaches 74.0 ± 1.0 % utility and the "
        "reconstruction 78.0 ± 1.0 %: 4.0 ± 1.0 points more."
    )
    assert less.endswith("87.0 ± 1.0 % utility and the reconstruction 86.0 ± 1.0 %: 1.0 ± 1.0 points less.")
    (outside,) = sweep_curve.equal_leakage([group("reconstruction", {RATIO: 0.1}, 0.8, 0.2)], SAME)
    assert "all leak less" in outside
    (lower,) = sweep_curve.equal_leakage([group("reconstruction", {}, 0.8, 0.05, best=0.7, below=1.0)], SAME)
    assert (
        "(5.0 ± 1.0 % found), less than with any distortion, the least leaking distortion reaches 70.0 ± 1.0 %" in lower
    )
    (some,) = sweep_curve.equal_leakage([group("reconstruction", {}, 0.8, 0.05, best=0.7, below=0.5)], SAME)
    assert "in some seeds less than with any distortion, the best or else the least leaking" in some
    fewer, *_ = sweep_curve.equal_leakage([group("reconstruction", {}, 0.8, 0.2, best=0.7, n=3)], SAME)
    assert "the only setting" in fewer and "in the 2 of 3 seeds that lie in their range" in fewer
    _, single = sweep_curve.equal_leakage([group("reconstruction", {}, 0.8, 0.2, best=0.7, std=None)], SAME)
    assert single.startswith("From one seed nothing is known")


def test_of_many_settings_the_ends_are_told():
    groups = [g for g in crowd() if g["judge"] == OVERALL]
    said = sweep_curve.equal_leakage(groups, STRONGEST)
    gaps = {g["setting"][RATIO]: g["gap"]["mean"] for g in groups if g["variant"] == "reconstruction" and g["gap"]}
    above, clear = sum(gap > 0 for gap in gaps.values()), sum(gap > 0.01 for gap in gaps.values())
    assert (
        said[0].startswith(f"{above} of 13 settings are more useful")
        and f"({clear} of them" in said[0]
        and f"{12 - above} are not, and 1 leak more than every" in said[0]
        and above > clear
    )
    assert f"{max(gaps, key=gaps.get)} (" in said[1] and f"{min(gaps, key=gaps.get)} (" in said[2] and len(said) == 3


def test_unequal_attackers_are_told():
    assert sweep_curve.unequal_attackers(ratios()) == []
    (said,) = sweep_curve.unequal_attackers([*ratios(), group("reconstruction", {RATIO: 0.1}, 0.8, 0.2, attackers=6)])
    assert "reconstruction by 6 attackers, blur@4 by 2, blur@2 by 2, mask by 2" in said and "original" not in said


def test_a_panel_per_leakage_and_judge_the_worst_first():
    groups = [*ratios(), *ratios("other"), *ratios(OVERALL)]
    groups.append(group("reconstruction", {RATIO: 0.1}, 0.8, 0.2, "other", linkage_same_identity_d_sys=0.3))
    found = sweep_curve.panels(groups, [RATIO], RATIO)
    three = [OVERALL, "teacher", "other"]
    assert [(panel.leakage, panel.judge) for panel in found] == [
        *((STRONGEST, judge) for judge in three), *((SAME, judge) for judge in three),
        *(("same_image_rank_1", judge) for judge in three), ("linkage_same_identity_d_sys", "other"),
    ]  # fmt: skip
    words = [
        "".join(e.itertext())
        for e in ElementTree.fromstring(str(found[0].svg)).iter("{http://www.w3.org/2000/svg}text")
    ]
    assert {"0.5", "0.9", "@2", "@4", "blind guess", "original (control)"} <= set(words)
    assert all(sentence in str(found[0].svg) for sentence in found[0].sentences)  # for those who do not see it
    assert [bool(panel.notes) for panel in found] == [False] * 10
    assert found[-1].sentences[-1].startswith("At the leakage") is False or "D_sys" in found[-1].sentences[-1]
