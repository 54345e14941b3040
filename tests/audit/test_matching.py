import json

import numpy as np
import pytest

from facemae_jax.audit import matching as m
from facemae_jax.audit.contributors import Contributors
from facemae_jax.types import FacemaeError


def unit(rows):
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def gallery(count=200, length=32, seed=0):
    rows = unit(np.random.default_rng(seed).normal(size=(count, length)))
    return rows, np.arange(count) // 4


def test_the_source_itself_always_matches():
    rows, labels_G = gallery()
    found = m.matching(rows, rows, sources_Q=np.arange(200), labels_G=labels_G)
    assert found["tar_at_far"] == {"0.1": 1.0, "0.01": 1.0, "0.001": 1.0}  # 200 · 196 others support no 1e-4
    assert found["eer"] == 0.0 and found["auc"] == 1.0
    assert found["mated"]["mean"] == pytest.approx(1.0, abs=1e-6) and found["mated"]["count"] == 200
    assert found["non_mated"]["count"] == 200 * 196
    assert found["histogram"]["mated"][-1] == 1.0


def test_unrelated_images_match_no_more_often_than_strangers():
    rows, labels_G = gallery(400)
    noise = unit(np.random.default_rng(5).normal(size=(400, 32)))
    found = m.matching(noise, rows, sources_Q=np.arange(400), labels_G=labels_G)
    assert abs(found["auc"] - 0.5) < 4 * 0.29 / 400**0.5
    assert abs(found["tar_at_far"]["0.1"] - 0.1) < 4 * (0.1 * 0.9 / 400) ** 0.5
    assert abs(found["eer"] - 0.5) < 0.06
    assert abs(found["mated"]["mean"]) < 4 * found["mated"]["std"] / 400**0.5


def test_images_of_the_same_identity_are_no_strangers():
    rows, labels_G = gallery()
    labels_Q = labels_G[:3]
    scores = m.non_mated_scores(rows[:3], rows, people_QP=labels_Q[:, None], labels_G=labels_G, seed=0).scores_n
    right = np.concatenate([rows[q] @ rows[labels_G != labels_Q[q]].T for q in range(3)])
    np.testing.assert_allclose(np.sort(scores), np.sort(right), atol=1e-6)


def test_a_large_audit_draws_a_million_evenly(monkeypatch):
    monkeypatch.setattr(m, "NON_MATED", 1000)
    monkeypatch.setattr(m, "ROWS", 64)
    rows, labels_G = gallery()
    labels_Q = labels_G[np.arange(200)]
    draw = [
        m.non_mated_scores(rows, rows, people_QP=labels_Q[:, None], labels_G=labels_G, seed=seed).scores_n
        for seed in (0, 0, 1)
    ]
    assert len(draw[0]) == 1000
    np.testing.assert_array_equal(draw[0], draw[1])
    assert not np.array_equal(draw[0], draw[2])
    for query in range(200):  # five of each query, none twice, none of its own identity
        strangers = rows[query] @ rows[labels_G != labels_Q[query]].T
        mine = draw[0][5 * query : 5 * query + 5]
        assert len(np.unique(mine)) == 5
        assert np.abs(mine[:, None] - strangers[None, :]).min(axis=1).max() < 1e-6


def test_histograms_are_shares_and_fit_into_json():
    rows, labels_G = gallery()
    found = m.matching(rows, rows, sources_Q=np.arange(200), labels_G=labels_G)
    histogram = found["histogram"]
    assert len(histogram["edges"]) == len(histogram["mated"]) + 1 == len(histogram["non_mated"]) + 1
    assert sum(histogram["mated"]) == pytest.approx(1) and sum(histogram["non_mated"]) == pytest.approx(1)
    assert json.loads(json.dumps(found)) == found


def test_one_identity_cannot_be_audited():
    rows, _ = gallery(8)
    with pytest.raises(FacemaeError, match="one identity only"):
        m.matching(rows, rows, sources_Q=np.arange(8), labels_G=np.zeros(8, int))


def test_intervals_are_over_people_and_hold_the_figures():
    rows, labels_G = gallery()
    near = unit(rows + 1.5 * unit(np.random.default_rng(2).normal(size=rows.shape)))
    found = m.matching(near, rows, sources_Q=np.arange(200), labels_G=labels_G, seed=5)
    assert found["people"] == 50 and found["level"] == 0.95
    assert set(found["interval"]["tar_at_far"]) == set(found["tar_at_far"])
    both = [(found["interval"][name], found[name]) for name in ("eer", "auc")]
    both += [(found["interval"]["tar_at_far"][far], tar) for far, tar in found["tar_at_far"].items()]
    assert all(low < value < high for (low, high), value in both)
    again, other = (m.matching(near, rows, sources_Q=np.arange(200), labels_G=labels_G, seed=s) for s in (5, 6))
    assert again == found and other["interval"] != found["interval"]
    # Images over again are no further people.
    once, four = (
        m.matching(
            np.repeat(near[::4], n, axis=0), rows, sources_Q=np.repeat(np.arange(0, 200, 4), n), labels_G=labels_G
        )
        for n in (1, 4)
    )
    assert four["interval"]["auc"] == pytest.approx(once["interval"]["auc"], abs=2e-4)
    assert np.diff(once["interval"]["auc"]) > 2e-3


def test_non_mated_scores_come_with_whose_they_are():
    rows, labels_G = gallery(40)
    found = m.non_mated_scores(rows[:9], rows, people_QP=labels_G[:9, None], labels_G=labels_G, seed=0)
    np.testing.assert_array_equal(found.query_n, np.repeat(np.arange(9), 36))
    np.testing.assert_allclose(found.scores_n[:36], rows[0] @ rows[labels_G != 0].T, atol=1e-6)


def test_queries_of_one_person_have_figures_without_an_interval():
    rows, labels_G = gallery()
    found = m.matching(rows[:4], rows, sources_Q=np.arange(4), labels_G=labels_G)
    assert found["people"] == 1 and found["auc"] == 1.0 and "interval" not in found and "level" not in found


def test_images_of_everybody_behind_an_image_are_mated_and_none_of_them_a_stranger():
    rows, labels_G = gallery()
    sources_Q, used_Q = np.arange(40), np.arange(100, 140)
    images_QC = np.where(np.arange(40) < 10, -1, used_Q)[:, None]
    others = Contributors(images_QC, labels_G[used_Q][:, None])
    queries_QE = unit(rows[sources_Q] + rows[used_Q])
    found = m.matching(queries_QE, rows, sources_Q=sources_Q, labels_G=labels_G, others=others)
    alone = m.matching(queries_QE, rows, sources_Q=sources_Q, labels_G=labels_G)
    assert found["mated"]["count"] == 40 + 30 and alone["mated"]["count"] == 40
    people_Q2 = np.stack([labels_G[sources_Q], labels_G[used_Q]], axis=1)
    strangers = sum(int((~np.isin(labels_G, people)).sum()) for people in people_Q2)
    assert found["non_mated"]["count"] == strangers < alone["non_mated"]["count"]
    assert found["auc"] > alone["auc"]  # images that were used no longer count as strangers'
