"""Rows and means over seeds, from figures made by hand, and from an audit with every attack."""

import json
import sys
from pathlib import Path

import pytest
from sweep_fakes import audit_json, verify_json

from facemae_jax.chain import grid, settings, sweep_table
from facemae_jax.report.leakages import OVERALL, STRONGEST

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "report"))
from report_help import audit as full_audit
from report_help import verify as full_verify

GRID = "mae.mask_ratio=0.5,0.9;irm.kind=cosine;seed=0,1,2"


def axes_of(text):
    return grid.read_grid(text, settings.load("configs/base.py"))


def table_of(text=GRID, audit=audit_json):
    axes = axes_of(text)
    points = [
        (number, values, sweep_table.measured(
            verify_json(values["seed"], values["mae.mask_ratio"]), audit(values["seed"], values["mae.mask_ratio"])
        ))
        for number, values in enumerate(grid.points(axes), 1)
    ]  # fmt: skip
    return axes, sweep_table.rows(axes, points)


def test_a_row_per_point_variant_and_judge():
    axes, table = table_of()
    assert len(table) == 6 * 3 * 3  # two judges, and the worst of both
    row = next(r for r in table if r["variant"] == "reconstruction" and r["judge"] == "teacher")
    assert (
        row["point"] == 1
        and row["setting"] == {"mae.mask_ratio": 0.5, "irm.kind": "cosine"}
        and row["repetition"] == {"seed": 0}
    )
    assert row["utility"] == pytest.approx(0.85) and row["utility_se"] == 0.005 and not row["independent"]
    assert row["same_image_rank_1"] == pytest.approx(0.5) and row["same_image_rank_1_se"] == 0.02
    assert row["same_identity_rank_1"] == pytest.approx(0.5) and row["same_identity_map"] == pytest.approx(0.25)
    assert row["matching_auc"] == pytest.approx(0.75) and row["matching_eer"] == pytest.approx(0.25)
    assert row["cosine_to_source"] == pytest.approx(0.5)
    assert (row["chance_same_image"], row["chance_same_identity"], row["ceiling_same_identity"]) == (0.01, 0.01, 0.8)
    assert set(row) >= set(sweep_table.FIGURES)


def test_what_was_not_measured_is_none():
    audit = audit_json(0, 0.5)
    for judge in audit["judges"]:
        judge["ceiling"]["same_identity"] = None
        judge["variants"]["reconstruction"]["retrieval"]["same_identity"] = None
        judge["variants"]["noise"] = judge["variants"].pop("mask")
    rows = {
        row["variant"]: row for row in sweep_table.measured(verify_json(0, 0.5), audit) if row["judge"] == "teacher"
    }
    assert (
        rows["reconstruction"]["same_identity_rank_1"] is None
        and rows["reconstruction"]["ceiling_same_identity"] is None
    )
    assert rows["noise"]["utility"] is None and rows["noise"]["same_image_rank_1"] is not None
    assert rows["mask"]["utility"] == 0.7 and rows["mask"]["same_image_rank_1"] is None
    assert all(row["utility"] is None for row in sweep_table.measured(None, audit))


def test_mean_and_standard_deviation():
    assert sweep_table.mean_std([1.0, None, 3.0]) == {"mean": 2.0, "std": pytest.approx(2**0.5), "n": 2}
    assert sweep_table.mean_std([0.4]) == {"mean": 0.4, "std": None, "n": 1}
    assert sweep_table.mean_std([None]) is None


def test_settings_are_means_over_seeds_and_untouched_variants_come_once():
    _, table = table_of()
    assert sweep_table.untouched(table) == ["original", "mask"]
    groups = sweep_table.summary(table)
    assert [(g["variant"], g["setting"] and g["setting"]["mae.mask_ratio"]) for g in groups if g["judge"] == "teacher"] == [
        ("original", None), ("mask", None), ("reconstruction", 0.5), ("reconstruction", 0.9),
    ]  # fmt: skip
    mask = next(g for g in groups if g["variant"] == "mask")
    assert mask["n"] == 3 and mask["utility"]["n"] == 3 and mask["utility"]["mean"] == pytest.approx(0.71)
    ours = next(g for g in groups if g["variant"] == "reconstruction")
    assert ours["utility"]["mean"] == pytest.approx(0.86) and ours["utility"]["std"] == pytest.approx(0.01)
    json.dumps(groups)


def test_a_variant_that_the_grid_touches_comes_per_setting():
    def audit(seed, ratio):
        found = audit_json(seed, ratio)
        found["judges"][1]["variants"]["mask"]["retrieval"]["same_image"]["rank"]["1"] = ratio / 10
        return found

    _, table = table_of(audit=audit)
    assert sweep_table.untouched(table) == ["original"]
    assert len([g for g in sweep_table.summary(table) if g["variant"] == "mask"]) == 2 * 3
    # With one setting nothing can be told apart: everything belongs to it.
    _, table = table_of("mae.mask_ratio=0.5;seed=0,1")
    assert sweep_table.untouched(table) == []
    assert {g["n"] for g in sweep_table.summary(table)} == {2}


def row_of(rows, variant, judge):
    return next(row for row in rows if (row["variant"], row["judge"]) == (variant, judge))


def test_every_attack_has_its_figures():
    audit = full_audit()
    rows, judge = sweep_table.measured(full_verify(), audit), audit["judges"][0]
    ours, raw = row_of(rows, "reconstruction", judge["name"]), judge["variants"]["reconstruction"]
    for attack in ("aware", "inversion"):
        for question in ("same_image", "same_identity"):
            assert ours[f"{attack}_{question}_rank_1"] == raw[attack]["retrieval"][question]["rank"]["1"]
    last = raw["fusion"]["points"][-1]
    assert len(raw["fusion"]["points"]) > 1 and ours["fusion_n"] == last["n"] == 4
    assert ours["fusion_rank_1"] == last["without_sources"]["rank"]["1"] != last["with_sources"]["rank"]["1"]
    for question in ("same_image", "same_identity"):
        assert ours[f"linkage_{question}_d_sys"] == raw["linkage"][question]["linkage"]["d_sys"]
    assert ours["membership_auc"] == audit["membership"]["auc"]
    assert ours["visible_share"] == audit["pixels"]["reconstruction"]["visible"]["mean"]
    mask = row_of(rows, "mask", judge["name"])
    assert mask["membership_auc"] is None and mask["aware_same_identity_rank_1"] is None and mask["attackers"] == 2
    assert mask["visible_share"] == audit["pixels"]["mask"]["visible"]["mean"] != ours["visible_share"]


def test_the_worst_is_the_highest_over_judges_and_attackers_with_single_images():
    audit = full_audit()
    rows = sweep_table.measured(full_verify(), audit)
    tried = {
        (judge["name"], words): (attacked if attack == "retrieval" else attacked[attack])["retrieval"]["same_identity"]
        for judge in audit["judges"]
        for attacked in [judge["variants"]["reconstruction"]]
        for attack, words in (("retrieval", "plain search"), ("aware", "aware attacker"), ("inversion", "inversion"))
    }
    most = max(tried, key=lambda who: tried[who]["rank"]["1"])
    for judge in (*(judge["name"] for judge in audit["judges"]), OVERALL):
        row = row_of(rows, "reconstruction", judge)
        assert (row["worst_judge"], row["worst_attack"]) == most and row["attackers"] == 6
        assert row["worst"] == tried[most]["rank"]["1"] and row["worst_se"] == tried[most]["standard_error"]["rank_1"]
    for judge in audit["judges"]:
        own = max(found["rank"]["1"] for (name, _), found in tried.items() if name == judge["name"])
        assert row_of(rows, "reconstruction", judge["name"])[STRONGEST] == own
    overall = row_of(rows, "reconstruction", OVERALL)
    assert overall[STRONGEST] == overall["worst"]
    for name in ("same_image_rank_1", "fusion_rank_1"):
        assert overall[name] == max(row_of(rows, "reconstruction", judge["name"])[name] for judge in audit["judges"])
    assert overall["matching_eer"] is None  # the lower, the worse: no maximum of it is told


def with_blurs(seed, ratio):
    """verify.json and audit.json with two distortions that leak 0.1 and 0.5 (to the second judge 0.4), and are 0.7 and 0.9 useful."""
    verify, audit = verify_json(seed, ratio), audit_json(seed, ratio)
    for name, leak, useful in (("blur@8", 0.1, 0.7), ("blur@2", 0.5, 0.9)):
        verify["rows"].append(dict(verify["rows"][0], name=name, accuracy=dict(mean=useful, standard_error=0.01)))
        for place, judge in enumerate(audit["judges"]):
            judge["variants"][name] = json.loads(json.dumps(judge["variants"]["mask"]))
            judge["variants"][name]["retrieval"]["same_identity"]["rank"]["1"] = leak - (
                0.1 if place and leak == 0.5 else 0
            )
    for judge in audit["judges"]:
        del judge["variants"]["mask"]
    return verify, audit


def test_the_gap_at_equal_leakage_is_taken_within_each_point():
    rows = sweep_table.measured(*with_blurs(0, 0.75))  # the reconstruction leaks 0.3 and is 0.8 useful
    ours = row_of(rows, "reconstruction", OVERALL)
    assert ours["gaps"][STRONGEST] == {"best": pytest.approx(0.8), "gap": pytest.approx(0.0), "below": 0.0}
    assert row_of(rows, "reconstruction", "teacher")["gap"] == ours["gaps"][STRONGEST]["gap"]
    assert row_of(rows, "reconstruction", "teacher")["best_distortion"] == pytest.approx(0.8)
    assert row_of(rows, "blur@2", "teacher")["gap"] is None and row_of(rows, "original", OVERALL)["gaps"] == {}
    other = row_of(rows, "reconstruction", "recognizer:original")["gaps"][STRONGEST]
    assert other["best"] == pytest.approx(0.7 + 0.2 * 0.2 / 0.3)  # each judge's own points
    found = row_of(rows, "blur@2", "recognizer:original")
    assert (found[STRONGEST], found["worst"], found["worst_judge"]) == (pytest.approx(0.4), 0.5, "teacher")
    # At 0.5 it leaks as much as blur@2, which is 0.9 useful; the original, which leaks more, is no distortion.
    assert row_of(sweep_table.measured(*with_blurs(0, 0.5)), "reconstruction", OVERALL)["gap"] == pytest.approx(-0.05)
    assert row_of(sweep_table.measured(*with_blurs(0, 0.4)), "reconstruction", OVERALL)["gap"] is None


def test_the_deviation_of_the_gap_comes_from_each_seed_with_its_own_distortions():
    axes = axes_of("mae.mask_ratio=0.75,0.5;seed=0,1")
    points = [
        (number, values, sweep_table.measured(*with_blurs(values["seed"], values["mae.mask_ratio"])))
        for number, values in enumerate(grid.points(axes), 1)
    ]
    groups = [g for g in sweep_table.summary(sweep_table.rows(axes, points)) if g["variant"] == "reconstruction"]
    even, edge = (next(g for g in groups if g["setting"] == {"mae.mask_ratio": ratio}) for ratio in (0.75, 0.5))
    # With seed 1 it leaks 0.31 (the line there: 0.805) and is 0.81 useful.
    assert even["gap"] == {"mean": pytest.approx(0.0025), "std": pytest.approx(0.005 / 2**0.5), "n": 2}
    assert even["gaps"][STRONGEST]["best"]["mean"] == pytest.approx(0.8025)
    assert edge["gap"] == {"mean": pytest.approx(-0.05), "std": None, "n": 1} and edge["n"] == 2  # 0.51 is outside
    assert even["worst_by"] == ["teacher, plain search"]
    json.dumps(groups)
