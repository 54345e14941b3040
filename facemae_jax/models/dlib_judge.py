"""dlib's face recognizer as a judge: a stranger by data, network and training. Optional: launch/requirements-dlib.txt.

Where its weights are, and which part of an aligned face it looks at.
"""

from __future__ import annotations

import hashlib
import importlib.util
import math
from pathlib import Path

import jax
import jax.numpy as jnp

from facemae_jax.models.dlib_resnet import CHIP, EMBEDDING, SPATIAL, describe, read_dlib
from facemae_jax.models.frozen import Frozen, unit
from facemae_jax.types import FacemaeError, Tree

NAME = "dlib"
PACKAGE = "face_recognition_models"
INSTALL = "pip install -r launch/requirements-dlib.txt"
MODEL = Path("models", "dlib_face_recognition_resnet_model_v1.dat")
# Where dlib's own chip lies in a face that is aligned to ArcFace's template for 112×112: pupils level in both, 35.2 pixels
# apart there and 52.5 of 150 here. The chip reaches below the image, whose last rows are repeated. Chosen by verification of
# 1,000 LFW pairs: 99.2 % against 85.4 % for the whole image and 92.3 % for a box moved up until it fits inside; a box
# that is tighter by a tenth tells as well (99.4 %, two pairs more).
LEFT, TOP, SIDE = 6.3 / 112, 20.0 / 112, 100.6 / 112


def model_path() -> Path:
    """The file with the recognizer's weights.

    Raises:
        FacemaeError: when it is not installed: what to install.
    """
    return weights_path(MODEL, "the judge dlib")


def weights_path(model: Path, wanted_by: str) -> Path:
    """A file of face-recognition-models, found without importing the package (which needs a setuptools of the past).

    Args:
        model: its place in the package.
        wanted_by: who needs it, for the error.

    Raises:
        FacemaeError: when it is not installed: what to install.
    """
    spec = importlib.util.find_spec(PACKAGE)
    if spec is None:
        raise FacemaeError(f"{wanted_by} needs the weights in face-recognition-models, not installed here: {INSTALL}")
    for folder in spec.submodule_search_locations or ():
        if (path := Path(folder) / model).is_file():
            return path
    raise FacemaeError(f"face-recognition-models is installed, but without {model.name}: install it again, {INSTALL}")


def load_dlib(path: Path) -> Frozen:
    """dlib's recognizer with the weights at ``path`` (:func:`model_path`), for faces aligned to ArcFace's template.

    Raises:
        FacemaeError: for a file that holds no such network.
    """

    def apply(params: Tree, images_BHWC: jax.Array) -> jax.Array:
        return unit(describe(params, chips(images_BHWC)))

    fed = f"{LEFT:.6f} {TOP:.6f} {SIDE:.6f}"
    digest = hashlib.sha256(path.read_bytes() + fed.encode()).hexdigest()
    return Frozen(read_dlib(path), apply, None, EMBEDDING, digest, NAME)


def chips(images_BHWC: jax.Array) -> jax.Array:
    """Aligned faces (−1…1, any size) → dlib's face chips, 0…255, ``(B, 150, 150, 3)``.

    Bilinear, antialiased when shrinking; what lies outside the image repeats its edge.
    """
    b, height, width, colours = images_BHWC.shape
    over_H, over_W = (
        (math.ceil(max(0.0, -start) * size), math.ceil(max(0.0, start + SIDE - 1) * size))
        for start, size in ((TOP, height), (LEFT, width))
    )
    padded_BHWC = jnp.pad((images_BHWC.astype(jnp.float32) + 1) * 127.5, ((0, 0), over_H, over_W, (0, 0)), mode="edge")
    scale_2 = jnp.array([CHIP / (SIDE * height), CHIP / (SIDE * width)], jnp.float32)
    corner_2 = jnp.array([TOP * height + over_H[0], LEFT * width + over_W[0]], jnp.float32)
    return jax.image.scale_and_translate(
        padded_BHWC, (b, CHIP, CHIP, colours), SPATIAL, scale_2, -corner_2 * scale_2, "linear", antialias=True
    )
