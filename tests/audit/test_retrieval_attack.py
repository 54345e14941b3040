import numpy as np
import pytest

from facemae_jax.audit.contributors import Contributors
from facemae_jax.audit.found_images import found_images
from facemae_jax.audit.retrieval_attack import retrieval_attack
from facemae_jax.metrics.bootstrap import bootstrap_mean


def unit(rows):
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def people(identities=60, images=5, spread=0.3, length=24, seed=0):
    """Originals of people who can be told apart, in mixed order."""
    random = np.random.default_rng(seed)
    labels_G = random.permutation(np.repeat(np.arange(identities), images))
    centres = unit(random.normal(size=(identities, length)))
    return unit(centres[labels_G] + spread * unit(random.normal(size=(len(labels_G), length)))), labels_G


def test_an_attack_on_the_originals_themselves_reaches_the_ceiling():
    gallery_GE, labels_G = people()
    sources_Q = np.arange(0, 300, 2)
    found = retrieval_attack(gallery_GE[sources_Q], gallery_GE, sources_Q=sources_Q, labels_G=labels_G, block=64)
    assert found["same_image"]["rank"] == {"1": 1.0, "5": 1.0, "10": 1.0} and found["same_image"]["map"] == 1.0
    assert found["same_identity"]["rank"]["1"] > 0.99
    assert found["same_identity"]["queries"] == 150 and found["without_another_image"] == 0


def test_unrelated_images_reach_chance_and_no_more():
    # Images of one person lie as far apart as any: where they flock together, a blind guess finds several or none at all.
    gallery_GE, labels_G = people(identities=100, images=4, spread=1e6)
    sources_Q = np.tile(np.arange(400), 10)
    noise = unit(np.random.default_rng(1).normal(size=(4000, 24)))
    found = retrieval_attack(noise, gallery_GE, sources_Q=sources_Q, labels_G=labels_G)
    for question, chance in (("same_image", 1 / 400), ("same_identity", 3 / 399)):
        figures = found[question]
        assert figures["chance"]["rank"]["1"] == pytest.approx(chance)
        for at in ("1", "5", "10"):
            blind = figures["chance"]["rank"][at]
            assert abs(figures["rank"][at] - blind) < 4 * (blind * (1 - blind) / 4000) ** 0.5
        # Queries share galleries, so the error over queries is a little too small: five of it.
        assert abs(figures["map"] - figures["chance"]["map"]) < 5 * figures["standard_error"]["map"]


def test_same_image_and_same_identity_are_different_questions():
    gallery_GE, labels_G = people()
    stranger = unit(np.random.default_rng(2).normal(size=gallery_GE.shape))
    sources_Q = np.arange(300)
    # The own image is found, the identity is not: a fingerprint of the picture that says nothing about the person.
    alone = retrieval_attack(stranger, stranger, sources_Q=sources_Q, labels_G=labels_G)
    assert alone["same_image"]["rank"]["1"] == 1.0 and alone["same_identity"]["rank"]["1"] < 0.1
    # The identity is found, the own image is not: every query is another image of the same person.
    order = np.argsort(labels_G, kind="stable").reshape(60, 5)
    swapped = np.empty(300, int)
    swapped[order] = np.roll(order, 1, axis=1)
    other = retrieval_attack(gallery_GE[swapped], gallery_GE, sources_Q=sources_Q, labels_G=labels_G)
    assert other["same_image"]["rank"]["1"] == 0.0 and other["same_identity"]["rank"]["1"] == 1.0


def test_the_own_source_is_left_out_of_the_identity_question():
    # One identity of two images that look nothing alike: with the own source in the gallery this would be a hit.
    gallery_GE = np.eye(4, dtype=np.float32)
    labels_G = np.array([7, 7, 8, 9])
    found = retrieval_attack(gallery_GE[:1], gallery_GE, sources_Q=np.array([0]), labels_G=labels_G)
    assert found["same_image"]["rank"]["1"] == 1.0
    # Three images are left, all with score 0; the other one of identity 7 stands first by position.
    assert found["same_identity"]["chance"]["rank"]["1"] == pytest.approx(1 / 3)
    gallery_GE[1] = -gallery_GE[0]
    found = retrieval_attack(gallery_GE[:1], gallery_GE, sources_Q=np.array([0]), labels_G=labels_G)
    assert found["same_identity"]["median_rank"] == 3


def test_people_with_one_image_are_counted_and_left_out():
    gallery_GE, labels_G = people(identities=20, images=2)
    labels_G = np.where(np.arange(40) < 10, 100 + np.arange(40), labels_G)
    alone = int(np.sum([np.count_nonzero(labels_G == label) == 1 for label in labels_G]))
    found = retrieval_attack(gallery_GE, gallery_GE, sources_Q=np.arange(40), labels_G=labels_G)
    assert alone >= 10
    assert found["without_another_image"] == alone and found["same_identity"]["queries"] == 40 - alone
    nobody = retrieval_attack(gallery_GE, gallery_GE, sources_Q=np.arange(40), labels_G=np.arange(40))
    assert nobody["same_identity"] is None and nobody["without_another_image"] == 40


def test_order_of_gallery_and_queries_does_not_matter():
    gallery_GE, labels_G = people()
    random = np.random.default_rng(3)
    queries_QE = unit(gallery_GE + 3 * unit(random.normal(size=gallery_GE.shape)))
    sources_Q = np.arange(300)
    before = retrieval_attack(queries_QE, gallery_GE, sources_Q=sources_Q, labels_G=labels_G, block=64)
    order, asked = random.permutation(300), random.permutation(300)
    place = np.argsort(order)
    after = retrieval_attack(
        queries_QE[asked], gallery_GE[order], sources_Q=place[sources_Q[asked]], labels_G=labels_G[order], block=128
    )
    assert before["same_image"]["rank"] == after["same_image"]["rank"]
    assert before["same_identity"]["rank"] == after["same_identity"]["rank"]
    assert before["same_identity"]["map"] == pytest.approx(after["same_identity"]["map"], abs=1e-9)
    assert 0 < before["same_identity"]["rank"]["1"] < 1


def test_intervals_are_over_people():
    gallery_GE, labels_G = people(identities=40)
    queries_QE = unit(gallery_GE + 3 * unit(np.random.default_rng(4).normal(size=gallery_GE.shape)))
    sources_Q = np.arange(0, 200, 2)
    found = retrieval_attack(queries_QE[sources_Q], gallery_GE, sources_Q=sources_Q, labels_G=labels_G, seed=7)
    for figure in ("same_image", "same_identity"):
        figures = found[figure]
        one = found_images(
            queries_QE[sources_Q], gallery_GE, sources_Q=sources_Q, labels_G=labels_G, figure=figure
        ).found_Q
        right = bootstrap_mean(one, labels_G[sources_Q], seed=7)
        assert (
            figures["interval"]["rank"]["1"] == pytest.approx(right) and right.low < figures["rank"]["1"] < right.high
        )
        low, high = figures["interval"]["map"]
        assert low < figures["map"] < high and figures["level"] == 0.95
        assert figures["people"] == len(np.unique(labels_G[sources_Q])) <= 40 < figures["queries"]
        assert set(figures["interval"]["rank"]) == {"1", "5", "10"}
    narrow = retrieval_attack(queries_QE[sources_Q], gallery_GE, sources_Q=sources_Q, labels_G=labels_G, level=0.5)
    widths = [high - low for low, high in (part["same_image"]["interval"]["map"] for part in (narrow, found))]
    assert widths[0] < 0.6 * widths[1]


def test_one_person_has_figures_without_an_interval():
    gallery_GE, labels_G = people()
    sources_Q = np.flatnonzero(labels_G == 3)
    found = retrieval_attack(gallery_GE[sources_Q], gallery_GE, sources_Q=sources_Q, labels_G=labels_G)
    for figures in (found["same_image"], found["same_identity"]):
        assert figures["people"] == 1 and figures["rank"]["1"] > 0.5
        assert "interval" not in figures and "level" not in figures


def test_to_find_anybody_behind_a_mixed_image_is_to_find_somebody():
    """Queries are means of an image of the own person and one of another: both are found, and both images that were used."""
    gallery_GE, labels_G = people(identities=30, images=4)
    images_K4 = np.argsort(labels_G, kind="stable").reshape(30, 4)
    own_Q, used_Q = images_K4[:, 0], np.roll(images_K4[:, 1], -1)  # an image of the next person
    others = Contributors(used_Q[:, None], labels_G[used_Q][:, None])
    queries_QE = unit(0.2 * gallery_GE[own_Q] + 0.8 * gallery_GE[used_Q])  # more of the other than of oneself
    alone = retrieval_attack(queries_QE, gallery_GE, sources_Q=own_Q, labels_G=labels_G)
    found = retrieval_attack(queries_QE, gallery_GE, sources_Q=own_Q, labels_G=labels_G, others=others)
    assert alone["same_image"]["rank"]["1"] < 0.5 < found["same_image"]["rank"]["1"] == 1.0
    assert alone["same_identity"]["rank"]["1"] < 0.2 < 0.9 < found["same_identity"]["rank"]["1"]
    # A blind guess has two people to hit, and neither image that was used is searched.
    assert found["same_identity"]["chance"]["rank"]["1"] == pytest.approx(6 / 118)
    away = Contributors(np.full((30, 1), -1), labels_G[used_Q][:, None])  # the other's image is not in the gallery
    kept = retrieval_attack(queries_QE, gallery_GE, sources_Q=own_Q, labels_G=labels_G, others=away)
    assert kept["same_identity"]["chance"]["rank"]["1"] == pytest.approx(7 / 119)
    assert kept["same_image"]["rank"] == alone["same_image"]["rank"]
