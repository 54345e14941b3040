"""Rank figures of a search as attacks report them: rates with intervals over people, beside what a blind guess reaches."""

from __future__ import annotations

from typing import Any

import numpy as np

from facemae_jax.metrics.bootstrap import DRAWS, mean_intervals
from facemae_jax.metrics.retrieval import AT, average_precision, best_ranks, retrieval


def rank_intervals(
    ranks_QR: np.ndarray, identities_Q: np.ndarray, *, level: float = 0.95, draws: int = DRAWS, seed: int = 0
) -> dict[str, Any]:
    """Intervals over people of a search: ``rank`` {"1": [low, high], "5", "10"}, ``map`` [low, high]. Arguments as of :func:`rank_figures`.

    Raises:
        FacemaeError: fewer than two people.
    """
    ranks_QR = np.asarray(ranks_QR, np.int64)
    best_Q = best_ranks(ranks_QR)
    values_QM = np.stack([*(best_Q <= at for at in AT), average_precision(ranks_QR)], axis=1)
    *rates, precision = mean_intervals(values_QM, identities_Q, level=level, draws=draws, seed=seed)
    return {"rank": {str(at): list(rate) for at, rate in zip(AT, rates, strict=True)}, "map": list(precision)}


def rank_figures(
    ranks_QR: np.ndarray,
    gallery_Q: np.ndarray,
    identities_Q: np.ndarray,
    *,
    level: float = 0.95,
    draws: int = DRAWS,
    seed: int = 0,
) -> dict[str, Any]:
    """Rates of a search.

    Args:
        ranks_QR: rank of every right image of every query; 0 is padding; at least one for each query.
        gallery_Q: how many images each query searched.
        identities_Q: the person of each query; intervals resample people.
        level, draws, seed: of the intervals.

    Returns:
        ``queries``, ``people``, ``rank`` {"1", "5", "10"}, ``map``, ``interval`` {"rank": {"1": [low, high], …}, "map": [low, high]},
        ``level``, ``chance`` {"rank", "map"} of a blind guess, ``median_rank``.

    Raises:
        FacemaeError: fewer than two people.
    """
    ranks_QR = np.asarray(ranks_QR, np.int64)
    figures = retrieval(ranks_QR, np.asarray(gallery_Q))
    return {
        "queries": figures["queries"],
        "people": len(np.unique(identities_Q)),
        "rank": figures["rank"],
        "map": figures["map"],
        "interval": rank_intervals(ranks_QR, identities_Q, level=level, draws=draws, seed=seed),
        "level": level,
        "chance": figures["chance"],
        "median_rank": figures["median_rank"],
    }
