import json

import numpy as np
import pytest

from facemae_jax.metrics import templates as t
from facemae_jax.metrics.verification import area, equal_error_rate, roc, tar_at_far
from facemae_jax.types import FacemaeError


def test_pool_by_hand():
    """Template 1: a video of two frames, and a photograph; template 0: one photograph of the same medium's number."""
    embeddings_nE = np.array([[3.0, 0.0], [0.0, 5.0], [0.0, 2.0], [1.0, 0.0]], np.float32)
    pooled_TE = t.pool(embeddings_nE, np.array([1, 1, 0, 1]), np.array([8, 9, 8, 8]))
    # Medium 8 of template 1: the mean of (3, 0) and (1, 0); medium 9: (0, 5); their sum (2, 5).
    np.testing.assert_allclose(pooled_TE, [[0, 1], [2 / 29**0.5, 5 / 29**0.5]], rtol=1e-6)
    assert pooled_TE.dtype == np.float32


def slow_pool(embeddings_nE, template_n, media_n):
    """The definition, word by word."""
    rows = []
    for template in range(template_n.max() + 1):
        media = np.unique(media_n[template_n == template])
        total = sum(embeddings_nE[(template_n == template) & (media_n == medium)].mean(axis=0) for medium in media)
        rows.append(total / np.linalg.norm(total))
    return np.array(rows)


@pytest.mark.parametrize("block", [1, 7, 60, 10_000])
def test_pool_follows_the_definition_in_blocks_of_any_size(block):
    random = np.random.default_rng(0)
    template_n = random.permutation(np.concatenate([np.arange(21), random.integers(0, 21, 179)]))
    media_n = random.integers(0, 6, 200)
    embeddings_nE = random.standard_normal((200, 5)).astype(np.float32)
    np.testing.assert_allclose(
        t.pool(embeddings_nE, template_n, media_n, block=block),
        slow_pool(embeddings_nE, template_n, media_n),
        atol=1e-5,
    )


def test_pool_refuses_what_has_no_direction():
    embeddings_nE = np.array([[1.0, 0.0], [1.0, 0.0], [-1.0, 0.0]], np.float32)
    with pytest.raises(FacemaeError, match="1 of 2 templates .* zero or not finite .*number 1"):
        t.pool(embeddings_nE, np.array([0, 1, 1]), np.array([0, 1, 2]))
    for bad in (np.nan, np.inf):
        with pytest.raises(FacemaeError, match="1 of 2 templates .*number 0"):
            t.pool(np.array([[bad, 0.0], [1.0, 0.0]], np.float32), np.array([0, 1]), np.array([0, 1]))
    with pytest.raises(ValueError, match="every number from 0"):
        t.pool(embeddings_nE, np.array([0, 0, 2]), np.array([0, 1, 2]))


@pytest.mark.parametrize("block", [1, 3, 100])
def test_scores_are_cosines_in_blocks_of_any_size(block):
    templates_TE = np.array([[1, 0], [0, 1], [0.6, 0.8]], np.float32)
    left_p, right_p = np.array([0, 0, 2, 1, 2], np.int32), np.array([1, 2, 1, 1, 0], np.int32)
    scores_p = t.template_scores(templates_TE, left_p, right_p, block=block)
    np.testing.assert_allclose(scores_p, [0, 0.6, 0.8, 1, 0.6], rtol=1e-6)
    assert scores_p.dtype == np.float32


def scores(kind, seed):
    random = np.random.default_rng(seed)
    same_p = random.random(5000) < {"rare": 0.01, "half": 0.5, "ties": 0.1, "most": 0.98}[kind]
    scores_p = (random.normal(size=5000) + 1.2 * same_p).astype(np.float32)
    return (np.round(scores_p * 4) / 4 if kind == "ties" else scores_p), same_p


@pytest.mark.parametrize("kind", ["rare", "half", "ties", "most"])
@pytest.mark.parametrize("seed", [0, 1])
def test_the_sparse_curve_gives_the_figures_of_the_whole_one(kind, seed):
    scores_p, same_p = scores(kind, seed)
    whole, sparse = roc(scores_p, same_p), t.sparse_roc(scores_p, same_p)
    assert sparse.negatives == whole.negatives
    fars = tuple(np.geomspace(0.2, 1, 30))
    assert tar_at_far(sparse, fars) == tar_at_far(whole, fars) and len(tar_at_far(whole, fars)) == 30
    assert area(sparse) == pytest.approx(area(whole), abs=1e-12)
    assert equal_error_rate(sparse) == pytest.approx(equal_error_rate(whole), abs=1e-12)
    points = {*zip(whole.far_t.round(12).tolist(), whole.tar_t.round(12).tolist(), strict=True)}
    assert {*zip(sparse.far_t.round(12).tolist(), sparse.tar_t.round(12).tolist(), strict=True)} <= points
    assert np.all(np.diff(sparse.far_t) >= 0) and np.all(np.diff(sparse.tar_t) >= 0)


def test_figures_by_hand():
    # Of one person: .9 .5; of two: .7 and 99 below .4, so that .5 is accepted at one false accept of a hundred.
    scores_p = np.concatenate([[0.9, 0.5, 0.7], np.linspace(0, 0.39, 99)]).astype(np.float32)
    found = t.template_verification(scores_p, np.arange(102) < 2)
    assert found["auc"] == pytest.approx(199 / 200) and found["eer"] == pytest.approx(0.01)
    assert found["tar_at_far"] == {"0.1": 1.0}  # a hundred pairs of two people support no lower rate
    assert (found["pairs"], found["positive"]) == (102, 2)
    json.dumps(found)


def test_low_rates_where_there_are_pairs_enough():
    random = np.random.default_rng(0)
    same_p = np.arange(1_000_100) < 100
    scores_p = random.random(1_000_100, np.float32)
    scores_p[:100] += np.linspace(0, 0.99, 100, dtype=np.float32)
    found = t.template_verification(scores_p, same_p)["tar_at_far"]
    assert list(found) == ["0.1", "0.01", "0.001", "0.0001", "1e-05"]
    threshold = np.sort(scores_p[100:])[-11]  # ten of a million lie above it
    assert found["1e-05"] == pytest.approx(np.mean(scores_p[:100] > threshold))


def test_nonsense_is_refused():
    with pytest.raises(FacemaeError, match="1 of 3 similarities are not finite"):
        t.template_verification(np.array([0.1, np.nan, 0.2], np.float32), np.array([True, False, False]))
    with pytest.raises(FacemaeError, match="0 of 3 pairs show one person"):
        t.template_verification(np.zeros(3, np.float32), np.zeros(3, bool))
