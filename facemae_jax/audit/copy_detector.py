"""Copies at pixel level: how much of a protected image is its source, and is the source found by comparing pixels alone?

``visible_share`` looks at each patch in place: nearly the same as the source's patch there, or not. Flat skin and plain background are alike in
many photographs, so the same count against images of other people stands beside it. ``nearest_pixel`` needs no recognizer: whoever
holds the originals looks for the one with the smallest mean squared difference at thumbnail size. Neither finds a copy that was
moved, mirrored or recoloured, and neither says anything about identity: a low figure here is necessary for privacy, and far from enough.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from PIL import Image

from facemae_jax.audit.contributors import Contributors, right_answers
from facemae_jax.audit.partners import stranger_pairs
from facemae_jax.audit.rank_figures import rank_figures
from facemae_jax.metrics.bootstrap import DRAWS, mean_intervals
from facemae_jax.search import rank_of
from facemae_jax.types import FacemaeError

TOLERANCE = 4.0  # grey levels; JPEG of quality 95 (4:4:4) changes 8-pixel patches of photographs by 1.2 ± 0.4, at most 3, of noise by 3.4
BLOCK = 256  # image pairs whose differences exist at a time
QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)
SIDE = 32  # pixels of a thumbnail


def copied_patches(
    left_nHWC: np.ndarray,
    right_nHWC: np.ndarray,
    *,
    patch: int,
    tolerance: float = TOLERANCE,
    pairs: tuple[np.ndarray, np.ndarray] | None = None,
) -> np.ndarray:
    """Which patches of two images in the same place are nearly the same.

    Args:
        left_nHWC, right_nHWC: uint8, square, all of one size.
        patch: side in pixels; divides the image's.
        tolerance: a patch counts as copied when its mean absolute difference over pixels and colours is at most this many grey levels;
            what JPEG changes in a copy stays below it.
        pairs: positions on the left and right that are compared; None = image by image.

    Returns:
        ``copied_nN``, bool.

    Raises:
        FacemaeError: a patch that does not divide the images; images of two sizes.
    """
    side = left_nHWC.shape[1]
    if left_nHWC.shape[1:] != right_nHWC.shape[1:] or left_nHWC.shape[1] != left_nHWC.shape[2] or side % patch:
        raise FacemaeError(
            f"Images of {left_nHWC.shape[1:]} and {right_nHWC.shape[1:]} cannot be compared in patches of {patch} pixels: "
            "both must be square, of one size that the patch divides."
        )
    if pairs is None:
        pairs = (np.arange(len(left_nHWC)), np.arange(len(right_nHWC)))
    cells = side // patch
    copied_nN = np.empty((len(pairs[0]), cells**2), bool)
    for start in range(0, len(pairs[0]), BLOCK):
        left, right = (
            images[where[start : start + BLOCK]] for images, where in zip((left_nHWC, right_nHWC), pairs, strict=True)
        )
        apart = np.where(left > right, left - right, right - left)  # stays uint8
        mean = apart.reshape(len(apart), cells, patch, cells, patch, -1).mean(axis=(2, 4, 5), dtype=np.float32)
        copied_nN[start : start + BLOCK] = mean.reshape(len(apart), -1) <= tolerance
    return copied_nN


def visible_share(
    protected_QHWC: np.ndarray,
    sources_QHWC: np.ndarray,
    identities_Q: np.ndarray,
    *,
    patch: int,
    tolerance: float = TOLERANCE,
    seed: int = 0,
    level: float = 0.95,
    draws: int = DRAWS,
) -> dict[str, Any]:
    """Share of each protected image that is a copy of its source.

    Args:
        protected_QHWC: uint8, as published (decoded).
        sources_QHWC: uint8, the original of each.
        identities_Q: the person of each.
        patch: side in pixels; the MAE's, at whose grid visible patches lie.
        tolerance: of :func:`copied_patches`.
        seed: which image of another person each one is compared with in ``chance``, and of the intervals.
        level, draws: of the intervals, over people.

    Returns:
        ``images``, ``patch``, ``tolerance``, ``level``, ``mean`` (share of patches per image), ``interval`` [low, high] of it,
        ``quantiles`` {"0.05", …} over images; ``chance`` {"mean", "interval", "quantiles"} of the same against an image of another person;
        ``excess`` {"mean", "interval"}, the difference of both; ``ceiling`` 1.0 (the source itself).

    Raises:
        FacemaeError: as :func:`copied_patches`; one identity only.
    """
    identities_Q = np.asarray(identities_Q)
    if len(protected_QHWC) != len(sources_QHWC) or len(np.unique(identities_Q)) < 2:
        raise FacemaeError(
            f"{len(protected_QHWC)} protected images and {len(sources_QHWC)} sources of {len(np.unique(identities_Q))} people: one source for "
            "each image, and at least two people, are needed."
        )
    pairs = stranger_pairs(identities_Q, identities_Q, share=1, seed=seed)
    options: dict[str, Any] = dict(patch=patch, tolerance=tolerance)
    own_Q = copied_patches(protected_QHWC, sources_QHWC, **options).mean(axis=1)
    other_Q = copied_patches(protected_QHWC, sources_QHWC, pairs=pairs, **options).mean(axis=1)
    values_QM = np.stack([own_Q, other_Q, own_Q - other_Q], axis=1)
    own, other, excess = (
        {"mean": float(values_Q.mean()), "interval": list(interval)}
        for values_Q, interval in zip(
            values_QM.T, mean_intervals(values_QM, identities_Q, level=level, draws=draws, seed=seed), strict=True
        )
    )
    return {
        "images": len(own_Q),
        "patch": patch,
        "tolerance": tolerance,
        "level": level,
        **own,
        "quantiles": _quantiles(own_Q),
        "chance": other | {"quantiles": _quantiles(other_Q)},
        "excess": excess,
        "ceiling": 1.0,
    }


def _quantiles(values_n: np.ndarray) -> dict[str, float]:
    return {f"{at:g}": float(value) for at, value in zip(QUANTILES, np.quantile(values_n, QUANTILES), strict=True)}


def thumbnails(images_nHWC: np.ndarray, side: int = SIDE) -> np.ndarray:
    """``grey_nE``, float32 in 0…1: box-averaged grey images of side × side pixels, row by row. Any part of a set at a time."""
    grey_nE = np.empty((len(images_nHWC), side * side), np.float32)
    for image_HWC, grey_E in zip(images_nHWC, grey_nE, strict=True):
        small = Image.fromarray(image_HWC).convert("L").resize((side, side), Image.Resampling.BOX)
        grey_E[:] = np.asarray(small, np.float32).ravel() / 255
    return grey_nE


def nearest_pixel(
    protected_QE: np.ndarray,
    gallery_GE: np.ndarray,
    *,
    sources_Q: np.ndarray,
    labels_G: np.ndarray,
    others: Contributors | None = None,
    seed: int = 0,
    level: float = 0.95,
    draws: int = DRAWS,
    block: int = 4096,
) -> dict[str, Any]:
    """Search the originals for the source of each protected image by mean squared pixel difference.

    Args:
        protected_QE: :func:`thumbnails` of the protected images.
        gallery_GE: of the originals.
        sources_Q: gallery position of the original that each was made from.
        labels_G: identity of each original.
        others: who else is behind the images: their images that were used are sources, too.
        seed, level, draws: of the intervals, over people.
        block: of the search.

    Returns:
        ``rank_figures``, with ``ceiling`` {"rank", "interval"}: the originals themselves as queries, below 1 where the gallery holds an image
        twice.

    Raises:
        FacemaeError: one identity only.
    """
    sources_Q, labels_Q = np.asarray(sources_Q, np.int64), np.asarray(labels_G)[sources_Q]
    middle_E = gallery_GE.mean(axis=0)  # distances do not change, and float32 keeps more of them
    gallery_GE = gallery_GE - middle_E
    # ‖q − g‖² = ‖q‖² − 2 (q·g − ‖g‖²/2): the nearest has the largest inner product of (q, 1) and (g, −‖g‖²/2).
    lengths_G1 = np.einsum("ge,ge->g", gallery_GE, gallery_GE)[:, None]
    searched_GE = np.hstack([gallery_GE, -0.5 * lengths_G1])

    def searched_with(queries_QE: np.ndarray, right_QR: np.ndarray) -> dict[str, Any]:
        asked_QE = np.hstack([queries_QE, np.ones((len(queries_QE), 1), np.float32)])
        ranks_QR = rank_of(asked_QE, searched_GE, right_QR, block=block)
        return rank_figures(
            ranks_QR, np.full(len(ranks_QR), len(gallery_GE)), labels_Q, level=level, draws=draws, seed=seed
        )

    ceiling = searched_with(gallery_GE[sources_Q], sources_Q[:, None])
    return searched_with(protected_QE - middle_E, right_answers(sources_Q, labels_G, others).images_QR) | {
        "ceiling": {"rank": ceiling["rank"], "interval": ceiling["interval"]["rank"]}
    }
