import json

import numpy as np
import pytest

from facemae_jax.audit import linkage_attack as la
from facemae_jax.types import FacemaeError

PEOPLE, IMAGES, LENGTH = 60, 4, 32
COUNT = PEOPLE * IMAGES


def unit(rows):
    return (rows / np.linalg.norm(rows, axis=-1, keepdims=True)).astype(np.float32)


def noise(seed, count=COUNT):
    return unit(np.random.default_rng(seed).normal(size=(count, LENGTH)))


LABELS_G = np.random.default_rng(9).permutation(np.repeat(np.arange(PEOPLE), IMAGES))
ORIGINALS_GE = unit(noise(0, PEOPLE)[LABELS_G] + 0.4 * noise(1))
SOURCES_Q, SOURCES_P = np.random.default_rng(2).permutation(COUNT), np.random.default_rng(3).permutation(COUNT)


def attack(first_GE, second_GE, sources_Q=SOURCES_Q, sources_P=SOURCES_P, **more):
    """Both releases in an order of their own."""
    return la.linkage_attack(
        first_GE[sources_Q], second_GE[sources_P], ORIGINALS_GE, sources_Q=sources_Q, sources_P=sources_P,
        labels_G=LABELS_G, **more,
    )  # fmt: skip


def test_identical_releases_are_linked():
    protected_GE = noise(5)  # nothing of the identity is left, yet each image is its own fingerprint
    found = attack(protected_GE, protected_GE)
    image, identity = found["same_image"], found["same_identity"]
    assert image["linkage"]["d_sys"] > 0.99 and image["linkage"]["maximal"] > 0.99
    assert image["linkage"]["interval"]["d_sys"][0] > 0.98
    assert image["search"]["rank"]["1"] == 1.0
    assert found["images"] == COUNT and found["left_out"] == 0
    # The images of one person say nothing about each other here (every pair stands twice among these scores, so they scatter more).
    assert identity["linkage"]["interval"]["d_sys"][0] < 0.05 and identity["linkage"]["d_sys"] < 0.1
    assert abs(identity["search"]["rank"]["1"] - 3 / 239) < 4 * (3 / 239 / COUNT) ** 0.5
    assert json.loads(json.dumps(found)) == found


def test_unrelated_releases_are_not():
    found = attack(noise(5), noise(6))
    for kind, chance in (("same_image", 1 / COUNT), ("same_identity", 3 / (COUNT - 1))):
        link, search = found[kind]["linkage"], found[kind]["search"]
        assert link["d_sys"] < 0.1 and link["maximal"] < 0.15, (kind, link["d_sys"], link["maximal"])
        assert abs(link["d_sys"] - link["unlinked"]["d_sys"]) < 0.05
        assert link["interval"]["d_sys"][0] == 0 and link["interval"]["maximal"][0] == 0
        assert search["chance"]["rank"]["1"] == pytest.approx(chance)
        assert abs(search["rank"]["1"] - chance) < 4 * (chance / COUNT) ** 0.5


def test_releases_that_keep_the_person_are_linked_by_identity():
    """Two images of one person show the same face, and nothing tells which image it was made from."""
    faces_GE = noise(7, PEOPLE)[LABELS_G]
    found = attack(unit(faces_GE + 0.3 * noise(8)), unit(faces_GE + 0.3 * noise(9)))
    assert found["same_identity"]["linkage"]["d_sys"] > 0.95 and found["same_identity"]["search"]["rank"]["1"] > 0.98
    assert found["same_image"]["linkage"]["d_sys"] > 0.95
    assert 0.1 < found["same_image"]["search"]["rank"]["1"] < 0.45  # one of four
    assert found["same_identity"]["search"]["interval"]["rank"]["1"][1] <= 1


def test_the_ceiling_is_what_originals_reach():
    found = attack(noise(5), noise(6))["ceiling"]
    assert found == {key: attack(ORIGINALS_GE, ORIGINALS_GE)[key] for key in ("same_image", "same_identity")}
    assert found["same_image"]["search"]["rank"]["1"] == 1.0
    assert found["same_identity"]["search"]["rank"]["1"] > 0.95


def test_images_of_one_release_only_are_left_out_and_counted():
    protected_GE = noise(5)
    found = attack(protected_GE, protected_GE, sources_P=SOURCES_P[:100])
    assert found["images"] == 100 and found["left_out"] == COUNT - 100
    assert found["same_image"]["search"]["rank"]["1"] == 1.0 and found["same_image"]["search"]["queries"] == 100


def test_many_pairs_are_drawn_by_seed(monkeypatch):
    monkeypatch.setattr(la, "PAIRS", 2 * COUNT)
    drawn, scores = [], la.pair_scores
    monkeypatch.setattr(la, "pair_scores", lambda left, right, pairs: drawn.append(pairs) or scores(left, right, pairs))
    found = attack(noise(5), noise(6))
    assert found["same_image"]["linkage"]["counts"] == {"mated": COUNT, "non_mated": 2 * COUNT}
    assert found["same_identity"]["linkage"]["counts"] == {"mated": 2 * COUNT, "non_mated": 2 * COUNT}
    assert found == attack(noise(5), noise(6), seed=0)
    attack(noise(5), noise(6), seed=1)
    for at in (0, 1):  # strangers, relatives; four draws of each audit, for its ceiling too
        assert not np.array_equal(drawn[at].right_n, drawn[8 + at].right_n)


def test_people_with_one_image_have_no_relatives():
    first_GE = noise(5, 40)
    place = np.arange(40)
    found = la.linkage_attack(first_GE, first_GE, first_GE, sources_Q=place, sources_P=place, labels_G=np.arange(40))
    assert found["same_identity"] is None and found["same_image"]["linkage"]["d_sys"] > 0.99


def test_releases_of_other_faces_are_refused():
    with pytest.raises(FacemaeError, match="0 originals are in both releases"):
        attack(noise(5), noise(6), sources_Q=np.arange(50), sources_P=np.arange(50, 150))
    with pytest.raises(FacemaeError, match="one identity only"):
        la.linkage_attack(
            noise(5), noise(6), ORIGINALS_GE, sources_Q=np.arange(COUNT), sources_P=np.arange(COUNT),
            labels_G=np.zeros(COUNT, int),
        )  # fmt: skip
