"""Which identities are seen and which unseen, by the hash of their names.

Not for training and evaluation within one side: nothing here looks at images.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np


def split_identities(names: Sequence[str], share: float, seed: int) -> np.ndarray:
    """The identities whose hash ranks among the first ``round(share · K)``.

    The rank is that of ``sha256("seed:name")``, so neither the order of ``names`` nor the machine matters, and adding one
    identity moves at most one of the others to the other side.

    Args:
        names: K distinct identity names.
        share: of identities that are seen, 0 … 1.
        seed: another seed is another split.

    Returns:
        ``seen_K`` bool, in the order of ``names``.
    """
    hashes = [(hashlib.sha256(f"{seed}:{name}".encode()).digest(), name) for name in names]
    ranked = sorted(range(len(names)), key=hashes.__getitem__)
    seen_K = np.zeros(len(names), bool)
    seen_K[ranked[: round(share * len(names))]] = True
    return seen_K
