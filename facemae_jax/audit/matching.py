"""The matching attack: someone holds one original and asks whether a protected image was made from it.

Mated scores are cosines of (protected image, own source), non-mated ones of (protected image, image of another identity).
Originals as queries match their own source with cosine 1, so that row of an audit says nothing; what it is compared with
is how well a recognizer verifies ordinary pairs (``verify.json``). Intervals resample the people of the protected images.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from facemae_jax.audit.contributors import Contributors, everybody
from facemae_jax.metrics.bootstrap import DRAWS
from facemae_jax.metrics.roc_intervals import roc_intervals
from facemae_jax.metrics.verification import area, equal_error_rate, roc, tar_at_far, thin
from facemae_jax.types import FacemaeError

NON_MATED = 1_000_000  # scores drawn; FAR 1e-4 then rests on 100 false accepts
BINS = 80  # of the histograms, from −1 to 1
ROWS = 512  # queries whose scores exist at a time


class NonMated(NamedTuple):
    """Scores of queries and images of other identities."""

    scores_n: np.ndarray
    query_n: np.ndarray  # whose score each is


def non_mated_scores(
    queries_QE: np.ndarray, gallery_GE: np.ndarray, *, people_QP: np.ndarray, labels_G: np.ndarray, seed: int
) -> NonMated:
    """Cosines of queries and images of people other than the P behind each: all of them, or about a million drawn evenly over the queries.

    Raises:
        FacemaeError: when the gallery holds one identity only.
    """
    random = np.random.default_rng(seed)
    share = -(-NON_MATED // len(queries_QE))
    drawn: list[np.ndarray] = []
    for start in range(0, len(queries_QE), ROWS):
        scores_qG = queries_QE[start : start + ROWS] @ gallery_GE.T
        for scores_G, people_P in zip(scores_qG, people_QP[start : start + ROWS], strict=True):
            scores = scores_G[(labels_G[:, None] != people_P[None, :]).all(axis=1)]
            drawn.append(scores if len(scores) <= share else random.choice(scores, share, replace=False))
    scores = np.concatenate(drawn)
    if not len(scores):
        raise FacemaeError(
            "The audited originals show one identity only, so there is nobody to be mistaken for: audit faces of at least two people."
        )
    return NonMated(scores, np.repeat(np.arange(len(drawn)), [len(part) for part in drawn]))


def matching(
    queries_QE: np.ndarray,
    gallery_GE: np.ndarray,
    *,
    sources_Q: np.ndarray,
    labels_G: np.ndarray,
    others: Contributors | None = None,
    seed: int = 0,
    level: float = 0.95,
    draws: int = DRAWS,
) -> dict[str, Any]:
    """Decide whether protected image and original belong together.

    Args:
        queries_QE: embeddings of the protected images, unit norm.
        gallery_GE: embeddings of the originals by the same recognizer.
        sources_Q: gallery position of the original that each query was made from.
        labels_G: identity of each original.
        others: who else is behind the queries: their images that were used are sources, too, and none of theirs is non-mated.
        seed: which non-mated pairs are drawn when there are more than a million; and of the intervals.
        level, draws: of the intervals, over people.

    Returns:
        ``tar_at_far`` (FAR that the non-mated scores support), ``eer``, ``auc``, ``roc`` (points for a plot), ``mated`` and
        ``non_mated`` (count, mean and std of the cosine), ``histogram`` (edges, and the share of each kind of score per bin); ``people`` (how many
        the queries show), and ``interval`` {"tar_at_far": {"0.1": [low, high], …}, "eer", "auc"} with ``level``: both are missing when that is one.
    """
    labels_G = np.asarray(labels_G)
    labels_Q = labels_G[sources_Q]
    images_QP, people_QP = everybody(sources_Q, labels_G, others)
    of_n, which_n = np.nonzero(images_QP >= 0)
    mated_n = np.einsum("ne,ne->n", queries_QE[of_n], gallery_GE[images_QP[of_n, which_n]])
    others_n, query_n = non_mated_scores(queries_QE, gallery_GE, people_QP=people_QP, labels_G=labels_G, seed=seed)
    curve = roc(
        np.concatenate([mated_n, others_n]),
        np.concatenate([np.ones(len(mated_n), bool), np.zeros(len(others_n), bool)]),
    )
    figures: dict[str, Any] = {
        "tar_at_far": tar_at_far(curve),
        "eer": equal_error_rate(curve),
        "auc": area(curve),
        "people": len(np.unique(labels_Q)),
    }
    if figures["people"] > 1:
        figures["interval"] = roc_intervals(
            mated_n, others_n, (labels_Q[of_n], labels_Q[query_n]), figures, level=level, draws=draws, seed=seed
        )
        figures["level"] = level
    edges = np.linspace(-1.0, 1.0, BINS + 1)

    def shares(scores_n: np.ndarray) -> list[float]:
        counts, _ = np.histogram(np.clip(scores_n, -1.0, 1.0), edges)  # rounding may pass 1 by an ulp
        return (counts / len(scores_n)).tolist()

    return figures | {
        "roc": thin(curve),
        "mated": _moments(mated_n),
        "non_mated": _moments(others_n),
        "histogram": {"edges": edges.tolist(), "mated": shares(mated_n), "non_mated": shares(others_n)},
    }


def _moments(scores_n: np.ndarray) -> dict[str, float]:
    return {"count": len(scores_n), "mean": float(scores_n.mean()), "std": float(scores_n.std())}
