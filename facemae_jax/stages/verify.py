"""Utility: how well each recognizer tells people apart who were in no training set, by LFW's protocol.

Every recognizer of the chain has a row, and so have the teacher and the judges whose weights came from outside, so
that their strength is known. ``verify.json`` holds the rows and, fold by fold, their differences to ``mask`` and ``original``.
What leaks is measured by ``audit``.

``verify.json``::

    {"protocol": {"pairs": "generated" | "file", "count", "positive", "folds", "images", "flip"},
     "rows": [{"name", "kind": "recognizer" | "teacher" | "judge", "accuracy": {"mean", "std", "standard_error", "folds"},
               "thresholds", "auc", "eer", "tar_at_far": {"0.1": …}, "roc": {"far", "tar"}, "pairs"}],
     "differences": {"mask" | "original": {NAME: {"mean", "standard_error"}}}}

``gap_to_real`` ({NAME: (original − row) / row}, as below), ``protocols`` and ``average`` (see ``verify_protocols``) and ``groups`` (one row per
recognizer, see ``metrics.groups``) are there where ``verify.protocols`` or ``verify.groups`` ask for more than the main pairs.

All rates are shares of 1. A difference is the row's accuracy minus that of ``mask`` (or ``original``), over the same folds.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import jax
import numpy as np

from facemae_jax import logs
from facemae_jax.data.face_set import FaceSet, open_face_set
from facemae_jax.data.formats.verification_bin import is_bin, read_bin_pairs
from facemae_jax.data.groups import read_groups
from facemae_jax.data.pairs import Pairs, generate_pairs, read_pairs
from facemae_jax.mesh import make_mesh
from facemae_jax.metrics.gaps import gaps
from facemae_jax.metrics.verification import paired_fold_difference
from facemae_jax.models.frozen import load_frozen
from facemae_jax.stages import judges, train_recognizer, verify_protocols
from facemae_jax.stages.inputs import Inputs, Ref
from facemae_jax.stages.teachers import load_first
from facemae_jax.stages.verify_rows import Embedder, Verified, pair_rows
from facemae_jax.stages.verify_table import table

VERB = "verify"
VERSION = 1
ALONE = False  # every process takes part
SUMMARY = "verify recognizers on face pairs of other people: accuracy, AUC, EER, TAR at FAR; LFW, CFP, AgeDB, CALFW, CPLFW, IJB"
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
# The places of lists: their content is hashed, as outside inputs.
UNHASHED = ("mesh", "data.threads", "verify.pairs", "verify.groups", "verify.protocols", *judges.UNHASHED)
PAIRS_SEED = 0  # the pairs stay the same when the seed of a training changes, so that seeds can be compared
BASELINES = ("mask", "original")


def variants(config: Any) -> tuple[str, ...]:
    """One result."""
    return ("",)


def reads(config: Any, variant: str) -> dict[str, Ref]:
    """Evaluation faces of every protocol, all recognizers, and the judges that this chain trains."""
    found = {"faces": Ref("import-faces", "verify")}
    found |= {f"recognizer:{name}": Ref("train-recognizer", name) for name in train_recognizer.variants(config)}
    return found | verify_protocols.reads(config) | judges.reads(config, teacher=False)


def outside(config: Any, variant: str) -> dict[str, str]:
    """The lists of pairs and groups, and weights from outside."""
    found = judges.outside(config) | verify_protocols.outside(config)
    found |= {"groups": config.verify.groups} if config.verify.groups else {}
    if config.verify.pairs != "generated":
        return found | {"pairs": config.verify.pairs}
    return found | ({"pairs": config.verify.faces} if is_bin(config.verify.faces) else {})


def run(config: Any, inputs: Inputs, out: Path, variant: str) -> dict[str, Any]:
    """Embed the evaluation faces with every recognizer and decide the pairs; then those of every further protocol."""
    faces, pairs = _pairs(config, inputs)
    embedder = Embedder(
        config.verify.batch,
        make_mesh(config.mesh.data, config.mesh.fsdp),
        config.verify.flip,
        config.data.threads,
        inputs.embeddings,
    )
    asked = _loaded(config, inputs)
    facts, rows, grouped = pair_rows(asked, embedder, faces, pairs, "evaluation faces", _groups(inputs, faces, pairs))
    folds = {row["name"]: row["accuracy"]["folds"] for row in rows}
    result: dict[str, Any] = {
        "protocol": {"pairs": "file" if "pairs" in inputs else "generated"} | facts,
        "rows": rows,
        "differences": {
            base: {name: paired_fold_difference(folds[name], folds[base]) for name in folds if name != base}
            for base in BASELINES
            if base in folds
        },
    }
    more = verify_protocols.measure(config, inputs, asked, embedder) | ({"groups": grouped} if grouped else {})
    if more:
        result |= {"gap_to_real": gaps(rows)} | more
    if jax.process_index() == 0:
        partial = out / "verify.json.partial"
        partial.write_text(json.dumps(result, indent=1))
        os.replace(partial, out / "verify.json")
        logs.say(table(result))
    return {
        row["name"]: {"accuracy": row["accuracy"]["mean"], "standard_error": row["accuracy"]["standard_error"]}
        for row in rows
    }


def _pairs(config: Any, inputs: Inputs) -> tuple[FaceSet, Pairs]:
    faces = open_face_set(inputs["faces"].path / "faces")
    if "pairs" in inputs:
        path = inputs["pairs"].path
        return faces, read_bin_pairs(path, faces) if is_bin(path) else read_pairs(path, faces)
    return faces, generate_pairs(faces.labels_n, count=config.verify.count, folds=config.verify.folds, seed=PAIRS_SEED)


def _groups(inputs: Inputs, faces: FaceSet, pairs: Pairs) -> tuple[np.ndarray, np.ndarray] | None:
    """Group of the left and of the right person of each pair; None where no groups are given."""
    if "groups" not in inputs:
        return None
    group_n = np.array(read_groups(inputs["groups"].path, faces.identity_names))[faces.labels_n]
    return group_n[pairs.left_n], group_n[pairs.right_n]


def _loaded(config: Any, inputs: Inputs) -> list[Verified]:
    """The recognizer of every row: those of variants, teacher, judges from outside."""
    rows = [
        Verified(name, "recognizer", load_frozen(f"checkpoint:{inputs[f'recognizer:{name}'].path}"))
        for name in train_recognizer.variants(config)
    ]
    if judges.TEACHER in inputs:
        rows.append(Verified(judges.TEACHER, "teacher", load_first(config, inputs)))
    others = [judge for judge in judges.judges(config) if judge.kind in judges.OUTSIDE]
    loaded = [(judge, judges.load_judge(config, judge, inputs)) for judge in others]
    taken = [row.name for row in rows]
    for (_, frozen), name in zip(loaded, judges.names(loaded, taken), strict=True):
        if all(frozen.digest != row.frozen.digest for row in rows):  # one row per set of weights
            rows.append(Verified(name, "judge", frozen))
    return rows
