"""The faces that the attackers of an audit hold: a choice of seen and of other people, and what they painted of them with the MAE.

They know the method, the MAE and the seen people, not the secret: their masks follow from a public name. What is painted lies in the stage's
``attackers`` folder, which the audit takes away at its end.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from facemae_jax.audit.pair_training import PairSource
from facemae_jax.data.face_set import FaceSet, open_face_set
from facemae_jax.embed import Transform
from facemae_jax.export.painted_set import Form, attackers_plan, write_painted
from facemae_jax.export.painter import Painter
from facemae_jax.mesh import make_mesh
from facemae_jax.stages.inputs import Inputs, pick_faces
from facemae_jax.stages.reconstruct import check_sizes
from facemae_jax.stages.train_recognizer import RECONSTRUCTION, distortion


class Protected(NamedTuple):
    """Images under attack, and what is still to be done to them before somebody sees them."""

    images: FaceSet
    transform: Transform | None


class Everybody(NamedTuple):
    """(protected, original) for everyone behind each protected image: more than one pair of an image that several people make."""

    pairs: PairSource
    people_n: np.ndarray  # position of each pair's original among the attackers' seen people


class Pairs(NamedTuple):
    """(protected, original) of one variant: of seen people to learn from, of the attacked to be measured on."""

    seen: PairSource  # the own source alone
    everybody: Everybody  # also who else is behind the seen ones
    attacked: PairSource


class AttackFaces:
    """What is asked for is made on the first demand, and kept.

    Args:
        config: of the stage.
        inputs: of the stage; ``mae``, ``seen`` and ``unseen`` are read when they are needed.
        folder: private.
        sources: originals of the queries, in their order.
        protected: variant → images of the queries, in their order.
    """

    def __init__(
        self, config: Any, inputs: Inputs, folder: Path, sources: FaceSet, protected: dict[str, Protected]
    ):  # fmt: skip
        self.config, self.inputs, self.folder = config, inputs, folder
        self.sources, self.protected = sources, protected
        self._samples: dict[str, FaceSet] = {}
        self._pairs: dict[str, Pairs] = {}
        self._painter: Painter | None = None
        self._second: FaceSet | None = None

    def sample(self, subset: str) -> FaceSet:
        """A seeded choice of the attackers' images of ``seen`` or ``unseen`` people, in the order of the face set."""
        if subset not in self._samples:
            faces = pick_faces(self.config, self.inputs[subset], subset)
            order_n = np.random.default_rng(self.config.audit.seed).permutation(len(faces))
            self._samples[subset] = faces.subset(np.sort(order_n[: self.config.audit.attack_images]))
        return self._samples[subset]

    def painter(self) -> Painter:
        """The MAE, on this process's own devices."""
        if self._painter is None:
            r = self.config.reconstruct
            self._painter = Painter(
                self.inputs["mae"].path, visible=self.config.mae.visible, mesh=make_mesh(-1, 1, jax.local_devices()),
                batch_per_device=r.batch, composition=r.composition, mask_focus=self.config.mae.mask_focus,
            )  # fmt: skip
            check_sizes(self.config, self._painter)
        return self._painter

    def second_release(self) -> FaceSet:
        """The queries' sources behind other masks, in their order."""
        if self._second is None:
            self._second, _ = self._painted(self.sources, "second release")
        return self._second

    def pairs(self, variant: str) -> Pairs:
        """What an attacker learns from, and is measured on; the originals of the seen people are :meth:`sample` of ``seen``."""
        if variant not in self._pairs:
            images, transform = self.protected[variant]
            people = self.sample("seen")
            if variant == RECONSTRUCTION:
                painted, mixed_nM = self._painted(people, "seen people")
                seen = PairSource(painted, people)
            else:
                mixed_nM = np.arange(len(people))[:, None]
                seen = PairSource(people, people, distortion(self.config, variant, people))
            everybody = seen
            if mixed_nM.shape[1] > 1:
                own_n = np.repeat(np.arange(len(people)), mixed_nM.shape[1])
                everybody = seen._replace(
                    protected=seen.protected.subset(own_n), originals=people.subset(mixed_nM.ravel())
                )
            self._pairs[variant] = Pairs(
                seen, Everybody(everybody, mixed_nM.ravel()), PairSource(images, self.sources, transform)
            )
        return self._pairs[variant]

    def _painted(self, faces: FaceSet, name: str) -> tuple[FaceSet, np.ndarray]:
        """``faces`` behind masks of the attackers' own, in the same order, and ``contributors_nM``: which of them make each."""
        r = self.config.reconstruct
        form = Form(self.config.data.image_size, r.encoding, r.quality, r.shard_records)
        plan = attackers_plan(faces, f"{name} {self.config.audit.seed}", r.people)
        place = self.folder / name / "1.0.0"
        version = write_painted(plan, self.painter(), form, place, name="painted", label=f"attackers: {name}")
        return open_face_set(version), plan.contributors_nM
