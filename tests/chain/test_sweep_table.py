"""Rows, means over seeds, CSV and Markdown, from figures made by hand."""

import csv
import io
import json

import pytest
from sweep_fakes import audit_json, verify_json

from facemae_jax.chain import grid, settings, sweep_table

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
    assert len(table) == 6 * 3 * 2
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
    assert len([g for g in sweep_table.summary(table) if g["variant"] == "mask"]) == 2 * 2
    # With one setting nothing can be told apart: everything belongs to it.
    _, table = table_of("mae.mask_ratio=0.5;seed=0,1")
    assert sweep_table.untouched(table) == []
    assert {g["n"] for g in sweep_table.summary(table)} == {2}


def test_csv_has_every_field_and_empty_cells():
    axes, table = table_of()
    table[0]["utility"] = None
    lines = list(csv.DictReader(io.StringIO(sweep_table.csv_text(table, axes))))
    assert list(lines[0])[:7] == ["point", "mae.mask_ratio", "irm.kind", "seed", "variant", "judge", "independent"]
    assert set(sweep_table.FIGURES) <= set(lines[0]) and lines[0]["utility"] == "" and len(lines) == 36
    assert (
        float(lines[2]["utility"]) == pytest.approx(0.85)
        and lines[-1]["seed"] == "2"
        and lines[-1]["irm.kind"] == "cosine"
    )


def test_markdown_is_a_table_for_people():
    _, table = table_of()
    text = sweep_table.markdown(sweep_table.summary(table), "Sweep of x", ["6 of 6"])
    lines = text.splitlines()
    assert lines[0] == "# Sweep of x" and lines[-1] == "- 6 of 6"
    assert lines[2] == (
        "| mae.mask_ratio | irm.kind | trained on | n | utility | teacher: same image | teacher: same identity "
        "| recognizer:original: same image | recognizer:original: same identity |"
    )
    assert "| any | any | mask | 3 | 71.0 ± 1.0 | 6.0 ± 1.0 | 6.0 ± 1.0 | 6.0 ± 1.0 | 6.0 ± 1.0 |" in lines
    assert (
        "| 0.9 | cosine | reconstruction | 3 | 78.0 ± 1.0 | 19.0 ± 1.0 | 19.0 ± 1.0 | 19.0 ± 1.0 | 19.0 ± 1.0 |"
        in lines
    )
    assert "nothing is complete yet" in sweep_table.markdown([], "x", [])
