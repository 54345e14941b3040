import pytest

from facemae_jax.metrics.gaps import gaps, headline


def row(name, mean, kind="recognizer"):
    return {"name": name, "kind": kind, "accuracy": {"mean": mean, "standard_error": 0.01}}


def templates(name, tar):
    return {"name": name, "kind": "recognizer", "tar_at_far": {"0.1": 0.9} | ({} if tar is None else {"0.0001": tar})}


def test_real_faces_ahead_as_a_share_of_the_row():
    found = gaps(
        [row("original", 0.9), row("reconstruction", 0.8), row("dcface", 0.95), row("teacher", 0.99, "teacher")]
    )
    assert found == {"reconstruction": pytest.approx(0.125), "dcface": pytest.approx(-0.05 / 0.95)}


def test_no_real_data_no_gap():
    assert gaps([row("mask", 0.7), row("reconstruction", 0.8)]) == {}
    assert gaps([row("mask", 0.7), row("original", 0.8, "judge")]) == {}  # somebody's file of that name


def test_templates_are_judged_by_tar_at_one_in_ten_thousand():
    assert headline(templates("x", 0.25)) == (0.25, None) and headline(row("x", 0.5)) == (0.5, 0.01)
    rows = [templates("original", 0.5), templates("mask", 0.4), templates("blur", 0.0), templates("noise", None)]
    assert gaps(rows) == {"mask": pytest.approx(0.25)}
    assert gaps([templates("original", None), templates("mask", 0.4)]) == {}
