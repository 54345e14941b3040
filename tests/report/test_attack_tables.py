"""What stands in the attack tables, against the flat list of figures."""

import copy

from report_help import VARIANTS, audit

from facemae_jax.report import attack_tables
from facemae_jax.report.attack_tables import Cell, Row
from facemae_jax.report.measured import Measure, measures, pick

FOUND = measures(audit())
TABLE = attack_tables.judge_table(FOUND, "teacher")


def row(table, title, head):
    (block,) = [block for block in table.blocks if block.title.startswith(title)]
    (found,) = [row for row in block.rows if row.head == head]
    return found


def value(attack, question, figure, variant, **more):
    judge = more.pop("judge", "teacher")
    return pick(FOUND, judge=judge, variant=variant, attack=attack, question=question, figure=figure, **more)


def test_a_row_holds_every_variant_with_bounds_chance_and_ceiling():
    assert TABLE.variants == list(VARIANTS[1:]) and TABLE.ours == [False, False, False, True]
    found = row(TABLE, "Search the originals", "same identity, rank 1")
    for cell, variant in zip(found.cells, TABLE.variants, strict=True):
        one = value("retrieval", "same_identity", "rank_1", variant)
        assert cell == Cell(f"{100 * one.value:.1f}", f"{100 * one.low:.1f} … {100 * one.high:.1f}")
    assert found.chance == f"{100 * one.chance:.2f}" and found.ceiling == f"{100 * one.ceiling:.1f}"


def test_without_an_interval_the_standard_error_stands_in_its_place():
    one = value("retrieval", "same_identity", "rank_1", "mask")._replace(low=None, high=None)
    (cell,) = row(attack_tables.judge_table([one], "teacher"), "Search the originals", "same identity, rank 1").cells
    assert cell == Cell(f"{100 * one.value:.1f}", f"± {100 * one.error:.1f}")


def test_what_the_set_is_worth_comes_last_and_is_called_no_attack():
    worth = [
        Measure("teacher", False, "mask", "set", "people", "uniqueness", 0.5, ceiling=0.75),
        Measure("teacher", False, "mask", "set", "people", "consistency", 0.25, 0.125, 0.5, ceiling=1.0),
    ]
    table = attack_tables.judge_table([*FOUND, *worth], "teacher")
    assert "no attack" in table.blocks[-1].title and len(table.blocks[-1].rows) == 2
    assert row(table, "As a set", "People with no double (uniqueness)").ceiling == "75.0"
    cells = row(table, "As a set", "Images near the others of their person (consistency)").cells
    assert cells[0] == Cell("25.0", "12.5 … 50.0") and cells[1] == Cell("–")
    apart = Measure("", None, "mask", "set", "people", "diversity", 0.5, 0.25, 0.75, ceiling=1.0, unit="index")
    alone = attack_tables.judgeless_table([apart])
    found = row(alone, "As a set", "Diversity within a person, times that of the originals")
    assert found.cells == [Cell("0.50", "0.25 … 0.75")] and found.ceiling == "1.00"


def test_every_attack_has_its_block_in_order():
    titles = [block.title for block in TABLE.blocks]
    assert titles == [attack_tables.TITLES[name] for name in attack_tables.TITLES if name not in ("copy", "membership")]
    fused = row(TABLE, "Fuse", "same identity, rank 1, n = 4")
    one = value("fusion", "same_identity", "rank_1", "mask", n=4)
    assert fused.cells[0].below == f"{100 * one.low:.1f} … {100 * one.high:.1f}"
    heads = [row.head for block in TABLE.blocks for row in block.rows]
    assert "same identity, gain over one image, n = 4" in heads and not [
        head for head in heads if "gain" in head and "n = 1" in head
    ]
    assert "TAR at FAR 0.1" in heads and "EER" in heads


def test_an_attack_on_some_variants_leaves_the_others_open():
    found = row(TABLE, "Aware", "same identity, rank 1")
    assert [cell.text == "–" for cell in found.cells] == [True, False, True, False]
    assert row(TABLE, "Inversion", "PSNR painted back (dB)").cells[3] == Cell("15.2")
    linked = row(TABLE, "Link", "same image, D_sys (0 … 1)")
    one = value("linkage", "same_image", "d_sys", "reconstruction")
    assert linked.cells[3] == Cell(f"{one.value:.2f}", f"{one.low:.2f} … {one.high:.2f}")
    assert linked.chance == f"{one.chance:.2f}" and linked.ceiling == f"{one.ceiling:.2f}"


def test_what_is_by_chance_stands_in_the_cell_where_it_differs_by_variant():
    changed = copy.deepcopy(audit())
    changed["pixels"]["mask"]["visible"]["chance"]["mean"] = 0.031
    table = attack_tables.judgeless_table(measures(changed))
    found = row(table, "Compare pixels", "Patches that are copies")
    assert found.chance == "" and found.cells[0].below.endswith("guess 3.10") and found.cells[0].text == "25.0"
    same = row(attack_tables.judgeless_table(FOUND), "Compare pixels", "Patches that are copies")
    assert same.chance == "0.0" and "guess" not in same.cells[0].below and same.ceiling == "100.0"


def test_membership_rows():
    first, *others = attack_tables.membership_rows(FOUND)
    one = value("membership", "training", "auc", "", judge="")
    assert first == Row(
        "AUC", [Cell(f"{100 * one.value:.1f}", f"{100 * one.low:.1f} … {100 * one.high:.1f}")], "50.0", "100.0"
    )
    assert all(row.head.startswith("True positives at") for row in others)
    assert attack_tables.membership_rows(measures(audit(attacks=()))) == []
    assert attack_tables.judgeless_table(measures(audit(attacks=()))) is None


def test_attacks_that_were_not_run_are_named():
    assert attack_tables.not_run(audit(), FOUND) == [
        "aware: run on blur@2, reconstruction only, not on mask, blur@4",
        "inversion: run on blur@2, reconstruction only, not on mask, blur@4",
        "linkage: run on reconstruction only, not on mask, blur@2, blur@4",
    ]
    bare = audit(attacks=())
    said = attack_tables.not_run(bare, measures(bare))
    assert [sentence.split(":")[0] for sentence in said] == [
        "fusion",
        "aware",
        "inversion",
        "linkage",
        "copy",
        "membership",
    ]
    assert all(sentence.endswith("(not run)") for sentence in said)
    asked = {**bare, "attacks": ["fusion"]}
    assert attack_tables.not_run(asked, measures(asked))[0].endswith("(asked for, but nobody has enough images)")


def test_without_a_variant_but_the_originals_they_are_shown():
    judge = audit()["judges"][0]
    alone = dict(judges=[judge | {"variants": {"original": judge["variants"]["original"]}}])
    assert attack_tables.judge_table(measures(alone), "teacher").variants == ["original"]
