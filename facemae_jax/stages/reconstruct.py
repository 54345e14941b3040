"""Paint a face set anew: a release-shaped face set with its own keys, order, labels and masks. Private until ``publish``.

``private.npz`` holds, for the audit alone, which source each record came from. Shard s holds places s·R … (s+1)·R of the
release, whatever the number of hosts; a killed run writes the missing shards only, with the same bytes.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import numpy as np

from facemae_jax import logs
from facemae_jax.data.face_set import FaceSet, FaceSetWriter, check_image_size
from facemae_jax.data.images import decode_record, encode_jpeg, encode_png
from facemae_jax.export import release
from facemae_jax.export.painter import Painter
from facemae_jax.mesh import make_mesh
from facemae_jax.processes import first, from_first, together
from facemae_jax.stages.inputs import Inputs, Ref, faces_ref, pick_faces
from facemae_jax.types import FacemaeError, Record

VERB = "reconstruct"
VERSION = 1
ALONE = False  # every process takes part
SUMMARY = "paint faces from a quarter of their patches, under keys and masks of their own"
FIELDS = {
    "": (
        "data.image_size", "data.seen_share", "data.split_seed", "mae.patch", "mae.visible", "reconstruct",
    )
}  # fmt: skip
UNHASHED = ("data.threads",)


def variants(config: Any) -> tuple[str, ...]:
    """One reconstruction."""
    return ("",)


def reads(config: Any, variant: str) -> dict[str, Ref]:
    """The faces to paint, and the MAE."""
    return {"faces": faces_ref(config, config.reconstruct.subset), "mae": Ref("train-mae")}


def outside(config: Any, variant: str) -> dict[str, str]:
    """The secret of the workdir; the chain says where it lies."""
    return {"secret": "private/secret"}


def run(config: Any, inputs: Inputs, out: Path, variant: str) -> dict[str, Any]:
    """Write ``faces/1.0.0``, ``private.npz`` and ``reconstruct.json``."""
    faces = pick_faces(config, inputs["faces"], config.reconstruct.subset).relabelled()
    check_image_size(faces, config.data.image_size)
    r = config.reconstruct
    # Each process paints its own shards on its own devices: no image is sent anywhere, and none waits for another.
    painter = Painter(
        inputs["mae"].path, visible=config.mae.visible, mesh=make_mesh(-1, 1, jax.local_devices()),
        batch_per_device=r.batch, composition=r.composition,
    )  # fmt: skip
    _check_sizes(config, painter)
    key = release.release_key(release.read_or_make_secret(inputs["secret"].path), r.release_id)
    source_keys = faces.keys()
    order_n = release.release_order(key, source_keys)
    plan = _Plan(
        faces,
        order_n,
        release.record_keys(key, source_keys),
        release.label_map(key, faces.identities),
        release.mask_seeds(key, source_keys),
    )

    def open_writer() -> FaceSetWriter:
        return FaceSetWriter(
            out / "faces" / "1.0.0", name="reconstruction", image_size=config.data.image_size, encoding=r.encoding,
            shard_records=r.shard_records, num_labels=faces.identities,
        )  # fmt: skip

    from_first(lambda: open_writer() and None)  # it clears away what another attempt left, before the others begin
    writer = open_writer()
    shards = range(-(-len(faces) // r.shard_records))
    mine = [s for s in shards if s % jax.process_count() == jax.process_index()]
    todo = [s for s in mine if not writer.shard_done(s)]
    held = [min(r.shard_records, len(faces) - s * r.shard_records) for s in mine]
    before = sum(n for s, n in zip(mine, held, strict=True) if s not in todo)

    def paint_shards() -> None:
        with logs.progress(sum(held), "reconstruct", initial=before) as bar:
            for shard in todo:
                places = np.arange(shard * r.shard_records, min((shard + 1) * r.shard_records, len(faces)))
                writer.write_shard(shard, _records(plan, places, painter, r, bar))

    together(paint_shards)
    from_first(lambda: str(writer.finish(len(faces))))
    summary = dict(
        images=len(faces), identities=faces.identities, composition=r.composition, image_size=config.data.image_size,
        patch=config.mae.patch, patches=painter.config.patches, visible=config.mae.visible,
        visible_share=config.mae.visible / painter.config.patches,
        real_pixel_share=config.mae.visible / painter.config.patches if r.composition == "paste" else 0.0,
    )  # fmt: skip
    if first():
        _write_private(out / "private.npz", order_n)
        (out / "reconstruct.json").write_text(json.dumps(summary, indent=1))
    logs.say(
        f"reconstruct: {len(faces):,} images of {faces.identities} people in {out.name}/faces (private; publish makes the release)"
    )
    return summary


class _Plan:
    """Everything about the release that is known before painting."""

    def __init__(
        self, faces: FaceSet, order_n: np.ndarray, keys: list[str], labels_K: np.ndarray, seeds_n2: np.ndarray
    ):
        self.faces, self.order_n, self.keys, self.labels_K, self.seeds_n2 = faces, order_n, keys, labels_K, seeds_n2


def _records(plan: _Plan, places: np.ndarray, painter: Painter, r: Any, bar: logs.Progress) -> Iterator[Record]:
    """The records of one shard. Batches begin with the shard, so its bytes do not depend on what was done before."""
    for start in range(0, len(places), painter.batch):
        positions = plan.order_n[places[start : start + painter.batch]]
        sources = [plan.faces[int(position)] for position in positions]
        images = np.stack([decode_record(source.image, source.key) for source in sources])
        painted = painter(images, plan.seeds_n2[positions])
        for position, source, image_HWC in zip(positions, sources, painted, strict=True):
            data = encode_jpeg(image_HWC, r.quality) if r.encoding == "jpeg" else encode_png(image_HWC)
            yield Record(data, int(plan.labels_K[source.label]), plan.keys[int(position)])
        bar.update(len(positions))


def _check_sizes(config: Any, painter: Painter) -> None:
    for field, mine, theirs in (
        ("data.image_size", config.data.image_size, painter.config.image_size),
        ("mae.patch", config.mae.patch, painter.config.patch),
    ):
        if mine != theirs:
            raise FacemaeError(
                f"the MAE was trained with {field}={theirs}, this config says {mine}: add --config.{field}={theirs}."
            )


def _write_private(path: Path, order_n: np.ndarray) -> None:
    partial = path.with_name("private.partial.npz")
    np.savez(partial, source_positions_n=order_n)
    os.replace(partial, path)
