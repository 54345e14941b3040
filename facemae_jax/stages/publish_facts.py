"""What a release says of itself, in its card and its metadata, as plain values: collected from what the stages wrote. Part of ``publish``."""

from __future__ import annotations

import importlib.metadata
import json
import math
from typing import Any

import numpy as np

from facemae_jax.export.release import read_or_make_secret, sealed
from facemae_jax.stages.inputs import Inputs
from facemae_jax.stages.publish_budget import Kept

SOFTWARE = ("jax", "flax", "optax", "numpy", "simplejpeg")


def facts_of(config: Any, inputs: Inputs, made: dict[str, Any], kept: Kept) -> dict[str, Any]:
    """What the card says."""
    audit = json.loads((inputs["audit"].path / "audit.json").read_text())
    verify = json.loads((inputs["verify"].path / "verify.json").read_text()) if "verify" in inputs else None
    counts = np.bincount(kept.faces.labels_n)
    counts = counts[counts > 0]
    # The first process is alone here, and Orbax restores weights with all of them: the description is a file of its own.
    described = json.loads((inputs["mae"].path / "model" / "model.json").read_text())
    default = "Faces for training face recognition, painted anew so that the people behind them are harder to find."
    return dict(
        name=config.publish.name,
        version=config.publish.version,
        description=config.publish.description or default,
        images=len(kept.faces),
        identities=len(counts),
        images_per_identity=dict(min=int(counts.min()), median=float(np.median(counts)), max=int(counts.max())),
        real_pixel_share=made["real_pixel_share"],
        terms=config.data.terms or "None: the source faces are synthetic, drawn by a program.",
        made=_made(config, made, described),
        audit=_audit(audit),
        budget=kept.told,
        utility=_utility(config, verify),
        software={name: importlib.metadata.version(name) for name in SOFTWARE},
    )


def _made(config: Any, made: dict[str, Any], described: dict[str, Any]) -> dict[str, str]:
    distort = config.distort
    terms = ("pixel", "irm", "feature", "unlink", "shift")
    weights = ", ".join(f"{name} {described[key]:g}" for name in terms if (key := f"{name}_weight") in described)
    return {
        "image": f"{made['image_size']}×{made['image_size']} RGB, {config.reconstruct.encoding}"
        + (f" quality {config.reconstruct.quality}" if config.reconstruct.encoding == "jpeg" else ""),
        "mask": f"{made['visible']} of {made['patches']} patches of {made['patch']} pixels visible, chosen at random for each image"
        + (
            f", rarer in the middle of the face by up to {math.exp(made['mask_focus']):.3g} times"
            if made["mask_focus"]
            else ""
        ),
        "people behind a face": _people(made["people"]),
        "composition": made["composition"],
        "model": f"encoder {described['depth']} × {described['width']}, decoder {described['decoder_depth']} × {described['decoder_width']}"
        + (
            f"; weights of others, from {described['taken_from']}: their terms hold too"
            if described.get("taken_from")
            else ""
        ),
        "loss weights": f"{weights}; relations: {described['irm_kind']}, group {described['irm_group']}",
        "baselines": f"mask ratio {distort.mask_ratio:g}; in pixels at 112: blur σ {distort.blur:g}, pixelate {distort.pixelate}; "
        f"noise σ {distort.noise:g} of −1…1; ksame k {distort.ksame}; dppix ε {distort.dppix_epsilon:g} for {distort.dppix_m} pixels; "
        "a name with @ carries its own strength",
    }


def _people(people: int) -> str:
    """How many give the patches from which one face is painted."""
    if people == 1:
        return "1, the person of its label"
    return (
        f"{people}, in equal shares of the visible patches; behind all images of a label are the same {people} people, each of whom stands "
        f"behind {people} labels. In the audit, whoever finds one of them has found somebody"
    )


def _audit(audit: dict[str, Any]) -> dict[str, Any]:
    judges = []
    for judge in audit["judges"]:
        rows = []
        chance: dict[str, float | None] = {}
        for variant, attack in judge["variants"].items():
            row: dict[str, Any] = {"variant": variant}
            for question in ("same_image", "same_identity"):
                found = attack["retrieval"][question]
                row[question] = found["rank"]["1"] if found else None
                chance[question] = found["chance"]["rank"]["1"] if found else None
            row["tar_at_far"] = attack["matching"]["tar_at_far"]
            rows.append(row)
        judges.append(
            dict(
                name=judge["name"], independent=judge["independent"], reason=judge["reason"], rows=rows,
                chance_image=chance["same_image"], chance_identity=chance["same_identity"],
            )
        )  # fmt: skip
    return dict(subset=audit["subset"], queries=audit["queries"], gallery=audit["gallery"], judges=judges)


def _utility(config: Any, verify: dict[str, Any] | None) -> dict[str, Any] | None:
    if verify is None:
        return None
    optim = config.recognizer.optim
    recipe = f"{config.recognizer.network}, {optim.epochs:g} epochs, batch {optim.batch}, learning rate {optim.learning_rate:g}"
    rows = [
        dict(name=row["name"], accuracy=row["accuracy"]["mean"], standard_error=row["accuracy"]["standard_error"])
        for row in verify["rows"]
        if row["kind"] == "recognizer"
    ]
    return dict(recipe=recipe, pairs=verify["protocol"]["count"], folds=verify["protocol"]["folds"], rows=rows)


def metadata_of(config: Any, inputs: Inputs, facts: dict[str, Any], made: dict[str, Any]) -> dict[str, Any]:
    """For ``builder.info.metadata``: the card's facts as values, and a sealed fingerprint for the holder of the secret."""
    secret = read_or_make_secret(inputs["secret"].path)
    return dict(
        made_with="facemae_jax",
        method="arXiv 2205.11090",
        composition=made["composition"],
        people_behind_a_face=made["people"],
        mask_ratio=1.0 - made["visible_share"],
        visible_patches=made["visible"],
        patches=made["patches"],
        real_pixel_share=made["real_pixel_share"],
        images=facts["images"],
        identities=facts["identities"],
        images_per_identity=facts["images_per_identity"],
        model=facts["made"]["model"],
        loss_weights=facts["made"]["loss weights"],
        audit=facts["audit"],
        budget=facts["budget"],
        utility=facts["utility"],
        terms=facts["terms"],
        software=facts["software"],
        sealed_fingerprint=sealed(secret, inputs["reconstruct"].path.name),
    )
