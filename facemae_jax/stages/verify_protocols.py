"""The protocols that ``verify`` measures beside its main pairs (``verify.protocols``): which, on which faces, and their figures.

``verify.json`` gets, where any is asked for::

    {"protocols": {NAME: {"protocol": {"count", "positive", "images", "flip", "folds" | "templates"},
                          "rows": [as of the main pairs; of IJB-B and IJB-C: "name", "kind", "auc", "eer", "tar_at_far", "roc", "pairs"],
                          "gap_to_real": {NAME: share}}},
     "average": {"over": [names], "rows": [{"name", "kind", "accuracy"}], "gap_to_real": {NAME: share}}}  # where all five are there

``gap_to_real`` is (real − row) / row, with the recognizer ``original`` as real: of accuracies, of IJB of TAR at FAR 1e-4.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from facemae_jax.data.face_set import open_face_set
from facemae_jax.data.formats.verification_bin import is_bin
from facemae_jax.data.protocols import PROTOCOLS, read_protocol
from facemae_jax.data.templates import read_templates
from facemae_jax.metrics.gaps import gaps
from facemae_jax.stages.inputs import Inputs, Ref
from facemae_jax.stages.verify_rows import Embedder, Verified, pair_rows, template_rows

IMPORT = "verify@"  # before a protocol's name: the import of its faces
TEMPLATES = ("ijbb", "ijbc")
NAMES = (*PROTOCOLS, *TEMPLATES)
AVERAGED = ("lfw", "cfp_fp", "agedb_30", "calfw", "cplfw")  # over which papers on synthetic faces give an average


def measured(config: Any) -> list[str]:
    """The protocols that the config gives faces for."""
    return [name for name in NAMES if config.verify.protocols[name].faces]


def imports(config: Any) -> dict[str, str]:
    """Variant of ``import-faces`` → place, once for protocols that share their faces, without those of the main pairs."""
    if not config.verify.faces:
        return {}
    return {
        variant: config.verify.protocols[name].faces
        for name in measured(config)
        if (variant := _import(config, name)) == IMPORT + name
    }


def _import(config: Any, name: str) -> str:
    """The import that holds the faces of a protocol."""
    place = config.verify.protocols[name].faces
    if place == config.verify.faces:
        return "verify"
    return IMPORT + next(other for other in NAMES if config.verify.protocols[other].faces == place)


def reads(config: Any) -> dict[str, Ref]:
    """The imported faces of every protocol."""
    return {f"faces:{name}": Ref("import-faces", _import(config, name)) for name in measured(config)}


def outside(config: Any) -> dict[str, str]:
    """The lists of every protocol; a ``.bin`` has its own."""
    asked_of = {name: config.verify.protocols[name] for name in measured(config)}
    found = {
        f"pairs:{name}": asked.faces if is_bin(asked.faces) and not asked.pairs else asked.pairs
        for name, asked in asked_of.items()
    }
    asked = [name for name in measured(config) if name in TEMPLATES]
    return found | {f"media:{name}": config.verify.protocols[name].media for name in asked}


def measure(config: Any, inputs: Inputs, asked: Sequence[Verified], embedder: Embedder) -> dict[str, Any]:
    """``protocols`` and ``average`` of ``verify.json``; nothing where no protocol is asked for."""
    found: dict[str, dict[str, Any]] = {}
    for name in measured(config):
        faces, pairs = open_face_set(inputs[f"faces:{name}"].path / "faces"), inputs[f"pairs:{name}"].path
        if name in TEMPLATES:
            templates = read_templates(inputs[f"media:{name}"].path, pairs, faces)
            facts, rows = template_rows(asked, embedder, faces, templates, name)
            found[name] = {"protocol": facts, "rows": rows, "gap_to_real": gaps(rows)}
        else:
            facts, rows, _ = pair_rows(asked, embedder, faces, read_protocol(name, pairs, faces), name)
            found[name] = {"protocol": facts, "rows": rows, "gap_to_real": gaps(rows)}
    if not found:
        return {}
    return {"protocols": found} | ({"average": average(found)} if set(AVERAGED) <= set(found) else {})


def average(protocols: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """Each row's mean accuracy over :data:`AVERAGED`; its Gap-to-Real is that of the means, not the mean of gaps.

    The standard error takes the protocols' errors as independent: √(Σ se²) / 5.
    """
    heads = [{"name": row["name"], "kind": row["kind"]} for row in protocols[AVERAGED[0]]["rows"]]
    accuracies = [[row["accuracy"] for row in protocols[name]["rows"]] for name in AVERAGED]
    mean_r = np.mean([[one["mean"] for one in rows] for rows in accuracies], axis=0)
    error_r = np.linalg.norm([[one["standard_error"] for one in rows] for rows in accuracies], axis=0) / len(AVERAGED)
    rows = [
        head | {"accuracy": {"mean": float(mean), "standard_error": float(error)}}
        for head, mean, error in zip(heads, mean_r, error_r, strict=True)
    ]
    return {"over": list(AVERAGED), "rows": rows, "gap_to_real": gaps(rows)}
