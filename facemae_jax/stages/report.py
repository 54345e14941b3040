"""One self-contained page on the run: what the painted faces are good for, what they leak, and how they were made.

Shows reconstructions and statistics only; originals come in with ``report.show_originals=True`` alone. No name and no place
of a file is written. What the figures mean is worded in ``facemae_jax.report``.

``report --compare DIR DIR … [--out=FILE]`` puts finished runs and sweeps on one page, without a config: see ``chain.compare``.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np

from facemae_jax import logs
from facemae_jax.data.face_set import FaceSet, open_face_set
from facemae_jax.data.images import decode_record
from facemae_jax.report import page, results
from facemae_jax.stages import judges, train_mae, train_recognizer
from facemae_jax.stages.inputs import Inputs, Ref, faces_ref, pick_faces

VERB = "report"
VERSION = 2
ALONE = True  # the first process does it, the others wait
SUMMARY = "write report.html: utility, leakage, every attack, reconstructions, provenance; one self-contained page"
FIELDS = {"": ("name", "report", "reconstruct.subset", "data.seen_share", "data.split_seed")}
UNHASHED = ()
PLACES = ("recognizer.faces",)  # settings that are paths, also those that do not look like one


def variants(config: Any) -> tuple[str, ...]:
    """One page."""
    return ("",)


def reads(config: Any, variant: str) -> dict[str, Ref]:
    """Everything that has figures or images to show.

    Without faces to verify on, only those recognizers count that judge: the others would be trained for nothing.
    """
    found = {
        "faces": faces_ref(config, config.reconstruct.subset),
        "train-mae": Ref("train-mae"),
        "reconstruct": Ref("reconstruct"),
        "audit": Ref("audit"),
    }
    training = [*train_mae.reads(config, "").values(), *judges.reads(config, teacher=False).values()]
    if config.verify.faces:
        found["verify"] = Ref("verify")
        training += [Ref("train-recognizer", name) for name in train_recognizer.variants(config)]
    return found | {str(ref): ref for ref in training if ref.stage != "import-faces"}


def outside(config: Any, variant: str) -> dict[str, str]:
    """Nothing from outside."""
    return {}


def run(config: Any, inputs: Inputs, out: Path, variant: str) -> dict[str, Any]:
    """Write ``report.html`` and give back the table that ``run`` prints."""
    verify = _json(inputs["verify"].path / "verify.json") if "verify" in inputs else None
    audit = _json(inputs["audit"].path / "audit.json")
    released = open_face_set(inputs["reconstruct"].path / "faces")
    shown = _spread(len(released), config.report.images)
    originals = None
    if config.report.show_originals:
        sources_n = np.load(inputs["reconstruct"].path / "private.npz")["source_positions_n"]
        originals = _images(pick_faces(config, inputs["faces"], config.reconstruct.subset), sources_n[shown])
    text = page.render(
        name=config.name,
        verify=verify,
        audit=audit,
        reconstruction=_json(inputs["reconstruct"].path / "reconstruct.json"),
        images_nHWC=_images(released, shown),
        originals_nHWC=originals,
        training={name: logs.read_metrics(given.path) for name, given in inputs.items() if name.startswith("train-")},
        made=_made(inputs),
    )
    partial = out / "report.html.partial"
    partial.write_text(text, encoding="utf-8")
    os.replace(partial, out / "report.html")
    logs.say(f"report: {out / 'report.html'} ({len(text) / 1e6:.1f} MB)")
    return {"table": results.table(verify, audit)}


def _spread(count: int, wanted: int) -> np.ndarray:
    """Up to ``wanted`` positions, evenly over a set: no choice by looks."""
    return np.unique(np.linspace(0, count - 1, min(count, max(1, wanted))).round().astype(np.int64))


def _images(faces: FaceSet, positions_n: np.ndarray) -> np.ndarray:
    return np.stack([decode_record(faces[int(position)].image) for position in positions_n])


def _json(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text())


def _made(inputs: Inputs) -> dict[str, Any]:
    """Provenance from the ``done.json`` of every stage read: hardware, versions, times, settings without places."""
    done = {name: _json(given.path / "done.json") for name, given in inputs.items()}
    newest = max(done.values(), key=lambda stage: stage["began"])
    settings: dict[str, Any] = {}
    for stage in done.values():
        settings |= stage["fields"]
    hardware = newest["hardware"]
    commits = sorted({stage["commit"] for stage in done.values()})
    facts = [
        (
            "hardware",
            f"{hardware['devices']} × {hardware['device']}, {hardware['cpus']} CPU cores, {hardware['system']}",
        ),
        ("versions", ", ".join(f"{name} {version}" for name, version in newest["versions"].items())),
        ("code", ", ".join(commits)),
        ("time of all stages", f"{sum(stage['seconds'] for stage in done.values()):.0f} s"),
    ]
    stages = [
        dict(name=name, seconds=f"{stage['seconds']:.1f}", commit=stage["commit"]) for name, stage in done.items()
    ]
    shown = [
        (name, str(value))
        for name, value in sorted(settings.items())
        if name not in PLACES and not (isinstance(value, str) and "/" in value)
    ]
    return dict(code=f"code {', '.join(commits)}", facts=facts, stages=stages, settings=shown)
