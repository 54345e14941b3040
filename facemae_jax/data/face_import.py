"""From a source of faces to a face set: which images become which records of which shard, resumable by shard.

What a source is, is said in ``formats``; which source a chain imports, in its config.
"""

from __future__ import annotations

import json
from array import array
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import numpy as np

from facemae_jax import logs
from facemae_jax.data.face_set_writer import FaceSetWriter
from facemae_jax.data.formats.divisible import DivisibleSource
from facemae_jax.data.formats.source import Source
from facemae_jax.data.import_sharing import share_out
from facemae_jax.data.shard_import import Images, Shard, Target, Wanted, import_shard, note_file, write_json
from facemae_jax.types import FacemaeError

SHARD_RECORDS = 10_000  # at most in a shard: what an interrupted import loses for each process
SHARDS = 20  # into so many a set is divided that would have fewer, so that all processes have work
SMALL_SHARD = 250  # records, below which it is not divided
FEW = 2_000  # images that are imported sooner than another process is started


class Plan(NamedTuple):
    """Which images of a source become which records."""

    positions: Sequence[int]  # in the source, in the order of the records
    labels: Sequence[int]
    names: list[str]  # of the identities, by label
    left_out: Counter[str]  # identities with too few images → images

    @property
    def shard_records(self) -> int:
        """Images of a shard (the last may have fewer): it follows from the number of images alone."""
        return min(SHARD_RECORDS, max(SMALL_SHARD, -(-len(self.positions) // SHARDS)))

    @property
    def shards(self) -> int:
        """Number of shards."""
        return -(-len(self.positions) // self.shard_records)

    def shard(self, shard: int) -> range:
        """The records of a shard, before any is skipped."""
        return range(shard * self.shard_records, min((shard + 1) * self.shard_records, len(self.positions)))

    def of_source(self, shard: int, source: Images) -> Shard:
        """The images of a shard."""
        rows = self.shard(shard)
        positions = self.positions[rows.start : rows.stop]
        return Shard(shard, source, positions, positions, self.labels[rows.start : rows.stop])


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
            shard_records=plan.shard_records,
            description="Face crops. Private: real images and the names of people.",
            metadata={"made_by": "facemae_jax import-faces", "private": True},
            num_labels=len(plan.names),
            identity_names=plan.names,
        )
        _write_shards(source, plan, writer, notes, wanted, name)
        told = [json.loads(note_file(notes, shard).read_text()) for shard in range(plan.shards)]
        skipped = [(position, reason) for note in told for position, reason in note["skipped"]]
        kept = Counter(plan.names[label] for label in plan.labels)
        kept.subtract(source.identity(position) for position, _ in skipped)
        fallen = [entry for entry in skipped if kept[source.identity(entry[0])] < wanted.min_images]
        if not fallen:
            writer.finish(len(plan.positions) - len(skipped))
            return Imported(plan, sorted([*gone, *skipped]), sum(note["unchanged"] for note in told))
        write_json(gone_file, [*gone, *fallen])


def _write_shards(source: Source, plan: Plan, writer: FaceSetWriter, notes: Path, wanted: Wanted, name: str) -> None:
    missing = [shard for shard in range(plan.shards) if not writer.shard_done(shard)]
    if not missing:
        return
    images = sum(len(plan.shard(shard)) for shard in missing)
    target = Target(writer.shard_writer, notes, wanted)
    with logs.progress(len(plan.positions), f"importing {name}", initial=len(plan.positions) - images) as progress:
        workers = min(wanted.threads, len(missing)) - 1
        if workers > 0 and images > FEW and isinstance(source, DivisibleSource) and source.divisible():
            _write_beside_workers(source, plan, missing, workers, target, progress, name)
        else:
            _write_here(source, plan, missing, target, progress)


def _write_here(source: Source, plan: Plan, shards: Sequence[int], target: Target, progress: logs.Progress) -> None:
    with ThreadPoolExecutor(target.wanted.threads) as pool:
        try:
            for shard in shards:
                import_shard(plan.of_source(shard, source), target, progress.update, pool)
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def _write_beside_workers(
    source: DivisibleSource,
    plan: Plan,
    shards: Sequence[int],
    workers: int,
    target: Target,
    progress: logs.Progress,
    name: str,
) -> None:
    def write(shard: int, attend: Callable[[], None]) -> None:
        def finished(count: int) -> None:
            progress.update(count)
            attend()

        import_shard(plan.of_source(shard, source), target, finished)

    def part(shard: int) -> Shard:
        whole = plan.of_source(shard, source)
        return whole._replace(images=source.part(whole.places), places=range(len(whole.places)))

    share_out(shards, workers, target, part, write, progress.update, name)
