"""Which images the retrieval attack finds, one by one, and how clearly: what a leakage budget chooses by.

The shares are those of ``retrieval_attack``; here stands whose they are.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from facemae_jax.audit.retrieval_attack import same_identity_targets
from facemae_jax.metrics.retrieval import best_ranks
from facemae_jax.search import rank_of

ROWS = 512  # queries whose scores exist at a time


class Found(NamedTuple):
    """Of each query."""

    found_Q: np.ndarray  # bool: a right original is first
    margin_Q: np.ndarray  # float32: cosine to the nearest right original less that to the best wrong one


def asked(sources_Q: np.ndarray, labels_G: np.ndarray, figure: str) -> np.ndarray:
    """``asked_Q``: the queries that count for a figure; for ``same_identity`` those whose person has another original.

    Args:
        sources_Q: gallery position of the original that each query was made from.
        labels_G: identity of each original.
        figure: same_image | same_identity.
    """
    if figure == "same_image":
        return np.ones(len(sources_Q), bool)
    return np.unique(labels_G, return_counts=True)[1][np.unique(labels_G, return_inverse=True)[1]][sources_Q] > 1


def found_images(
    queries_QE: np.ndarray,
    gallery_GE: np.ndarray,
    *,
    sources_Q: np.ndarray,
    labels_G: np.ndarray,
    figure: str,
    block: int = 4096,
) -> Found:
    """Search the originals with protected images.

    Args:
        queries_QE: embeddings of the protected images, unit norm; all of them :func:`asked`.
        gallery_GE: embeddings of the originals by the same recognizer.
        sources_Q: gallery position of the original that each query was made from.
        labels_G: identity of each original.
        figure: same_image: the own source is right; same_identity: every other original of the person, and the source is not searched.
        block: of the search.
    """
    sources_Q, labels_G = np.asarray(sources_Q, np.int64), np.asarray(labels_G)
    same = figure == "same_image"
    targets_QR = sources_Q[:, None] if same else same_identity_targets(sources_Q, labels_G)
    ranks_QR = rank_of(queries_QE, gallery_GE, targets_QR, block=block, exclude_Q=None if same else sources_Q)
    margins: list[np.ndarray] = [np.zeros(0, np.float32)]
    for start in range(0, len(queries_QE), ROWS):
        source_q = sources_Q[start : start + ROWS]
        scores_qG = queries_QE[start : start + ROWS] @ gallery_GE.T
        own_qG = np.arange(len(labels_G))[None, :] == source_q[:, None]
        right_qG = own_qG if same else (labels_G[None, :] == labels_G[source_q][:, None]) & ~own_qG
        wrong_qG = ~(right_qG | own_qG)
        best_q = np.where(right_qG, scores_qG, -np.inf).max(axis=1)
        margins.append((best_q - np.where(wrong_qG, scores_qG, -np.inf).max(axis=1)).astype(np.float32))
    return Found(best_ranks(ranks_QR.reshape(len(queries_QE), -1)) == 1, np.concatenate(margins))
