"""Five points of a face → a square crop in which eyes, nose and mouth lie where ArcFace's networks expect them.

The similarity transform (turn, one scale, shift; no mirroring) that brings the points nearest to the template in least squares:
Umeyama 1991, "Least-squares estimation of transformation parameters between two point patterns", equations 40–42. Points
are (x, y), x to the right, y down, and (0, 0) is the middle of the first pixel, as detectors give them.
"""

from __future__ import annotations

import numpy as np
from PIL import Image

# Left eye, right eye (of the picture, not of the person), tip of the nose, left and right corner of the mouth, in 112 × 112 pixels: the
# published template of ArcFace and InsightFace.
TEMPLATE_52 = np.array(
    [[38.2946, 51.6963], [73.5318, 51.5014], [56.0252, 71.7366], [41.5493, 92.3655], [70.7299, 92.2041]]
)
TEMPLATE_SIZE = 112


class Misplaced(ValueError):
    """Points that say nothing of where a face is; the text says why."""


def template(size: int) -> np.ndarray:
    """``points_52`` of the template in a crop of ``size`` × ``size`` pixels: the same places of the same picture."""
    return (TEMPLATE_52 + 0.5) * (size / TEMPLATE_SIZE) - 0.5


def similarity(from_n2: np.ndarray, to_n2: np.ndarray) -> np.ndarray:
    """``transform_23``, float64: ``to ≈ transform[:, :2] @ from + transform[:, 2]``, of least squared error over the points.

    Raises:
        Misplaced: points that are no finite numbers, or all in one place.
    """
    from_n2, to_n2 = np.asarray(from_n2, np.float64), np.asarray(to_n2, np.float64)
    if not (np.isfinite(from_n2).all() and np.isfinite(to_n2).all()):
        raise Misplaced("a landmark is no finite number")
    from_mean_2, to_mean_2 = from_n2.mean(0), to_n2.mean(0)
    centred_n2 = from_n2 - from_mean_2
    variance = (centred_n2**2).sum() / len(from_n2)
    if variance < 1e-6:
        raise Misplaced("its landmarks lie all in one place")
    left_22, size_2, right_22 = np.linalg.svd((to_n2 - to_mean_2).T @ centred_n2 / len(from_n2))
    # A turn, not a mirror image: where the best of all would mirror, the weaker of the two directions is turned round.
    sign_2 = np.array([1.0, 1.0 if np.linalg.det(left_22) * np.linalg.det(right_22) > 0 else -1.0])
    linear_22 = (size_2 * sign_2).sum() / variance * (left_22 * sign_2) @ right_22
    return np.column_stack([linear_22, to_mean_2 - linear_22 @ from_mean_2])


def align(
    image_HWC: np.ndarray,
    points_52: np.ndarray,
    size: int = TEMPLATE_SIZE,
    resample: Image.Resampling = Image.Resampling.BILINEAR,
) -> np.ndarray:
    """The face as a crop of ``size`` × ``size`` pixels, its five points on the template; black beyond the edge of the image.

    A face more than twice as large as the crop is first made smaller by a whole number, each pixel the mean of a block, so that
    fine details do not turn into false coarse ones.

    Args:
        image_HWC: uint8 RGB.
        points_52: in the order of :data:`TEMPLATE_52`.
        size: pixels per side.
        resample: BILINEAR or BICUBIC.

    Returns:
        uint8 RGB ``[size, size, 3]``.

    Raises:
        Misplaced: as :func:`similarity`; a face that would be all black, outside the image.
    """
    there_23 = similarity(points_52, template(size))
    scale = float(np.sqrt(abs(np.linalg.det(there_23[:, :2]))))
    if scale < 1e-3 or scale > 1e3:
        raise Misplaced("its landmarks make a face of no size")
    image, block = Image.fromarray(np.ascontiguousarray(image_HWC)), max(1, int(1 / scale + 1e-6))
    if block > 1:
        image = image.reduce(block)
    # Pillow asks the other way round, and its (0, 0) is the corner of the first pixel.
    back_22 = np.linalg.inv(there_23[:, :2])
    back_2 = 0.5 - back_22 @ (there_23[:, 2] + 0.5)
    # Rounded, so that whole pixels stay whole: Pillow rounds grey levels down, and 216.9999 would become 216.
    back_23 = np.round(np.column_stack([back_22, back_2]) / block, 9)
    corners_42 = np.array([[0, 0], [size, 0], [0, size], [size, size]]) @ back_23[:, :2].T + back_23[:, 2]
    if (corners_42.max(0) <= 0).any() or (corners_42.min(0) >= image.size).any():
        raise Misplaced("its landmarks lie outside the image")
    crop = image.transform((size, size), Image.Transform.AFFINE, tuple(back_23.ravel().tolist()), resample)
    return np.array(crop)
