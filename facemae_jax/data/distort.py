"""The distortions one could publish instead of reconstructions: grey patches, blur, pixels, noise, private pixels. Fixed per image.

They are the baselines of every run. Each depends on the image and its key alone, so that one variant is one fixed data set;
averages over several people's images are made by ``k_same``.
"""

from __future__ import annotations

import dataclasses
import difflib
import hashlib

import numpy as np
from scipy.ndimage import gaussian_filter1d

from facemae_jax.types import FacemaeError

NAMES = ("original", "mask", "blur", "pixelate", "noise", "dppix")
GREY = 128
REFERENCE = 112  # pixels: the image side at which strengths in pixels are meant


@dataclasses.dataclass(frozen=True)
class Distortion:
    """A callable (image uint8 HWC, key) → uint8 HWC; its repr says everything it depends on.

    ``dppix`` is differentially private pixelization (Fan, "Image Pixelization with Differential Privacy", DBSec 2018): block
    means plus Laplace noise. Two images are neighbours when they differ in at most m pixels (of the image as it is, not at
    112), in any way. A block of n pixels then moves by at most 255·m/n per colour, and noise of scale 255·m/(n·ε′) makes one
    colour ε′-private, whichever blocks the m pixels lie in. An RGB image has three colours, so ε′ = ε/3 here: the stated ε
    holds for the whole published image (Fan's images are grey, with n = b² for a block of side b). Rounding and clipping come
    after the noise and cost nothing.

    What ε does not say: it hides m pixels, not a face, and not a person with several images. And the noise follows from the
    public ``seed`` and the key, so that a baseline can be made again: ε holds only against those who do not know both. Whoever
    publishes such images must draw the noise from a secret.
    """

    name: str
    image_size: int
    mask_ratio: float = 0.75  # share of grey patches
    patch: int = 8  # pixels
    blur: float = 4.0  # σ in pixels at 112
    pixelate: int = 8  # side of a block in pixels at 112, also of dppix
    noise: float = 0.5  # σ in units of −1…1
    dppix_epsilon: float = 1.0  # ε of a whole RGB image
    dppix_m: int = 16  # pixels in which neighbouring images differ
    seed: int = 0

    def __post_init__(self) -> None:
        if self.name not in NAMES:
            near = difflib.get_close_matches(self.name, NAMES, n=1)
            hint = f" (did you mean {near[0]}?)" if near else ""
            raise FacemaeError(f"{self.name}: no such distortion{hint}; choose one of {', '.join(NAMES)}.")
        if self.name == "mask" and self.image_size % self.patch:
            raise FacemaeError(
                f"mae.patch={self.patch} does not divide data.image_size={self.image_size}: choose a divisor."
            )

    def __repr__(self) -> str:
        used = {
            "mask": f"ratio={self.mask_ratio}, patch={self.patch}, seed={self.seed}",
            "blur": f"sigma={self.blur}",
            "pixelate": f"block={self.pixelate}",
            "noise": f"sigma={self.noise}, seed={self.seed}",
            "dppix": f"epsilon={self.dppix_epsilon}, m={self.dppix_m}, block={self.pixelate}, seed={self.seed}",
        }
        return f"Distortion({self.name}, {used.get(self.name, '')})"

    def __call__(self, image_HWC: np.ndarray, key: str) -> np.ndarray:
        """The protected image."""
        scale = len(image_HWC) / REFERENCE
        if self.name == "mask":
            return self._mask(image_HWC, key)
        if self.name == "blur":
            smooth = image_HWC.astype(np.float32)
            for axis in (0, 1):
                smooth = gaussian_filter1d(smooth, self.blur * scale, axis=axis, mode="nearest", truncate=3.0)
            return np.clip(np.round(smooth), 0, 255).astype(np.uint8)
        if self.name == "pixelate":
            means_hwC, high, wide = block_means(image_HWC, max(1, round(self.pixelate * scale)))
            return np.round(means_hwC).astype(np.uint8).repeat(high, axis=0).repeat(wide, axis=1)
        if self.name == "dppix":
            return self._private_pixels(image_HWC, key, max(1, round(self.pixelate * scale)))
        if self.name == "noise":
            drawn = self._random(key).standard_normal(image_HWC.shape, np.float32) * np.float32(self.noise * 127.5)
            return np.clip(np.round(image_HWC + drawn), 0, 255).astype(np.uint8)
        return image_HWC

    def _random(self, key: str) -> np.random.Generator:
        digest = hashlib.sha256(f"{self.seed}:{key}".encode()).digest()
        return np.random.default_rng(np.frombuffer(digest, np.uint32))

    def _mask(self, image_HWC: np.ndarray, key: str) -> np.ndarray:
        side = len(image_HWC) // self.patch
        visible = round(side**2 * (1 - self.mask_ratio))
        hidden_N = np.ones(side**2, bool)
        hidden_N[self._random(key).permutation(side**2)[:visible]] = False
        hidden_HW = np.kron(hidden_N.reshape(side, side), np.ones((self.patch, self.patch), bool))
        return np.where(hidden_HW[..., None], np.uint8(GREY), image_HWC)

    def _private_pixels(self, image_HWC: np.ndarray, key: str, block: int) -> np.ndarray:
        means_hwC, high, wide = block_means(image_HWC, block)
        colours = image_HWC.shape[2]
        # Smaller blocks at the edges move further, so each block's noise follows from its own number of pixels.
        scale_hw1 = 255.0 * self.dppix_m * colours / (self.dppix_epsilon * (high[:, None] * wide[None, :])[..., None])
        noisy_hwC = means_hwC + self._random(key).laplace(size=means_hwC.shape) * scale_hw1
        return np.clip(np.round(noisy_hwC), 0, 255).astype(np.uint8).repeat(high, axis=0).repeat(wide, axis=1)


def block_means(image_HWC: np.ndarray, block: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """float64 mean of every block, ``means_hwC``; rows per block; columns per block. The last ones may be smaller."""
    height, width, _ = image_HWC.shape
    rows, columns = np.arange(0, height, block), np.arange(0, width, block)
    sums_hwC = np.add.reduceat(np.add.reduceat(image_HWC.astype(np.float32), rows, axis=0), columns, axis=1)
    high, wide = np.diff([*rows, height]), np.diff([*columns, width])
    return sums_hwC / (high[:, None] * wide[None, :])[..., None], high, wide
