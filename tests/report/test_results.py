"""Looking things up in verify.json and audit.json."""

from report_help import audit, verify

from facemae_jax.report import results


def test_strengths_of_a_kind_stand_in_order():
    found = results.families(["blur@16", "mask", "blur@2", "blur", "ksame@5", "blur@4.5"])
    assert found == {"blur": ["blur", "blur@2", "blur@4.5", "blur@16"], "mask": ["mask"], "ksame": ["ksame@5"]}
    assert results.strength("dppix@0.5") == ("dppix", 0.5) and results.strength("mask") == ("mask", None)


def test_the_commoner_answer_is_the_blind_guess():
    assert results.utility_chance(None) is None and results.utility_chance(verify()) == 0.5
    skewed = verify() | dict(protocol=dict(count=400, positive=100))
    assert results.utility_chance(skewed) == 0.75


def test_chance_and_ceiling_of_a_judge():
    judge = audit()["judges"][0]
    assert results.ceiling(judge, "same_image") == 1.0 and results.chance(judge, "same_image") == 1 / audit()["queries"]
    nobody = judge | dict(ceiling=dict(same_identity=None))
    assert results.ceiling(nobody, "same_identity") is None and results.chance(nobody, "same_identity") is None
    assert results.leakage(judge, "noise", "same_image") == (None, None)


def test_numbers_as_words():
    assert (
        results.percent(0.1234, 0.01) == "12.3 ± 1.0"
        and results.percent(None) == "–"
        and results.percent(1, digits=0) == "100"
    )
    assert (
        results.span([0.1, 0.25]) == "10.0 … 25.0"
        and results.span(None) == ""
        and results.span((0.1, 0.25), 2, 1) == "0.10 … 0.25"
    )
