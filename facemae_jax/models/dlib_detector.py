"""dlib's face detector and its 68 landmarks: where the face of an image is. Optional: launch/requirements-dlib.txt.

The detector (histograms of gradients) is a part of dlib; the landmarks' weights ship in face-recognition-models. They were learned
from iBUG 300-W, whose terms are for research only.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from facemae_jax.models.dlib_judge import INSTALL, NAME, weights_path
from facemae_jax.types import FacemaeError

PREDICTOR = Path("models", "shape_predictor_68_face_landmarks.dat")
# Of the 68: both eyes by the mean of their outlines, the tip of the nose, both corners of the mouth.
EYES, NOSE, MOUTH = (slice(36, 42), slice(42, 48)), 30, (48, 54)
SMALL, LARGE = (
    600,
    1200,
)  # pixels of the longer side: up to SMALL faces of 40 pixels are found, then of 80; above LARGE it is made smaller
Box = tuple[float, float, float, float]  # left, top, right, bottom


def predictor_path() -> Path:
    """The file with the landmarks' weights.

    Raises:
        FacemaeError: when it is not installed: what to install.
    """
    return weights_path(PREDICTOR, "data.detect=dlib")


def load_detector(predictor: Path) -> Callable[[np.ndarray], np.ndarray | None]:
    """``uint8 RGB image_HWC → points_52``, or None where no face is found; may be called by several threads.

    Points are those of ``data.align``: eyes, nose, mouth, (x, y) from the middle of the first pixel.

    Args:
        predictor: :func:`predictor_path`.

    Raises:
        FacemaeError: dlib is not installed, or the file is not its own.
    """
    try:
        import dlib
    except ImportError as error:
        raise FacemaeError(f"data.detect={NAME} needs dlib-bin, not installed here: {INSTALL}") from error
    try:
        landmarks = dlib.shape_predictor(str(predictor))
    except RuntimeError as error:
        raise FacemaeError(
            f"{predictor} is not dlib's predictor of landmarks ({error}): install it again, {INSTALL}"
        ) from error
    own = threading.local()  # a detector keeps the image that it looks at

    def find(image_HWC: np.ndarray) -> np.ndarray | None:
        if not hasattr(own, "detector"):
            own.detector = dlib.get_frontal_face_detector()
        image_HWC = np.ascontiguousarray(image_HWC)
        height, width, _ = image_HWC.shape
        block = -(-max(height, width) // LARGE)
        seen_HWC = smaller(image_HWC, block)
        found = own.detector(seen_HWC, 1 if max(seen_HWC.shape) <= SMALL else 0)
        boxes = [tuple(block * edge for edge in (b.left(), b.top(), b.right(), b.bottom())) for b in found]
        if not boxes:
            return None
        left, top, right, bottom = boxes[choose(boxes, width, height)]
        shape: Any = landmarks(image_HWC, dlib.rectangle(left, top, right, bottom))
        return five(np.array([(part.x, part.y) for part in shape.parts()], np.float64))

    return find


def smaller(image_HWC: np.ndarray, block: int) -> np.ndarray:
    """Every pixel the mean of ``block`` × ``block``; a rest at the right and lower edge is cut off."""
    if block == 1:
        return image_HWC
    height, width = image_HWC.shape[0] // block, image_HWC.shape[1] // block
    blocks = image_HWC[: height * block, : width * block].reshape(height, block, width, block, 3)
    return np.rint(blocks.mean((1, 3))).astype(np.uint8)


def choose(boxes: Sequence[Box], width: int, height: int) -> int:
    """Which of several faces is meant: the largest, less so the further from the middle of the image.

    By area − 2 · (distance of the middles)², in pixels, which InsightFace's tools use too.
    """

    def merit(box: Box) -> float:
        left, top, right, bottom = box
        across, down = (left + right - width) / 2, (top + bottom - height) / 2
        return (right - left) * (bottom - top) - 2 * (across**2 + down**2)

    return max(range(len(boxes)), key=lambda n: merit(boxes[n]))


def five(points_68_2: np.ndarray) -> np.ndarray:
    """``points_52``: eyes, nose and corners of the mouth among dlib's 68."""
    eyes = [points_68_2[eye].mean(0) for eye in EYES]
    return np.stack([*eyes, points_68_2[NOSE], *(points_68_2[corner] for corner in MOUTH)])
