import numpy as np
import pytest

from facemae_jax.audit.contributors import Contributors
from facemae_jax.audit.found_images import asked, found_images
from facemae_jax.audit.retrieval_attack import retrieval_attack

LABELS_G = np.array([0, 0, 1, 1, 2])


def unit(rows):
    rows = np.asarray(rows, np.float32)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def test_by_hand():
    """Four directions: e1 and e2 of person 0, e3 and e4 of person 1; person 2 has one image between e1 and e3."""
    gallery_GE = unit([[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1], [1, 0, 1, 0]])
    queries_QE = unit([[3, 2, 0, 0], [0, 4, 3, 0]])
    sources_Q = np.array([0, 1])
    image = found_images(queries_QE, gallery_GE, sources_Q=sources_Q, labels_G=LABELS_G, figure="same_image")
    a = 3 / 13**0.5
    np.testing.assert_array_equal(image.found_Q, [True, True])
    np.testing.assert_allclose(image.margin_Q, [a - a / 2**0.5, 0.8 - 0.6], atol=1e-6)
    person = found_images(queries_QE, gallery_GE, sources_Q=sources_Q, labels_G=LABELS_G, figure="same_identity")
    # Own source away: the first finds person 2 (0.588) before e2 (0.555), the second e3 (0.6) before e1 (0).
    np.testing.assert_array_equal(person.found_Q, [False, False])
    np.testing.assert_allclose(person.margin_Q, [2 / 13**0.5 - a / 2**0.5, 0 - 0.6], atol=1e-6)


def test_who_counts():
    sources_Q = np.array([4, 0, 3])
    np.testing.assert_array_equal(asked(sources_Q, LABELS_G, "same_image"), [True, True, True])
    np.testing.assert_array_equal(asked(sources_Q, LABELS_G, "same_identity"), [False, True, True])


@pytest.mark.parametrize("figure", ["same_image", "same_identity"])
def test_the_shares_are_those_of_the_attack_and_margins_have_their_sign(figure):
    random = np.random.default_rng(0)
    labels_G = random.permutation(np.concatenate([np.repeat(np.arange(60), 9), [100, 101]]))
    people = random.normal(size=(102, 16))
    gallery_GE = unit(people[labels_G] + 0.9 * random.normal(size=(len(labels_G), 16)))
    sources_Q = random.permutation(len(labels_G))
    queries_QE = unit(gallery_GE[sources_Q] + 0.25 * random.normal(size=(len(sources_Q), 16)))
    counts_Q = asked(sources_Q, labels_G, figure)
    truth = dict(sources_Q=sources_Q[counts_Q], labels_G=labels_G)
    found = found_images(queries_QE[counts_Q], gallery_GE, figure=figure, **truth)
    attack = retrieval_attack(queries_QE, gallery_GE, sources_Q=sources_Q, labels_G=labels_G)[figure]
    assert len(found.found_Q) == attack["queries"] and found.found_Q.mean() == attack["rank"]["1"]
    assert 0.2 < found.found_Q.mean() < 0.9  # else signs would say little
    np.testing.assert_array_equal(found.found_Q, found.margin_Q > 0)


@pytest.mark.parametrize("figure", ["same_image", "same_identity"])
def test_with_others_behind_the_images_the_shares_are_still_those_of_the_attack(figure):
    random = np.random.default_rng(5)
    labels_G = np.repeat(np.arange(20), 3)
    gallery_GE = unit(random.normal(size=(60, 16)))
    sources_Q, used_Q = np.arange(0, 60, 2), np.roll(np.arange(0, 60, 2), 7)
    images_QC = np.where(np.arange(30) % 3 == 0, -1, used_Q)[:, None]  # a third is not in the gallery
    others = Contributors(images_QC, labels_G[used_Q][:, None])
    queries_QE = unit(gallery_GE[sources_Q] + 1.2 * gallery_GE[used_Q] + unit(random.normal(size=(30, 16))))
    truth = dict(sources_Q=sources_Q, labels_G=labels_G, others=others)
    assert asked(sources_Q, labels_G, figure, others).all()
    found = found_images(queries_QE, gallery_GE, figure=figure, **truth)
    rate = retrieval_attack(queries_QE, gallery_GE, **truth)[figure]["rank"]["1"]
    assert found.found_Q.mean() == rate and 0 < rate
    np.testing.assert_array_equal(found.found_Q, found.margin_Q > 0)
    alone = found_images(queries_QE, gallery_GE, sources_Q=sources_Q, labels_G=labels_G, figure=figure)
    assert (found.margin_Q != alone.margin_Q).any()
