"""The linkage attack: someone holds two releases of the same people and asks which of their images belong together.

Two releases share no key, order, label or mask; only what is painted can link them. ``same_image``: are two paintings made from one
original? ``same_identity``: do paintings of two different originals show one person? Each question is answered by the scores of
mated and non-mated pairs across the releases (``metrics.linkage``) and by search: each image of the first release is looked for in the
second. The ceiling is this attack on the originals themselves; one recognizer's cosine is one attacker.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from facemae_jax.audit.contributors import right_answers
from facemae_jax.audit.partners import pair_scores, relative_pairs, stranger_pairs
from facemae_jax.audit.rank_figures import rank_figures
from facemae_jax.metrics.bootstrap import DRAWS
from facemae_jax.metrics.linkage import LEAST, linkage
from facemae_jax.search import rank_of
from facemae_jax.types import FacemaeError

PAIRS = 500_000  # scores of a kind, about


def linkage_attack(
    first_QE: np.ndarray,
    second_PE: np.ndarray,
    originals_GE: np.ndarray,
    *,
    sources_Q: np.ndarray,
    sources_P: np.ndarray,
    labels_G: np.ndarray,
    seed: int = 0,
    level: float = 0.95,
    draws: int = DRAWS,
    block: int = 4096,
) -> dict[str, Any]:
    """Link two releases.

    Args:
        first_QE: embeddings of one release, unit norm.
        second_PE: of the other, by the same recognizer.
        originals_GE: of the originals, by the same recognizer.
        sources_Q, sources_P: position among the originals of what each image was made from; images of the first release whose
            source is not in the second are left out, and counted.
        labels_G: identity of each original.
        seed: of the pairs and the intervals.
        level, draws: of the intervals, over people.
        block: of the search.

    Returns:
        ::

            {"images", "left_out", "same_image": LINK, "same_identity": LINK | null, "ceiling": {"same_image", "same_identity"}}
            LINK = {"linkage": metrics.linkage(…), "search": rank_figures(…)}

        ``same_identity`` is null when fewer than ten pairs show one person in two originals. What chance reaches stands in
        ``linkage["unlinked"]`` and ``search["chance"]``.

    Raises:
        FacemaeError: fewer than ten images in both releases, or one identity only.
    """
    sources_Q, sources_P, labels_G = np.asarray(sources_Q), np.asarray(sources_P), np.asarray(labels_G)
    shared_Q = np.isin(sources_Q, sources_P)
    if np.count_nonzero(shared_Q) < LEAST:
        raise FacemaeError(
            f"{np.count_nonzero(shared_Q)} originals are in both releases; linking them is measured on at least {LEAST}: "
            "give two releases of the same faces."
        )
    if len(np.unique(labels_G[sources_P])) < 2:
        raise FacemaeError(
            "The second release shows one identity only, so there is nobody to be mistaken for: release faces of at least two people."
        )
    options: dict[str, Any] = dict(seed=seed, level=level, draws=draws, block=block)
    kept_Q = sources_Q[shared_Q]
    found = _links(first_QE[shared_Q], second_PE, kept_Q, sources_P, labels_G, options)
    ceiling = _links(originals_GE[kept_Q], originals_GE[sources_P], kept_Q, sources_P, labels_G, options)
    return {
        "images": len(kept_Q),
        "left_out": int(np.count_nonzero(~shared_Q)),
        **found,
        "ceiling": ceiling,
    }


def _links(
    first_QE: np.ndarray,
    second_PE: np.ndarray,
    sources_Q: np.ndarray,
    sources_P: np.ndarray,
    labels_G: np.ndarray,
    options: dict[str, Any],
) -> dict[str, Any]:
    """``same_image`` and ``same_identity``; every source of the first release is in the second."""
    block, figures = options["block"], {name: value for name, value in options.items() if name != "block"}
    labels_Q, labels_P, share = labels_G[sources_Q], labels_G[sources_P], -(-PAIRS // len(sources_Q))
    by_source_P = np.argsort(sources_P, kind="stable")
    mate_Q = by_source_P[np.searchsorted(sources_P[by_source_P], sources_Q)]
    strangers = stranger_pairs(labels_Q, labels_P, share=share, seed=options["seed"])
    non_mated_n = pair_scores(first_QE, second_PE, strangers)

    def scored(mated_n: np.ndarray, people_n: np.ndarray) -> dict[str, Any]:
        return linkage(mated_n, non_mated_n, people=(people_n, labels_Q[strangers.left_n]), **figures)

    own_n = np.einsum("qe,qe->q", first_QE, second_PE[mate_Q])
    ranks_Q1 = rank_of(first_QE, second_PE, mate_Q[:, None], block=block)
    image = {
        "linkage": scored(own_n, labels_Q),
        "search": rank_figures(ranks_Q1, np.full(len(ranks_Q1), len(second_PE)), labels_Q, **figures),
    }
    relatives = relative_pairs(
        labels_Q, labels_P, sources_Q=sources_Q, sources_G=sources_P, share=share, seed=options["seed"]
    )
    if len(relatives.left_n) < LEAST or len(np.unique(labels_Q[relatives.left_n])) < 2:
        return {"same_image": image, "same_identity": None}
    right = right_answers(mate_Q, labels_P)
    targets_QR = np.where(right.used_QR, -1, right.identity_QR)
    asked_Q = (targets_QR >= 0).any(axis=1)
    ranks_QR = rank_of(first_QE[asked_Q], second_PE, targets_QR[asked_Q], block=block, exclude_Q=mate_Q[asked_Q])
    identity = {
        "linkage": scored(pair_scores(first_QE, second_PE, relatives), labels_Q[relatives.left_n]),
        "search": rank_figures(ranks_QR, np.full(len(ranks_QR), len(second_PE) - 1), labels_Q[asked_Q], **figures),
    }
    return {"same_image": image, "same_identity": identity}
