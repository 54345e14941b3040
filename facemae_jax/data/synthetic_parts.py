"""How the parts of a drawn face are painted: soft shapes on a canvas, in units of the image side."""

from __future__ import annotations

from typing import Any

import numpy as np

from facemae_jax.data.synthetic_person import Person


class Canvas:
    """An image to paint soft shapes on; a shape is a signed distance, negative inside, in units of the side."""

    def __init__(self, x: np.ndarray, y: np.ndarray, soft: float, image: np.ndarray | None = None):
        self.x, self.y, self.soft = x, y, soft
        self.image = np.zeros((*x.shape, 3), np.float32) if image is None else image

    def around(self, cx: float, cy: float, rx: float, ry: float) -> Canvas:
        """The part of the canvas near a place: painting a small shape there costs little."""
        size = len(self.x)
        # The face is turned by little, so the middle row and column place a box well enough; the margin covers the turn.
        row = np.searchsorted(self.y[:, size // 2], [cy - ry - 0.05, cy + ry + 0.05])
        column = np.searchsorted(self.x[size // 2], [cx - rx - 0.05, cx + rx + 0.05])
        box = (slice(max(0, row[0]), row[1] + 1), slice(max(0, column[0]), column[1] + 1))
        return Canvas(self.x[box], self.y[box], self.soft, self.image[box])

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


def head(c: Canvas, who: Person, yaw: float) -> None:
    """Hair, neck, face and beard."""
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


def eyes(
    c: Canvas, who: Person, yaw: float, pitch: float, wink: float, raised: float, gaze: tuple[float, float]
) -> None:
    """Eyes, brows and glasses."""
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


def nose(c: Canvas, who: Person, yaw: float, pitch: float) -> None:
    """Bridge, sides and nostrils."""
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


def mouth(c: Canvas, who: Person, yaw: float, pitch: float, smile: float, gap: float) -> None:
    """Lips and what is between them."""
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


def marks(c: Canvas, who: Person, yaw: float, pitch: float) -> None:
    """Moles and freckles."""
    for x, y, radius, dark in who.marks:
        spot = c.around(x + yaw, y + pitch, radius, radius)
        spot.paint(spot.ellipse(x + yaw, y + pitch, radius, radius), who.skin * (1 - dark))
    if who.freckles:
        c = c.around(0.5 + yaw, 0.60 + pitch, 0.30, 0.12)
        spots = np.sin(c.x * 97 + c.y * 41) * np.sin(c.x * 53 - c.y * 89)
        where = c.ellipse(0.5 + yaw, 0.60 + pitch, 0.26, 0.09)
        c.paint(np.maximum(where, 0.62 - spots), who.skin * 0.68, strength=who.freckles, soft=0.15)
