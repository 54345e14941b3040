"""Who is behind a mixed image, and what counts as found."""

import numpy as np
import pytest

from facemae_jax.audit import contributors as c
from facemae_jax.search import rank_of

LABELS_G = np.array([5, 3, 5, 5, 4, 3])


def unit(rows):
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def test_images_of_a_person():
    np.testing.assert_array_equal(c.images_of(np.array([5, 4]), LABELS_G), [[0, 2, 3], [4, -1, -1]])
    np.testing.assert_array_equal(c.images_of(np.array([9]), LABELS_G), [[-1]])  # nobody of that name


def test_of_one_person_the_source_and_the_others_are_right():
    right = c.right_answers(np.array([2, 4]), LABELS_G)
    np.testing.assert_array_equal(right.images_QR, [[2], [4]])
    np.testing.assert_array_equal(right.identity_QR, [[0, 2, 3], [4, -1, -1]])
    np.testing.assert_array_equal(right.used_QR, [[False, True, False], [True, False, False]])


def test_of_several_people_everybody_is_right_and_every_image_used_is_known():
    """The second query's contributing image is not in the gallery, other images of that person are."""
    others = c.Contributors(np.array([[1], [-1]]), np.array([[3], [3]]))
    right = c.right_answers(np.array([2, 4]), LABELS_G, others)
    np.testing.assert_array_equal(right.images_QR, [[2, 1], [4, -1]])
    found = [
        sorted(zip(row.tolist(), used.tolist(), strict=True))
        for row, used in zip(right.identity_QR, right.used_QR, strict=True)
    ]
    assert [pair for pair in found[0] if pair[0] >= 0] == [(0, False), (1, True), (2, True), (3, False), (5, False)]
    assert [pair for pair in found[1] if pair[0] >= 0] == [(1, False), (4, True), (5, False)]
    np.testing.assert_array_equal(others.of(np.array([1])).images_QC, [[-1]])


@pytest.mark.parametrize("seed", range(3))
def test_ranks_without_images_are_those_of_a_smaller_gallery(seed):
    random = np.random.default_rng(seed)
    gallery_GE, queries_QE = unit(random.normal(size=(60, 8))), unit(random.normal(size=(5, 8)))
    targets_QR = np.stack([random.choice(60, 7, replace=False) for _ in range(5)])
    targets_QR[2, 4:] = -1
    left_out_QR = (random.random((5, 7)) < 0.5) & (targets_QR >= 0)
    moved_QR = c.ranks_without(rank_of(queries_QE, gallery_GE, targets_QR), left_out_QR)
    for query in range(5):
        gone = targets_QR[query][left_out_QR[query]]
        rest = np.setdiff1d(np.arange(60), gone)
        order = rest[np.argsort(-(queries_QE[query] @ gallery_GE[rest].T), kind="stable")]
        for target, moved in zip(targets_QR[query], moved_QR[query], strict=True):
            assert moved == (0 if target < 0 or target in gone else 1 + int(np.flatnonzero(order == target)[0]))
