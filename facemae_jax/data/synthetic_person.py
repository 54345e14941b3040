"""Who a drawn person is: the geometry, marks and colours that all images of one person share. ``synthetic`` draws them."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

PERSON = 1  # stream of randomness; that of images is another one


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


def rng(*numbers: int) -> np.random.Generator:
    """Randomness that is a pure function of whole numbers."""
    return np.random.default_rng([int(n) for n in numbers])


def person(identity: int, seed: int) -> Person:
    """The factors of one person: a pure function of (seed, identity)."""
    r = rng(seed, PERSON, identity)

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
