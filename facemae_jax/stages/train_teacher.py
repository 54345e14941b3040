"""The teacher: a recognizer trained on the seen people, then frozen inside the relation loss; or several of them, each from its own seed.

None is made when ``teacher.source`` names existing weights.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from facemae_jax.stages import teachers
from facemae_jax.stages.inputs import Inputs, Ref, faces_ref, pick_faces
from facemae_jax.stages.recognizers import train_recognizer
from facemae_jax.stages.training import CADENCE

VERB = "train-teacher"
VERSION = 1
ALONE = False  # every process takes part
SUMMARY = "train the recognizer that the MAE's relation loss looks through, on seen people"
FIELDS = {
    "": (
        "seed", "data.image_size", "data.seen_share", "data.split_seed", "teacher.network", "teacher.embedding", "teacher.dtype",
        "teacher.dropout", "teacher.margin", "teacher.head", "teacher.augment", "teacher.optim",
    )
}  # fmt: skip
UNHASHED = ("mesh", "data.threads", "teacher.optim.init_from", *(f"teacher.optim.{name}" for name in CADENCE))


def variants(config: Any) -> tuple[str, ...]:
    """One result per teacher, or none where existing weights are named."""
    return teachers.trained(config)


def reads(config: Any, variant: str) -> dict[str, Ref]:
    """The seen faces."""
    return {"faces": faces_ref(config, "seen")}


def outside(config: Any, variant: str) -> dict[str, str]:
    """Weights to begin with, where some are named."""
    place = config.teacher.optim.init_from
    return {"init_from": f"checkpoint:{place}"} if place else {}


def run(config: Any, inputs: Inputs, out: Path, variant: str) -> dict[str, Any]:
    """Train and save."""
    if variant:
        with (config := config.copy_and_resolve_references()).unlocked():
            config.seed = teachers.TEACHER_SEEDS * config.seed + int(variant)
    faces = pick_faces(config, inputs["faces"], "seen")
    return train_recognizer(
        config, config.teacher, faces, out, label=f"teacher{variant and f'-{variant}'}", field="teacher"
    )
