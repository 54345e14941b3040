"""The release: the reconstruction as a TFDS face set, its card, and nothing else. The only thing meant to leave the workdir.

Records are copied, never encoded again. Before the directory appears, every text in it is searched for names, keys and paths of the
source. The same reconstruction and figures give the same bytes.
"""

from __future__ import annotations

import importlib.metadata
import json
import os
import re
import shutil
import unicodedata
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from facemae_jax import logs
from facemae_jax.data.face_set import FaceSet, FaceSetWriter, open_face_set
from facemae_jax.export.card import card_text
from facemae_jax.export.release import read_or_make_secret, sealed
from facemae_jax.stages.inputs import Inputs, Ref, faces_ref, pick_faces
from facemae_jax.types import FacemaeError

VERB = "publish"
VERSION = 1
ALONE = True  # the first process does it, the others wait
SUMMARY = "write the release: a TFDS face set and its card, after a search for names and paths"
FIELDS = {
    "": (
        "publish", "data.terms", "data.image_size", "data.seen_share", "data.split_seed", "reconstruct", "mae.mask_ratio", "mae.visible",
        "mae.patch", "recognizer.network", "recognizer.optim.epochs", "recognizer.optim.batch", "recognizer.optim.learning_rate",
        "distort",
    )
}  # fmt: skip
UNHASHED = ("data.seen", "data.unseen", "verify.faces")
SOFTWARE = ("jax", "flax", "optax", "numpy", "simplejpeg")
RELEASE = "release"  # the folder that leaves; its place is what readers call data_dir
SHORTEST_NAME = 4  # bytes of UTF-8: shorter names occur in ordinary words; a Chinese one has three bytes a character


def variants(config: Any) -> tuple[str, ...]:
    """One release."""
    return ("",)


def reads(config: Any, variant: str) -> dict[str, Ref]:
    """The reconstruction, what was measured on it, the MAE, and the faces whose names must not appear."""
    found = {
        "reconstruct": Ref("reconstruct"),
        "audit": Ref("audit"),
        "mae": Ref("train-mae"),
        "faces": faces_ref(config, config.reconstruct.subset),
    }
    return found | ({"verify": Ref("verify")} if config.verify.faces else {})


def outside(config: Any, variant: str) -> dict[str, str]:
    """The secret, to seal fingerprints with."""
    return {"secret": "private/secret"}


def run(config: Any, inputs: Inputs, out: Path, variant: str) -> dict[str, Any]:
    """Write ``release/NAME/VERSION`` with its ``card.md``; what else lies in ``out`` is the chain's, and stays."""
    made = json.loads((inputs["reconstruct"].path / "reconstruct.json").read_text())
    _check_allowed(config, made)
    released = open_face_set(inputs["reconstruct"].path / "faces")
    facts = _facts(config, inputs, made, released)
    card = card_text(facts)
    p = config.publish
    version = out / RELEASE / p.name / p.version
    metadata = _metadata(config, inputs, facts, made)
    written = [p.name, p.description, config.data.terms, *(judge["name"] for judge in facts["audit"]["judges"])]
    check_no_names(
        card + json.dumps(metadata, ensure_ascii=False),
        "\n".join(written),
        pick_faces(config, inputs["faces"], config.reconstruct.subset),
        [place for place in (config.data.seen, config.data.unseen, config.verify.faces) if "/" in place],
    )
    if not (version / "card.md").is_file():
        shutil.rmtree(version, ignore_errors=True)  # a finished face set without its card: killed in between
        writer = FaceSetWriter(
            version, name=p.name, image_size=made["image_size"], encoding=config.reconstruct.encoding,
            shard_records=config.reconstruct.shard_records, formats=p.formats, description=facts["description"],
            metadata=metadata, num_labels=made["identities"], index=False,
        )  # fmt: skip
        size = config.reconstruct.shard_records
        with logs.progress(len(released), "publish") as bar:
            for shard in range(-(-len(released) // size)):
                places = range(shard * size, min((shard + 1) * size, len(released)))
                if not writer.shard_done(shard):
                    writer.write_shard(shard, (released[place] for place in places))
                bar.update(len(places))
        writer.finish(len(released))
        partial = version / ".card.md.partial"
        partial.write_text(card, encoding="utf-8")
        os.replace(partial, version / "card.md")
    logs.say(
        f"publish: {len(released):,} images in {out.name}/{RELEASE}/{p.name}/{p.version}, with card.md; only {RELEASE}/ is meant to leave"
    )
    return dict(name=p.name, version=p.version, images=len(released), identities=made["identities"])


def _check_allowed(config: Any, made: dict[str, Any]) -> None:
    if made["composition"] == "paste" and not config.publish.allow_real_pixels:
        raise FacemaeError(
            f"this reconstruction holds {100 * made['real_pixel_share']:.0f} % real pixels (reconstruct.composition=paste): "
            "publish it with --config.publish.allow_real_pixels=True, or reconstruct with composition=full."
        )
    synthetic = {config.data.seen, config.data.unseen} <= {"synthetic", ""}
    if not synthetic and not config.data.terms.strip():
        raise FacemaeError(
            "data.terms is empty: say under which terms the source faces may be used; a release carries them."
        )


def check_no_names(text: str, written: str, faces: FaceSet, places: Iterable[str] = ()) -> None:
    """No name of four letters or more, no key and no path of the source may stand in what leaves.

    Args:
        text: all of it.
        written: what people wrote of it. Names that are plain words are looked for in this part alone: somebody's folder may
            be called ``mask`` or ``train``, as the card's own sentences are.
        faces: the source. A folder that all its people lie in is nobody's name.
        places: further paths.

    Raises:
        FacemaeError: with the number of finds, not the finds: an error message may be shared too.
    """
    names = faces.identity_names
    common = set.intersection(*(set(name.split("/")) for name in names)) if len(names) > 1 else set()
    parts = {part for name in names for part in (name, *name.split("/"))} - common
    parts |= {part.replace("_", " ") for part in parts}
    folded = {_folded(part) for part in parts | set(faces.keys()) | {str(faces.path), *places}}
    hidden = {part for part in folded if len(part.encode()) >= SHORTEST_NAME and not part.isdigit()}
    words = {part for part in hidden if part.isascii() and part.isalpha()}
    text, said = _folded(text), set(re.findall(r"[^\W\d_]+", _folded(written)))
    found = sum(part in text for part in hidden - words) + len(words & said)
    if found:
        raise FacemaeError(
            f"the card or the metadata would carry {found} name(s) of the source: look for them in publish.description, publish.name, "
            "data.terms and the file names of judges."
        )


def _folded(text: str) -> str:
    """Without regard to case and Unicode form: a name typed is not always stored in the same bytes."""
    return unicodedata.normalize("NFKC", text).casefold()


def _facts(config: Any, inputs: Inputs, made: dict[str, Any], released: FaceSet) -> dict[str, Any]:
    """What the card says."""
    audit = json.loads((inputs["audit"].path / "audit.json").read_text())
    verify = json.loads((inputs["verify"].path / "verify.json").read_text()) if "verify" in inputs else None
    counts = np.bincount(released.labels_n)
    counts = counts[counts > 0]
    # The first process is alone here, and Orbax restores weights with all of them: the description is a file of its own.
    described = json.loads((inputs["mae"].path / "model" / "model.json").read_text())
    default = "Faces for training face recognition, painted anew so that the people behind them are harder to find."
    return dict(
        name=config.publish.name,
        version=config.publish.version,
        description=config.publish.description or default,
        images=len(released),
        identities=made["identities"],
        images_per_identity=dict(min=int(counts.min()), median=float(np.median(counts)), max=int(counts.max())),
        real_pixel_share=made["real_pixel_share"],
        terms=config.data.terms or "None: the source faces are synthetic, drawn by a program.",
        made=_made(config, made, described),
        audit=_audit(audit),
        utility=_utility(config, verify),
        software={name: importlib.metadata.version(name) for name in SOFTWARE},
    )


def _made(config: Any, made: dict[str, Any], described: dict[str, Any]) -> dict[str, str]:
    distort = config.distort
    weights = ", ".join(f"{name} {described[f'{name}_weight']:g}" for name in ("pixel", "irm", "feature", "unlink"))
    return {
        "image": f"{made['image_size']}×{made['image_size']} RGB, {config.reconstruct.encoding}"
        + (f" quality {config.reconstruct.quality}" if config.reconstruct.encoding == "jpeg" else ""),
        "mask": f"{made['visible']} of {made['patches']} patches of {made['patch']} pixels visible, chosen at random for each image",
        "composition": made["composition"],
        "model": f"encoder {described['depth']} × {described['width']}, decoder {described['decoder_depth']} × {described['decoder_width']}",
        "loss weights": f"{weights}; relations: {described['irm_kind']}, group {described['irm_group']}",
        "baselines": f"mask ratio {distort.mask_ratio:g}; in pixels at 112: blur σ {distort.blur:g}, pixelate {distort.pixelate}; "
        f"noise σ {distort.noise:g} of −1…1; ksame k {distort.ksame}; dppix ε {distort.dppix_epsilon:g} for {distort.dppix_m} pixels; "
        "a name with @ carries its own strength",
    }


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


def _metadata(config: Any, inputs: Inputs, facts: dict[str, Any], made: dict[str, Any]) -> dict[str, Any]:
    """For ``builder.info.metadata``: the card's facts as values, and a sealed fingerprint for the holder of the secret."""
    secret = read_or_make_secret(inputs["secret"].path)
    return dict(
        made_with="facemae_jax",
        method="arXiv 2205.11090",
        composition=made["composition"],
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
        utility=facts["utility"],
        terms=facts["terms"],
        software=facts["software"],
        sealed_fingerprint=sealed(secret, inputs["reconstruct"].path.name),
    )
