"""From a source of faces to a face set: which images become which records, converted in parallel, resumable by shard.

What a source is, is said in ``formats``; which source a chain imports, in its config.
"""

from __future__ import annotations

import json
import os
import warnings
from array import array
from collections import Counter, deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from facemae_jax import logs
from facemae_jax.data.face_set_writer import FaceSetWriter
from facemae_jax.data.formats.source import Source
from facemae_jax.data.images import BadImage, as_jpeg, encode_jpeg
from facemae_jax.types import FacemaeError, Record

SHARD_RECORDS = 10_000  # an interrupted import loses at most this many
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


class Plan(NamedTuple):
    """Which images of a source become which records."""

    positions: Sequence[int]  # in the source, in the order of the records
    labels: Sequence[int]
    names: list[str]  # of the identities, by label
    left_out: Counter[str]  # identities with too few images → images

    @property
    def shards(self) -> int:
        """Number of shards: it follows from the number of images alone."""
        return -(-len(self.positions) // SHARD_RECORDS)

    def shard(self, shard: int) -> range:
        """The records of a shard, before any is skipped."""
        return range(shard * SHARD_RECORDS, min((shard + 1) * SHARD_RECORDS, len(self.positions)))


class Imported(NamedTuple):
    """What became of a plan."""

    plan: Plan
    skipped: list[tuple[int, str]]  # position in the source, reason; also those of identities left out because of them
    unchanged: int  # JPEG files taken byte for byte


def make_plan(source: Source, min_images: int, dropped: Iterable[str], name: str) -> Plan:
    """Leave out identities with fewer than ``min_images`` images and those in ``dropped``, and number the others.

    Memory: 12 bytes per image (24 while it is made) and the names of the people.

    Raises:
        FacemaeError: fewer than two identities are left.
    """
    numbers: dict[str, int] = {}  # of identities, as they come
    whom_n = np.fromiter(
        (numbers.setdefault(source.identity(position), len(numbers)) for position in range(len(source.keys))), np.int32
    )
    counts = dict(zip(numbers, np.bincount(whom_n, minlength=len(numbers)).tolist(), strict=True))
    unwanted = {identity for identity, count in counts.items() if count < min_images} | set(dropped)
    names = sorted(set(counts) - unwanted)
    if len(names) < 2:
        left = f" (and {len(unwanted)} left out, with fewer than data.min_images={min_images})" if unwanted else ""
        raise FacemaeError(
            f"{name}: {len(names)} {'identity' if len(names) == 1 else 'identities'} with images{left}, but at least two "
            "are needed; put the images of each person into a folder of their own."
        )
    labels = {identity: label for label, identity in enumerate(names)}
    label_K = np.array([labels.get(identity, -1) for identity in numbers], np.int32)
    positions_n = np.flatnonzero(label_K[whom_n] >= 0)
    left_out = Counter({identity: counts[identity] for identity in unwanted})
    # Arrays of Python's own: they hold as little as NumPy's, and give whole numbers of Python's.
    return Plan(array("q", positions_n.tobytes()), array("i", label_K[whom_n[positions_n]].tobytes()), names, left_out)


def import_source(source: Source, version: Path, notes: Path, wanted: Wanted, name: str) -> Imported:
    """Write the face set ``version``; called again after a kill, go on with the shards that are missing.

    An identity that keeps fewer than ``min_images`` because its images were skipped is left out too: its label would be empty. The
    import then begins again without it.

    Args:
        source: the images.
        version: the version directory to make.
        notes: a folder of this import's own, for what is known of each shard.
        wanted: what records shall be.
        name: of the source, for errors and progress.

    Raises:
        FacemaeError: fewer than two identities, or (with ``on_bad_record="fail"``) the first bad image.
        OSError: a full disk.
    """
    notes.mkdir(exist_ok=True)
    gone_file = notes / "gone.json"
    while True:
        gone = [tuple(entry) for entry in json.loads(gone_file.read_text())] if gone_file.is_file() else []
        plan = make_plan(source, wanted.min_images, {source.identity(position) for position, _ in gone}, name)
        # With other people than before num_labels differs, and the writer throws away what it has.
        writer = FaceSetWriter(
            version,
            name="faces",
            image_size=wanted.image_size,
            shard_records=SHARD_RECORDS,
            description="Face crops. Private: real images and the names of people.",
            metadata={"made_by": "facemae_jax import-faces", "private": True},
            num_labels=len(plan.names),
            identity_names=plan.names,
        )
        _write_shards(source, plan, writer, notes, wanted, name)
        told = [json.loads(_note(notes, shard).read_text()) for shard in range(plan.shards)]
        skipped = [(position, reason) for note in told for position, reason in note["skipped"]]
        kept = Counter(plan.names[label] for label in plan.labels)
        kept.subtract(source.identity(position) for position, _ in skipped)
        fallen = [entry for entry in skipped if kept[source.identity(entry[0])] < wanted.min_images]
        if not fallen:
            writer.finish(len(plan.positions) - len(skipped))
            return Imported(plan, sorted([*gone, *skipped]), sum(note["unchanged"] for note in told))
        write_json(gone_file, [*gone, *fallen])


def write_json(file: Path, value: Any) -> None:
    """Write a small file whole or not at all."""
    staged = file.with_name(file.name + ".partial")
    staged.write_text(json.dumps(value, indent=1, ensure_ascii=False), encoding="utf-8")
    os.replace(staged, file)


def _note(notes: Path, shard: int) -> Path:
    return notes / f"{shard:05d}.json"


def _write_shards(source: Source, plan: Plan, writer: FaceSetWriter, notes: Path, wanted: Wanted, name: str) -> None:
    missing = [shard for shard in range(plan.shards) if not writer.shard_done(shard)]
    if not missing:
        return
    before = len(plan.positions) - sum(len(plan.shard(shard)) for shard in missing)
    with (
        warnings.catch_warnings(),
        logs.progress(len(plan.positions), f"importing {name}", initial=before) as progress,
        ThreadPoolExecutor(wanted.threads) as pool,
    ):
        # Pillow warns of oddities (a damaged EXIF block) without saying where; what it cannot read is an error.
        warnings.filterwarnings("ignore", module=r"PIL\.")
        try:
            for shard in missing:
                writer.write_shard(shard, _records(source, plan, shard, pool, notes, wanted, progress))
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def _records(
    source: Source,
    plan: Plan,
    shard: int,
    pool: ThreadPoolExecutor,
    notes: Path,
    wanted: Wanted,
    progress: logs.Progress,
) -> Iterator[Record]:
    """The records of one shard in order, converted by the pool; what was skipped is noted before the shard is whole."""
    unchanged, skipped = 0, []
    for numbers, results in _ahead(
        plan.shard(shard), pool, lambda part: _convert_all(source, plan, part, wanted), wanted
    ):
        for number, (image, same, key) in zip(numbers, results, strict=False):
            if isinstance(image, BadImage):
                if wanted.on_bad_record != "skip":
                    raise image
                skipped.append((plan.positions[number], image.reason))
                continue
            unchanged += same
            yield Record(image, plan.labels[number], key)
        progress.update(len(numbers))
    write_json(_note(notes, shard), {"unchanged": unchanged, "skipped": skipped})


def _ahead(numbers: range, pool: ThreadPoolExecutor, work: Any, wanted: Wanted) -> Iterator[tuple[range, Any]]:
    """Parts of the numbers with their results, in order, while a bounded number of the next ones is in work."""
    waiting: deque[tuple[range, Future[Any]]] = deque()
    for start in range(0, len(numbers), TASK):
        part = numbers[start : start + TASK]
        waiting.append((part, pool.submit(work, part)))
        if len(waiting) * TASK >= WAITING * wanted.threads:
            first, future = waiting.popleft()
            yield first, future.result()
    for first, future in waiting:
        yield first, future.result()


def _convert_all(
    source: Source, plan: Plan, numbers: range, wanted: Wanted
) -> list[tuple[bytes | BadImage, bool, str]]:
    """Of each record: its JPEG bytes or why there are none, whether they are the file's own, the key. A bad image is the last one,
    unless it is skipped.
    """
    found: list[tuple[bytes | BadImage, bool, str]] = []
    for number in numbers:
        position = plan.positions[number]
        try:
            found.append((*_convert(source, position, wanted), source.keys[position]))
        except BadImage as error:
            found.append((error, False, ""))
            if wanted.on_bad_record != "skip":
                break
    return found


def _convert(source: Source, position: int, wanted: Wanted) -> tuple[bytes, bool]:
    """A record's JPEG bytes, and whether they are the file's own."""
    found = source.read(position)
    if not isinstance(found, bytes):
        return encode_jpeg(found, wanted.jpeg_quality), False
    return as_jpeg(
        found,
        source.where(position),
        size=wanted.image_size,
        resize=wanted.resize,
        quality=wanted.jpeg_quality,
        max_pixels=wanted.max_pixels,
        check_pixels=wanted.check_pixels,
    )
