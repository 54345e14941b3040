"""Who finds most people with single images."""

from facemae_jax.report.leakages import worst
from facemae_jax.report.measured import Measure


def found(judge, attack, value, variant="mask", question="same_identity", figure="rank_1", n=None):
    return Measure(judge, True, variant, attack, question, figure, value, error=0.01, n=n)


FOUND = [
    found("a", "retrieval", 0.2),
    found("a", "aware", 0.3),
    found("b", "inversion", 0.4),
    # None of these is an attacker who searches the originals for a person with one image.
    found("a", "fusion", 0.9, n=1),
    found("a", "linkage", 0.9),
    found("a", "reverse", 0.9),
    found("a", "retrieval", 0.9, question="same_image"),
    found("a", "retrieval", 0.9, figure="rank_10"),
    found("a", "retrieval", 0.9, variant="blur"),
]


def test_the_worst_over_judges_and_attackers_with_single_images():
    most = worst(FOUND, "mask")
    assert most == (0.4, 0.01, "b", "inversion", 3)


def test_by_one_judge():
    assert worst(FOUND, "mask", "a") == (0.3, 0.01, "a", "aware", 2)


def test_where_nobody_could_be_searched_for_there_is_none():
    assert worst(FOUND, "noise") is None and worst(FOUND, "blur", "b") is None
