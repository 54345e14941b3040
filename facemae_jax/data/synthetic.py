"""Faces of people who do not exist: a seeded parametric renderer, so that the whole chain runs without anyone's data.

Drawn like aligned crops (eyes, nose and mouth near the ArcFace template). Identity sits in the geometry of the face, in its
marks and, weakly, in its colours; pose, expression, light, background, blur and noise change from image to image.
Not photographs: results on them say that the chain works, not how well a method does on people.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from PIL import Image, ImageFilter

PERSON, PICTURE = 1, 2  # streams of randomness


class Person(NamedTuple):
    """What stays the same in every image of one person; lengths in units of the image side."""

    skin: np.ndarray
    hair: np.ndarray
    iris: np.ndarray
    lip: np.ndarray
    brow: np.ndarray
    head: np.ndarray  # half width, half height, centre y, squareness, jaw
    eyes: np.ndarray  # half distance, y, half width, half height, tilt, iris radius
    brows: np.ndarray  # rise, half length, thickness, tilt, bend
    nose: np.ndarray  # length, half width, bridge, nostril
    mouth: np.ndarray  # y, half width, upper, lower, bend
    hairline: np.ndarray  # height, side, slant, wave, waves
    marks: np.ndarray  # x, y, radius, darkness of each
    beard: float
    glasses: float
    freckles: float


def _rng(*numbers: int) -> np.random.Generator:
    return np.random.default_rng([int(n) for n in numbers])


def person(identity: int, seed: int) -> Person:
    """The factors of one person: a pure function of (seed, identity)."""
    r = _rng(seed, PERSON, identity)

    def around(*pairs: tuple[float, float]) -> np.ndarray:
        return np.array([mean + spread * np.clip(r.standard_normal(), -2.2, 2.2) for mean, spread in pairs])

    tone = r.uniform(0.0, 1.0)
    skin = (1 - tone) * np.array([0.93, 0.77, 0.68]) + tone * np.array([0.50, 0.34, 0.25]) + r.normal(0, 0.025, 3)
    shades = np.array(
        [[0.10, 0.08, 0.07], [0.30, 0.19, 0.11], [0.62, 0.45, 0.24], [0.42, 0.20, 0.11], [0.55, 0.54, 0.53]]
    )
    hair = shades[r.integers(len(shades))] * r.uniform(0.75, 1.25) + r.normal(0, 0.02, 3)
    irises = np.array([[0.25, 0.15, 0.09], [0.30, 0.40, 0.50], [0.30, 0.38, 0.24], [0.16, 0.11, 0.09]])
    count = r.integers(0, 4)
    marks = np.stack(
        [
            r.uniform(0.22, 0.78, count),
            r.uniform(0.30, 0.95, count),
            r.uniform(0.008, 0.018, count),
            r.uniform(0.3, 0.6, count),
        ],
        axis=1,
    )
    return Person(
        skin=skin,
        hair=hair,
        iris=irises[r.integers(len(irises))] + r.normal(0, 0.03, 3),
        lip=skin * np.array([0.86, 0.60, 0.60]) + r.normal(0, 0.03, 3),
        brow=hair * 0.7,
        head=around((0.40, 0.030), (0.53, 0.030), (0.55, 0.014), (2.2, 0.22), (0.16, 0.075)),
        eyes=around((0.158, 0.0115), (0.462, 0.009), (0.068, 0.0080), (0.031, 0.0055), (0.0, 0.075), (0.027, 0.0032)),
        brows=around((0.088, 0.0130), (0.095, 0.011), (0.0165, 0.0050), (0.02, 0.10), (0.018, 0.012)),
        nose=around((0.185, 0.018), (0.062, 0.011), (0.028, 0.007), (0.016, 0.0035)),
        mouth=around((0.820, 0.014), (0.122, 0.015), (0.021, 0.0065), (0.028, 0.0075), (0.005, 0.011)),
        hairline=np.concatenate(
            [around((0.165, 0.05), (0.045, 0.03), (0.0, 0.14), (0.016, 0.014)), [r.integers(2, 7)]]
        ),
        marks=marks,
        beard=float(r.random() < 0.25) * r.uniform(0.2, 0.55),
        glasses=float(r.random() < 0.18),
        freckles=float(r.random() < 0.2) * r.uniform(0.3, 0.8),
    )


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
    who, r = person(identity, seed), _rng(seed, PICTURE, identity, image)
    d = difficulty

    def varied(spread: float) -> float:
        return float(d * spread * np.clip(r.standard_normal(), -2.5, 2.5))

    yaw, pitch, roll = varied(0.034), varied(0.020), varied(0.035)
    scale, shift_x, shift_y = 1.0 + varied(0.025), varied(0.008), varied(0.008)
    at = (np.arange(size, dtype=np.float32) + 0.5) / size
    x0, y0 = np.meshgrid((at - 0.5 - shift_x) / scale, (at - 0.56 - shift_y) / scale)
    cos, sin = np.cos(roll), np.sin(roll)
    x, y = (cos * x0 + sin * y0 + 0.5).astype(np.float32), (-sin * x0 + cos * y0 + 0.56).astype(np.float32)
    canvas = _Canvas(x, y, soft=0.9 / size)
    low, high = r.uniform(0.1, 0.9, 3), r.uniform(0.1, 0.9, 3)
    slope = np.clip(0.5 + (x - 0.5) * r.normal(0, 1) + (y - 0.5) * r.normal(0, 1), 0, 1)[..., None]
    canvas.image[:] = (low + (high - low) * slope).astype(np.float32)
    _head(canvas, who, yaw)
    _eyes(canvas, who, yaw, pitch, wink=1.0 + varied(0.14), raised=varied(0.010), gaze=(varied(0.006), varied(0.003)))
    _nose(canvas, who, yaw, pitch)
    _mouth(canvas, who, yaw, pitch, smile=varied(0.014), gap=max(0.0, varied(0.016)))
    _marks(canvas, who, yaw, pitch)
    return _photograph(canvas.image, x, y, r, d, size)


class _Canvas:
    """An image to paint soft shapes on; a shape is a signed distance, negative inside, in units of the side."""

    def __init__(self, x: np.ndarray, y: np.ndarray, soft: float, image: np.ndarray | None = None):
        self.x, self.y, self.soft = x, y, soft
        self.image = np.zeros((*x.shape, 3), np.float32) if image is None else image

    def around(self, cx: float, cy: float, rx: float, ry: float) -> _Canvas:
        """The part of the canvas near a place: painting a small shape there costs little."""
        size = len(self.x)
        # The face is turned by little, so the middle row and column place a box well enough; the margin covers the turn.
        row = np.searchsorted(self.y[:, size // 2], [cy - ry - 0.05, cy + ry + 0.05])
        column = np.searchsorted(self.x[size // 2], [cx - rx - 0.05, cx + rx + 0.05])
        box = (slice(max(0, row[0]), row[1] + 1), slice(max(0, column[0]), column[1] + 1))
        return _Canvas(self.x[box], self.y[box], self.soft, self.image[box])

    def paint(self, distance: np.ndarray, colour: Any, strength: float = 1.0, soft: float | None = None) -> None:
        """Blend ``colour`` in where ``distance`` is negative, over an edge of width ``soft``."""
        cover = np.clip(0.5 - distance / (2 * (soft or self.soft)), 0, 1).astype(np.float32)[..., None] * np.float32(
            strength
        )
        self.image += cover * (np.asarray(colour, np.float32) - self.image)

    def shade(self, distance: np.ndarray, factor: float, soft: float) -> None:
        """Darken or lighten softly."""
        cover = np.clip(0.5 - distance / (2 * soft), 0, 1).astype(np.float32)[..., None]
        self.image *= 1 + cover * np.float32(factor - 1)

    def ellipse(self, cx: float, cy: float, rx: float, ry: float, tilt: float = 0.0) -> np.ndarray:
        """About the distance to an ellipse."""
        dx, dy = self.x - cx, self.y - cy
        if tilt:
            dx, dy = dx + tilt * dy, dy - tilt * dx
        return (np.sqrt((dx / rx) ** 2 + (dy / ry) ** 2) - 1) * min(rx, ry)


def _head(c: _Canvas, who: Person, yaw: float) -> None:
    half_w, half_h, cy, square, jaw = who.head
    top, side, slant, wave, waves = who.hairline
    cx = 0.5 + 0.5 * yaw
    hair_shape = c.ellipse(cx, cy - 0.05, half_w + side + 0.03, half_h + 0.06)
    c.paint(hair_shape, who.hair, soft=0.012)
    c.paint(np.maximum(np.abs(c.x - cx) - half_w * 0.62, 0.9 - c.y), who.skin * 0.78, soft=0.02)  # neck
    below = np.clip((c.y - cy) / half_h, 0, 1)
    width = half_w * (1 - jaw * below**2 * 2)
    dx, dy = np.abs(c.x - cx) / width, np.abs(c.y - cy) / half_h
    face = ((dx**square + dy**square) ** (1 / square) - 1) * half_w
    hairline = top + slant * (c.x - cx) ** 2 * 2 + wave * np.sin(waves * np.pi * (c.x - cx) * 2)
    c.paint(np.maximum(face, (hairline - c.y) * 0.8), who.skin)
    c.shade(np.maximum(-face - 0.035, face), 0.88, 0.04)  # the rim turns away
    if who.beard:
        chin = np.maximum(face, 0.72 - c.y - 0.10 * np.abs(c.x - cx))
        c.paint(chin, who.hair, strength=who.beard, soft=0.04)


def _eyes(
    c: _Canvas, who: Person, yaw: float, pitch: float, wink: float, raised: float, gaze: tuple[float, float]
) -> None:
    apart, y, rx, ry, tilt, radius = who.eyes
    rise, length, thick, brow_tilt, bend = who.brows
    for sign in (-1, 1):
        cx = 0.5 + sign * apart * (1 - 0.6 * sign * yaw) + yaw
        cy = y + pitch
        whole, c = c, c.around(cx, cy - 0.04, 0.12, 0.13)
        open_ = max(0.35, wink) * ry
        c.shade(c.ellipse(cx, cy - 0.01, rx * 1.5, ry * 2.4), 0.90, 0.03)
        lid = c.ellipse(cx, cy, rx, open_, sign * tilt)
        c.paint(lid - 0.006, who.skin * 0.45)
        c.paint(lid, (0.93, 0.92, 0.90))
        ix, iy = cx + gaze[0], cy + gaze[1]
        c.paint(np.maximum(lid, c.ellipse(ix, iy, radius, radius)), who.iris)
        c.paint(np.maximum(lid, c.ellipse(ix, iy, radius * 0.45, radius * 0.45)), (0.03, 0.03, 0.03))
        c.paint(c.ellipse(ix - 0.008, iy - 0.009, 0.006, 0.006), (0.97, 0.97, 0.97), strength=0.8)
        along = sign * (c.x - cx) / length
        middle = cy - rise - raised + brow_tilt * -0.3 * length * along + bend * (along**2)
        brow = np.maximum(np.abs(c.y - middle) - thick * (1.1 - 0.45 * along), (np.abs(along) - 1) * length)
        c.paint(brow, who.brow, strength=0.9, soft=0.008)
        if who.glasses:
            ring = np.abs(c.ellipse(cx, cy + 0.012, rx * 1.55, ry * 2.5)) - 0.007
            c.paint(ring, who.hair * 0.4)
        c = whole
    if who.glasses:
        c.paint(np.maximum(np.abs(c.y - y - pitch) - 0.006, np.abs(c.x - 0.5 - yaw) - apart * 0.35), who.hair * 0.4)


def _nose(c: _Canvas, who: Person, yaw: float, pitch: float) -> None:
    length, half, bridge, nostril = who.nose
    base = who.eyes[1] + length + 1.3 * pitch
    tip = 0.5 + 1.7 * yaw
    c = c.around(tip, who.eyes[1] + length / 2, 0.12, length / 2 + 0.08)
    t = np.clip((c.y - who.eyes[1]) / length, 0, 1)
    middle = 0.5 + yaw + (tip - 0.5 - yaw) * t
    width = bridge + (half - bridge) * t**2
    band = np.maximum(np.abs(c.x - middle) - width, np.maximum(who.eyes[1] - c.y, c.y - base))
    c.shade(band, 1.07, 0.02)
    c.shade(np.maximum(np.abs(c.x - middle - width) - 0.010, np.maximum(who.eyes[1] - c.y, c.y - base)), 0.86, 0.014)
    c.shade(c.ellipse(tip, base - 0.01, half * 0.8, 0.03), 1.08, 0.02)
    c.shade(np.maximum(c.ellipse(tip, base, half * 1.15, 0.030), base - c.y), 0.72, 0.014)
    for sign in (-1, 1):
        c.paint(
            c.ellipse(tip + sign * half * 0.62, base + 0.004, nostril, nostril * 0.6), who.skin * 0.35, strength=0.85
        )


def _mouth(c: _Canvas, who: Person, yaw: float, pitch: float, smile: float, gap: float) -> None:
    y, half, upper, lower, bend = who.mouth
    half = half * (1 + 3 * smile)
    cx, cy = 0.5 + 1.2 * yaw, y + pitch
    c = c.around(cx, cy + 0.02, half * 1.2, 0.12)
    along = (c.x - cx) / half
    line = cy - (bend + smile) * along**2
    ends = (np.abs(along) - 1) * half
    taper = np.sqrt(np.clip(1 - along**2, 0, 1))
    dent = 1 - 0.35 * np.exp(-((along / 0.18) ** 2))
    c.paint(np.maximum(ends, np.maximum(line - gap * taper / 2 - upper * taper * dent - c.y, c.y - line)), who.lip)
    c.paint(np.maximum(ends, np.maximum(line - c.y, c.y - line - gap * taper / 2 - lower * taper)), who.lip * 1.06)
    c.paint(np.maximum(ends, np.abs(c.y - line) - gap * taper / 2 - 0.004), who.lip * 0.35)
    c.shade(c.ellipse(cx, cy + lower + 0.035 + gap, half * 0.6, 0.018), 0.88, 0.02)


def _marks(c: _Canvas, who: Person, yaw: float, pitch: float) -> None:
    for x, y, radius, dark in who.marks:
        spot = c.around(x + yaw, y + pitch, radius, radius)
        spot.paint(spot.ellipse(x + yaw, y + pitch, radius, radius), who.skin * (1 - dark))
    if who.freckles:
        c = c.around(0.5 + yaw, 0.60 + pitch, 0.30, 0.12)
        spots = np.sin(c.x * 97 + c.y * 41) * np.sin(c.x * 53 - c.y * 89)
        where = c.ellipse(0.5 + yaw, 0.60 + pitch, 0.26, 0.09)
        c.paint(np.maximum(where, 0.62 - spots), who.skin * 0.68, strength=who.freckles, soft=0.15)


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
