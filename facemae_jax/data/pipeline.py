"""Records in, batches out: one Grain chain for training, one for evaluation.

What stands in row r of step s follows from (seed, s, r) alone: not from threads, hosts, or where a run was resumed.
Putting batches on devices is not done here (``mesh.put_batch``).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import grain
import numpy as np
from PIL import Image

from facemae_jax.data.face_set import FaceSet
from facemae_jax.data.images import decode_record
from facemae_jax.types import Batch, FacemaeError

Transform = Callable[[np.ndarray, str], np.ndarray]
DRAWS = 4  # numbers per image: what one step of the counter-based generator gives


@dataclass(frozen=True)
class Augment:
    """Random changes of training images.

    Attributes:
        flip: mirror left-right with probability 1/2.
        crop: smallest side of a random square crop, as a share of the image's; resized back (bilinear). 1.0 = off.
    """

    flip: bool = True
    crop: float = 1.0

    def __post_init__(self) -> None:
        if not 0.0 < self.crop <= 1.0:
            raise FacemaeError(
                f"augment.crop={self.crop} is no share of the image's side: choose above 0, up to 1 (off)."
            )

    def __call__(self, image_HWC: np.ndarray, draws: np.ndarray) -> np.ndarray:
        """The changed image; ``draws`` are four numbers in [0, 1): mirror, side, left, top."""
        mirror, wide, left, top = draws.tolist()
        size = image_HWC.shape[0]
        if self.crop < 1.0:
            side = size * (self.crop + wide * (1.0 - self.crop))
            left, top = left * (size - side), top * (size - side)
            box = (left, top, min(left + side, size), min(top + side, size))  # rounding may step over the edge
            crop = Image.fromarray(image_HWC).resize((size, size), Image.Resampling.BILINEAR, box=box)
            image_HWC = np.asarray(crop)
        return image_HWC[:, ::-1] if self.flip and mirror < 0.5 else image_HWC


def train_batches(
    faces: FaceSet,
    *,
    batch: int,
    seed: int,
    start_step: int,
    augment: Augment | None,
    transform: Transform | None = None,
    threads: int = 2,
    host: int = 0,
    hosts: int = 1,
) -> Iterator[Batch]:
    """Batches without end; each pass over the records is shuffled anew, and a batch may span the end of a pass.

    Args:
        faces: n ≥ 1 records; fewer than a batch will do.
        batch: images per step over all hosts; this host yields rows host·batch/hosts and following.
        seed: of order and augmentation.
        start_step: steps done before; the first batch is that of this step.
        augment: None = images as they are.
        transform: image and key → image of the same shape, before augmentation; must be deterministic in both.
        threads: that read, decode and transform; 0 = none but the caller's.
        host: this process.
        hosts: all processes.

    Raises:
        FacemaeError: a batch that does not divide over the hosts, no records, or (when reached) a record that is no
            image of ``faces.image_size``.
    """
    rows = _rows(faces, batch, hosts)
    order = grain.MapDataset.range(len(faces)).seed(seed % 2**32).shuffle().repeat()

    def load(step: int, positions_B: np.ndarray) -> Batch:
        first = step * batch + host * rows  # counts all images since step 0
        return _load(faces, positions_B, transform, augment, None if augment is None else _draws(seed, first, rows))

    # Whole batches are dealt to the hosts: so a global batch has the same rows in the same order for any number of them.
    chain = order.batch(rows)[host::hosts].map_with_index(load)
    return _iterate(chain, threads, start_step)


def eval_batches(
    faces: FaceSet,
    *,
    batch: int,
    transform: Transform | None = None,
    threads: int = 2,
    host: int = 0,
    hosts: int = 1,
) -> Iterator[Batch]:
    """Every record once, in order; the last batch is padded: zero images, label 0, position −1, ``valid_B`` false.

    Every host yields equally many batches; the arguments and errors are those of :func:`train_batches`.
    """
    rows = _rows(faces, batch, hosts)

    def load(step: int) -> Batch:
        first = step * batch + host * rows
        return _load(faces, np.arange(first, first + rows), transform, None, None)

    return _iterate(grain.MapDataset.range(-(-len(faces) // batch)).map(load), threads, 0)


def _rows(faces: FaceSet, batch: int, hosts: int) -> int:
    if batch < 1 or batch % hosts:
        raise FacemaeError(
            f"a batch of {batch} images does not divide over {hosts} hosts: choose a multiple of {hosts}."
        )
    if not len(faces):
        raise FacemaeError(f"{faces.path} holds no records: import faces first.")
    if not faces.image_size:
        raise FacemaeError(f"{faces.path} holds images of varying size: import it, with data.resize=True.")
    return batch // hosts


def _load(
    faces: FaceSet,
    positions_B: np.ndarray,
    transform: Transform | None,
    augment: Augment | None,
    draws_B4: np.ndarray | None,
) -> Batch:
    size = faces.image_size
    images_BHWC = np.zeros((len(positions_B), size, size, 3), np.uint8)
    labels_B = np.zeros(len(positions_B), np.int32)
    valid_B = positions_B < len(faces)
    for row in np.flatnonzero(valid_B):
        record = faces[int(positions_B[row])]
        image_HWC = decode_record(record.image, f"{faces.path}: record {record.key}")
        if image_HWC.shape != (size, size, 3):
            height, width = image_HWC.shape[:2]
            raise FacemaeError(
                f"{faces.path}: record {record.key} has {width}×{height} pixels, but the face set promises {size}×{size}: "
                "import it again, with data.resize=True."
            )
        if transform is not None:
            image_HWC = transform(image_HWC, record.key)
        if augment is not None and draws_B4 is not None:
            image_HWC = augment(image_HWC, draws_B4[row])
        images_BHWC[row] = image_HWC
        labels_B[row] = record.label
    return Batch(images_BHWC, labels_B, np.where(valid_B, positions_B, -1).astype(np.int32), valid_B)


def _draws(seed: int, first: int, count: int) -> np.ndarray:
    """``draws_B4`` in [0, 1) of the images ``first`` … ``first + count − 1``: Philox with the image as its counter."""
    bits = np.random.Philox(key=seed % 2**128, counter=first).random_raw(count * DRAWS)
    return ((bits >> np.uint64(11)) * 2.0**-53).reshape(count, DRAWS)


def _iterate(chain: grain.MapDataset, threads: int, start_step: int) -> Iterator[Batch]:
    # A unit of Grain's work is a batch: one more than there are threads waits ready, which bounds the memory.
    options = grain.ReadOptions(num_threads=threads, prefetch_buffer_size=threads + 1 if threads else 0)
    batches = iter(chain.to_iter_dataset(options))
    batches.set_state({"next_index": start_step})

    def run() -> Iterator[Batch]:
        try:
            yield from batches
        finally:
            batches.close()

    return run()
