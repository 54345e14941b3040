"""Utility: how well each recognizer tells people apart who were in no training set, by LFW's protocol.

Every recognizer of the chain has a row, and so have the teacher and the judges whose weights came from outside, so
that their strength is known. ``verify.json`` holds the rows and, fold by fold, their differences to ``mask`` and ``original``.
What leaks is measured by ``audit``.

``verify.json``::

    {"protocol": {"pairs": "generated" | "file", "count", "positive", "folds", "images", "flip"},
     "rows": [{"name", "kind": "recognizer" | "teacher" | "judge", "accuracy": {"mean", "std", "standard_error", "folds"},
               "thresholds", "auc", "eer", "tar_at_far": {"0.1": …}, "roc": {"far", "tar"}, "pairs"}],
     "differences": {"mask" | "original": {NAME: {"mean", "standard_error"}}}}

All rates are shares of 1. A difference is the row's accuracy minus that of ``mask`` (or ``original``), over the same folds.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh

from facemae_jax import logs
from facemae_jax.data.face_set import FaceSet, open_face_set
from facemae_jax.data.pairs import Pairs, generate_pairs, read_pairs
from facemae_jax.embed import embed
from facemae_jax.mesh import make_mesh
from facemae_jax.metrics.verification import paired_fold_difference, verification
from facemae_jax.models.frozen import Frozen, load_frozen
from facemae_jax.stages import judges, train_recognizer
from facemae_jax.stages.inputs import Inputs, Ref

VERB = "verify"
VERSION = 1
ALONE = False  # every process takes part
SUMMARY = "verify recognizers on face pairs of other people: accuracy, AUC, EER, TAR at FAR"
FIELDS = {
    "": (
        "verify.count",
        "verify.folds",
        "verify.flip",
        "verify.batch",
        "recognizer.faces",
        "recognizer.variants",
        *judges.FIELDS,
    )
}
UNHASHED = ("mesh", "data.threads", "verify.pairs", *judges.UNHASHED)
PAIRS_SEED = 0  # the pairs stay the same when the seed of a training changes, so that seeds can be compared
BASELINES = ("mask", "original")


def variants(config: Any) -> tuple[str, ...]:
    """One result."""
    return ("",)


def reads(config: Any, variant: str) -> dict[str, Ref]:
    """Evaluation faces, all recognizers, and the judges that this chain trains."""
    found = {"faces": Ref("import-faces", "verify")}
    found |= {f"recognizer:{name}": Ref("train-recognizer", name) for name in train_recognizer.variants(config)}
    return found | judges.reads(config, teacher=False)


def outside(config: Any, variant: str) -> dict[str, str]:
    """The list of pairs, and weights from outside."""
    found = judges.outside(config)
    return found if config.verify.pairs == "generated" else found | {"pairs": config.verify.pairs}


def run(config: Any, inputs: Inputs, out: Path, variant: str) -> dict[str, Any]:
    """Embed the evaluation faces with every recognizer and decide the pairs."""
    faces, pairs = _pairs(config, inputs)
    mesh = make_mesh(config.mesh.data, config.mesh.fsdp)
    rows = []
    for name, kind, frozen in _loaded(config, inputs):
        similarities_n = _similarities(config, frozen, faces, pairs, mesh, inputs.embeddings, name)
        rows.append({"name": name, "kind": kind} | verification(similarities_n, pairs.same_n, pairs.fold_n))
    folds = {row["name"]: row["accuracy"]["folds"] for row in rows}
    result = {
        "protocol": {
            "pairs": "generated" if config.verify.pairs == "generated" else "file",
            "count": len(pairs.same_n),
            "positive": int(np.count_nonzero(pairs.same_n)),
            "folds": len(np.unique(pairs.fold_n)),
            "images": len(faces),
            "flip": bool(config.verify.flip),
        },
        "rows": rows,
        "differences": {
            base: {name: paired_fold_difference(folds[name], folds[base]) for name in folds if name != base}
            for base in BASELINES
            if base in folds
        },
    }
    if jax.process_index() == 0:
        partial = out / "verify.json.partial"
        partial.write_text(json.dumps(result, indent=1))
        os.replace(partial, out / "verify.json")
        logs.say(table(result))
    return {
        row["name"]: {"accuracy": row["accuracy"]["mean"], "standard_error": row["accuracy"]["standard_error"]}
        for row in rows
    }


def table(result: dict[str, Any]) -> str:
    """The rows of ``verify.json`` as text, in percent."""
    rates = sorted({far for row in result["rows"] for far in row["tar_at_far"]}, key=float, reverse=True)
    protocol = result["protocol"]
    width = max(len(row["name"]) for row in result["rows"])
    lines = [
        f"verification of {protocol['count']} pairs in {protocol['folds']} folds, "
        f"{'image and mirror image' if protocol['flip'] else 'image alone'} (%; ± is one standard error):",
        f"  {'':{width}}  {'accuracy':>14} {'AUC':>6} {'EER':>6}" + "".join(f" {f'TAR@{far}':>10}" for far in rates),
    ]
    for row in result["rows"]:
        accuracy = row["accuracy"]
        lines.append(
            f"  {row['name']:{width}}  {100 * accuracy['mean']:7.2f} ± {100 * accuracy['standard_error']:4.2f} "
            f"{100 * row['auc']:6.2f} {100 * row['eer']:6.2f}"
            + "".join(f" {100 * row['tar_at_far'][far]:10.2f}" for far in rates)
        )
    return "\n".join(lines)


def _pairs(config: Any, inputs: Inputs) -> tuple[FaceSet, Pairs]:
    """The pairs, and only those images that occur in one."""
    faces = open_face_set(inputs["faces"].path / "faces")
    if config.verify.pairs == "generated":
        pairs = generate_pairs(faces.labels_n, count=config.verify.count, folds=config.verify.folds, seed=PAIRS_SEED)
    else:
        pairs = read_pairs(inputs["pairs"].path, faces)
    used, where = np.unique(np.concatenate([pairs.left_n, pairs.right_n]), return_inverse=True)
    left_n, right_n = np.split(where, 2)
    return faces.subset(used), pairs._replace(left_n=left_n, right_n=right_n)


def _loaded(config: Any, inputs: Inputs) -> list[tuple[str, str, Frozen]]:
    """(name, kind, weights) of every row: recognizers, teacher, judges from outside."""
    rows = [
        (name, "recognizer", load_frozen(f"checkpoint:{inputs[f'recognizer:{name}'].path}"))
        for name in train_recognizer.variants(config)
    ]
    if judges.TEACHER in inputs:
        rows.append((judges.TEACHER, "teacher", judges.load_teacher(config, inputs)))
    others = [judge for judge in judges.judges(config) if judge.kind in judges.OUTSIDE]
    loaded = [(judge, judges.load_judge(config, judge, inputs)) for judge in others]
    taken = [name for name, _, _ in rows]
    for (_, frozen), name in zip(loaded, judges.names(loaded, taken), strict=True):
        if all(frozen.digest != row.digest for _, _, row in rows):  # one row per set of weights
            rows.append((name, "judge", frozen))
    return rows


def _similarities(
    config: Any, frozen: Frozen, faces: FaceSet, pairs: Pairs, mesh: Mesh, cache: Path, name: str
) -> np.ndarray:
    """Cosine of every pair."""
    embeddings_nE = embed(
        frozen,
        faces,
        batch=config.verify.batch,
        mesh=mesh,
        flip=config.verify.flip,
        threads=config.data.threads,
        cache_dir=cache,
        label=f"{name}: evaluation faces",
    )
    return np.einsum("ne,ne->n", embeddings_nE[pairs.left_n], embeddings_nE[pairs.right_n])
