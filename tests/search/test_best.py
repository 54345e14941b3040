import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from full_ranking import MESHES, brute_force, faces, few_values, mesh_of, some_excluded, whole_numbers
from jax.sharding import NamedSharding, PartitionSpec

from facemae_jax import search
from facemae_jax.mesh import AXES
from facemae_jax.search import best
from facemae_jax.types import FacemaeError

WAYS = {"one by one": best.ONE_BY_ONE, "by chunks": 0}


@pytest.fixture(params=WAYS)
def way(request, monkeypatch):
    """How the best of a block are taken: both give the same."""
    monkeypatch.setattr(best, "ONE_BY_ONE", WAYS[request.param])


@pytest.mark.parametrize("queries,gallery,block,k", [(5, 7, 4096, 6), (70, 257, 128, 12), (33, 1500, 1024, 5)])
def test_top_k_equals_brute_force(way, queries, gallery, block, k):
    for make, exclude in itertools.product((faces, few_values), (None, some_excluded(queries, gallery))):
        queries_QE, gallery_GE = make(queries, seed=1), make(gallery, seed=2)
        scores_Qk, positions_Qk = search.top_k(
            queries_QE, gallery_GE, k, block=block, exclude_Q=exclude, mesh=mesh_of("1")
        )
        right_scores, right_positions = brute_force(queries_QE, gallery_GE, exclude)
        np.testing.assert_array_equal(positions_Qk, right_positions[:, :k])
        np.testing.assert_allclose(scores_Qk, right_scores[:, :k], atol=1e-6)


@pytest.mark.parametrize("mesh", MESHES)
def test_the_same_positions_on_every_mesh(way, mesh):
    """1,111 and 150 divide by no number of devices; excluded positions lie on all of them."""
    for make in (few_values, whole_numbers, faces):
        queries_QE, gallery_GE = make(150, seed=1), make(1111, seed=2)
        exclude_Q = some_excluded(150, 1111) * 7 % 1111
        scores_Qk, positions_Qk = search.top_k(
            queries_QE, gallery_GE, 9, block=64, exclude_Q=exclude_Q, mesh=mesh_of(mesh)
        )
        right_scores, right_positions = brute_force(queries_QE, gallery_GE, exclude_Q)
        np.testing.assert_array_equal(positions_Qk, right_positions[:, :9])
        np.testing.assert_allclose(scores_Qk, right_scores[:, :9], atol=1e-6)


@pytest.mark.slow
def test_20_thousand_among_20_thousand():
    queries_QE, gallery_GE = whole_numbers(20_000, seed=1), whole_numbers(20_000, seed=2)
    scores_Qk, positions_Qk = search.top_k(queries_QE, gallery_GE, 10)
    for start in range(0, 20_000, 1000):
        here = slice(start, start + 1000)
        # One whole number per score and position, so that there are no ties: larger is better.
        order_qG = (queries_QE[here] @ gallery_GE.T).astype(np.int64) * 20_000 - np.arange(20_000)
        best_qk = -np.sort(np.partition(-order_qG, 9, axis=1)[:, :10], axis=1)
        np.testing.assert_array_equal(positions_Qk[here], -best_qk % 20_000)
        np.testing.assert_array_equal(scores_Qk[here], -(-best_qk // 20_000))


def test_copies_are_ordered_by_position_across_blocks_and_devices(way):
    gallery_GE = np.repeat(faces(1), 700, axis=0)
    for mesh in ("1", "4x2"):
        _, positions_Qk = search.top_k(gallery_GE[:2], gallery_GE, 30, block=64, mesh=mesh_of(mesh))
        np.testing.assert_array_equal(positions_Qk, [np.arange(30)] * 2)


def test_equal_scores_of_one_block_are_ordered_by_position_wherever_larger_ones_lie(way):
    gallery_GE = np.zeros((1024, 1), np.float32)
    gallery_GE[[10, 300, 301]] = [[0.5], [0.9], [0.5]]
    _, positions_Qk = search.top_k(np.ones((1, 1), np.float32), gallery_GE, 4, block=1024, mesh=mesh_of("1"))
    np.testing.assert_array_equal(positions_Qk, [[300, 10, 301, 0]])


def test_padding_is_never_found(way):
    gallery_GE = -np.abs(faces(30))  # every real score is negative, below the zeros of padding
    for mesh in ("1", "8"):  # 30 rows on 8 devices: some hold only padding
        scores_Qk, positions_Qk = search.top_k(np.abs(faces(3, seed=5)), gallery_GE, 30, mesh=mesh_of(mesh))
        assert (scores_Qk < 0).all()
        assert (np.sort(positions_Qk, axis=1) == np.arange(30)).all()


def test_one_compilation_for_all_blocks_of_queries():
    before = best.best_program._cache_size()
    search.top_k(faces(200), faces(500), 4, block=64)
    assert best.best_program._cache_size() == before + 1


def lowered(gallery, mesh, one_by_one):
    """The program of 64 queries of length 16, in blocks of 512 rows of a gallery."""
    split, whole = NamedSharding(mesh, PartitionSpec(AXES)), NamedSharding(mesh, PartitionSpec())

    def like(shape, dtype, sharding):
        return jax.ShapeDtypeStruct(shape, dtype, sharding=sharding)

    counts = [like((mesh.size,), jnp.int32, split)] * 2
    rows, queries = like((gallery, 16), jnp.float32, split), like((64, 16), jnp.float32, whole)
    exclude = like((64,), jnp.int32, whole)
    return best.best_program.lower(queries, exclude, rows, *counts, mesh=mesh, columns=512, k=5, one_by_one=one_by_one)


@pytest.mark.parametrize("mesh", ["1", "4x2"])
@pytest.mark.parametrize("one_by_one", [True, False])
def test_memory_does_not_grow_with_the_gallery_beyond_the_gallery(mesh, one_by_one):
    mesh, sizes = mesh_of(mesh), (2**14, 2**15, 2**17)
    found = [lowered(size, mesh, one_by_one).compile().memory_analysis() for size in sizes]
    first, *others = [analysis.temp_size_in_bytes for analysis in found]
    assert others == [first, first]
    assert first < 6 * 4 * 64 * 512  # a few blocks of scores
    grown = found[1].argument_size_in_bytes - found[0].argument_size_in_bytes
    assert grown == (sizes[1] - sizes[0]) * 16 * 4 // mesh.size  # and every device holds its share alone


def test_products_are_of_full_precision():
    assert "HIGHEST" in lowered(2**14, mesh_of("1"), True).as_text()


def test_no_queries_find_nothing():
    scores_Qk, positions_Qk = search.top_k(faces(0), faces(10), 3)
    assert scores_Qk.shape == positions_Qk.shape == (0, 3)


def test_mistakes_are_told():
    rows = faces(10)
    with pytest.raises(FacemaeError, match="k=11 .* between 1 and the 10 images"):
        search.top_k(rows, rows, 11)
    with pytest.raises(FacemaeError, match="between 1 and the 10 images"):
        search.top_k(rows, rows, 0)
    with pytest.raises(FacemaeError, match="between 1 and the 9 images"):
        search.top_k(rows, rows, 10, exclude_Q=np.zeros(10, int))
    with pytest.raises(FacemaeError, match="do not fit"):
        search.top_k(rows, rows[:, :4], 1)
    with pytest.raises(FacemaeError, match="queries hold NaN"):
        search.top_k(np.full_like(rows, np.inf), rows, 1)
