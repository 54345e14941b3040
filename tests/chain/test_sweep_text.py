"""The table of a sweep as CSV and Markdown."""

import csv
import io

from test_sweep_table import table_of

from facemae_jax.chain import sweep_table, sweep_text


def test_csv_has_every_field_and_empty_cells():
    axes, table = table_of()
    table[0]["utility"] = None
    lines = list(csv.DictReader(io.StringIO(sweep_text.csv_text(table, axes))))
    assert list(lines[0])[:7] == ["point", "mae.mask_ratio", "irm.kind", "seed", "variant", "judge", "independent"]
    assert {*sweep_table.FIGURES, *sweep_table.TOLD} <= set(lines[0]) and lines[0]["utility"] == "" and len(lines) == 36
    assert float(lines[2]["utility"]) == table[2]["utility"] == 0.95 - 0.2 * 0.5
    assert (
        lines[-1]["seed"] == "2" and lines[-1]["irm.kind"] == "cosine" and lines[-1]["judge"] == "recognizer:original"
    )
    assert float(lines[2]["worst"]) == table[2]["worst"] and lines[2]["worst_judge"] == "teacher"
    assert lines[2]["worst_attack"] == "plain search" and lines[2]["aware_same_identity_rank_1"] == ""


def test_markdown_is_a_table_for_people():
    _, table = table_of()
    text = sweep_text.markdown(sweep_table.summary(table), "Sweep of x", ["6 of 6"])
    lines = text.splitlines()
    assert lines[0] == "# Sweep of x" and "- 6 of 6" in lines and lines[-1].startswith("- gap: ")
    assert lines[2] == (
        "| mae.mask_ratio | irm.kind | trained on | n | utility | worst | worst by | gap | teacher: same image | teacher: same identity "
        "| recognizer:original: same image | recognizer:original: same identity |"
    )
    mask = "| any | any | mask | 3 | 71.0 ± 1.0 | 6.0 ± 1.0 | teacher, plain search | – | 6.0 ± 1.0 | 6.0 ± 1.0 | 6.0 ± 1.0 | 6.0 ± 1.0 |"
    assert mask in lines
    ours = "| 0.9 | cosine | reconstruction | 3 | 78.0 ± 1.0 | 19.0 ± 1.0 | teacher, plain search | – | 19.0 ± 1.0 | 19.0 ± 1.0 | 19.0 ± 1.0 "
    assert any(line.startswith(ours) for line in lines)
    assert "nothing is complete yet" in sweep_text.markdown([], "x", [])
