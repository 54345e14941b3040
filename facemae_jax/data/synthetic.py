"""Faces of people who do not exist: a seeded parametric renderer, so that the whole chain runs without anyone's data.

Drawn like aligned crops (eyes, nose and mouth near the ArcFace template). Identity sits in the geometry of the face, in its
marks and, weakly, in its colours; pose, expression, light, background, blur and noise change from image to image.
Not photographs: results on them say that the chain works, not how well a method does on people.
"""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageFilter

from facemae_jax.data.synthetic_parts import Canvas, eyes, head, marks, mouth, nose
from facemae_jax.data.synthetic_person import person, rng

PICTURE = 2  # stream of randomness; that of people is another one


def render(identity: int, image: int, *, seed: int, size: int, difficulty: float = 1.0) -> np.ndarray:
    """One image of one person.

    Args:
        identity: which person; others of the same seed are other people.
        image: which image of that person.
        seed: other seeds are other people altogether.
        size: side in pixels.
        difficulty: strength of everything that is not the person; 0 = always the same image but for the background.

    Returns:
        uint8, size × size × 3. The same arguments give the same bytes, whatever was rendered before.
    """
    who, r = person(identity, seed), rng(seed, PICTURE, identity, image)
    d = difficulty

    def varied(spread: float) -> float:
        return float(d * spread * np.clip(r.standard_normal(), -2.5, 2.5))

    yaw, pitch, roll = varied(0.034), varied(0.020), varied(0.035)
    scale, shift_x, shift_y = 1.0 + varied(0.025), varied(0.008), varied(0.008)
    at = (np.arange(size, dtype=np.float32) + 0.5) / size
    x0, y0 = np.meshgrid((at - 0.5 - shift_x) / scale, (at - 0.56 - shift_y) / scale)
    cos, sin = np.cos(roll), np.sin(roll)
    x, y = (cos * x0 + sin * y0 + 0.5).astype(np.float32), (-sin * x0 + cos * y0 + 0.56).astype(np.float32)
    canvas = Canvas(x, y, soft=0.9 / size)
    low, high = r.uniform(0.1, 0.9, 3), r.uniform(0.1, 0.9, 3)
    slope = np.clip(0.5 + (x - 0.5) * r.normal(0, 1) + (y - 0.5) * r.normal(0, 1), 0, 1)[..., None]
    canvas.image[:] = (low + (high - low) * slope).astype(np.float32)
    head(canvas, who, yaw)
    eyes(canvas, who, yaw, pitch, wink=1.0 + varied(0.14), raised=varied(0.010), gaze=(varied(0.006), varied(0.003)))
    nose(canvas, who, yaw, pitch)
    mouth(canvas, who, yaw, pitch, smile=varied(0.014), gap=max(0.0, varied(0.016)))
    marks(canvas, who, yaw, pitch)
    return _photograph(canvas.image, x, y, r, d, size)


def _photograph(
    image: np.ndarray, x: np.ndarray, y: np.ndarray, r: np.random.Generator, d: float, size: int
) -> np.ndarray:
    """Light, colour cast, sometimes something in front, blur, noise; then bytes."""
    angle, strength = r.uniform(0, 2 * np.pi), d * abs(r.normal(0, 0.35))
    light = 1 + strength * ((x - 0.5) * np.cos(angle) + (y - 0.5) * np.sin(angle)) * 1.6
    cast = np.exp(d * r.normal(0, 0.10, 3) + d * r.normal(0, 0.16)).astype(np.float32)
    image = np.clip(image * light[..., None].astype(np.float32) * cast, 0, 1) ** np.float32(
        np.exp(d * r.normal(0, 0.14))
    )
    if r.random() < 0.15 * d:
        cx, cy, w, h = r.uniform(0, 1), r.uniform(0, 1), r.uniform(0.08, 0.2), r.uniform(0.08, 0.25)
        image[(np.abs(x - cx) < w) & (np.abs(y - cy) < h)] = r.uniform(0, 1, 3)
    picture = Image.fromarray((np.clip(image, 0, 1) * 255).astype(np.uint8))
    picture = picture.filter(ImageFilter.GaussianBlur(d * abs(r.normal(0, 0.009)) * size))
    noisy = np.asarray(picture, np.float32) + r.standard_normal((size, size, 3), np.float32) * np.float32(
        d * r.uniform(0, 10)
    )
    return np.clip(np.round(noisy), 0, 255).astype(np.uint8)


class People:
    """Many people as a sequence of ``(key, image)``; made by :func:`people`."""

    def __init__(self, first: int, identities: int, images: int, seed: int, size: int, difficulty: float):
        self.first, self.identities, self.images = first, identities, images
        self.seed, self.size, self.difficulty = seed, size, difficulty

    def __len__(self) -> int:
        return self.identities * self.images

    def key(self, position: int) -> str:
        """The key of one record, without rendering it."""
        identity, image = divmod(position, self.images)
        return f"person-{self.first + identity:05d}/{image:04d}"

    def __getitem__(self, position: int) -> tuple[str, np.ndarray]:
        if not 0 <= position < len(self):
            raise IndexError(position)
        identity, image = divmod(position, self.images)
        pixels = render(self.first + identity, image, seed=self.seed, size=self.size, difficulty=self.difficulty)
        return self.key(position), pixels


def people(identities: int, images: int, *, seed: int, size: int, difficulty: float = 1.0, first: int = 0) -> People:
    """``identities`` people from number ``first`` on, ``images`` of each, in order of their keys.

    Returns:
        a picklable sequence of (``"person-00012/0003"``, uint8 size × size × 3).
    """
    return People(first, identities, images, seed, size, difficulty)
