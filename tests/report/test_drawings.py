"""Which points and lines the figures of a report hold."""

import xml.etree.ElementTree as ElementTree

import pytest
from report_help import audit, verify

from facemae_jax.report import drawings
from facemae_jax.report.measured import measures

SVG = "{http://www.w3.org/2000/svg}"
JUDGE = audit()["judges"][0]


def texts(drawing):
    return ["".join(element.itertext()) for element in ElementTree.fromstring(str(drawing.svg)).iter(f"{SVG}text")]


def test_strengths_are_joined_and_stronger_attackers_stand_beside():
    series = {one.label: one for one in drawings.trade_off_series(verify(), JUDGE, "same_identity")}
    assert [point.label for point in series["blur"].points] == ["blur@2", "blur@4"] and series["blur"].joined
    assert not series["mask"].joined and "teacher" not in series
    (ours,) = series["reconstruction"].points
    figures = JUDGE["variants"]["reconstruction"]["retrieval"]["same_identity"]
    accuracy = verify()["rows"][4]["accuracy"]
    assert (ours.leakage, ours.utility) == (100 * figures["rank"]["1"], 100 * accuracy["mean"])
    assert (ours.leakage_error, ours.utility_error) == pytest.approx(
        (100 * figures["standard_error"]["rank_1"], 100 * accuracy["standard_error"])
    )
    (more,) = series["reconstruction, aware attacker"].points
    assert more.leakage > ours.leakage and more.utility == ours.utility
    assert "reconstruction, inversion attacker" not in series  # it found less


def test_a_kind_with_an_unknown_strength_is_joined_by_leakage():
    renamed = {"blur@2": "mask", "mask": "mask@0.9"}
    rows = verify()["rows"]
    found = verify() | {"rows": [row | {"name": renamed.get(row["name"], row["name"])} for row in rows]}
    judge = JUDGE | {"variants": {renamed.get(name, name): one for name, one in JUDGE["variants"].items()}}
    series = {one.label: one for one in drawings.trade_off_series(found, judge, "same_identity")}
    assert [point.label for point in series["mask"].points] == ["mask@0.9", "mask"] and series["mask"].joined


def test_trade_offs_are_marked_with_chance_and_ceiling():
    image, identity = drawings.trade_offs(verify(), JUDGE)
    for drawing in (image, identity):
        assert texts(drawing).count("blind guess") == 2 and texts(drawing).count("originals as queries") == 1
        assert {"mask", "blur@2", "blur@4", "reconstruction"} <= set(texts(drawing))
        assert "<title>Utility and leakage" in drawing.svg and drawing.reading in drawing.svg.replace("&#39;", "'")
    assert drawings.trade_offs(None, JUDGE) == []


def test_the_fusion_curve_has_a_line_per_variant():
    drawing = drawings.fusion(measures(audit()), "teacher")
    assert {"mask", "blur@2", "reconstruction", "originals fused", "blind guess", "1", "2", "4"} <= set(texts(drawing))
    assert drawings.fusion(measures(audit(attacks=())), "teacher") is None


def test_retrieval_and_membership():
    assert "blind guess" in texts(drawings.retrieval(JUDGE, "same_image"))
    assert drawings.membership(audit()).reading and drawings.membership({}) is None
    alone = JUDGE | dict(variants={"mask": dict(retrieval=dict(same_identity=None))})
    assert drawings.retrieval(alone, "same_identity") is None
