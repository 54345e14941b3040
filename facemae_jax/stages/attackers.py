"""The further attacks of an audit, those with a recognizer and those without: who gets which images, and what is found.

Each attack is one file in ``facemae_jax.audit``; the attackers' faces are in ``stages.attack_faces``. All that is painted or trained lies in the
stage's ``attackers`` folder, which the audit takes away at its end. Figures against distortions are remembered (``stages.attack_memory``).
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from facemae_jax.audit.aware_attack import train_aware
from facemae_jax.audit.contributors import Contributors
from facemae_jax.audit.fusion_attack import fusion_attack
from facemae_jax.audit.inversion_attack import behind, signal_to_noise, train_inverter
from facemae_jax.audit.linkage_attack import linkage_attack
from facemae_jax.audit.matching import matching
from facemae_jax.audit.membership_attack import mae_losses, membership_attack
from facemae_jax.audit.pair_training import AttackOptim
from facemae_jax.audit.retrieval_attack import retrieval_attack
from facemae_jax.data.face_set import FaceSet
from facemae_jax.embed import embed
from facemae_jax.mesh import make_mesh
from facemae_jax.models.frozen import Frozen
from facemae_jax.models.mae import Mae
from facemae_jax.processes import barrier, first
from facemae_jax.stages import attack_memory
from facemae_jax.stages.attack_faces import AttackFaces, Protected
from facemae_jax.stages.attack_looks import decoded, looks
from facemae_jax.stages.attack_memory import remembered
from facemae_jax.stages.inputs import Inputs
from facemae_jax.stages.train_recognizer import RECONSTRUCTION

FOLDER = "attackers"
TUNED = 0.25  # of the learning rate: weights that are good already


class Attackers:
    """The attackers of one audit, with what they have prepared.

    Args:
        config: of the stage.
        inputs: of the stage.
        out: of the stage.
        gallery: originals.
        sources_Q: gallery position of each query's own source, ascending.
        protected: variant → images of the queries, in their order.
        behind: variant → who else is behind the queries; None or missing: nobody.
    """

    def __init__(
        self,
        config: Any,
        inputs: Inputs,
        out: Path,
        gallery: FaceSet,
        sources_Q: np.ndarray,
        protected: dict[str, Protected],
        behind: Mapping[str, Contributors | None],
    ):
        self.config, self.folder = config, out / FOLDER
        self.gallery, self.sources_Q, self.protected, self.behind = gallery, sources_Q, protected, behind
        self.attacks = tuple(config.audit.attacks)
        self.mesh = make_mesh(config.mesh.data, config.mesh.fsdp)
        self.threads, self.seed, self.batch = config.data.threads, config.audit.seed, config.audit.batch
        self.faces = AttackFaces(config, inputs, self.folder, gallery.subset(sources_Q), protected)
        self.memory = inputs.workdir / "private" / attack_memory.FOLDER
        self._inverters: dict[str, Any] = {}
        self._truth: dict[str, Any] = dict(sources_Q=sources_Q, labels_G=gallery.labels_n)

    def without_a_judge(self) -> dict[str, Any]:
        """``set``, ``pixels`` and ``membership`` of ``audit.json``: what needs no recognizer."""
        found = looks(
            self.config, self.gallery, self.sources_Q, self.protected, self.behind, copies="copy" in self.attacks
        )
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
                found[variant]["fusion"] = fusion_attack(
                    queries_QE, gallery_GE, others=self.behind.get(variant), seed=self.seed, **self._truth
                )
        if "linkage" in self.attacks and RECONSTRUCTION in queries:
            found[RECONSTRUCTION]["linkage"] = self._linkage(frozen, name, gallery_GE, queries[RECONSTRUCTION])
        trained_on = self.config.audit.trained_on
        if "aware" in self.attacks and trained_on:
            seen = Protected(self.faces.sample("seen"), None)
            seen_nE = self._embed(frozen, seen, f"{name}: seen people")
            for variant in trained_on:

                def aware(variant: str = variant) -> dict[str, Any]:
                    return self._aware(frozen, name, variant, gallery_GE, queries[variant], seen_nE)

                found[variant]["aware"] = self._once("aware", frozen, variant, aware)
        if "inversion" in self.attacks:
            for variant in trained_on:

                def inversion(variant: str = variant) -> dict[str, Any]:
                    return self._inversion(frozen, name, variant, gallery_GE)

                found[variant]["inversion"] = self._once("inversion", frozen, variant, inversion)
        return found

    def _once(self, kind: str, frozen: Frozen, variant: str, attack: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        """An attack on a distortion comes from memory where it was run before, on the same faces and by the same judge."""
        if variant == RECONSTRUCTION:
            return attack()
        images, transform = self.protected[variant]
        seen = self.faces.pairs(variant).seen
        where = [self.gallery.digest, images.digest, repr(transform), self.sources_Q.tolist()]
        learned = [seen.digest(), self._start(frozen), repr(self._optim()), self.seed, self.batch]
        return remembered(self.memory, [kind, frozen.digest, *where, *learned], attack)

    def leave(self) -> None:
        """Take away what was painted and trained; all processes call."""
        barrier("attackers are done")
        if first():
            shutil.rmtree(self.folder, ignore_errors=True)

    def _membership(self) -> dict[str, Any]:
        sets = [self.faces.sample(subset) for subset in ("seen", "unseen")]
        painter = self.faces.painter()
        model = Mae(painter.config, self.mesh)
        images_nHWC = np.concatenate([part_nHWC for faces in sets for part_nHWC in decoded(faces, None)])
        losses_nM = mae_losses(  # one call compiles once
            painter.variables["params"], model, images_nHWC, mesh=self.mesh, batch=self.batch,
            masks=self.config.audit.membership_masks, seed=self.seed,
        )  # fmt: skip
        member_n = np.repeat([True, False], [len(faces) for faces in sets])
        people_n = np.concatenate([sets[0].labels_n, sets[1].labels_n + sets[0].labels_n.max() + 1])
        return membership_attack(losses_nM, member_n, people_n, seed=self.seed)

    def _linkage(self, frozen: Frozen, name: str, gallery_GE: np.ndarray, queries_QE: np.ndarray) -> dict[str, Any]:
        second = Protected(self.faces.second_release(), None)
        return linkage_attack(
            queries_QE, self._embed(frozen, second, f"{name}: second release"), gallery_GE,
            sources_Q=self.sources_Q, sources_P=self.sources_Q, labels_G=self.gallery.labels_n, seed=self.seed,
        )  # fmt: skip

    def _optim(self, share: float = 1.0) -> AttackOptim:
        a = self.config.audit
        return AttackOptim(steps=a.attack_steps, batch=a.attack_batch, learning_rate=share * a.attack_learning_rate)

    def _aware(
        self, frozen: Frozen, name: str, variant: str, gallery_GE: np.ndarray, queries_QE: np.ndarray,
        seen_nE: np.ndarray,
    ) -> dict[str, Any]:  # fmt: skip
        seen, told = self.faces.pairs(variant).everybody, f"{name}: aware of {variant}"
        images, start = self.protected[variant], self._start(frozen)
        attacker = train_aware(
            frozen, seen.pairs._replace(originals=None),
            given_nE=self._embed(frozen, Protected(seen.pairs.protected, seen.pairs.transform), f"{name}: seen people, {variant}"),
            targets_nE=seen_nE[seen.people_n], start=start, optim=self._optim(TUNED if start == "tune" else 1.0), seed=self.seed,
            batch=self.batch, mesh=self.mesh, threads=self.threads,
            out=self.folder / f"{name} aware of {variant}".replace("/", "-"), label=told,
        )  # fmt: skip
        found_QE = attacker.queries(images.images, images.transform, queries_QE)
        return {**attacker.summary, **self._found(found_QE, gallery_GE, variant)}

    def _start(self, frozen: Frozen) -> str:
        """Networks of ours learn themselves; graphs from outside, far slower to train, get a network behind them."""
        start = self.config.audit.aware_start
        return ("tune" if "params" in frozen.params else "adapt") if start == "auto" else start

    def _inversion(self, frozen: Frozen, name: str, variant: str, gallery_GE: np.ndarray) -> dict[str, Any]:
        pairs, told = self.faces.pairs(variant), f"{variant}: inversion"
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
        return {"psnr": noise, **self._found(queries_QE, gallery_GE, variant)}

    def _embed(self, frozen: Frozen, protected: Protected, label: str) -> np.ndarray:
        images, transform = protected
        return embed(
            frozen, images, transform=transform, batch=self.batch, mesh=self.mesh, threads=self.threads, label=label
        )

    def _found(self, queries_QE: np.ndarray, gallery_GE: np.ndarray, variant: str) -> dict[str, Any]:
        truth = dict(others=self.behind.get(variant), seed=self.seed, **self._truth)
        return {
            "retrieval": retrieval_attack(queries_QE, gallery_GE, **truth),
            "matching": matching(queries_QE, gallery_GE, **truth),
        }
