"""Which originals an audit attacks, and which it searches: a seeded choice, the same for ``audit`` and for a budget of ``publish``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from facemae_jax.audit.contributors import Contributors


class Choice(NamedTuple):
    """Which originals are attacked and searched; positions in the source faces, ascending."""

    queries_Q: np.ndarray
    gallery_G: np.ndarray

    @property
    def sources_Q(self) -> np.ndarray:
        """Gallery position of each query's own source."""
        return np.searchsorted(self.gallery_G, self.queries_Q)


def others_behind(inside: Mapping[str, np.ndarray], choice: Choice, labels_n: np.ndarray) -> Contributors | None:
    """Who else is behind the reconstructed queries; None where nobody is mixed.

    Args:
        inside: ``private.npz`` of a reconstruction.
        choice: of its queries.
        labels_n: of the originals.
    """
    mixed_nM = inside["contributors_nM"]
    if mixed_nM.shape[1] == 1:
        return None
    place_n = np.argsort(inside["source_positions_n"])
    sources_n = inside["source_positions_n"][place_n]
    others_QC = mixed_nM[place_n[np.searchsorted(sources_n, choice.queries_Q)], 1:]
    place_QC = np.minimum(np.searchsorted(choice.gallery_G, others_QC), len(choice.gallery_G) - 1)
    images_QC = np.where(choice.gallery_G[place_QC] == others_QC, place_QC, -1)
    return Contributors(images_QC, labels_n[others_QC])


def choose(sources_n: np.ndarray, originals: int, *, queries: int, gallery: int, seed: int) -> Choice:
    """A seeded choice: ``queries`` of the protected originals, and a gallery of those and others.

    The same seed with larger numbers chooses the same images and more.
    """
    order = np.random.default_rng(seed).permutation(originals)
    chosen = order[np.isin(order, sources_n)][:queries]
    others = order[~np.isin(order, chosen)][: max(0, gallery - len(chosen))]
    return Choice(np.sort(chosen), np.sort(np.concatenate([chosen, others])))
