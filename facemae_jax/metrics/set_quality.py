r"""What a set of faces is worth to whoever learns from it, apart from whom it leaks: uniqueness, consistency, diversity.

The three questions are those of DCFace (Kim, Liu, Jain, Liu, CVPR 2023, arXiv 2304.07060, equations 11–15): are the classes different people, does
a class show one person, and do the images of a class differ in all but the person? Measured here:

* **uniqueness**: share of classes whose centre (mean embedding, unit norm) is farther than a threshold from *every* other centre. Of two classes
  that show one person neither is unique.
* **consistency**: share of a class's images that are nearer than the threshold to the centre of the class's *other* images (DCFace: to the class
  centre; with few images the own one would vouch for itself); mean over classes.
* **diversity**: spread of low-level image statistics within a class (mean and deviation of each colour in each cell of a 4 × 4 grid), as
  :math:`\sqrt{\operatorname{mean}_{c,s} v_{cs} / \sigma_s^2}` over classes c and statistics s, with v the unbiased variance within a class and
  :math:`\sigma^2` the variance over all originals; and its ratio to that of the originals. DCFace asks instead how much of the real images'
  manifold a class covers in the features of a network for styles; these statistics see light, colour, pose and background, no finer style.

DCFace's threshold (0.3, a distance in its own recognizer's space) means nothing in another recognizer's space: whoever calls says where the
threshold lies in this one.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from facemae_jax.metrics.bootstrap import DRAWS, bootstrap, bootstrap_mean

CELLS = 4  # of the grid, along a side
BLOCK = 64  # images whose squares exist at a time
ROWS = 512  # centres compared at a time


def uniqueness(embeddings_nE: np.ndarray, labels_n: np.ndarray, threshold: float) -> float:
    """Share of classes whose centre has a cosine of at most ``threshold`` to every other one; 1 for a single class.

    Args:
        embeddings_nE: unit norm.
        labels_n: class of each.
        threshold: cosine.
    """
    inverse_n = np.unique(labels_n, return_inverse=True)[1]
    centres_KE = _unit(_sums(embeddings_nE, inverse_n))
    alone = 0
    for start in range(0, len(centres_KE), ROWS):
        cosine_kK = centres_KE[start : start + ROWS] @ centres_KE.T
        own = np.arange(len(cosine_kK))
        cosine_kK[own, start + own] = -np.inf
        alone += int(np.count_nonzero(cosine_kK.max(axis=1) <= threshold))
    return alone / len(centres_KE)


def consistency(embeddings_nE: np.ndarray, labels_n: np.ndarray, threshold: float) -> np.ndarray:
    """``share_k``: of each class with several images, in ascending order of classes, the share of them whose cosine to the centre of the others is
    above ``threshold``. Arguments as of :func:`uniqueness`.
    """
    inverse_n = np.unique(labels_n, return_inverse=True)[1]
    images_K = np.bincount(inverse_n)
    others_nE = _unit(_sums(embeddings_nE, inverse_n)[inverse_n] - embeddings_nE)
    near_n = np.einsum("ne,ne->n", embeddings_nE, others_nE) > threshold
    return (np.bincount(inverse_n, weights=near_n) / images_K)[images_K > 1]


def set_quality(
    embeddings_nE: np.ndarray,
    labels_n: np.ndarray,
    *,
    threshold: float,
    level: float = 0.95,
    draws: int = DRAWS,
    seed: int = 0,
) -> dict[str, Any]:
    """Both figures that a recognizer can tell.

    Args:
        embeddings_nE: unit norm.
        labels_n: class of each.
        threshold: cosine above which two faces count as one person.
        level, draws, seed: of the interval, over classes.

    Returns:
        ``classes``, ``several`` (classes with more than one image), ``threshold``, ``uniqueness``, ``consistency`` (None without classes of several
        images), and ``interval`` {"consistency": [low, high]} with ``level`` where there are two such classes.
    """
    share_k = consistency(embeddings_nE, labels_n, threshold)
    found: dict[str, Any] = {
        "classes": len(np.unique(labels_n)),
        "several": len(share_k),
        "threshold": threshold,
        "uniqueness": uniqueness(embeddings_nE, labels_n, threshold),
        "consistency": float(share_k.mean()) if len(share_k) else None,
    }
    if len(share_k) > 1:
        interval = bootstrap_mean(share_k, np.arange(len(share_k)), level=level, draws=draws, seed=seed)
        found |= {"interval": {"consistency": list(interval)}, "level": level}
    return found


def image_statistics(images_nHWC: np.ndarray, cells: int = CELLS) -> np.ndarray:
    """``statistics_nS``, float64: mean, then deviation, of each colour in each cell of a grid; in grey levels.

    Args:
        images_nHWC: uint8.
        cells: along a side, of nearly equal size.
    """
    found = [np.zeros((0, 2 * cells**2 * images_nHWC.shape[3]))]
    edges = [np.linspace(0, side, cells + 1).round().astype(int) for side in images_nHWC.shape[1:3]]
    pixels_hw1 = np.multiply.outer(*(np.diff(edge) for edge in edges))[..., None]
    for start in range(0, len(images_nHWC), BLOCK):
        values_nHWC = images_nHWC[start : start + BLOCK].astype(np.float64)
        mean, square = (
            np.add.reduceat(np.add.reduceat(part, edges[0][:-1], axis=1), edges[1][:-1], axis=2) / pixels_hw1
            for part in (values_nHWC, values_nHWC**2)
        )
        deviation = np.sqrt(np.maximum(square - mean**2, 0.0))
        found.append(np.concatenate([part.reshape(len(part), -1) for part in (mean, deviation)], axis=1))
    return np.concatenate(found)


def spread(statistics_nS: np.ndarray, labels_n: np.ndarray, scale_S: np.ndarray) -> np.ndarray:
    """``spread_k``: mean over statistics of variance within the class / ``scale_S``, of each class with several images in ascending order.

    Statistics whose scale is 0 are left out.
    """
    told_s = np.flatnonzero(scale_S > 0)
    if not len(told_s):
        return np.zeros(np.count_nonzero(np.unique(labels_n, return_counts=True)[1] > 1))
    statistics_ns = statistics_nS[:, told_s] / np.sqrt(scale_S[told_s])
    inverse_n = np.unique(labels_n, return_inverse=True)[1]
    images_K = np.bincount(inverse_n)
    apart_ns = statistics_ns - (_sums(statistics_ns, inverse_n) / images_K[:, None])[inverse_n]
    sums_K = np.bincount(inverse_n, weights=(apart_ns**2).mean(axis=1))
    return sums_K[images_K > 1] / (images_K[images_K > 1] - 1)


def set_diversity(
    statistics_nS: np.ndarray,
    originals_nS: np.ndarray,
    labels_n: np.ndarray,
    *,
    level: float = 0.95,
    draws: int = DRAWS,
    seed: int = 0,
) -> dict[str, Any] | None:
    """How much the images of a class differ, beside the originals they were made from.

    Args:
        statistics_nS: of :func:`image_statistics`.
        originals_nS: of the original of each.
        labels_n: class of each.
        level, draws, seed: of the interval, over classes.

    Returns:
        ``images``, ``several`` (classes with more than one image), ``diversity``, ``of_originals``, ``ratio`` of the two (None where the originals of
        no class differ), and ``interval`` {"ratio": [low, high]} with ``level`` where there are two such classes. None without such a class.
    """
    scale_S = originals_nS.var(axis=0)
    here_k, there_k = (spread(of_nS, labels_n, scale_S) for of_nS in (statistics_nS, originals_nS))
    if not len(here_k):
        return None
    found: dict[str, Any] = {
        "images": len(labels_n),
        "several": len(here_k),
        "diversity": float(np.sqrt(here_k.mean())),
        "of_originals": float(np.sqrt(there_k.mean())),
        "ratio": float(np.sqrt(here_k.sum() / there_k.sum())) if there_k.sum() > 0 else None,
    }
    if len(here_k) > 1 and (there_k > 0).all():
        ratio = bootstrap(
            lambda weights_Rk: np.sqrt((weights_Rk @ here_k) / (weights_Rk @ there_k)),
            np.arange(len(here_k)), level=level, draws=draws, seed=seed,
        )  # fmt: skip
        found |= {"interval": {"ratio": list(ratio)}, "level": level}
    return found


def _sums(rows_nE: np.ndarray, inverse_n: np.ndarray) -> np.ndarray:
    """``sums_KE``, float64: of the rows of each class."""
    order = np.argsort(inverse_n, kind="stable")
    starts_K = np.searchsorted(inverse_n[order], np.arange(inverse_n.max() + 1))
    return np.add.reduceat(rows_nE[order].astype(np.float64), starts_K, axis=0)


def _unit(rows_nE: np.ndarray) -> np.ndarray:
    return rows_nE / np.maximum(np.linalg.norm(rows_nE, axis=1, keepdims=True), 1e-12)
