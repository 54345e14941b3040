"""What attackers of an audit bring besides a recognizer: faces that they painted themselves, and networks that they trained.

They know the method, the MAE and the seen people, not the secret: their masks follow from a public name. Each attack is one file in
``facemae_jax.audit``; here is who gets which images. All that is painted or trained lies in the stage's ``attackers`` folder, which the
audit takes away at its end.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from facemae_jax.audit.aware_attack import train_aware
from facemae_jax.audit.copy_detector import nearest_pixel, thumbnails, visible_share
from facemae_jax.audit.fusion_attack import fusion_attack
from facemae_jax.audit.inversion_attack import behind, signal_to_noise, train_inverter
from facemae_jax.audit.linkage_attack import linkage_attack
from facemae_jax.audit.matching import matching
from facemae_jax.audit.membership_attack import mae_losses, membership_attack
from facemae_jax.audit.pair_training import AttackOptim, PairSource
from facemae_jax.audit.retrieval_attack import retrieval_attack
from facemae_jax.data.face_set import FaceSet, open_face_set
from facemae_jax.data.images import decode_record
from facemae_jax.embed import Transform, embed
from facemae_jax.export.painted_set import Form, attackers_plan, write_painted
from facemae_jax.export.painter import Painter
from facemae_jax.mesh import make_mesh
from facemae_jax.models.frozen import Frozen
from facemae_jax.models.mae import Mae
from facemae_jax.processes import barrier, first
from facemae_jax.stages.attacks import needs_seen
from facemae_jax.stages.inputs import Inputs, pick_faces
from facemae_jax.stages.reconstruct import check_sizes
from facemae_jax.stages.train_recognizer import RECONSTRUCTION, distortion

FOLDER = "attackers"
TUNED = 0.25  # of the learning rate: weights that are good already


class Protected(NamedTuple):
    """Images under attack, and what is still to be done to them before somebody sees them."""

    images: FaceSet
    transform: Transform | None


class Pairs(NamedTuple):
    """(protected, original) of one variant: of seen people to learn from, of the attacked to be measured on."""

    seen: PairSource
    attacked: PairSource


class Attackers:
    """The attackers of one audit, with what they have prepared.

    Args:
        config: of the stage.
        inputs: of the stage.
        out: of the stage.
        gallery: originals.
        sources_Q: gallery position of each query's own source.
        protected: variant → images of the queries, in their order.
    """

    def __init__(
        self,
        config: Any,
        inputs: Inputs,
        out: Path,
        gallery: FaceSet,
        sources_Q: np.ndarray,
        protected: dict[str, Protected],
    ):
        self.config, self.inputs, self.folder = config, inputs, out / FOLDER
        self.gallery, self.sources_Q, self.protected = gallery, sources_Q, protected
        self.attacks = tuple(config.audit.attacks)
        self.mesh = make_mesh(config.mesh.data, config.mesh.fsdp)
        self.threads, self.seed, self.batch = config.data.threads, config.audit.seed, config.audit.batch
        self._painter: Painter | None = None
        self._second: FaceSet | None = None
        self._seen = self._sample(pick_faces(config, inputs["seen"], "seen")) if needs_seen(config) else None
        self._pairs: dict[str, Pairs] = {}
        self._inverters: dict[str, Any] = {}
        self._truth: dict[str, Any] = dict(sources_Q=sources_Q, labels_G=gallery.labels_n)

    def without_a_judge(self) -> dict[str, Any]:
        """``pixels`` and ``membership`` of ``audit.json``: attacks that need no recognizer."""
        found: dict[str, Any] = {}
        if "copy" in self.attacks:
            found["pixels"] = self._pixels()
        if "membership" in self.attacks:
            found["membership"] = self._membership()
        return found

    def with_a_judge(
        self, frozen: Frozen, name: str, gallery_GE: np.ndarray, queries: dict[str, np.ndarray]
    ) -> dict[str, dict[str, Any]]:
        """Variant → the further attacks of one judge.

        Args:
            frozen: the judge.
            name: for progress bars.
            gallery_GE: its embeddings of the originals.
            queries: variant → its embeddings of the protected images.
        """
        found: dict[str, dict[str, Any]] = {variant: {} for variant in queries}
        for variant, queries_QE in queries.items():
            if "fusion" in self.attacks:
                found[variant]["fusion"] = fusion_attack(queries_QE, gallery_GE, seed=self.seed, **self._truth)
        if "linkage" in self.attacks and RECONSTRUCTION in queries:
            found[RECONSTRUCTION]["linkage"] = self._linkage(frozen, name, gallery_GE, queries[RECONSTRUCTION])
        for variant in self.config.audit.trained_on:
            if "aware" in self.attacks:
                found[variant]["aware"] = self._aware(frozen, name, variant, gallery_GE, queries[variant])
            if "inversion" in self.attacks:
                found[variant]["inversion"] = self._inversion(frozen, name, variant, gallery_GE)
        return found

    def leave(self) -> None:
        """Take away what was painted and trained; all processes call."""
        barrier("attackers are done")
        if first():
            shutil.rmtree(self.folder, ignore_errors=True)

    def _sample(self, faces: FaceSet) -> FaceSet:
        """A seeded choice of the attackers' images, in the order of the face set."""
        order_n = np.random.default_rng(self.seed).permutation(len(faces))
        return faces.subset(np.sort(order_n[: self.config.audit.attack_images]))

    def painter(self) -> Painter:
        """The MAE, on this process's own devices."""
        if self._painter is None:
            r = self.config.reconstruct
            self._painter = Painter(
                self.inputs["mae"].path, visible=self.config.mae.visible, mesh=make_mesh(-1, 1, jax.local_devices()),
                batch_per_device=r.batch, composition=r.composition,
            )  # fmt: skip
            check_sizes(self.config, self._painter)
        return self._painter

    def _painted(self, faces: FaceSet, name: str) -> FaceSet:
        """``faces`` behind masks of the attackers' own, in the same order."""
        r = self.config.reconstruct
        form = Form(self.config.data.image_size, r.encoding, r.quality, r.shard_records)
        plan = attackers_plan(faces, f"{name} {self.seed}")
        place = self.folder / name / "1.0.0"
        return open_face_set(
            write_painted(plan, self.painter(), form, place, name="painted", label=f"attackers: {name}")
        )

    def _pixels(self) -> dict[str, Any]:
        gallery_GE = np.concatenate([thumbnails(part_nHWC) for part_nHWC in _decoded(self.gallery, None)])
        people_Q = self.gallery.labels_n[self.sources_Q]
        found = {}
        for variant, (images, transform) in self.protected.items():
            small_QE = np.concatenate([thumbnails(part_nHWC) for part_nHWC in _decoded(images, transform)])
            some = np.arange(min(len(images), self.config.audit.attack_images))
            shown_nHWC, sources_nHWC = (
                np.concatenate(list(_decoded(faces.subset(rows), change)))
                for faces, rows, change in ((images, some, transform), (self.gallery, self.sources_Q[some], None))
            )
            found[variant] = {
                "visible": visible_share(
                    shown_nHWC, sources_nHWC, people_Q[some], patch=self.config.mae.patch, seed=self.seed
                ),
                "nearest": nearest_pixel(small_QE, gallery_GE, seed=self.seed, **self._truth),
            }
        return found

    def _membership(self) -> dict[str, Any]:
        assert self._seen is not None
        sets = [self._seen, self._sample(pick_faces(self.config, self.inputs["unseen"], "unseen"))]
        painter = self.painter()
        model = Mae(painter.config, self.mesh)
        images_nHWC = np.concatenate([part_nHWC for faces in sets for part_nHWC in _decoded(faces, None)])
        losses_nM = mae_losses(  # one call compiles once
            painter.variables["params"], model, images_nHWC, mesh=self.mesh, batch=self.batch,
            masks=self.config.audit.membership_masks, seed=self.seed,
        )  # fmt: skip
        member_n = np.repeat([True, False], [len(faces) for faces in sets])
        people_n = np.concatenate([sets[0].labels_n, sets[1].labels_n + sets[0].labels_n.max() + 1])
        return membership_attack(losses_nM, member_n, people_n, seed=self.seed)

    def _linkage(self, frozen: Frozen, name: str, gallery_GE: np.ndarray, queries_QE: np.ndarray) -> dict[str, Any]:
        if self._second is None:
            self._second = self._painted(self.gallery.subset(self.sources_Q), "second release")
        second_QE = self._embed(frozen, Protected(self._second, None), f"{name}: second release")
        return linkage_attack(
            queries_QE, second_QE, gallery_GE, sources_Q=self.sources_Q, sources_P=self.sources_Q,
            labels_G=self.gallery.labels_n, seed=self.seed,
        )  # fmt: skip

    def _pairs_of(self, variant: str) -> Pairs:
        if variant not in self._pairs:
            assert self._seen is not None
            images, transform = self.protected[variant]
            attacked = PairSource(images, self.gallery.subset(self.sources_Q), transform)
            if variant == RECONSTRUCTION:
                seen = PairSource(self._painted(self._seen, "seen people"), self._seen)
            else:
                seen = PairSource(self._seen, self._seen, distortion(self.config, variant, self._seen))
            self._pairs[variant] = Pairs(seen, attacked)
        return self._pairs[variant]

    def _optim(self, share: float = 1.0) -> AttackOptim:
        a = self.config.audit
        return AttackOptim(steps=a.attack_steps, batch=a.attack_batch, learning_rate=share * a.attack_learning_rate)

    def _aware(
        self, frozen: Frozen, name: str, variant: str, gallery_GE: np.ndarray, queries_QE: np.ndarray
    ) -> dict[str, Any]:
        pairs, told = self._pairs_of(variant), f"{name}: aware of {variant}"
        seen, images, start = pairs.seen, self.protected[variant], self._start(frozen)
        assert seen.originals is not None
        attacker = train_aware(
            frozen, seen._replace(originals=None),
            given_nE=self._embed(frozen, Protected(seen.protected, seen.transform), f"{name}: seen people, {variant}"),
            targets_nE=self._embed(frozen, Protected(seen.originals, None), f"{name}: seen people"),
            start=start, optim=self._optim(TUNED if start == "tune" else 1.0), seed=self.seed, batch=self.batch, mesh=self.mesh, threads=self.threads,
            out=self.folder / f"{name} aware of {variant}".replace("/", "-"), label=told,
        )  # fmt: skip
        found_QE = attacker.queries(images.images, images.transform, queries_QE)
        return {**attacker.summary, **self._found(found_QE, gallery_GE)}

    def _start(self, frozen: Frozen) -> str:
        """Networks of ours learn themselves; graphs from outside, far slower to train, get a network behind them."""
        start = self.config.audit.aware_start
        return ("tune" if "params" in frozen.params else "adapt") if start == "auto" else start

    def _inversion(self, frozen: Frozen, name: str, variant: str, gallery_GE: np.ndarray) -> dict[str, Any]:
        pairs, told = self._pairs_of(variant), f"{variant}: inversion"
        same: dict[str, Any] = dict(mesh=self.mesh, threads=self.threads, label=told)
        if variant not in self._inverters:
            inverter, params = train_inverter(
                pairs.seen, optim=self._optim(), seed=self.seed, out=self.folder / f"inversion of {variant}", **same
            )
            self._inverters[variant] = (
                inverter, params, signal_to_noise(inverter, params, pairs.attacked, batch=self.batch, **same)
            )  # fmt: skip
        inverter, params, noise = self._inverters[variant]
        queries_QE = self._embed(
            behind(inverter, params, frozen), self.protected[variant], f"{name}: inverted {variant}"
        )
        return {"psnr": noise, **self._found(queries_QE, gallery_GE)}

    def _embed(self, frozen: Frozen, protected: Protected, label: str) -> np.ndarray:
        images, transform = protected
        return embed(
            frozen, images, transform=transform, batch=self.batch, mesh=self.mesh, threads=self.threads, label=label
        )

    def _found(self, queries_QE: np.ndarray, gallery_GE: np.ndarray) -> dict[str, Any]:
        return {
            "retrieval": retrieval_attack(queries_QE, gallery_GE, **self._truth),
            "matching": matching(queries_QE, gallery_GE, seed=self.seed, **self._truth),
        }


def _decoded(faces: FaceSet, transform: Transform | None, size: int = 1024) -> Iterator[np.ndarray]:
    """Images, uint8, up to ``size`` at a time, as somebody sees them."""
    for start in range(0, len(faces), size):
        records = [faces[place] for place in range(start, min(start + size, len(faces)))]
        images = [decode_record(record.image, record.key) for record in records]
        if transform is not None:
            images = [transform(image_HWC, record.key) for image_HWC, record in zip(images, records, strict=True)]
        yield np.stack(images)
