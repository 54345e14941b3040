"""Embeddings whose products are exact or nearly all different, and the full ranking to compare searches with."""

import jax
import numpy as np

from facemae_jax.mesh import make_mesh

MESHES = {"1": (1, 1), "2": (2, 1), "8": (8, 1), "4x2": (4, 2)}


def mesh_of(name):
    data, fsdp = MESHES[name]
    return make_mesh(data, fsdp, jax.devices()[: data * fsdp])


def faces(count, length=8, seed=0):
    rows = np.random.default_rng(seed).normal(size=(count, length)).astype(np.float32)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def few_values(count, length=8, seed=0):
    """Small whole numbers: every product is exact, and most scores are shared by many."""
    return np.random.default_rng(seed).integers(-1, 2, size=(count, length)).astype(np.float32)


def whole_numbers(count, length=8, seed=0):
    """Every product is exact, in any order of the sum; some scores are shared."""
    return np.random.default_rng(seed).integers(-128, 129, size=(count, length)).astype(np.float32)


def brute_force(queries_QE, gallery_GE, exclude_Q=None):
    """The full ranking, equal scores by position."""
    scores_QG = queries_QE.astype(np.float64) @ gallery_GE.astype(np.float64).T
    if exclude_Q is not None:
        for query, excluded in enumerate(exclude_Q):
            if excluded >= 0:
                scores_QG[query, excluded] = -np.inf
    order_QG = np.argsort(-scores_QG, axis=1, kind="stable")
    return np.take_along_axis(scores_QG, order_QG, axis=1), order_QG


def some_excluded(queries, gallery):
    exclude_Q = np.arange(queries) % gallery
    exclude_Q[::3] = -1
    return exclude_Q
