"""Images and image files that tests of images share."""

import io

import numpy as np
from PIL import Image


def smooth(height: int = 16, width: int = 16) -> np.ndarray:
    """A gradient that JPEG keeps well, different in every corner."""
    y, x = np.mgrid[0:height, 0:width]
    return np.stack([255 * x / width, 255 * y / height, 128 + 0 * x], -1).astype(np.uint8)


def save(image: Image.Image, kind: str, **options) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()
