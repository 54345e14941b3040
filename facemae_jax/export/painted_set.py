"""Painting a face set into a face set: shard by shard, on every process its own shards, the same bytes however often it was killed.

What is painted, in which order and under which names, is in a :class:`Plan`. A release has one of its own (``stages.reconstruct``);
attackers, who paint faces that they know, keep the faces as they are and choose masks of their own (:func:`attackers_plan`).
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np

from facemae_jax import logs
from facemae_jax.data.face_set import FaceSet, FaceSetWriter
from facemae_jax.data.images import decode_record, encode_jpeg, encode_png
from facemae_jax.export import release
from facemae_jax.export.painter import Painter
from facemae_jax.processes import from_first, together
from facemae_jax.types import Record


class Plan(NamedTuple):
    """Everything about a painted face set that is known before painting; n images of K people."""

    faces: FaceSet  # labels from 0 to K − 1
    order_n: np.ndarray  # place in the painted set → position in ``faces``
    keys: Sequence[str] | Mapping[int, str]  # of the painted images, by position in ``faces``
    labels_K: np.ndarray  # label in ``faces`` → label in the painted set
    seeds_n2: np.ndarray  # of the masks, by position in ``faces``
    contributors_nM: np.ndarray  # positions of the images that make each face, its own first; by position in ``faces``


class Form(NamedTuple):
    """How images are stored; fields of the config's section ``reconstruct``."""

    image_size: int
    encoding: str  # jpeg | png
    quality: int
    shard_records: int


def attackers_plan(faces: FaceSet, name: str, people: int) -> Plan:
    """The faces in their order, under their keys, behind masks that follow from ``name`` and the keys alone: no secret is known.

    ``people`` are mixed as in a release, but who with whom is the attackers' own.
    """
    faces = faces.relabelled()
    keys, key = faces.keys(), release.release_key(hashlib.sha256(name.encode()).digest(), name)
    mixed_nM = release.contributors(key, faces.labels_n, keys, people)
    return Plan(
        faces, np.arange(len(faces)), keys, np.arange(faces.identities), release.mask_seeds(key, keys), mixed_nM
    )


def write_painted(plan: Plan, painter: Painter, form: Form, version: Path, *, name: str, label: str) -> Path:
    """Paint and write; shard s holds places s·R … (s + 1)·R, so that contents do not depend on the number of processes.

    Args:
        plan: what to paint.
        painter: on this process's own devices: no image is sent anywhere, and none waits for another.
        form: of the images and shards.
        version: directory to make, ``…/NAME/1.0.0``.
        name: of the data set.
        label: of the progress bar.
    """
    count, size = len(plan.order_n), form.shard_records

    def open_writer() -> FaceSetWriter:
        return FaceSetWriter(
            version, name=name, image_size=form.image_size, encoding=form.encoding, shard_records=size,
            num_labels=plan.faces.identities,
        )  # fmt: skip

    from_first(lambda: open_writer() and None)  # it clears away what another attempt left, before the others begin
    writer = open_writer()
    mine = [s for s in range(-(-count // size)) if s % jax.process_count() == jax.process_index()]
    todo = [s for s in mine if not writer.shard_done(s)]
    held = [min(size, count - s * size) for s in mine]
    before = sum(n for s, n in zip(mine, held, strict=True) if s not in todo)

    def paint_shards() -> None:
        with logs.progress(sum(held), label, initial=before) as bar:
            for shard in todo:
                places = np.arange(shard * size, min((shard + 1) * size, count))
                writer.write_shard(shard, _records(plan, places, painter, form, bar))

    together(paint_shards)
    from_first(lambda: str(writer.finish(count)))
    return version


def _records(plan: Plan, places: np.ndarray, painter: Painter, form: Form, bar: logs.Progress) -> Iterator[Record]:
    """The records of one shard. Batches begin with the shard, so its bytes do not depend on what was done before."""
    for start in range(0, len(places), painter.batch):
        positions = plan.order_n[places[start : start + painter.batch]]
        mixed_bM = plan.contributors_nM[positions]
        sources = [plan.faces[int(position)] for position in mixed_bM.ravel()]
        images = np.stack([decode_record(source.image, source.key) for source in sources])
        painted = painter(images.reshape(*mixed_bM.shape, *images.shape[1:]), plan.seeds_n2[positions])
        for position, source, image_HWC in zip(positions, sources[:: mixed_bM.shape[1]], painted, strict=True):
            data = encode_jpeg(image_HWC, form.quality) if form.encoding == "jpeg" else encode_png(image_HWC)
            yield Record(data, int(plan.labels_K[source.label]), plan.keys[int(position)])
        bar.update(len(positions))
