"""What ranks say: rank-k rates, mean average precision, the CMC curve, and what blind guessing would reach.

A rank counts from 1 (found first). Who searched for whom, and how ranks are counted, is the business of ``audit`` and ``search``.
"""

from __future__ import annotations

from typing import Any

import numpy as np

AT = (1, 5, 10)


def best_ranks(ranks_QR: np.ndarray) -> np.ndarray:
    """``best_Q``: the rank of each query's first right image; 0 in ``ranks_QR`` is padding."""
    ranks_QR = np.asarray(ranks_QR, np.int64)  # numpy.where lets the number below wrap around in a narrower type
    return np.where(ranks_QR > 0, ranks_QR, np.iinfo(np.int64).max).min(axis=1)


def average_precision(ranks_QR: np.ndarray) -> np.ndarray:
    """``precision_Q``: mean over a query's right images of (right images up to there) / rank.

    Args:
        ranks_QR: rank of every right image of every query, in any order; 0 is padding. At least one per query.
    """
    ranks_QR = np.sort(np.where(ranks_QR > 0, ranks_QR, np.iinfo(np.int64).max), axis=1)
    found_QR = ranks_QR < np.iinfo(np.int64).max
    share_QR = np.where(found_QR, np.arange(1, ranks_QR.shape[1] + 1)[None, :] / ranks_QR, 0.0)
    return share_QR.sum(axis=1) / found_QR.sum(axis=1)


def chance_of_rank(at: int, gallery_Q: np.ndarray, right_Q: np.ndarray) -> float:
    """Mean over queries of P(a right image is among the first ``at``) when the order is drawn blindly.

    1 − Π_{i < at} (1 − R / (G − i)) for R right images among G: exact for each query's own gallery, also for tiny chances.
    """
    left_Qi = np.asarray(gallery_Q, np.float64)[:, None] - np.arange(at)[None, :]
    share_Qi = np.minimum(np.asarray(right_Q, np.float64)[:, None] / np.maximum(left_Qi, 1.0), 1.0)
    with np.errstate(divide="ignore"):  # log 0: only right images are left, so a blind guess cannot miss
        log_miss_Q = np.log1p(-share_Qi).sum(axis=1)
    return float(np.mean(-np.expm1(log_miss_Q)))


def chance_of_precision(gallery_Q: np.ndarray, right_Q: np.ndarray) -> float:
    """Mean over queries of the expected average precision of a blind order.

    With H the harmonic number of G: (H + (R − 1)/(G − 1) · (G − H)) / G. A right image at rank r (each rank equally
    likely) has precision (1 + (r − 1)(R − 1)/(G − 1)) / r on average; the formula is the sum over r.
    """
    gallery_Q, right_Q = np.asarray(gallery_Q, np.int64), np.asarray(right_Q, np.float64)
    harmonic = np.concatenate([[0.0], np.cumsum(1.0 / np.arange(1, gallery_Q.max() + 1))])[gallery_Q]
    others = (right_Q - 1) / np.maximum(gallery_Q - 1, 1)
    return float(np.mean((harmonic + others * (gallery_Q - harmonic)) / gallery_Q))


def cmc(best_Q: np.ndarray, gallery: int, points: int = 40) -> dict[str, list[float]]:
    """Cumulative match curve: share of queries whose best right image ranks at most k; ``{"rank": […], "rate": […]}``.

    Ranks lie on a logarithmic grid from 1 to the size of the gallery, each once.
    """
    ranks = np.unique(np.geomspace(1, gallery, points).round().astype(np.int64))
    rates = np.searchsorted(np.sort(best_Q), ranks, side="right") / len(best_Q)
    return {"rank": ranks.tolist(), "rate": rates.tolist()}


def retrieval(ranks_QR: np.ndarray, gallery_Q: np.ndarray) -> dict[str, Any]:
    """All retrieval figures of one search; shares, not percent.

    Args:
        ranks_QR: rank of every right image of every query; 0 is padding. At least one query, and one right image for each.
        gallery_Q: how many images each query searched (its own source not counted where that is left out).

    Returns:
        ``queries``, ``rank`` ({"1": share, "5": …, "10": …}), ``map``, ``standard_error`` (of rank-1 and map, over queries taken as
        independent), ``chance`` (``rank`` and ``map`` of a blind guess), ``median_rank``, ``cmc``.
    """
    ranks_QR = np.asarray(ranks_QR, np.int64)
    best_Q = best_ranks(ranks_QR)
    right_Q = (ranks_QR > 0).sum(axis=1)
    precision_Q = average_precision(ranks_QR)
    rank = {str(at): float(np.mean(best_Q <= at)) for at in AT}
    return {
        "queries": len(best_Q),
        "rank": rank,
        "map": float(precision_Q.mean()),
        "standard_error": {
            "rank_1": (rank["1"] * (1 - rank["1"]) / len(best_Q)) ** 0.5,
            "map": float(precision_Q.std() / len(best_Q) ** 0.5),
        },
        "chance": {
            "rank": {str(at): chance_of_rank(at, gallery_Q, right_Q) for at in AT},
            "map": chance_of_precision(gallery_Q, right_Q),
        },
        "median_rank": float(np.median(best_Q)),
        "cmc": cmc(best_Q, int(np.max(gallery_Q))),
    }
