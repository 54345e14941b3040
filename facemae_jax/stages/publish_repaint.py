"""Painting some images of a reconstruction again under other masks: part of ``publish``.

The mask of an image in a round follows from the secret, the release, the image's source key and the round, and from nothing else: the
same twice, unknown without the secret. Which of them is published is the caller's choice, and a choice by content leaks.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import jax
import numpy as np

from facemae_jax.data.face_set import FaceSet, open_face_set
from facemae_jax.export import release
from facemae_jax.export.painted_set import Form, Plan, write_painted
from facemae_jax.export.painter import Painter
from facemae_jax.mesh import make_mesh
from facemae_jax.stages.inputs import Inputs, pick_faces


class Repainter:
    """The MAE of a reconstruction, ready to paint chosen images again; alone in its run.

    Args:
        config: the view of ``publish``.
        inputs: with ``faces``, ``mae`` and ``secret``.
        painted: the reconstruction.
        folder: private; one face set per round.
    """

    def __init__(self, config: Any, inputs: Inputs, painted: FaceSet, folder: Path):
        r = config.reconstruct
        self.faces = pick_faces(config, inputs["faces"], r.subset).relabelled()
        self.key = release.release_key(release.read_or_make_secret(inputs["secret"].path), r.release_id)
        self.keys, self.folder = painted.keys(), folder
        self.mixed_nM = release.contributors(self.key, self.faces.labels_n, self.faces.keys(), r.people)
        self.form = Form(config.data.image_size, r.encoding, r.quality, r.shard_records)
        self.painter = Painter(
            inputs["mae"].path, visible=config.mae.visible, mesh=make_mesh(-1, 1, jax.local_devices()),
            batch_per_device=r.batch, composition=r.composition, mask_focus=config.mae.mask_focus,
        )  # fmt: skip

    def paint(self, turn: int, positions_a: np.ndarray, places_a: np.ndarray) -> FaceSet:
        """Paint ``a`` images.

        Args:
            turn: the round, from 1.
            positions_a: of the sources, among the faces that were reconstructed.
            places_a: of the images, in the reconstruction.

        Returns:
            The images in the order given, under their released keys; the labels mean nothing.
        """
        keys = self.faces.keys()
        seeds_n2 = np.zeros((len(self.faces), 2), np.uint32)
        seeds_n2[positions_a] = release.mask_seeds(
            round_key(self.key, turn), [keys[int(position)] for position in positions_a]
        )
        plan = Plan(
            self.faces,
            positions_a,
            {int(position): self.keys[place] for position, place in zip(positions_a, places_a, strict=True)},
            np.arange(self.faces.identities),
            seeds_n2,
            self.mixed_nM,
        )
        version = self.folder / f"round-{turn}" / "1.0.0"
        shutil.rmtree(version.parent, ignore_errors=True)  # of a killed attempt, which may have chosen others elsewhere
        return open_face_set(write_painted(plan, self.painter, self.form, version, name="again", label=f"round {turn}"))


def round_key(key: bytes, turn: int) -> bytes:
    """What drives the masks of one round of a release with this key."""
    return release.release_key(key, f"round {turn}")
