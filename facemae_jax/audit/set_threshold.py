"""Where a recognizer takes two faces for one person: the cosine that few pairs of strangers among the originals reach.

For ``metrics.set_quality``, so that its figures mean the same in the space of every judge: two faces count as one person when this judge would
be wrong about one in a thousand pairs of strangers at that threshold, or one in a hundred, or in ten, where fewer pairs are there.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from facemae_jax.audit.partners import pair_scores, stranger_pairs
from facemae_jax.metrics.verification import EXPECTED_FALSE_ACCEPTS

FARS = (1e-3, 1e-2, 1e-1)
PAIRS = 200_000  # about


class SetThreshold(NamedTuple):
    """Faces with a larger cosine count as one person."""

    cosine: float
    far: float  # share of pairs of strangers that may have it


def set_threshold(
    originals_QE: np.ndarray, gallery_GE: np.ndarray, *, labels_Q: np.ndarray, labels_G: np.ndarray, seed: int = 0
) -> SetThreshold | None:
    """The threshold of one recognizer; None with too few pairs of strangers to tell.

    Args:
        originals_QE: embeddings of the originals of the attacked images, unit norm.
        gallery_GE: of all originals, by the same recognizer.
        labels_Q, labels_G: identity of each.
        seed: which pairs.
    """
    pairs = stranger_pairs(labels_Q, labels_G, share=-(-PAIRS // len(originals_QE)), seed=seed)
    scores_n = np.sort(pair_scores(originals_QE, gallery_GE, pairs))[::-1]
    for far in FARS:
        if far * len(scores_n) >= EXPECTED_FALSE_ACCEPTS:
            return SetThreshold(float(scores_n[int(far * len(scores_n))]), far)
    return None
