"""One shard of an import: images of a source become its records, in order, with a note of what was skipped.

Which images belong to which shard is said in ``face_import``. What is imported here is light: it is all that a process needs which only
writes shards.
"""

from __future__ import annotations

import json
import os
import warnings
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, Future
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np

from facemae_jax.data.images import BadImage, encode_jpeg
from facemae_jax.data.jpeg_record import as_jpeg
from facemae_jax.data.shard_writer import ShardWriter
from facemae_jax.types import Record

TASK = 16  # images that a thread takes at a time: handing over costs as much as passing a JPEG through
WAITING = 64  # images in work per thread, which bounds the memory: they wait encoded


class Wanted(NamedTuple):
    """What records shall be: the fields of the same names under ``data``."""

    image_size: int
    resize: bool = True
    jpeg_quality: int = 95
    max_pixels: int = 40_000_000
    on_bad_record: str = "fail"
    min_images: int = 1
    threads: int = 2
    check_pixels: bool = False


class Images(Protocol):
    """What a shard needs of a source, or of a part of one."""

    @property
    def keys(self) -> Sequence[str]:
        """A key for every image."""

    def where(self, position: int) -> str:
        """What to call an image in an error."""

    def read(self, position: int) -> bytes | np.ndarray:
        """An encoded image, or its uint8 RGB pixels."""


class Shard(NamedTuple):
    """Which images become the records of a shard."""

    number: int
    images: Images
    places: Sequence[int]  # in ``images``, in the order of the records
    positions: Sequence[int]  # of the same images in the whole source
    labels: Sequence[int]


class Target(NamedTuple):
    """Where shards go, and what their records shall be."""

    writer: ShardWriter
    notes: Path
    wanted: Wanted


def note_file(notes: Path, shard: int) -> Path:
    """What is known of a shard: ``{"unchanged": JPEG files taken byte for byte, "skipped": [[position, reason], …]}``."""
    return notes / f"{shard:05d}.json"


def write_json(file: Path, value: Any) -> None:
    """Write a small file whole or not at all."""
    staged = file.with_name(file.name + ".partial")
    staged.write_text(json.dumps(value, indent=1, ensure_ascii=False), encoding="utf-8")
    os.replace(staged, file)


def import_shard(shard: Shard, target: Target, finished: Callable[[int], None], pool: Executor | None = None) -> None:
    """Write a shard.

    Args:
        shard: its images.
        target: where it goes.
        finished: is told of every few images how many they are.
        pool: threads that read and convert; None: the caller's does.

    Raises:
        BadImage: with ``on_bad_record="fail"`` the first bad image.
        OSError: a full disk.
        Whatever ``finished`` raises, which ends it.
    """
    with warnings.catch_warnings():
        # Pillow warns of oddities (a damaged EXIF block) without saying where; what it cannot read is an error.
        warnings.filterwarnings("ignore", module=r"PIL\.")
        target.writer.write(shard.number, _records(shard, target, finished, pool))


def _records(shard: Shard, target: Target, finished: Callable[[int], None], pool: Executor | None) -> Iterator[Record]:
    """The records in order; what was skipped is noted before the shard is whole."""
    unchanged, skipped = 0, []
    skip = target.wanted.on_bad_record == "skip"
    for numbers, results in _in_order(shard, target.wanted, pool):
        for number, (image, same, key) in zip(numbers, results, strict=False):
            if isinstance(image, BadImage):
                if not skip:
                    raise image
                skipped.append((shard.positions[number], image.reason))
                continue
            unchanged += same
            yield Record(image, shard.labels[number], key)
        finished(len(numbers))
    write_json(note_file(target.notes, shard.number), {"unchanged": unchanged, "skipped": skipped})


Results = list[tuple[bytes | BadImage, bool, str]]  # of each image: see _convert_all


def _in_order(shard: Shard, wanted: Wanted, pool: Executor | None) -> Iterator[tuple[range, Results]]:
    """Numbers of records with what became of them; with a pool a bounded number of the next ones is in work meanwhile."""
    waiting: deque[tuple[range, Future[Results]]] = deque()
    everything = range(len(shard.places))
    if pool is None:
        for number in everything:
            numbers = everything[number : number + 1]
            yield numbers, _convert_all(shard, numbers, wanted)
        return
    for start in range(0, len(everything), TASK):
        numbers = everything[start : start + TASK]
        waiting.append((numbers, pool.submit(_convert_all, shard, numbers, wanted)))
        if len(waiting) * TASK >= WAITING * wanted.threads:
            first, future = waiting.popleft()
            yield first, future.result()
    for first, future in waiting:
        yield first, future.result()


def _convert_all(shard: Shard, numbers: range, wanted: Wanted) -> Results:
    """Of each record: its JPEG bytes or why there are none, whether they are the file's own, the key. A bad image is the last one,
    unless it is skipped.
    """
    found: Results = []
    for number in numbers:
        place = shard.places[number]
        try:
            found.append((*_convert(shard.images, place, wanted), shard.images.keys[place]))
        except BadImage as error:
            found.append((error, False, ""))
            if wanted.on_bad_record != "skip":
                break
    return found


def _convert(images: Images, place: int, wanted: Wanted) -> tuple[bytes, bool]:
    """A record's JPEG bytes, and whether they are the file's own."""
    found = images.read(place)
    if not isinstance(found, bytes):
        return encode_jpeg(found, wanted.jpeg_quality), False
    return as_jpeg(
        found,
        images.where(place),
        size=wanted.image_size,
        resize=wanted.resize,
        quality=wanted.jpeg_quality,
        max_pixels=wanted.max_pixels,
        check_pixels=wanted.check_pixels,
    )
