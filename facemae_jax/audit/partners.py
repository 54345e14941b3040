"""Which pairs of images an attack compares: seeded draws of partners, of the same identity or of another one.

All pairs of large sets are too many; each image on the left gets equally many partners, drawn without replacement.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

CHUNK = 1 << 16  # pairs whose embeddings are gathered at a time


class Pairs(NamedTuple):
    """Position on the left and on the right of each pair."""

    left_n: np.ndarray
    right_n: np.ndarray


def stranger_pairs(labels_Q: np.ndarray, labels_G: np.ndarray, *, share: int, seed: int) -> Pairs:
    """Up to ``share`` images of other identities for each query; fewer only where there are not more."""
    order_G, starts_Q, stops_Q = _by_identity(labels_Q, labels_G)
    random = np.random.default_rng(seed)
    left, right = [], []
    for query, (start, stop) in enumerate(zip(starts_Q, stops_Q, strict=True)):
        others = len(order_G) - (stop - start)
        chosen = np.arange(others) if others <= share else random.choice(others, share, replace=False)
        chosen = chosen + np.where(chosen >= start, stop - start, 0)  # steps over the own identity
        left.append(np.full(len(chosen), query))
        right.append(order_G[chosen])
    return Pairs(np.concatenate(left), np.concatenate(right))


def relative_pairs(
    labels_Q: np.ndarray, labels_G: np.ndarray, *, sources_Q: np.ndarray, sources_G: np.ndarray, share: int, seed: int
) -> Pairs:
    """Up to ``share`` images of the same identity, made from another source, for each query."""
    order_G, starts_Q, stops_Q = _by_identity(labels_Q, labels_G)
    random = np.random.default_rng(seed)
    left, right = [], []
    for query, (start, stop) in enumerate(zip(starts_Q, stops_Q, strict=True)):
        own = order_G[start:stop]
        others = own[sources_G[own] != sources_Q[query]]
        chosen = others if len(others) <= share else random.choice(others, share, replace=False)
        left.append(np.full(len(chosen), query))
        right.append(chosen)
    return Pairs(np.concatenate(left), np.concatenate(right))


def pair_scores(left_QE: np.ndarray, right_GE: np.ndarray, pairs: Pairs) -> np.ndarray:
    """``scores_n``: the inner product of each pair."""
    return np.concatenate(
        [
            np.einsum("ne,ne->n", left_QE[pairs.left_n[at : at + CHUNK]], right_GE[pairs.right_n[at : at + CHUNK]])
            for at in range(0, max(1, len(pairs.left_n)), CHUNK)
        ]
    )


def _by_identity(labels_Q: np.ndarray, labels_G: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Gallery positions ordered by identity, and where each query's identity begins and ends among them."""
    order_G = np.argsort(labels_G, kind="stable")
    sorted_G = labels_G[order_G]
    return order_G, np.searchsorted(sorted_G, labels_Q, side="left"), np.searchsorted(sorted_G, labels_Q, side="right")
