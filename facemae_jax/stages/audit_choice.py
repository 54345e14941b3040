"""Which originals an audit attacks, and which it searches: a seeded choice, the same for ``audit`` and for a budget of ``publish``."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np


class Choice(NamedTuple):
    """Which originals are attacked and searched; positions in the source faces, ascending."""

    queries_Q: np.ndarray
    gallery_G: np.ndarray

    @property
    def sources_Q(self) -> np.ndarray:
        """Gallery position of each query's own source."""
        return np.searchsorted(self.gallery_G, self.queries_Q)


def choose(sources_n: np.ndarray, originals: int, *, queries: int, gallery: int, seed: int) -> Choice:
    """A seeded choice: ``queries`` of the protected originals, and a gallery of those and others.

    The same seed with larger numbers chooses the same images and more.
    """
    order = np.random.default_rng(seed).permutation(originals)
    chosen = order[np.isin(order, sources_n)][:queries]
    others = order[~np.isin(order, chosen)][: max(0, gallery - len(chosen))]
    return Choice(np.sort(chosen), np.sort(np.concatenate([chosen, others])))
