"""Templates (all images of a person at hand) compared with templates: how embeddings are pooled, and the rates of IJB-B and IJB-C.

Source of the convention: C. Whitelam et al., "IARPA Janus Benchmark-B Face Dataset", CVPRW 2017; B. Maze et al., "IARPA Janus Benchmark – C",
ICB 2018. The frames of one video count as one medium, so that a long video does not outweigh a photograph.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from facemae_jax.metrics.verification import Roc, area, check_scores, equal_error_rate, tar_at_far, thin
from facemae_jax.types import FacemaeError

FARS = (1e-1, 1e-2, 1e-3, 1e-4, 1e-5, 1e-6)
BLOCK = 8192  # rows of embeddings at a time: 16 MiB at E = 512


def pool(embeddings_nE: np.ndarray, template_n: np.ndarray, media_n: np.ndarray, *, block: int = BLOCK) -> np.ndarray:
    """``templates_TE``, float32: the mean within each medium of a template, summed over its media, scaled to length 1.

    Args:
        embeddings_nE: of each image of each template. Their lengths count; give unit vectors for images to weigh alike.
        template_n: template of each, 0 … T−1, every number at least once.
        media_n: medium of each, any whole numbers; one medium may stand in several templates, where it is another one.
        block: about how many rows are copied at a time.

    Raises:
        FacemaeError: a template whose sum is zero or not finite.
    """
    template_n = np.asarray(template_n)
    order_n = np.lexsort((media_n, template_n))
    sorted_n, media_sorted_n = template_n[order_n], np.asarray(media_n)[order_n]
    new_n = np.concatenate([[True], (np.diff(sorted_n) != 0) | (np.diff(media_sorted_n) != 0)])
    medium_n = np.cumsum(new_n) - 1
    weight_n = (1.0 / np.bincount(medium_n))[medium_n].astype(np.float32)
    start_T = np.flatnonzero(np.concatenate([[True], np.diff(sorted_n) != 0]))
    if not np.array_equal(sorted_n[start_T], np.arange(len(start_T))):
        raise ValueError("template_n must hold every number from 0 to T − 1")
    templates_TE = np.empty((len(start_T), embeddings_nE.shape[1]), np.float32)
    end_T = np.append(start_T[1:], len(order_n))
    first = 0
    while first < len(start_T):  # whole templates, so that each is summed once
        last = max(first + 1, int(np.searchsorted(end_T, start_T[first] + block, side="right")))
        rows = slice(start_T[first], end_T[last - 1])
        weighted_bE = embeddings_nE[order_n[rows]] * weight_n[rows, None]
        templates_TE[first:last] = np.add.reduceat(weighted_bE, start_T[first:last] - start_T[first], axis=0)
        first = last
    length_T = np.linalg.norm(templates_TE, axis=1)
    bad_T = ~(np.isfinite(length_T) & (length_T > 0))
    if bad_T.any():
        raise FacemaeError(
            f"{np.count_nonzero(bad_T)} of {len(bad_T)} templates have an embedding that is zero or not finite (the first is "
            f"number {np.flatnonzero(bad_T)[0]}): look at the training of the recognizer."
        )
    templates_TE /= length_T[:, None]
    return templates_TE


def template_scores(
    templates_TE: np.ndarray, left_p: np.ndarray, right_p: np.ndarray, *, block: int = BLOCK
) -> np.ndarray:
    """``scores_p``, float32: cosine of each pair of templates, ``block`` pairs at a time."""
    scores_p = np.empty(len(left_p), np.float32)
    for start in range(0, len(left_p), block):
        rows = slice(start, start + block)
        scores_p[rows] = np.einsum("pe,pe->p", templates_TE[left_p[rows]], templates_TE[right_p[rows]])
    return scores_p


def template_verification(scores_p: np.ndarray, same_p: np.ndarray) -> dict[str, Any]:
    """All figures of one recognizer on one list of template pairs; shares, not percent.

    Args:
        scores_p: one finite number per pair, larger is more alike; 15.7 million of float32 take about 0.3 GiB beside themselves.
        same_p: bool, both templates show one person.

    Returns:
        ``auc``, ``eer``, ``tar_at_far`` (``{"0.1": TAR, … "1e-06": TAR}``, rates with at least ten expected false accepts only), ``roc``
        (points for a plot), ``pairs``, ``positive``.

    Raises:
        FacemaeError: a score that is not finite; no pair of one person, or none of two.
    """
    curve = sparse_roc(scores_p, same_p)
    return {
        "auc": area(curve),
        "eer": equal_error_rate(curve),
        "tar_at_far": tar_at_far(curve, FARS),
        "roc": thin(curve),
        "pairs": len(scores_p),
        "positive": len(scores_p) - curve.negatives,
    }


def sparse_roc(scores_p: np.ndarray, same_p: np.ndarray) -> Roc:
    """The same curve as ``verification.roc``, without the points inside its level stretches: two points per score of one person.

    Pairs of two people are a thousand times as many in IJB-C, and only the corners matter to any figure: between two scores of
    pairs of one person, TAR stays as it is.
    """
    scores_p, same_p = np.asarray(scores_p), np.asarray(same_p, bool)
    positives = check_scores(scores_p, same_p)
    others = scores_p[~same_p]
    others.sort()
    values_g, count_g = np.unique(scores_p[same_p], return_counts=True)
    values_g, accepted_g = values_g[::-1], count_g[::-1].cumsum()
    corners_g2 = [(len(others) - np.searchsorted(others, values_g, side)) / len(others) for side in ("right", "left")]
    tar_g2 = [np.concatenate([[0], accepted_g[:-1]]) / positives, accepted_g / positives]
    far_t = np.concatenate([[0.0], np.stack(corners_g2, 1).ravel(), [1.0]])
    tar_t = np.concatenate([[0.0], np.stack(tar_g2, 1).ravel(), [1.0]])
    return Roc(far_t, tar_t, len(others))
