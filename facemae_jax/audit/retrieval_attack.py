"""The retrieval attack: someone holds the originals and searches them with a protected image.

Two questions, kept apart because they differ by much: is the *same image* found (the gallery holds the very source),
and is another image of the *same identity* found when the own source is taken away? Beside each figure stands what a blind
guess reaches in that gallery; the ceiling is this same attack with the originals themselves as queries. Intervals resample the people
of the queries. One direction of the threat is measured, with one recognizer at a time: a stronger attacker may find more.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from facemae_jax.audit.contributors import Contributors, ranks_without, right_answers
from facemae_jax.audit.rank_figures import rank_intervals
from facemae_jax.metrics.bootstrap import DRAWS
from facemae_jax.metrics.retrieval import retrieval
from facemae_jax.search import rank_of


def retrieval_attack(
    queries_QE: np.ndarray,
    gallery_GE: np.ndarray,
    *,
    sources_Q: np.ndarray,
    labels_G: np.ndarray,
    others: Contributors | None = None,
    seed: int = 0,
    level: float = 0.95,
    draws: int = DRAWS,
    block: int = 4096,
) -> dict[str, Any]:
    """Search the originals with protected images.

    Args:
        queries_QE: embeddings of the protected images, unit norm.
        gallery_GE: embeddings of the originals by the same recognizer.
        sources_Q: gallery position of the original that each query was made from.
        labels_G: identity of each original.
        others: who else is behind the queries: to find one of them is to find somebody, and their images that were used are sources, too.
        seed, level, draws: of the intervals, over people.
        block: of the search.

    Returns:
        ``same_image``: the figures of ``metrics.retrieval`` over all queries, ``people`` (how many they show), and ``interval`` {"rank": {"1":
        [low, high], …}, "map": [low, high]} with ``level``: both are missing when the queries show one person.
        ``same_identity``: the same with each query's own source left out, over the queries whose identity has another image;
        None when no query has one. ``without_another_image``: how many queries that leaves out.
    """
    sources_Q, labels_G = np.asarray(sources_Q, np.int64), np.asarray(labels_G)
    labels_Q = labels_G[sources_Q]
    options: dict[str, Any] = dict(seed=seed, level=level, draws=draws)
    right = right_answers(sources_Q, labels_G, others)
    images_QR = rank_of(queries_QE, gallery_GE, right.images_QR, block=block)
    asked_Q = ((right.identity_QR >= 0) & ~right.used_QR).any(axis=1)
    identity = None
    if asked_Q.any():
        used_QR = right.used_QR[asked_Q]
        ranks_QR = rank_of(queries_QE[asked_Q], gallery_GE, right.identity_QR[asked_Q], block=block)
        searched_Q = len(gallery_GE) - used_QR.sum(axis=1)
        identity = _figures(ranks_without(ranks_QR, used_QR), searched_Q, labels_Q[asked_Q], options)
    return {
        "same_image": _figures(images_QR, np.full(len(images_QR), len(gallery_GE)), labels_Q, options),
        "same_identity": identity,
        "without_another_image": int(np.count_nonzero(~asked_Q)),
    }


def _figures(
    ranks_QR: np.ndarray, searched_Q: np.ndarray, identities_Q: np.ndarray, options: dict[str, Any]
) -> dict[str, Any]:
    """Rates of one question, with intervals where there are people to resample."""
    found = retrieval(ranks_QR, searched_Q) | {"people": len(np.unique(identities_Q))}
    if found["people"] < 2:
        return found
    return found | {"interval": rank_intervals(ranks_QR, identities_Q, **options), "level": options["level"]}
