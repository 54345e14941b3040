"""You hold a trained MAE and new faces: reconstruct, audit and publish all of them, without training an MAE.

    python -m facemae_jax run --config=configs/deploy.py:MODEL --workdir=runs/release \\
        --config.data.seen=NEW_FACES --config.data.terms="the terms of those faces"

MODEL is a `train-mae-…` directory or its `model/`; image size, patch, mask ratio and mask focus are taken from it.
"""

import json
from pathlib import Path

from ml_collections import ConfigDict

from configs import base
from facemae_jax.types import FacemaeError


def get_config(model: str = "") -> ConfigDict:
    """Every person of ``data.seen`` is reconstructed; the judge is trained on their originals."""
    if not model:
        raise FacemaeError("configs/deploy.py needs the MAE after a colon: --config=configs/deploy.py:MODEL_DIRECTORY.")
    files = [folder / "model.json" for folder in (Path(model).expanduser(), Path(model).expanduser() / "model")]
    file = next((file for file in files if file.is_file()), None)
    if file is None:
        raise FacemaeError(
            f"configs/deploy.py:{model}: no model.json there; name a train-mae-… directory or its model/."
        )
    described = json.loads(file.read_text())
    if described.get("kind") != "mae":
        raise FacemaeError(f"configs/deploy.py:{model}: {file} describes a {described.get('kind')}, not an MAE.")
    c = base.get_config()
    c.name = "deploy"
    c.data.image_size = described["image_size"]
    c.mae.source = f"checkpoint:{model}"
    c.mae.patch = described["patch"]
    c.mae.visible = described["visible"]
    c.mae.mask_ratio = described["mask_ratio"]
    c.mae.mask_focus = described.get("mask_focus", 0.0)  # models of before this field saw no focus
    c.reconstruct.subset = "all"
    c.recognizer.variants = ("original", "mask", "blur", "reconstruction")
    # Nobody is left to learn from, and which images the MAE was trained on is not known.
    c.audit.update(dict(judges=("recognizer:original",), attacks=("fusion", "copy", "linkage")))
    c.verify.faces = ""
    return c
