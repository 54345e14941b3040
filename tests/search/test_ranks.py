import jax
import jax.numpy as jnp
import numpy as np
import pytest
from full_ranking import MESHES, brute_force, faces, few_values, mesh_of, whole_numbers
from jax.sharding import NamedSharding, PartitionSpec

from facemae_jax import search
from facemae_jax.mesh import AXES
from facemae_jax.search import ranks
from facemae_jax.types import FacemaeError


def right_ranks(queries_QE, gallery_GE, targets_QR, exclude_Q):
    place_QG = np.argsort(brute_force(queries_QE, gallery_GE, exclude_Q)[1], axis=1) + 1
    return np.where(targets_QR >= 0, np.take_along_axis(place_QG, np.maximum(targets_QR, 0), axis=1), 0)


@pytest.mark.parametrize("mesh", MESHES)
@pytest.mark.parametrize("queries,gallery,block", [(5, 7, 4096), (70, 1111, 64)])
def test_rank_of_equals_brute_force_on_every_mesh(queries, gallery, block, mesh):
    for make in (faces, few_values, whole_numbers):
        queries_QE, gallery_GE = make(queries, seed=1), make(gallery, seed=2)
        exclude_Q = np.arange(queries) * 13 % gallery
        targets_QR = (exclude_Q[:, None] + np.array([[1, 2, 5, 6]])) % gallery
        targets_QR[::2, 1] = -1  # padding may stand anywhere, and rows have different numbers of targets
        targets_QR[3] = -1
        for exclude in (None, exclude_Q):
            found = search.rank_of(
                queries_QE, gallery_GE, targets_QR, block=block, exclude_Q=exclude, mesh=mesh_of(mesh)
            )
            np.testing.assert_array_equal(found, right_ranks(queries_QE, gallery_GE, targets_QR, exclude))


def test_ranks_are_the_places_of_the_k_best():
    """Real numbers that are no exact products: both searches must see the same bits."""
    queries_QE, gallery_GE = faces(300, 64, seed=1), faces(2000, 64, seed=2)
    for mesh in ("1", "8"):
        _, positions_Qk = search.top_k(queries_QE, gallery_GE, 8, block=256, mesh=mesh_of(mesh))
        found_Qk = search.rank_of(queries_QE, gallery_GE, positions_Qk, block=256, mesh=mesh_of(mesh))
        np.testing.assert_array_equal(found_Qk, [np.arange(8) + 1] * 300)


@pytest.mark.slow
def test_ranks_in_20_thousand():
    queries_QE, gallery_GE = whole_numbers(20_000, seed=1), whole_numbers(20_000, seed=2)
    targets_Q = np.random.default_rng(3).permutation(20_000)
    found_Q = search.rank_of(queries_QE, gallery_GE, targets_Q)
    for start in range(0, 20_000, 1000):
        here = slice(start, start + 1000)
        scores_qG = queries_QE[here] @ gallery_GE.T
        own_q1 = np.take_along_axis(scores_qG, targets_Q[here, None], axis=1)
        earlier_qG = np.arange(20_000)[None, :] < targets_Q[here, None]
        ahead_q = ((scores_qG > own_q1) | ((scores_qG == own_q1) & earlier_qG)).sum(axis=1)
        np.testing.assert_array_equal(found_Q[here], ahead_q + 1)


def test_one_target_per_query_needs_no_second_axis():
    rows = faces(20)
    np.testing.assert_array_equal(search.rank_of(rows, rows, np.arange(20), block=64), np.ones(20))


def test_copies_are_ranked_by_position():
    gallery_GE = np.repeat(faces(1), 200, axis=0)
    for mesh in ("1", "8"):
        on = dict(block=64, mesh=mesh_of(mesh))
        np.testing.assert_array_equal(search.rank_of(gallery_GE[:3], gallery_GE, [0, 100, 199], **on), [1, 101, 200])
        found = search.rank_of(gallery_GE[:1], gallery_GE, [100], exclude_Q=np.array([50]), **on)
        np.testing.assert_array_equal(found, [100])


def test_no_target_has_no_rank():
    rows = faces(5)
    np.testing.assert_array_equal(search.rank_of(rows, rows, np.full((5, 2), -1)), np.zeros((5, 2)))
    assert search.rank_of(rows[:0], rows, np.zeros((0, 2), int)).shape == (0, 2)
    assert search.rank_of(rows, rows, np.zeros((5, 0), int)).shape == (5, 0)


def lowered(gallery, mesh):
    """The program of 64 queries with 3 targets each, in blocks of 512 rows of a gallery."""
    split, whole = NamedSharding(mesh, PartitionSpec(AXES)), NamedSharding(mesh, PartitionSpec())
    shapes = (
        ((64, 16), jnp.float32, whole), ((64,), jnp.int32, whole), ((64, 3), jnp.int32, whole),
        ((gallery, 16), jnp.float32, split), ((mesh.size,), jnp.int32, split), ((mesh.size,), jnp.int32, split),
    )  # fmt: skip
    given = [jax.ShapeDtypeStruct(shape, dtype, sharding=sharding) for shape, dtype, sharding in shapes]
    return ranks.ranks_program.lower(*given, mesh=mesh, columns=512)


@pytest.mark.parametrize("mesh", ["1", "4x2"])
def test_memory_does_not_grow_with_the_gallery(mesh):
    temporary = [
        lowered(size, mesh_of(mesh)).compile().memory_analysis().temp_size_in_bytes for size in (2**14, 2**15, 2**17)
    ]
    assert temporary == [temporary[0]] * 3
    assert temporary[0] < 6 * 4 * 64 * 512  # a few blocks of scores


def test_one_product_of_full_precision_serves_both_passes():
    text = lowered(2**14, mesh_of("1")).as_text()
    assert text.count("dot_general") == 1 and "HIGHEST" in text


def test_mistakes_in_targets_are_told():
    rows = faces(10)
    with pytest.raises(FacemaeError, match="gallery hold NaN"):
        search.rank_of(rows, np.full_like(rows, np.nan), np.arange(10))
    with pytest.raises(FacemaeError, match="excluded, or lies outside"):
        search.rank_of(rows, rows, np.arange(10), exclude_Q=np.arange(10))
    with pytest.raises(FacemaeError, match="excluded, or lies outside"):
        search.rank_of(rows, rows, np.arange(10) + 1)
    with pytest.raises(FacemaeError, match="holds no image"):
        search.rank_of(rows, rows[:0], np.arange(10))
