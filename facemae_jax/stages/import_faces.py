"""``import-faces``: a folder, a zip, a face set or rendered people become a face set of square JPEG images.

Labels follow the sorted names of the identities, records the sorted keys; a key is the path inside the source. The images are
taken as they are aligned, unless ``data.landmarks`` gives five points for each, or ``data.detect`` a detector that finds the face: then
they are turned and scaled to ArcFace's template (``data.align``), and those without a face are bad records.

``report.json``::

    {"source", "variant", "image_size", "images", "identities", "images_per_identity": {"min", "median", "max"},
     "one_image": identities with a single image, "unchanged": JPEG files taken byte for byte, "encoded": the others,
     "left_out": {"identities", "images", "min_images"}, "ignored": {what: count}, "skipped": [{"file", "reason"}],
     "split": {"seen_share", "split_seed", "seen": {"identities", "images"}, "unseen": {…}}}

``split`` is there where one set holds seen and unseen people. It tells the counts at the moment of import: the split itself is
made by each stage that reads the set, from its config.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np

from facemae_jax import logs
from facemae_jax.data.face_import import Imported, Wanted, import_source, write_json
from facemae_jax.data.face_set import FaceSet, open_face_set
from facemae_jax.data.formats.aligned_source import AlignedSource, Find, detected, listed
from facemae_jax.data.formats.names import check_names
from facemae_jax.data.formats.source import Source, open_source
from facemae_jax.data.formats.synthetic_source import SyntheticSource
from facemae_jax.data.split import split_identities
from facemae_jax.data.synthetic import people
from facemae_jax.data.variants import face_sets
from facemae_jax.models.dlib_detector import load_detector, predictor_path
from facemae_jax.stages import verify_protocols
from facemae_jax.stages.inputs import SHARED, Inputs, Ref, one_source
from facemae_jax.types import FacemaeError

VERB = "import-faces"
VERSION = 3
ALONE = True  # the first process does it, the others wait
SUMMARY = "bring a folder, a zip, a face set or rendered people into a face set"
IMAGES = (
    "data.image_size",
    "data.resize",
    "data.jpeg_quality",
    "data.max_pixels",
    "data.on_bad_record",
    "data.check_pixels",
)
SET = "set@"  # before the name of a face set from elsewhere that a recognizer is trained on
FIELDS = {
    "": (*IMAGES, "data.min_images", "synthetic"),
    "verify": (*IMAGES, "synthetic.seed", "synthetic.difficulty", "verify.identities", "verify.images"),
    verify_protocols.IMPORT: IMAGES,
    SET: (*IMAGES, "data.min_images"),
}
# Of landmarks and detector the content is hashed, as outside inputs.
UNHASHED = ("data.threads", "data.seen_share", "data.split_seed", "data.landmarks", "data.detect")
TRAINING = (SHARED, "seen", "unseen")  # variants whose images may want alignment
EVALUATION = 1_000_000  # number of the first person rendered for evaluation; people for training are counted from 0


def variants(config: Any) -> tuple[str, ...]:
    """The face sets of a chain: seen and unseen people, in one set where they come from one source, those to verify on, and
    those from elsewhere that recognizers are trained on.
    """
    training = (SHARED,) if one_source(config) else ("seen", "unseen")
    evaluation = ("verify", *verify_protocols.imports(config)) if config.verify.faces else ()
    return (*training, *evaluation, *_sets(config))


def reads(config: Any, variant: str) -> dict[str, Ref]:
    """Nothing: here a chain begins."""
    return {}


def outside(config: Any, variant: str) -> dict[str, str]:
    """Where the faces come from: a path, or the word "synthetic"; and what says where in the images they are.

    Raises:
        FacemaeError: a detector that is not installed.
    """
    sources = {"unseen": config.data.unseen, "verify": config.verify.faces}
    sources |= verify_protocols.imports(config) | _sets(config)
    found = {"source": sources.get(variant, config.data.seen)}
    if variant not in TRAINING or found["source"] == "synthetic":
        return found
    if config.data.detect:
        return found | {"detector": str(predictor_path())}
    return found | ({"landmarks": config.data.landmarks} if config.data.landmarks else {})


def _sets(config: Any) -> dict[str, str]:
    """Variant → place of the face sets from elsewhere."""
    if config.recognizer.faces:
        return {}
    return {SET + name: place for name, place in face_sets(config.recognizer.variants).items()}


def run(config: Any, inputs: Inputs, out: Path, variant: str) -> dict[str, Any]:
    """Import the source of ``variant`` into ``out/faces/1.0.0`` and tell in ``report.json`` what was found."""
    version, notes, told = out / "faces" / "1.0.0", out / "notes", out / "report.json"
    if not told.is_file():
        source, name = _open(config, inputs, variant)
        data = config.data
        wanted = Wanted(
            image_size=data.image_size,
            resize=data.resize,
            jpeg_quality=data.jpeg_quality,
            max_pixels=data.max_pixels,
            on_bad_record=data.on_bad_record,
            # A list of pairs names whom it names.
            min_images=1 if variant.startswith("verify") else data.min_images,
            threads=data.threads,
            check_pixels=data.check_pixels,
        )
        with closing(source):
            imported = import_source(source, version, notes, wanted, name)
        write_json(told, _report(config, source, imported, open_face_set(version), wanted, variant, name))
    shutil.rmtree(notes, ignore_errors=True)
    report = json.loads(told.read_text(encoding="utf-8"))
    _tell(report, version)
    return report | {"skipped": len(report["skipped"])}


def _open(config: Any, inputs: Inputs, variant: str) -> tuple[Source, str]:
    """The images to import, and what to call them."""
    path, value = inputs["source"]
    if value == "synthetic":
        wanted, first = (config.verify, EVALUATION) if variant == "verify" else (config.synthetic, 0)
        if first == 0 and wanted.identities > EVALUATION:
            raise FacemaeError(
                f"--config.synthetic.identities={wanted.identities}: at most {EVALUATION} people are rendered for training; "
                "those beyond are for evaluation."
            )
        rendered = people(
            wanted.identities,
            wanted.images,
            seed=config.synthetic.seed,
            size=config.data.image_size,
            difficulty=config.synthetic.difficulty,
            first=first,
        )
        return SyntheticSource(rendered, config.data.threads), value
    source = open_source(path)
    if not source.keys:
        raise FacemaeError(
            f"{path}: no faces found; images are expected as identity/image with the ending jpg, jpeg, png, webp or bmp"
            f"{f' (ignored: {_listed(source.ignored)})' if source.ignored else ''}."
        )
    check_names(source.keys, map(source.identity, range(len(source.keys))), str(path))
    find = _points(inputs, source)
    if find is not None:
        source = AlignedSource(source, find, config.data.image_size, config.data.max_pixels)
    return source, path.name


def _points(inputs: Inputs, source: Source) -> Find | None:
    """What says where a face is in an image; None where images are aligned."""
    if "landmarks" in inputs:
        return listed(inputs["landmarks"].path, source)
    return detected(load_detector(inputs["detector"].path)) if "detector" in inputs else None


def _report(
    config: Any, source: Source, imported: Imported, faces: FaceSet, wanted: Wanted, variant: str, name: str
) -> dict[str, Any]:
    plan, per_K = imported.plan, np.bincount(faces.labels_n, minlength=len(imported.plan.names))
    report: dict[str, Any] = {
        "source": name,
        "variant": variant,
        "image_size": wanted.image_size,
        "images": len(faces),
        "identities": len(plan.names),
        "images_per_identity": {
            "min": int(per_K.min()),
            "median": float(np.median(per_K)),
            "max": int(per_K.max()),
        },
        "one_image": int(np.count_nonzero(per_K == 1)),
        "unchanged": imported.unchanged,
        "encoded": len(faces) - imported.unchanged,
        "left_out": {
            "identities": len(plan.left_out),
            "images": plan.left_out.total(),
            "min_images": wanted.min_images,
        },
        "ignored": dict(sorted(source.ignored.items())),
        "skipped": [{"file": source.keys[position], "reason": reason} for position, reason in imported.skipped],
    }
    if variant == SHARED:
        seen_K = split_identities(plan.names, config.data.seen_share, config.data.split_seed)
        sides = {
            side: {"identities": int(np.count_nonzero(mask_K)), "images": int(per_K[mask_K].sum())}
            for side, mask_K in (("seen", seen_K), ("unseen", ~seen_K))
        }
        report["split"] = {"seen_share": config.data.seen_share, "split_seed": config.data.split_seed} | sides
    return report


def _tell(report: Mapping[str, Any], version: Path) -> None:
    per, left, skipped = report["images_per_identity"], report["left_out"], report["skipped"]
    lines = [
        f"{report['images']:,} images of {report['identities']:,} identities ({per['min']}–{per['max']} each) from "
        f"{report['source']}, {report['image_size']}×{report['image_size']} pixels, in {version}"
    ]
    if report["one_image"]:
        lines.append(f"  {report['one_image']:,} identities have a single image")
    for side in ("seen", "unseen"):
        if "split" in report:
            counts = report["split"][side]
            lines.append(f"  {side}: {counts['identities']:,} identities, {counts['images']:,} images")
    if left["identities"]:
        lines.append(
            f"  left out: {left['identities']:,} identities ({left['images']:,} images) with fewer than {left['min_images']}"
        )
    if report["ignored"]:
        lines.append(f"  ignored: {_listed(report['ignored'])}")
    logs.say("\n".join(lines))
    if skipped:
        first = skipped[0]
        logs.warn(
            f"{len(skipped):,} bad images skipped, listed in report.json; the first: {first['file']}: {first['reason']}"
        )


def _listed(ignored: Mapping[str, int]) -> str:
    return ", ".join(f"{count:,} {what}" for what, count in sorted(ignored.items()))
