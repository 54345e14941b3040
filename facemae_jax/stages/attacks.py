"""Which further attacks an audit asks for, and what they need of the chain. What they do is in ``stages.attackers``."""

from __future__ import annotations

from typing import Any

from facemae_jax.stages.inputs import Ref, faces_ref
from facemae_jax.stages.train_recognizer import RECONSTRUCTION

ATTACKS = ("fusion", "copy", "linkage", "membership", "aware", "inversion")
TRAINED = ("aware", "inversion")  # networks of the attackers' own
FIELDS = (
    "audit.attacks", "audit.trained_on", "audit.attack_images", "audit.membership_masks", "audit.attack_steps",
    "audit.attack_batch", "audit.attack_learning_rate", "audit.aware_start",
    "mae.patch", "mae.visible", "mae.mask_focus", "reconstruct.encoding", "reconstruct.quality", "reconstruct.composition",
    "reconstruct.people",
)  # fmt: skip
UNHASHED = ("reconstruct.batch", "reconstruct.shard_records")
STARTS = ("auto", "tune", "adapt")


def reads(config: Any) -> dict[str, Ref]:
    """The MAE and the seen people, for the attacks that need them."""
    found = {}
    if needs_mae(config):
        found["mae"] = Ref("train-mae")
    if needs_seen(config):
        found["seen"] = faces_ref(config, "seen")
    if "membership" in config.audit.attacks:
        found["unseen"] = faces_ref(config, "unseen")
    return found


def trains(config: Any) -> bool:
    """Whether an attacker trains a network."""
    return bool(config.audit.trained_on and set(TRAINED) & set(config.audit.attacks))


def needs_mae(config: Any) -> bool:
    """Whether an attacker paints faces, or asks the MAE about them."""
    links = RECONSTRUCTION in config.audit.variants and "linkage" in config.audit.attacks
    learns = RECONSTRUCTION in config.audit.trained_on and trains(config)
    return links or learns or "membership" in config.audit.attacks


def needs_seen(config: Any) -> bool:
    """Whether an attacker uses images of seen people."""
    return trains(config) or "membership" in config.audit.attacks
