"""Columns and cells of a sweep's table."""

from sweep_help import RATIO, figure, group, ratios

from facemae_jax.report import sweep_cells
from facemae_jax.report.leakages import OVERALL

ATTACKED = dict(aware_same_identity_rank_1=0.3, fusion_rank_1=0.4, fusion_n=8, linkage_same_identity_d_sys=0.12)


def test_columns_are_what_was_measured():
    groups = [*ratios(), *ratios("other"), *ratios(OVERALL)]
    heads = [(column.judge, column.head) for column in sweep_cells.columns(groups)]
    first = [("", "utility"), ("", "worst"), ("", "gap")]
    assert heads == first + [
        (judge, head) for judge in ("teacher", "other") for head in ("same image", "same identity")
    ]
    groups.append(group("reconstruction", {RATIO: 0.1}, 0.8, 0.2, "other", membership_auc=0.6, **ATTACKED))
    heads = [(column.judge, column.head) for column in sweep_cells.columns(groups)]
    more = ["aware: same identity", "fusion, n = 8", "linkage D_sys: same identity"]
    assert heads[7:] == [*(("other", head) for head in more), ("", "membership AUC")]


def test_rows_stand_once_for_all_judges():
    groups = [*ratios(), *ratios("other"), *ratios(OVERALL)]
    found = sweep_cells.rows(groups)
    assert [(row.variant, row.setting) for row in found][3:5] == [("mask", None), ("reconstruction", {RATIO: 0.9})]
    assert len(found) == 6
    ours = found[4]
    assert [cell.text for cell in ours.cells[:4]] == ["78.0 ± 1.0", "20.0 ± 1.0", "+4.0 ± 1.0", "20.0 ± 1.0"]
    assert ours.cells[1].below == "teacher, plain search" and found[5].cells[2].text == "-1.0 ± 1.0"
    assert found[3].cells[2].text == "–"


def test_a_gap_of_fewer_seeds_says_so_and_an_index_is_no_percentage():
    one = group("reconstruction", {RATIO: 0.1}, 0.8, 0.2, best=0.7, n=3, **ATTACKED)
    (row,) = sweep_cells.rows([one])
    assert row.cells[2].below == "in 2 of 3 seeds" and row.cells[-1].text == "0.12 ± 0.01"


def test_lines_are_the_same_table_flat():
    heads, *lines = sweep_cells.lines([*ratios(), *ratios("other"), *ratios(OVERALL)])
    assert heads[:7] == [RATIO, "trained on", "n", "utility", "worst", "worst by", "gap"]
    assert heads[7:] == ["teacher: same image", "teacher: same identity", "other: same image", "other: same identity"]
    assert lines[3][:7] == ["any", "mask", "2", "70.0 ± 1.0", "5.0 ± 1.0", "teacher, plain search", "–"]
    assert lines[4][:4] == ["0.9", "reconstruction", "2", "78.0 ± 1.0"] and all(len(line) == 11 for line in lines)


def test_a_mean_of_one_has_no_deviation():
    assert sweep_cells.told(figure(0.5, None)) == "50.0" and sweep_cells.told(None) == "–"
    assert sweep_cells.told(figure(0.031, None), signed=True) == "+3.1"


def test_who_could_not_be_searched_for_has_no_worst():
    one = group("reconstruction", {RATIO: 0.1}, 0.8, None) | dict(worst_by=[])
    heads, line = sweep_cells.lines([one])
    assert dict(zip(heads, line, strict=True)) == {
        RATIO: "0.1", "trained on": "reconstruction", "n": "2", "utility": "80.0 ± 1.0", "worst": "–", "worst by": "–", "gap": "–",
        "teacher: same image": "–", "teacher: same identity": "–",
    }  # fmt: skip
