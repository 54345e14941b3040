"""Which images the retrieval attack finds, one by one, and how clearly: what a leakage budget chooses by.

The shares are those of ``retrieval_attack``; here stands whose they are.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from facemae_jax.audit.contributors import Contributors, ranks_without, right_answers
from facemae_jax.metrics.retrieval import best_ranks
from facemae_jax.search import rank_of

ROWS = 512  # queries whose scores exist at a time


class Found(NamedTuple):
    """Of each query."""

    found_Q: np.ndarray  # bool: a right original is first
    margin_Q: np.ndarray  # float32: cosine to the nearest right original less that to the best wrong one


def asked(sources_Q: np.ndarray, labels_G: np.ndarray, figure: str, others: Contributors | None = None) -> np.ndarray:
    """``asked_Q``: the queries that count for a figure; for ``same_identity`` those whose person has another original.

    Args:
        sources_Q: gallery position of the original that each query was made from.
        labels_G: identity of each original.
        others: who else is behind the queries.
        figure: same_image | same_identity.
    """
    if figure == "same_image":
        return np.ones(len(sources_Q), bool)
    right = right_answers(sources_Q, labels_G, others)
    return ((right.identity_QR >= 0) & ~right.used_QR).any(axis=1)


def found_images(
    queries_QE: np.ndarray,
    gallery_GE: np.ndarray,
    *,
    sources_Q: np.ndarray,
    labels_G: np.ndarray,
    figure: str,
    others: Contributors | None = None,
    block: int = 4096,
) -> Found:
    """Search the originals with protected images.

    Args:
        queries_QE: embeddings of the protected images, unit norm; all of them :func:`asked`.
        gallery_GE: embeddings of the originals by the same recognizer.
        sources_Q: gallery position of the original that each query was made from.
        labels_G: identity of each original.
        figure: same_image: the own source is right; same_identity: every other original of the person, and the source is not searched.
        others: who else is behind the queries, and right as well.
        block: of the search.
    """
    sources_Q, labels_G = np.asarray(sources_Q, np.int64), np.asarray(labels_G)
    right = right_answers(sources_Q, labels_G, others)
    same = figure == "same_image"
    right_QR, left_out_QR = (right.images_QR, None) if same else (right.identity_QR, right.used_QR)
    ranks_QR = rank_of(queries_QE, gallery_GE, right_QR, block=block)
    if left_out_QR is not None:
        ranks_QR = ranks_without(ranks_QR, left_out_QR)
    margins: list[np.ndarray] = [np.zeros(0, np.float32)]
    for start in range(0, len(queries_QE), ROWS):
        rows = slice(start, start + ROWS)
        scores_qG = queries_QE[rows] @ gallery_GE.T
        source_qG = _marked(right.images_QR[rows], len(labels_G))
        right_qG = source_qG if same else _marked(right.identity_QR[rows], len(labels_G)) & ~source_qG
        wrong_qG = ~(right_qG | source_qG)
        best_q = np.where(right_qG, scores_qG, -np.inf).max(axis=1)
        margins.append((best_q - np.where(wrong_qG, scores_qG, -np.inf).max(axis=1)).astype(np.float32))
    return Found(best_ranks(ranks_QR.reshape(len(queries_QE), -1)) == 1, np.concatenate(margins))


def _marked(positions_qR: np.ndarray, gallery: int) -> np.ndarray:
    """``marked_qG``, bool; −1 marks nothing."""
    marked_qG = np.zeros((len(positions_qR), gallery), bool)
    row_n, which_n = np.nonzero(positions_qR >= 0)
    marked_qG[row_n, positions_qR[row_n, which_n]] = True
    return marked_qG
