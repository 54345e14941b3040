"""Leakage: how well the people behind the images are found again, by every judge, for every variant.

Queries are a seeded choice of the reconstructed people's images, the same for every variant; the gallery holds their
originals and others. Each judge attacks by retrieval and by matching (``facemae_jax.audit``); beside its figures stand a
blind guess (``chance``) and the originals themselves as queries (``ceiling``). These are measurements of the attacks that were
run, not a guarantee against others. Utility is measured by ``verify``.

``audit.json``::

    {"subset", "queries", "gallery", "identities", "seed", "attacks": [of stages.attacks.ATTACKS, as asked for],
     "set": {VARIANT: metrics.set_quality.set_diversity(…) | null},
     "pixels": {VARIANT: {"visible": visible_share(…), "nearest": nearest_pixel(…)}},          with the attack copy
     "membership": membership_attack(…),                                                      with membership
     "judges": [{"name", "kind", "independent": bool, "reason",
                 "ceiling": RETRIEVAL,
                 "variants": {VARIANT: {"retrieval": RETRIEVAL, "reverse": RETRIEVAL, "matching": MATCHING, "set": SET | null,
                                        "fusion": fusion_attack(…),                            with fusion
                                        "linkage": linkage_attack(…),                          with linkage, the reconstruction only
                                        "aware": AWARE, "inversion": INVERSION}}}]}            with these, of audit.trained_on only

    RETRIEVAL = {"same_image": FIGURES, "same_identity": FIGURES | null, "without_another_image": queries}
    FIGURES   = {"queries", "people", "rank": {"1", "5", "10"}, "map", "interval": {"rank": {"1": [low, high], …}, "map": [low, high]}, "level",
                 "standard_error": {"rank_1", "map"}, "chance": {"rank": {"1", "5", "10"}, "map"}, "median_rank", "cmc": {"rank", "rate"}}
    MATCHING  = {"tar_at_far": {"0.1": …}, "eer", "auc", "people", "interval": {"tar_at_far": {"0.1": [low, high], …}, "eer", "auc"}, "level",
                 "roc": {"far", "tar"}, "mated", "non_mated": {"count", "mean", "std"}, "histogram": {"edges", "mated", "non_mated"}}
    SET       = {"classes", "several", "threshold", "far", "uniqueness", "consistency", "interval": {"consistency": [low, high]}, "level"}
    AWARE     = {"start", "pairs", "people", "steps", "held_out", "used": "aware" | "plain", "retrieval": RETRIEVAL, "matching": MATCHING}
    INVERSION = {"psnr": {"input", "inverted"}, "retrieval": RETRIEVAL, "matching": MATCHING}

``retrieval`` searches the originals with a protected image, ``reverse`` the protected images with an original, for the one it is the own source
of. Where several people make one face (``reconstruct.people``), to find any of them, or any image that was used, is to find somebody.
``interval`` and ``level`` are missing where the queries show one person. ``set`` says what the set is worth, not what it leaks; its threshold
is the judge's own, at which ``far`` of the pairs of strangers among the originals count as one person. The functions named describe what they
return in their docstrings.

All rates are shares of 1.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import jax
import numpy as np

from facemae_jax import logs
from facemae_jax.audit.contributors import Contributors
from facemae_jax.audit.matching import matching
from facemae_jax.audit.retrieval_attack import retrieval_attack
from facemae_jax.audit.set_threshold import SetThreshold, set_threshold
from facemae_jax.data.face_set import FaceSet, open_face_set
from facemae_jax.embed import Transform, embed
from facemae_jax.mesh import make_mesh
from facemae_jax.metrics.set_quality import set_quality
from facemae_jax.models.frozen import Frozen
from facemae_jax.stages import attacks, judges, teachers, train_recognizer
from facemae_jax.stages.attack_faces import Protected
from facemae_jax.stages.attackers import Attackers
from facemae_jax.stages.audit_choice import Choice, choose, others_behind
from facemae_jax.stages.audit_table import table
from facemae_jax.stages.inputs import Inputs, Ref, faces_ref, pick_faces

VERB = "audit"
VERSION = 3
ALONE = False  # every process takes part
SUMMARY = "attack reconstructions and distortions: who is found again, by which judge"
FIELDS = {
    "": (
        "audit.variants",
        "audit.max_queries",
        "audit.max_gallery",
        "audit.seed",
        "audit.batch",
        *attacks.FIELDS,
        "data.image_size",
        "data.seen_share",
        "data.split_seed",
        "reconstruct.subset",
        "distort",
        "mae.irm_weight",
        "mae.feature_weight",
        "mae.unlink_weight",
        "mae.shift_weight",
        *judges.FIELDS,
    )
}
UNHASHED = ("mesh", "data.threads", "mae.source", *attacks.UNHASHED, *judges.UNHASHED)
RECONSTRUCTION = "reconstruction"


def variants(config: Any) -> tuple[str, ...]:
    """One result."""
    return ("",)


def reads(config: Any, variant: str) -> dict[str, Ref]:
    """Originals, reconstruction, and the judges that this chain trains."""
    found = {"faces": faces_ref(config, config.reconstruct.subset)}
    if RECONSTRUCTION in config.audit.variants:
        found["reconstruct"] = Ref("reconstruct")
    strangers = any(judge.kind in judges.OUTSIDE for judge in judges.judges(config))
    return found | attacks.reads(config) | judges.reads(config, teacher=strangers and _shaped(config))


def outside(config: Any, variant: str) -> dict[str, str]:
    """Weights from outside."""
    return judges.outside(config)


def run(config: Any, inputs: Inputs, out: Path, variant: str) -> dict[str, Any]:
    """Embed originals and protected images with every judge, and attack."""
    originals = pick_faces(config, inputs["faces"], config.reconstruct.subset)
    painted, inside, sources_n = None, None, np.arange(len(originals))
    if "reconstruct" in inputs:
        painted = open_face_set(inputs["reconstruct"].path / "faces")
        inside = np.load(inputs["reconstruct"].path / "private.npz")
        sources_n = inside["source_positions_n"]
    choice = choose(
        sources_n,
        len(originals),
        queries=config.audit.max_queries,
        gallery=config.audit.max_gallery,
        seed=config.audit.seed,
    )
    protected = {
        name: Protected(*_protected(config, name, originals, painted, sources_n, choice))
        for name in config.audit.variants
        if name != "original"
    }
    behind = {RECONSTRUCTION: None if inside is None else others_behind(inside, choice, originals.labels_n)}
    gallery = originals.subset(choice.gallery_G)
    asked = judges.judges(config)
    loaded = [(judge, judges.load_judge(config, judge, inputs)) for judge in asked]
    strangers = any(judge.kind in judges.OUTSIDE for judge in asked)
    guides = teachers.load(config, inputs) if strangers and _shaped(config) else []
    result: dict[str, Any] = {
        "subset": config.reconstruct.subset,
        "queries": len(choice.queries_Q),
        "gallery": len(choice.gallery_G),
        "identities": len(np.unique(gallery.labels_n)),
        "seed": config.audit.seed,
        "attacks": list(config.audit.attacks),
    }
    others = Attackers(config, inputs, out, gallery, choice.sources_Q, protected, behind)
    result |= others.without_a_judge()
    result["judges"] = []
    for (judge, frozen), name in zip(loaded, judges.names(loaded), strict=True):
        stranger = judges.independence(judge, frozen, guides, mae_trained_here=config.mae.source == "train")
        figures = attack(config, inputs, frozen, name, gallery, protected, behind, choice, others)
        result["judges"].append({"name": name, "kind": judge.kind, **stranger._asdict(), **figures})
    others.leave()
    if jax.process_index() == 0:
        partial = out / "audit.json.partial"
        partial.write_text(json.dumps(result, indent=1))
        os.replace(partial, out / "audit.json")
        logs.say(table(result))
        if not any(judge["independent"] for judge in result["judges"]):
            logs.warn(
                "no judge of this audit is independent of the teacher; a stranger may find more: add one to audit.judges, "
                "such as recognizer:original or onnx:PATH."
            )
    return {
        judge["name"]: {name: _brief(found) for name, found in judge["variants"].items()} for judge in result["judges"]
    }


def _shaped(config: Any) -> bool:
    """Whether a teacher of this chain had a say in what the MAE paints."""
    mae = config.mae
    return mae.source == "train" and any((mae.irm_weight, mae.feature_weight, mae.unlink_weight, mae.shift_weight))


def _protected(
    config: Any, name: str, originals: FaceSet, painted: FaceSet | None, sources_n: np.ndarray, choice: Choice
) -> tuple[FaceSet, Transform | None]:
    """The protected images of the queries, in their order, and what to do to them before they are embedded."""
    if name == RECONSTRUCTION:
        assert painted is not None
        record_n = np.argsort(sources_n)  # the release has an order of its own
        return painted.subset(record_n[np.searchsorted(sources_n[record_n], choice.queries_Q)]), None
    return originals.subset(choice.queries_Q), train_recognizer.distortion(config, name, originals)


def attack(
    config: Any,
    inputs: Inputs,
    frozen: Frozen,
    name: str,
    gallery: FaceSet,
    protected: dict[str, Protected],
    behind: dict[str, Contributors | None],
    choice: Choice,
    others: Attackers,
) -> dict[str, Any]:
    """All attacks of one judge: ``ceiling`` and ``variants`` of ``audit.json``."""
    mesh = make_mesh(config.mesh.data, config.mesh.fsdp)
    where: dict[str, Any] = dict(
        batch=config.audit.batch, mesh=mesh, threads=config.data.threads, cache_dir=inputs.embeddings
    )
    gallery_GE = embed(frozen, gallery, label=f"{name}: originals", **where)
    seed, labels_Q = config.audit.seed, gallery.labels_n[choice.sources_Q]
    truth: dict[str, Any] = dict(sources_Q=choice.sources_Q, labels_G=gallery.labels_n, seed=seed)
    originals_QE = gallery_GE[choice.sources_Q]
    limit = set_threshold(originals_QE, gallery_GE, labels_Q=labels_Q, labels_G=gallery.labels_n, seed=seed)
    ceiling = retrieval_attack(originals_QE, gallery_GE, **truth)
    own: dict[str, Any] = dict(sources_Q=np.arange(len(choice.queries_Q)), labels_G=labels_Q, seed=seed)
    found: dict[str, dict[str, Any]] = {}
    queries = {}
    for variant in config.audit.variants:
        if variant == "original":
            queries_QE, searched = originals_QE, ceiling
        else:
            images, transform = protected[variant]
            queries_QE = embed(frozen, images, transform=transform, label=f"{name}: {variant}", **where)
            searched = retrieval_attack(queries_QE, gallery_GE, others=behind.get(variant), **truth)
            queries[variant] = queries_QE
        back = retrieval_attack(originals_QE, queries_QE, **own)
        found[variant] = {
            "retrieval": searched,
            "reverse": back,
            "matching": matching(queries_QE, gallery_GE, others=behind.get(variant), **truth),
            "set": _set(queries_QE, labels_Q, limit, seed),
        }
    for variant, more in others.with_a_judge(frozen, name, gallery_GE, queries).items():
        found[variant] |= more
    return {"ceiling": ceiling, "variants": found}


def _set(queries_QE: np.ndarray, labels_Q: np.ndarray, limit: SetThreshold | None, seed: int) -> dict[str, Any] | None:
    """``set`` of one judge and variant."""
    if limit is None:
        return None
    return {"far": limit.far, **set_quality(queries_QE, labels_Q, threshold=limit.cosine, seed=seed)}


def _brief(found: dict[str, Any]) -> dict[str, float | None]:
    """What ``done.json`` keeps of one variant."""
    person = found["retrieval"]["same_identity"]
    return {
        "same_image_rank_1": found["retrieval"]["same_image"]["rank"]["1"],
        "same_identity_rank_1": person["rank"]["1"] if person else None,
        "cosine_to_source": found["matching"]["mated"]["mean"],
    }
