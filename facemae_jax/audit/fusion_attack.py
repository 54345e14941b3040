"""The fusion attack: someone averages the embeddings of n protected images of one person and searches the originals for that person.

A release keeps which images belong together (a label, without a name), and what masks hide differs from image to image. If
protection is noise around the identity, the mean of n images finds the person more often the larger n is; one image at a time then says too
little about leakage. The mean is the simplest fusion: a better one may find more.

Of each person, the largest set of images that is fused anywhere on the curve is set aside once, and smaller n take the first of it: gallery and
right answers are the same for every n. But fewer people have many images, so each point has its own people; beside its figure stand, for
these people, one image instead of n (``one``, with the paired ``gain``), the originals fused in the same way (``ceiling``), and a blind guess.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from facemae_jax.audit.contributors import Contributors, everybody, images_of, ranks_without
from facemae_jax.audit.rank_figures import rank_figures
from facemae_jax.metrics.bootstrap import DRAWS, mean_intervals
from facemae_jax.metrics.retrieval import best_ranks
from facemae_jax.search import rank_of
from facemae_jax.types import FacemaeError

LEAST_PEOPLE = 5  # of a point
MOST_PEOPLE = 1000


def fused(embeddings_nE: np.ndarray, rows_Qi: np.ndarray) -> np.ndarray:
    """``fused_QE``: the mean of the i embeddings that each row names, at unit norm."""
    sum_QE = np.zeros((len(rows_Qi), embeddings_nE.shape[1]), np.float32)
    for rows_Q in rows_Qi.T:
        sum_QE += embeddings_nE[rows_Q]
    return sum_QE / np.maximum(np.linalg.norm(sum_QE, axis=1, keepdims=True), 1e-12)


def fusion_attack(
    queries_QE: np.ndarray,
    gallery_GE: np.ndarray,
    *,
    sources_Q: np.ndarray,
    labels_G: np.ndarray,
    others: Contributors | None = None,
    counts: Sequence[int] | None = None,
    groups: int = 4,
    most_people: int = MOST_PEOPLE,
    seed: int = 0,
    level: float = 0.95,
    draws: int = DRAWS,
    block: int = 4096,
) -> dict[str, Any]:
    """Search the originals with means of n protected images of one person.

    Args:
        queries_QE: embeddings of the protected images, unit norm; no two from one source.
        gallery_GE: embeddings of the originals by the same recognizer.
        sources_Q: gallery position of the original that each query was made from.
        labels_G: identity of each original.
        others: who else is behind the queries, the same people behind all of one person: to find one of them is to find somebody.
        counts: values of n; None = 1, 2, 4, 8, … as far as five people have n protected images and another original.
        groups: seeded choices of images per person.
        most_people: of a point; more are thinned by a seeded choice.
        seed: of the choices and of the intervals.
        level, draws: of the intervals, over people.
        block: of the search.

    Returns:
        ``groups``, ``least_people``, ``points``: one dictionary per n, ascending, none where fewer than ``least_people`` have the images::

            {"n", "people", "without_sources": FOUND, "with_sources": FOUND}
            FOUND = rank_figures(…) | {"one": RATES, "ceiling": RATES, "gain": {"1": mean, "interval": [low, high]}}
            RATES = {"rank": {"1", "5", "10"}, "interval": {"1": [low, high], …}}

        ``without_sources``: the originals behind the images set aside are not in the gallery, another image of the person must be
        found; ``with_sources``: they are. ``gain``: rank-1 of n images less rank-1 of one.

    Raises:
        FacemaeError: two queries from one source.
    """
    sources_Q, labels_G = np.asarray(sources_Q, np.int64), np.asarray(labels_G)
    if len(np.unique(sources_Q)) < len(sources_Q):
        raise FacemaeError(
            "Two protected images of a fusion attack come from one original: give one release at a time."
        )
    images_QP, people_QP = everybody(sources_Q, labels_G, others)
    labels_Q = people_QP[:, 0]
    people_K, images_K = np.unique(labels_Q, return_counts=True)
    originals_K = np.bincount(np.searchsorted(people_K, labels_G[np.isin(labels_G, people_K)]))
    reach_K = np.minimum(images_K, originals_K - 1)  # the largest n that leaves another original to be found
    if counts is None:
        counts = [1 << power for power in range(int(reach_K.max(initial=0)).bit_length())]
    counts = [n for n in sorted(set(counts)) if n > 0 and np.count_nonzero(reach_K >= n) >= LEAST_PEOPLE]
    aside_K = np.array([max((n for n in counts if n <= reach), default=0) for reach in reach_K])
    called_K = np.random.default_rng(seed).permutation(len(people_K))
    orders_gQ = [
        np.lexsort((np.random.default_rng([seed, group]).random(len(labels_Q)), labels_Q)) for group in range(groups)
    ]
    starts_K = np.searchsorted(np.sort(labels_Q), people_K)
    aside_g = []  # of each group (original, person) as one number: which originals are set aside when that person is searched for
    place_Q = np.arange(len(labels_Q)) - np.repeat(starts_K, images_K)
    for order_Q in orders_gQ:
        rows_n = order_Q[place_Q < np.repeat(aside_K, images_K)]
        used_nP = images_QP[rows_n]
        person_n = np.searchsorted(people_K, labels_Q[rows_n])
        aside_g.append((used_nP * len(people_K) + person_n[:, None])[used_nP >= 0])
    points = []
    for n in counts:
        able = called_K[reach_K[called_K] >= n][:most_people]
        rows_Fn = np.concatenate([order_Q[starts_K[able][:, None] + np.arange(n)] for order_Q in orders_gQ])
        identities_F, group_F = np.tile(people_K[able], groups), np.repeat(np.arange(groups), len(able))
        targets_FR = np.concatenate([images_of(people_F, labels_G) for people_F in people_QP[rows_Fn[:, 0]].T], axis=1)
        number_FR = targets_FR * len(people_K) + np.searchsorted(people_K, identities_F)[:, None]
        aside_FR = np.concatenate([np.isin(number_FR[group_F == group], aside_g[group]) for group in range(groups)])
        aside_FR &= targets_FR >= 0
        left_F = ((targets_FR >= 0) & ~aside_FR).any(axis=1)  # images of others may have been the last
        rows_Fn, identities_F, targets_FR, aside_FR = (a[left_F] for a in (rows_Fn, identities_F, targets_FR, aside_FR))
        people = len(np.unique(identities_F))
        if people < LEAST_PEOPLE:
            continue
        fused_F = {
            "fused": fused(queries_QE, rows_Fn),
            "one": fused(queries_QE, rows_Fn[:, :1]),
            "ceiling": fused(gallery_GE, sources_Q[rows_Fn]),
        }
        ranks = {name: rank_of(found, gallery_GE, targets_FR, block=block) for name, found in fused_F.items()}
        without = {name: ranks_without(ranks_FR, aside_FR) for name, ranks_FR in ranks.items()}
        searched_F = len(gallery_GE) - aside_FR.sum(axis=1)
        options: dict[str, Any] = dict(level=level, draws=draws, seed=seed)
        points.append(
            {
                "n": int(n),
                "people": people,
                "without_sources": _found(without, searched_F, identities_F, options),
                "with_sources": _found(ranks, np.full_like(searched_F, len(gallery_GE)), identities_F, options),
            }
        )
    return {"groups": groups, "least_people": LEAST_PEOPLE, "points": points}


def _found(
    ranks: dict[str, np.ndarray], searched_F: np.ndarray, identities_F: np.ndarray, options: dict[str, Any]
) -> dict[str, Any]:
    """FOUND of one point."""
    figures = {name: rank_figures(ranks_FR, searched_F, identities_F, **options) for name, ranks_FR in ranks.items()}
    first_F = {name: (best_ranks(ranks[name]) == 1).astype(np.float64) for name in ("fused", "one")}
    gain_F = first_F["fused"] - first_F["one"]
    (interval,) = mean_intervals(gain_F[:, None], identities_F, **options)
    rates = {
        name: {"rank": figures[name]["rank"], "interval": figures[name]["interval"]["rank"]}
        for name in ("one", "ceiling")
    }
    return figures["fused"] | rates | {"gain": {"1": float(gain_F.mean()), "interval": list(interval)}}
