"""Rendered people as a source of faces: nobody's data is needed. The renderer itself is ``synthetic``."""

from __future__ import annotations

from collections import Counter

import numpy as np

from facemae_jax.data.synthetic import render


class SyntheticSource:
    """``identities`` people with ``images`` images each; an image is rendered when it is read.

    Attributes:
        keys: ``person-00012/0003``, sorted.
        ignored: empty.

    Args:
        identities: number of people.
        images: of each.
        first: number of the first person; ranges that do not overlap are different people.
        seed: other seeds are other people.
        size: pixels per side.
        difficulty: strength of pose, light, expression, blur and noise.
    """

    def __init__(self, identities: int, images: int, *, first: int = 0, seed: int, size: int, difficulty: float):
        self._seed, self._size, self._difficulty = seed, size, difficulty
        self.ignored: Counter[str] = Counter()
        named = sorted(
            (f"person-{person:05d}/{image:04d}", person, image)
            for person in range(first, first + identities)
            for image in range(images)
        )
        self.keys = [key for key, _, _ in named]
        self._numbers = [(person, image) for _, person, image in named]

    def identity(self, position: int) -> str:
        """Whom an image shows."""
        return self.keys[position].partition("/")[0]

    def where(self, position: int) -> str:
        """The image, for errors."""
        return f"synthetic {self.keys[position]}"

    def read(self, position: int) -> np.ndarray:
        """The uint8 RGB pixels of an image."""
        person, image = self._numbers[position]
        return render(person, image, seed=self._seed, size=self._size, difficulty=self._difficulty)
