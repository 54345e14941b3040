"""Paint a face set anew: a release-shaped face set with its own keys, order, labels and masks. Private until ``publish``.

``private.npz`` holds, for the audit alone, which source each record came from, and which images were mixed for it
(``reconstruct.people``). Shard s holds places s·R … (s+1)·R of the release, whatever the number of hosts; a killed run writes the missing
shards only, with the same bytes.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import jax
import numpy as np

from facemae_jax import logs
from facemae_jax.data.face_set import check_image_size
from facemae_jax.export import release
from facemae_jax.export.painted_set import Form, Plan, write_painted
from facemae_jax.export.painter import Painter
from facemae_jax.mesh import make_mesh
from facemae_jax.processes import first
from facemae_jax.stages.inputs import Inputs, Ref, faces_ref, pick_faces
from facemae_jax.types import FacemaeError

VERB = "reconstruct"
VERSION = 2
ALONE = False  # every process takes part
SUMMARY = "paint faces from a quarter of their patches, under keys and masks of their own"
FIELDS = {
    "": (
        "data.image_size", "data.seen_share", "data.split_seed", "mae.patch", "mae.visible", "mae.mask_focus", "reconstruct",
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
        batch_per_device=r.batch, composition=r.composition, mask_focus=config.mae.mask_focus,
    )  # fmt: skip
    check_sizes(config, painter)
    key = release.release_key(release.read_or_make_secret(inputs["secret"].path), r.release_id)
    source_keys = faces.keys()
    order_n = release.release_order(key, source_keys)
    mixed_nM = release.contributors(key, faces.labels_n, source_keys, r.people)
    plan = Plan(
        faces,
        order_n,
        release.record_keys(key, source_keys),
        release.label_map(key, faces.identities),
        release.mask_seeds(key, source_keys),
        mixed_nM,
    )
    form = Form(config.data.image_size, r.encoding, r.quality, r.shard_records)
    write_painted(plan, painter, form, out / "faces" / "1.0.0", name="reconstruction", label="reconstruct")
    summary = dict(
        images=len(faces), identities=faces.identities, people=r.people, composition=r.composition, image_size=config.data.image_size,
        patch=config.mae.patch, patches=painter.config.patches, visible=config.mae.visible,
        visible_share=config.mae.visible / painter.config.patches, mask_focus=config.mae.mask_focus,
        real_pixel_share=config.mae.visible / painter.config.patches if r.composition == "paste" else 0.0,
    )  # fmt: skip
    if first():
        _write_private(out / "private.npz", order_n, mixed_nM[order_n])
        (out / "reconstruct.json").write_text(json.dumps(summary, indent=1))
    logs.say(
        f"reconstruct: {len(faces):,} images of {faces.identities} people in {out.name}/faces (private; publish makes the release)"
    )
    return summary


def check_sizes(config: Any, painter: Painter) -> None:
    """The MAE takes images and patches of the config's sizes, or a FacemaeError."""
    for field, mine, theirs in (
        ("data.image_size", config.data.image_size, painter.config.image_size),
        ("mae.patch", config.mae.patch, painter.config.patch),
    ):
        if mine != theirs:
            raise FacemaeError(
                f"the MAE was trained with {field}={theirs}, this config says {mine}: add --config.{field}={theirs}."
            )


def _write_private(path: Path, order_n: np.ndarray, mixed_nM: np.ndarray) -> None:
    partial = path.with_name("private.partial.npz")
    np.savez(partial, source_positions_n=order_n, contributors_nM=mixed_nM)
    os.replace(partial, path)
