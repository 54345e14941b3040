"""k-same averaging: every published face is the mean of k faces of k different people, and all k publish that one mean.

Source: Newton, Sweeney, Malin, "Preserving Privacy by De-identifying Face Images", IEEE TKDE 17(2), 2005 (k-Same-Pixel).

What holds: where one image per person is released, a group of k people is released as k copies of one image, so that a
guess which follows from the released images alone is right for at most one of the k: rank-1 re-identification is at most 1/k, whatever the
matcher. What does not hold: with several images per person each image lies in another group, and whoever knows that they belong
together (face sets carry labels) intersects the groups and is left with one person; and nothing holds against somebody who
knows other members of a group and subtracts them. One image under k labels also teaches a recognizer little.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence

import numpy as np

from facemae_jax.data.distort import block_means
from facemae_jax.data.face_set import FaceSet
from facemae_jax.data.images import decode_record
from facemae_jax.types import FacemaeError

SIDE = 8  # cells per side of the small grey images in which closeness is measured
LEAF = 1024  # images among which the closest are looked for, where people can be spread over parts of this size
KEPT_BYTES = 1 << 28  # of means that are kept for the next time they are asked for
_GROUPING = threading.Lock()  # of a process: threads that decode wait for the one that groups


class KSame:
    """A callable (image uint8 HWC, key) → uint8 HWC, the mean of the key's group; its repr says everything it depends on.

    The image that is passed in is not looked at: its key names the group, whose k images are read from the face set. Groups
    are made at the first call (:func:`group`): every image is read once, and a few hundred bytes of each are held. It can be
    pickled.

    Args:
        faces: every image that is published together, with the people as labels; the same set for training and audit.
        k: people per group, at least 2; up to 2k − 1 in groups that take up what is left over.

    Raises:
        FacemaeError: when first called: images that are not square and of one size, or :func:`group`'s own.
    """

    def __init__(self, faces: FaceSet, k: int):
        self._faces, self._k = faces, k
        self._positions: dict[str, int] = {}
        self._group_n = np.zeros(0, np.int64)
        self._members: list[np.ndarray] = []
        self._means: dict[int, np.ndarray] = {}

    def __repr__(self) -> str:
        return f"KSame(k={self._k}, faces={self._faces.digest})"

    def __getstate__(self) -> dict[str, object]:
        return self.__dict__ | {"_means": {}}  # made again where they are needed

    def __call__(self, image_HWC: np.ndarray, key: str) -> np.ndarray:
        """The mean of the group, rounded."""
        with _GROUPING:
            if not self._positions:
                self._make_groups()
        if key not in self._positions:
            raise FacemaeError(
                f"{key}: not among the faces of {self._faces.path} that k-same averages; give it their set."
            )
        number = int(self._group_n[self._positions[key]])
        mean_HWC = self._means.get(number)
        if mean_HWC is None:
            mean_HWC = self._mean(self._members[number])
            # No eviction: of passes in random order, every one then finds the same share here.
            if (len(self._means) + 1) * mean_HWC.nbytes <= KEPT_BYTES:
                self._means[number] = mean_HWC
        if mean_HWC.shape != image_HWC.shape:
            raise FacemaeError(
                f"{key}: the image has shape {image_HWC.shape}, the faces that k-same averages {mean_HWC.shape}; use one size."
            )
        return mean_HWC.copy()

    def group_of(self, key: str) -> list[int]:
        """Positions in the face set of the images that are published as one with ``key``'s, ascending."""
        with _GROUPING:
            if not self._positions:
                self._make_groups()
        return self._members[int(self._group_n[self._positions[key]])].tolist()

    def _make_groups(self) -> None:
        count = len(self._faces)
        small_nD = np.empty((count, SIDE * SIDE), np.float32)
        for position in range(count):
            small_nD[position] = _small(self._read(position))
        self._members = group(small_nD, self._faces.labels_n, self._k)
        self._group_n = np.empty(count, np.int64)
        for number, members in enumerate(self._members):
            self._group_n[members] = number
        self._positions = {key: position for position, key in enumerate(self._faces.keys())}

    def _read(self, position: int) -> np.ndarray:
        record, size = self._faces[position], self._faces.image_size
        image_HWC = decode_record(record.image, f"{self._faces.path}: record {record.key}")
        if image_HWC.shape != (size, size, 3):
            raise FacemaeError(
                f"{self._faces.path}: record {record.key} has shape {image_HWC.shape}, and means need square images of one "
                "size: import the faces again, with data.resize=True."
            )
        return image_HWC

    def _mean(self, members: np.ndarray) -> np.ndarray:
        total_HWC = np.zeros((self._faces.image_size, self._faces.image_size, 3), np.int32)
        for position in members:
            total_HWC += self._read(int(position))
        return ((2 * total_HWC + len(members)) // (2 * len(members))).astype(np.uint8)  # rounded, halves up


def _small(image_HWC: np.ndarray) -> np.ndarray:
    """Grey means of about ``SIDE`` × ``SIDE`` cells, flat; small images have smaller cells or repeat the last."""
    grey_HW1 = image_HWC.mean(axis=2, keepdims=True, dtype=np.float32)
    means_hw1, _, _ = block_means(grey_HW1, max(1, -(-len(image_HWC) // SIDE)))
    rest = SIDE - len(means_hw1)
    return np.pad(means_hw1[..., 0], (0, rest), mode="edge").ravel()


def group(small_nD: np.ndarray, people_n: Sequence[int] | np.ndarray, k: int) -> list[np.ndarray]:
    """Groups of k … 2k − 1 images of different people, close to each other; every image is in exactly one group.

    Greedy, in the order of the records, as in k-Same: the first image that is left takes the closest images of k − 1 other
    people. Two additions: (1) With G groups still to come, people with G images left must be in each of them, so their closest
    images are taken first; therefore the greedy choice always ends, whenever an end exists. (2) More than ``LEAF`` images
    are first halved along the direction of greatest spread among the small images' cells, again and again, as long as both halves can be grouped:
    the work grows with n·LEAF/k and not with n²/k. Deterministic; no seed.

    Args:
        small_nD: float, a small version of each image; closeness is Euclidean.
        people_n: who is on it; only equality counts.
        k: at least 2.

    Returns:
        Ascending positions of each group.

    Raises:
        FacemaeError: k below 2; someone with more images than there can be groups (n / k), so with fewer than k people always.
    """
    people_n = np.unique(np.asarray(people_n), return_inverse=True)[1]
    if k < 2:
        raise FacemaeError(f"distort.ksame={k}: an average needs at least 2 people; choose 2 or more.")
    most = int(np.bincount(people_n).max(initial=0))
    if not len(people_n) or not _possible(people_n, k):
        raise FacemaeError(
            f"distort.ksame={k}: {len(people_n)} images make {len(people_n) // k} groups of {k} different people, but one person "
            f"has {most} images; choose a smaller k, or faces with fewer images per person."
        )
    groups: list[np.ndarray] = []
    open_ = [np.arange(len(people_n))]
    while open_:
        part = open_.pop()
        halves = _halves(small_nD[part]) if len(part) > LEAF else ()
        if halves and all(_possible(people_n[part[half]], k) for half in halves):
            open_ += [part[half] for half in reversed(halves)]
        else:
            groups += [np.sort(part[members]) for members in _greedy(small_nD[part], people_n[part], k)]
    return groups


def _possible(people_n: np.ndarray, k: int) -> bool:
    """Whether groups of at least k different people can hold everybody: nobody has more images than there are groups."""
    return bool(np.bincount(people_n).max() <= len(people_n) // k)


def _halves(small_nD: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Ascending positions below and above the median of the cell that varies most."""
    order = np.argsort(small_nD[:, small_nD.var(axis=0).argmax()], kind="stable")
    middle = len(order) // 2
    return np.sort(order[:middle]), np.sort(order[middle:])


def _greedy(small_nD: np.ndarray, people_n: np.ndarray, k: int) -> list[np.ndarray]:
    left = np.arange(len(people_n))
    images_K = np.bincount(people_n)
    groups = []
    while len(left):
        # Nobody has more than G = ⌊left / k⌋ images. Those who have G are at most left / G < 2k people, and if all of them are in
        # this group, nobody has more than G − 1 afterwards: they are more than k only by what left / k leaves over.
        must_n = images_K[people_n[left]] == len(left) // k
        first = left[must_n.argmax()]  # of those who must; of all where nobody must
        distance_n = np.square(small_nD[left] - small_nD[first]).sum(axis=1)
        order = np.argsort(distance_n, kind="stable")
        _, closest = np.unique(people_n[left[order]], return_index=True)
        closest = order[np.sort(closest)]  # each person's closest image, closest people first
        closest = np.concatenate([closest[must_n[closest]], closest[~must_n[closest]]])
        members = closest[: max(k, int(must_n[closest].sum()))]
        groups.append(left[members])
        images_K[people_n[left[members]]] -= 1
        left = np.delete(left, members)
    return groups
