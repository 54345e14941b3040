"""Utility's measuring rod: one recognizer per variant of the unseen faces, all by one recipe.

``original`` is the real-data control; ``reconstruction`` trains on what would be published; the others on distortions that one
could have published instead (``data.variants`` has their names), or on sets that others published (``set:PATH``). With
``recognizer.faces`` one recognizer is trained on that face set instead (``faces``).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from facemae_jax.data.distort import Distortion
from facemae_jax.data.face_set import FaceSet, open_face_set
from facemae_jax.data.k_same import KSame
from facemae_jax.data.variants import STRENGTHS, face_sets, parse_variant, variant_names
from facemae_jax.stages import import_faces
from facemae_jax.stages.inputs import Inputs, Ref, faces_ref, pick_faces
from facemae_jax.stages.recognizers import train_recognizer
from facemae_jax.stages.training import CADENCE

VERB = "train-recognizer"
VERSION = 1
ALONE = False  # every process takes part
SUMMARY = "train a recognizer on each variant: original, distortions, reconstruction"
COMMON = (
    "seed", "data.image_size", "recognizer.network", "recognizer.embedding", "recognizer.dtype", "recognizer.dropout",
    "recognizer.margin", "recognizer.head", "recognizer.augment", "recognizer.optim",
)  # fmt: skip
PICKED = (*COMMON, "data.seen_share", "data.split_seed", "reconstruct.subset")
BESIDE = {
    "mask": ("mae.patch",),
    "dppix": ("distort.dppix_m", "distort.pixelate"),
}  # what a kind reads beside its strength
FIELDS = {
    "": COMMON,
    "original": PICKED,
    **{kind: (*PICKED, f"distort.{strength.field}", *BESIDE.get(kind, ())) for kind, strength in STRENGTHS.items()},
    **{f"{kind}@": (*PICKED, *BESIDE.get(kind, ())) for kind in STRENGTHS},  # the name carries the strength
}
UNHASHED = ("mesh", "data.threads", "recognizer.optim.init_from", *(f"recognizer.optim.{name}" for name in CADENCE))
OWN_FACES, RECONSTRUCTION = "faces", "reconstruction"


def variants(config: Any) -> tuple[str, ...]:
    """The variants of the config, sets from elsewhere by their names, or the one face set it names."""
    return (OWN_FACES,) if config.recognizer.faces else variant_names(config.recognizer.variants)


def reads(config: Any, variant: str) -> dict[str, Ref]:
    """The reconstruction, a set from elsewhere, or the faces that a variant distorts."""
    if variant == OWN_FACES:
        return {}
    if variant == RECONSTRUCTION:
        return {"reconstruct": Ref("reconstruct")}
    if variant in face_sets(config.recognizer.variants):
        return {"faces": Ref("import-faces", import_faces.SET + variant)}
    return {"faces": faces_ref(config, config.reconstruct.subset)}


def outside(config: Any, variant: str) -> dict[str, str]:
    """The user's own face set, and weights to begin with, where they are named."""
    place = config.recognizer.optim.init_from
    found = {"init_from": f"checkpoint:{place}"} if place else {}
    return found | ({"faces": config.recognizer.faces} if variant == OWN_FACES else {})


def distortion(config: Any, variant: str, faces: FaceSet) -> Distortion | KSame | None:
    """The distortion of a variant with exactly the fields that the variant declares; None for faces as they are.

    Args:
        config: with ``distort``, ``mae.patch`` and ``data.image_size``.
        variant: its name, with or without a strength.
        faces: all faces that are published together, which ``ksame`` averages.
    """
    kind, strength = parse_variant(variant)
    if kind == "original":
        return None
    field = STRENGTHS[kind].field
    value = config.distort[field] if strength is None else strength
    if kind == "ksame":
        return KSame(faces, int(value))
    given: dict[str, Any] = {field: value}
    if kind == "mask":
        given["patch"] = config.mae.patch
    if kind == "dppix":
        given |= {"dppix_m": config.distort.dppix_m, "pixelate": config.distort.pixelate}
    return Distortion(name=kind, image_size=config.data.image_size, **given)


def run(config: Any, inputs: Inputs, out: Path, variant: str) -> dict[str, Any]:
    """Train and save."""
    transform: Distortion | KSame | None = None
    if variant == OWN_FACES:
        faces = open_face_set(inputs["faces"].path)
    elif variant == RECONSTRUCTION:
        faces = open_face_set(inputs["reconstruct"].path / "faces")
    elif inputs["faces"].variant == import_faces.SET + variant:
        faces = open_face_set(inputs["faces"].path / "faces")
    else:
        faces = pick_faces(config, inputs["faces"], config.reconstruct.subset)
        transform = distortion(config, variant, faces)
    return train_recognizer(
        config, config.recognizer, faces, out, label=variant, field="recognizer", transform=transform
    )  # fmt: skip
