import json

import numpy as np
import pytest

from facemae_jax.audit import fusion_attack as f
from facemae_jax.audit.contributors import Contributors
from facemae_jax.types import FacemaeError

PEOPLE, IMAGES, LENGTH = 80, 9, 32


def unit(rows):
    return (rows / np.linalg.norm(rows, axis=-1, keepdims=True)).astype(np.float32)


def originals(seed=0, people=PEOPLE, images=IMAGES, spread=0.5):
    """Originals in mixed order."""
    random = np.random.default_rng(seed)
    labels_G = random.permutation(np.repeat(np.arange(people) * 3, images))
    centres_KE = unit(random.normal(size=(people, LENGTH)))
    return unit(centres_KE[labels_G // 3] + spread * unit(random.normal(size=(len(labels_G), LENGTH)))), labels_G


def noisy(gallery_GE, strength, seed=1):
    return unit(gallery_GE + strength * unit(np.random.default_rng(seed).normal(size=gallery_GE.shape)))


def attack(queries_QE, gallery_GE, labels_G, sources_Q=None, **more):
    sources_Q = np.arange(len(gallery_GE)) if sources_Q is None else sources_Q
    return f.fusion_attack(queries_QE, gallery_GE, sources_Q=sources_Q, labels_G=labels_G, **more)


def curve(found, kind="without_sources", at="1"):
    return [point[kind]["rank"][at] for point in found["points"]]


def test_fusion_rises_with_n_where_protection_is_noise():
    gallery_GE, labels_G = originals()
    found = attack(noisy(gallery_GE, 4.0), gallery_GE, labels_G)
    assert [point["n"] for point in found["points"]] == [1, 2, 4, 8]
    assert all(point["people"] == PEOPLE for point in found["points"])
    for kind in ("without_sources", "with_sources"):
        rates = curve(found, kind)
        assert all(after > before + 0.03 for before, after in zip(rates[:-1], rates[1:], strict=True)), rates
        assert rates[-1] > 0.4 and rates[-1] > 2 * rates[0]
    last = found["points"][-1]["without_sources"]
    assert last["gain"]["1"] == pytest.approx(last["rank"]["1"] - last["one"]["rank"]["1"])
    assert last["gain"]["interval"][0] > 0.2
    low, high = last["interval"]["rank"]["1"]
    assert low < last["rank"]["1"] < high
    first = found["points"][0]["without_sources"]
    assert first["gain"] == {"1": 0.0, "interval": [0.0, 0.0]} and first["one"]["rank"] == first["rank"]


def test_fused_originals_reach_the_ceiling():
    gallery_GE, labels_G = originals()
    found = attack(gallery_GE, gallery_GE, labels_G)
    assert min(curve(found)) > 0.99 and min(curve(found, "with_sources")) > 0.99
    for point in found["points"]:
        for kind in ("without_sources", "with_sources"):
            assert point[kind]["ceiling"]["rank"] == point[kind]["rank"]


def test_unrelated_people_are_found_by_chance():
    gallery_GE, labels_G = originals(people=150, spread=1e6)  # images of one person lie as far apart as any
    stranger = unit(np.random.default_rng(2).normal(size=gallery_GE.shape))
    found = attack(stranger, gallery_GE, labels_G, groups=8)
    for point in found["points"]:
        draws = 150 * 8
        # Eight of nine are set aside for the largest n, and so for every other: the question stays the same.
        for kind, chance in (("without_sources", 1 / 1342), ("with_sources", 9 / 1350)):
            figures = point[kind]
            assert figures["chance"]["rank"]["1"] == pytest.approx(chance)
            for at in ("1", "5", "10"):
                blind = figures["chance"]["rank"][at]
                # Groups of one person share images: they count as at least a quarter of their number.
                assert abs(figures["rank"][at] - blind) < 4 * (blind * (1 - blind) / (draws / 4)) ** 0.5


def test_own_sources_are_left_out_and_only_they():
    """Each image is a world of its own: fused images find their own sources, and nobody once these are gone."""
    random = np.random.default_rng(4)
    labels_G = np.repeat(np.arange(40), 5)
    gallery_GE = unit(random.normal(size=(200, 256)))
    found = attack(gallery_GE, gallery_GE, labels_G, counts=(1, 2, 4))
    assert curve(found, "with_sources") == [1.0, 1.0, 1.0]
    assert max(curve(found, "without_sources")) < 0.15


def test_people_without_enough_images_take_no_part(monkeypatch):
    """Ten people have five originals, three of them protected: n = 2. Thirty have two, both protected: n = 1."""
    labels_G = np.concatenate([np.repeat(np.arange(10), 5), np.repeat(np.arange(10, 40), 2)])
    gallery_GE = unit(np.random.default_rng(0).normal(size=(len(labels_G), 16)))
    sources_Q = np.concatenate([np.arange(50).reshape(10, 5)[:, :3].ravel(), np.arange(50, 110)])
    found = attack(gallery_GE[sources_Q], gallery_GE, labels_G, sources_Q)
    assert [(point["n"], point["people"]) for point in found["points"]] == [(1, 40), (2, 10)]
    assert found["points"][1]["without_sources"]["queries"] == 10 * found["groups"]
    # One of two, and two of five, are set aside: also where n = 1 is asked of those who reach 2.
    right = found["points"][0]["without_sources"]["chance"]["rank"]["1"]
    assert right == pytest.approx((30 * 1 / 109 + 10 * 3 / 108) / 40)
    monkeypatch.setattr(f, "LEAST_PEOPLE", 11)
    assert len(attack(gallery_GE[sources_Q], gallery_GE, labels_G, sources_Q)["points"]) == 1
    few = attack(gallery_GE[sources_Q], gallery_GE, labels_G, sources_Q, most_people=12)
    assert few["points"][0]["people"] == 12
    nobody = attack(gallery_GE, gallery_GE, np.arange(len(labels_G)))
    assert nobody["points"] == []


def test_seeds_choose_the_images():
    gallery_GE, labels_G = originals(people=20)
    queries_QE = noisy(gallery_GE, 3.0)
    draws = [attack(queries_QE, gallery_GE, labels_G, groups=1, seed=seed) for seed in (0, 0, 1)]
    assert draws[0] == draws[1] and curve(draws[0]) != curve(draws[2])
    assert json.loads(json.dumps(draws[0])) == draws[0]


def test_a_fused_embedding_is_the_mean_at_unit_norm():
    rows_QE = noisy(np.eye(4, dtype=np.float32), 0.5)
    means_QE = rows_QE[[[0, 1, 2], [3, 3, 0]]].mean(axis=1)
    np.testing.assert_allclose(f.fused(rows_QE, np.array([[0, 1, 2], [3, 3, 0]])), unit(means_QE), atol=1e-6)


def test_two_releases_at_once_are_refused():
    gallery_GE, labels_G = originals(people=6)
    with pytest.raises(FacemaeError, match="one release at a time"):
        attack(np.repeat(gallery_GE, 2, axis=0), gallery_GE, labels_G, np.repeat(np.arange(len(gallery_GE)), 2))


def test_of_mixed_images_anybody_behind_them_is_right_and_all_images_used_are_left_out():
    """The mean of n images, each half of the own person and mostly of the next: the next is found, which counts once it is told."""
    gallery_GE, labels_G = originals()
    images_KI = np.argsort(labels_G, kind="stable").reshape(PEOPLE, IMAGES)
    used_G = np.empty(len(labels_G), np.int64)
    used_G[images_KI.ravel()] = np.roll(images_KI, -1, axis=0).ravel()
    queries_QE = noisy(unit(0.2 * gallery_GE + 0.8 * gallery_GE[used_G]), 2.0)
    others = Contributors(used_G[:, None], labels_G[used_G][:, None])
    alone, found = attack(queries_QE, gallery_GE, labels_G), attack(queries_QE, gallery_GE, labels_G, others=others)
    assert [point["n"] for point in found["points"]] == [1, 2, 4, 8]
    assert max(curve(alone)) < 0.2 and curve(found)[-1] > 0.9
    chance = [point["without_sources"]["chance"]["rank"]["1"] for point in found["points"]]
    # Eight of nine images of every person are set aside, and so of the next one: of each one is left, in a gallery of as many less.
    assert chance[-1] < 2 / (len(labels_G) - 16) * 1.5


def test_points_need_somebody_left_to_find():
    """Contributing images can be the last of everybody: such points are not on the curve."""
    labels_G = np.repeat(np.arange(6), 2)
    gallery_GE = unit(np.random.default_rng(0).normal(size=(12, 8)))
    sources_Q = np.arange(0, 12, 2)
    others = Contributors(sources_Q[:, None] + 1, np.full((6, 1), 99))  # the second image of each is used, too
    assert attack(gallery_GE[sources_Q], gallery_GE, labels_G, sources_Q)["points"]
    assert not attack(gallery_GE[sources_Q], gallery_GE, labels_G, sources_Q, others=others)["points"]
