"""The words that every room shares: axis letters, batches, the one exception a user may see.

Axis letters (a name such as ``embeddings_BE`` carries its shape):

| letter | axis |
|---|---|
| B | images of a batch |
| H, W, C | rows, columns, colours (RGB) |
| N | patches of an image |
| V | visible patches of an image |
| P | numbers in one patch (patch · patch · 3) |
| D | width of a transformer |
| E | length of an embedding |
| K | identities (classes) |
| Q, G | queries, gallery entries |
| n | records of a face set, whatever their number |
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

Array = Any  # jax.Array or numpy.ndarray; shapes are in the names
Tree = Any  # a nested structure of arrays
PATCH_COLOURS = 3


class FacemaeError(Exception):
    """A user's mistake, or a fault of a file, told in one sentence: what is wrong, where, and what to do.

    The door prints it without a traceback and leaves with exit code 2.
    """


class Record(NamedTuple):
    """One record of a face set: encoded image bytes, integer identity, unique key."""

    image: bytes
    label: int
    key: str


class Batch(NamedTuple):
    """What a step reads. Rows beyond the end of a face set are padding, with ``valid_B`` false."""

    images_BHWC: Array  # uint8, RGB
    labels_B: Array  # int32
    positions_B: Array  # int32, position of the record in its source; -1 in padding
    valid_B: Array  # bool


class Mask(NamedTuple):
    """Which patches an encoder sees. ``visible_BV`` holds ascending patch numbers; ``hidden_BN`` is true where painted."""

    visible_BV: Array  # int32
    hidden_BN: Array  # bool


def batch_of(images_BHWC: np.ndarray, labels_B: np.ndarray | None = None) -> Batch:
    """A batch made by hand: positions count from 0 and every row is valid."""
    count = len(images_BHWC)
    labels = np.zeros(count, np.int32) if labels_B is None else np.asarray(labels_B, np.int32)
    return Batch(images_BHWC, labels, np.arange(count, dtype=np.int32), np.ones(count, bool))
