import jax
import numpy as np
import pytest

from facemae_jax import search
from facemae_jax.types import FacemaeError


def faces(count, length=8, seed=0):
    rows = np.random.default_rng(seed).normal(size=(count, length)).astype(np.float32)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def few_values(count, length=4, seed=0):
    """Small whole numbers: every product is exact, and most scores are shared by many."""
    return np.random.default_rng(seed).integers(-1, 2, size=(count, length)).astype(np.float32)


def brute_force(queries_QE, gallery_GE, exclude_Q=None):
    """The full ranking, equal scores by position."""
    scores_QG = queries_QE.astype(np.float64) @ gallery_GE.astype(np.float64).T
    if exclude_Q is not None:
        for query, excluded in enumerate(exclude_Q):
            if excluded >= 0:
                scores_QG[query, excluded] = -np.inf
    order_QG = np.argsort(-scores_QG, axis=1, kind="stable")
    return np.take_along_axis(scores_QG, order_QG, axis=1), order_QG


@pytest.mark.parametrize("make", [faces, few_values])
@pytest.mark.parametrize(
    "queries,gallery,block,k", [(5, 7, 4096, 7), (40, 300, 64, 3), (70, 257, 128, 12), (33, 1500, 1024, 5)]
)
def test_top_k_equals_brute_force(make, queries, gallery, block, k):
    queries_QE, gallery_GE = make(queries, seed=1), make(gallery, seed=2)
    exclude_Q = np.arange(queries) % gallery
    exclude_Q[::3] = -1
    for exclude in (None, exclude_Q):
        kept = min(k, gallery - (exclude is not None))
        scores_Qk, positions_Qk = search.top_k(queries_QE, gallery_GE, kept, block=block, exclude_Q=exclude)
        right_scores, right_positions = brute_force(queries_QE, gallery_GE, exclude)
        np.testing.assert_array_equal(positions_Qk, right_positions[:, :kept])
        np.testing.assert_allclose(scores_Qk, right_scores[:, :kept], atol=1e-6)


@pytest.mark.parametrize("make", [faces, few_values])
@pytest.mark.parametrize("queries,gallery,block", [(5, 7, 4096), (70, 300, 64)])
def test_rank_of_equals_brute_force(make, queries, gallery, block):
    queries_QE, gallery_GE = make(queries, seed=1), make(gallery, seed=2)
    exclude_Q = np.arange(queries) % gallery
    targets_QR = (exclude_Q[:, None] + np.array([[1, 2, 5]])) % gallery
    targets_QR[::2, 1] = -1
    for exclude in (None, exclude_Q):
        ranks_QR = search.rank_of(queries_QE, gallery_GE, targets_QR, block=block, exclude_Q=exclude)
        _, order_QG = brute_force(queries_QE, gallery_GE, exclude)
        place_QG = np.argsort(order_QG, axis=1) + 1
        right_QR = np.where(targets_QR >= 0, np.take_along_axis(place_QG, np.maximum(targets_QR, 0), axis=1), 0)
        np.testing.assert_array_equal(ranks_QR, right_QR)


def test_one_target_per_query_needs_no_second_axis():
    rows = faces(20)
    np.testing.assert_array_equal(search.rank_of(rows, rows, np.arange(20), block=64), np.ones(20))


def test_copies_are_ordered_by_position_across_blocks():
    gallery_GE = np.repeat(faces(1), 200, axis=0)
    _, positions_Qk = search.top_k(gallery_GE[:2], gallery_GE, 6, block=64)
    np.testing.assert_array_equal(positions_Qk, [[0, 1, 2, 3, 4, 5]] * 2)
    np.testing.assert_array_equal(search.rank_of(gallery_GE[:3], gallery_GE, [0, 100, 199], block=64), [1, 101, 200])
    ranks = search.rank_of(gallery_GE[:1], gallery_GE, [100], block=64, exclude_Q=np.array([50]))
    np.testing.assert_array_equal(ranks, [100])


def test_equal_scores_of_one_block_are_ordered_by_position_wherever_larger_ones_lie():
    gallery_GE = np.zeros((1024, 1), np.float32)
    gallery_GE[[10, 300, 301]] = [[0.5], [0.9], [0.5]]
    _, positions_Qk = search.top_k(np.ones((1, 1), np.float32), gallery_GE, 4, block=1024)
    np.testing.assert_array_equal(positions_Qk, [[300, 10, 301, 0]])


def test_the_same_answer_for_every_block():
    queries_QE, gallery_GE = faces(50, 64, seed=3), faces(500, 64, seed=4)
    _, small = search.top_k(queries_QE, gallery_GE, 9, block=64)
    _, large = search.top_k(queries_QE, gallery_GE, 9, block=4096)
    np.testing.assert_array_equal(small, large)


def test_padding_is_never_found():
    gallery_GE = -np.abs(faces(70))  # every real score is negative, below the zeros of padding
    scores_Qk, positions_Qk = search.top_k(np.abs(faces(3, seed=5)), gallery_GE, 70, block=64)
    assert (scores_Qk < 0).all() and positions_Qk.max() == 69
    assert (np.sort(positions_Qk, axis=1) == np.arange(70)).all()


def test_one_compilation_for_all_blocks(monkeypatch):
    shapes = set()
    scores = search._scores
    monkeypatch.setattr(search, "_scores", lambda q, g, *rest: shapes.add((q.shape, g.shape)) or scores(q, g, *rest))
    search.top_k(faces(200), faces(500), 4, block=64)
    assert shapes == {((64, 8), (64, 8))}


def test_products_are_of_full_precision():
    text = jax.jit(search._scores).lower(*(np.zeros((64, 8), np.float32),) * 2, 0, 64, np.zeros(64, np.int32)).as_text()
    assert "HIGHEST" in text


def test_mistakes_are_told():
    rows = faces(10)
    with pytest.raises(FacemaeError, match="between 1 and the 10 images"):
        search.top_k(rows, rows, 11)
    with pytest.raises(FacemaeError, match="between 1 and the 9 images"):
        search.top_k(rows, rows, 10, exclude_Q=np.zeros(10, int))
    with pytest.raises(FacemaeError, match="do not fit"):
        search.top_k(rows, rows[:, :4], 1)
    with pytest.raises(FacemaeError, match="gallery hold NaN"):
        search.rank_of(rows, np.where(rows > 0.9, np.nan, np.full_like(rows, np.nan)), np.arange(10))
    with pytest.raises(FacemaeError, match="excluded, or lies outside"):
        search.rank_of(rows, rows, np.arange(10), exclude_Q=np.arange(10))
    with pytest.raises(FacemaeError, match="excluded, or lies outside"):
        search.rank_of(rows, rows, np.arange(10) + 1)
