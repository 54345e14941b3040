"""Who is behind a protected image that several people make (``reconstruct.people``), and what a search for them counts as found.

The own source is the image whose released label such an image has; contributors gave it patches as well. Whoever finds any of them has found
somebody: all of them are right answers, and the images that were used are taken away where another image of a person must be found.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np


class Contributors(NamedTuple):
    """Of each query, beside its own source."""

    images_QC: np.ndarray  # gallery position of each contributing image; −1 = not in the gallery
    people_QC: np.ndarray  # whom it shows, by the gallery's labels

    def of(self, rows_n: np.ndarray) -> Contributors:
        """Those of some queries."""
        return Contributors(self.images_QC[rows_n], self.people_QC[rows_n])


class Right(NamedTuple):
    """The right answers of each query; gallery positions, −1 is padding."""

    images_QR: np.ndarray  # that it was made from, its own source first
    identity_QR: np.ndarray  # all images of the people behind it, those it was made from among them
    used_QR: np.ndarray  # bool: which of ``identity_QR`` it was made from


def everybody(
    sources_Q: np.ndarray, labels_G: np.ndarray, others: Contributors | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """``images_QP`` and ``people_QP``: the P images behind each query and whom they show, its own first; −1 = not in the gallery."""
    images_Q1 = np.asarray(sources_Q, np.int64)[:, None]
    people_Q1 = np.asarray(labels_G)[images_Q1]
    if others is None:
        return images_Q1, people_Q1
    return (
        np.concatenate([images_Q1, others.images_QC], axis=1),
        np.concatenate([people_Q1, others.people_QC], axis=1),
    )


def right_answers(sources_Q: np.ndarray, labels_G: np.ndarray, others: Contributors | None = None) -> Right:
    """What counts as found.

    Args:
        sources_Q: gallery position of each query's own source.
        labels_G: identity of each original.
        others: who else is behind the queries; None = nobody.
    """
    images_QR, people_QP = everybody(sources_Q, labels_G, others)
    labels_G = np.asarray(labels_G)
    identity_QR = np.concatenate([images_of(people_Q, labels_G) for people_Q in people_QP.T], axis=1)
    used_QR = np.zeros(identity_QR.shape, bool)
    for image_Q in images_QR.T:
        used_QR |= (identity_QR == image_Q[:, None]) & (identity_QR >= 0)
    return Right(images_QR, identity_QR, used_QR)


def images_of(people_Q: np.ndarray, labels_G: np.ndarray) -> np.ndarray:
    """``images_QR``: gallery positions of all images of one person per query; −1 is padding, R at least 1."""
    order_G = np.argsort(labels_G, kind="stable")
    starts_Q = np.searchsorted(labels_G[order_G], people_Q, side="left")
    stops_Q = np.searchsorted(labels_G[order_G], people_Q, side="right")
    place_QR = starts_Q[:, None] + np.arange(max(1, int((stops_Q - starts_Q).max(initial=0))))[None, :]
    return np.where(place_QR < stops_Q[:, None], order_G[np.minimum(place_QR, len(order_G) - 1)], -1)


def ranks_without(ranks_QR: np.ndarray, left_out_QR: np.ndarray) -> np.ndarray:
    """The ranks that images would have if those marked were not in the gallery; 0 for these and for padding.

    Ranks count a strict order, so that leaving images out moves each other one up by the number of those before it. All images that
    are left out must be among the targets.
    """
    key_QR = np.where(ranks_QR > 0, ranks_QR, np.iinfo(ranks_QR.dtype).max)
    order_QR = np.argsort(key_QR, axis=1)
    before_QR = np.cumsum(np.take_along_axis(left_out_QR, order_QR, axis=1), axis=1)
    moved_QR = np.empty_like(before_QR)
    np.put_along_axis(moved_QR, order_QR, before_QR, axis=1)
    return np.where((ranks_QR > 0) & ~left_out_QR, ranks_QR - moved_QR, 0)
