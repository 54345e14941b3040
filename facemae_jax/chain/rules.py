"""What values the fields may have, and what is derived from them before any work starts."""

from __future__ import annotations

import copy
import difflib
from collections.abc import Callable
from typing import Any

import jax
from ml_collections import ConfigDict

from facemae_jax import mesh as meshes
from facemae_jax.chain import contradictions, utility_rules
from facemae_jax.chain.settings import flat
from facemae_jax.export.budget import FIGURES, WAYS
from facemae_jax.models import masking, recognizer, vit
from facemae_jax.stages import attacks
from facemae_jax.train.recognizer_task import KINDS
from facemae_jax.types import FacemaeError

VARIANTS = ("recognizer.variants", "audit.variants")
NETWORKS = tuple(recognizer.NETWORKS)
DTYPES = ("float32", "bfloat16")
RANGES = ("unit", "zero_one", "bytes")
ORDERS = ("rgb", "bgr")

CHOICES: dict[str, tuple[str, ...]] = {
    "data.detect": ("", "dlib"),
    "data.on_bad_record": ("fail", "skip"),
    "teacher.input_range": RANGES,
    "teacher.colour_order": ORDERS,
    "teacher.network": NETWORKS,
    "teacher.dtype": DTYPES,
    "mae.size": (*vit.SIZES, "custom"),
    "mae.dtype": DTYPES,
    "mae.remat_keep": tuple(vit.KEPT),
    "irm.kind": ("cosine", "euclidean"),
    "irm.form": ("rows", "gram"),
    "reconstruct.subset": ("unseen", "seen", "all"),
    "reconstruct.composition": ("full", "paste"),
    "reconstruct.encoding": ("jpeg", "png"),
    "recognizer.network": NETWORKS,
    "recognizer.dtype": DTYPES,
    "audit.attacks": attacks.ATTACKS,
    "audit.aware_start": attacks.STARTS,
    "audit.judge_input_range": RANGES,
    "audit.judge_colour_order": ORDERS,
    "publish.formats": ("array_record", "tfrecord"),
    "publish.budget.figure": tuple(FIGURES),
    "publish.on_excess": WAYS,
    **{f"{part}.optim.optimizer": ("adamw", "sgd") for part in ("teacher", "mae", "recognizer")},
    **{f"{part}.margin.kind": KINDS for part in ("teacher", "recognizer")},
    **{f"{part}.head.dtype": DTYPES for part in ("teacher", "recognizer")},
}
SOURCES: dict[str, tuple[str, ...]] = {
    "teacher.source": ("train", "onnx:PATH", "checkpoint:PATH"),
    "teacher.more": ("onnx:PATH", "checkpoint:PATH"),
    "mae.source": ("train", "checkpoint:PATH"),
    "audit.judges": ("teacher", "recognizer:VARIANT", "onnx:PATH", "checkpoint:PATH", "dlib"),
}
Test = Callable[[Any], bool]
POSITIVE: tuple[Test, str] = (lambda x: x > 0, "greater than 0")
NATURAL: tuple[Test, str] = (lambda x: x >= 0, "0 or greater")
SHARE: tuple[Test, str] = (lambda x: 0 < x < 1, "between 0 and 1")
CLOSED: tuple[Test, str] = (lambda x: 0 <= x <= 1, "from 0 to 1")
FOLDS: tuple[Test, str] = (lambda x: x >= 2, "at least 2")
ABOVE_ZERO = (
    "data.image_size data.max_pixels data.threads data.min_images synthetic.identities synthetic.images teacher.embedding "
    "teacher.count recognizer.embedding mae.decoder_width mae.decoder_depth mae.decoder_heads mae.patch reconstruct.batch "
    "reconstruct.shard_records reconstruct.people distort.pixelate "
    "distort.dppix_epsilon distort.dppix_m verify.identities verify.images verify.count verify.batch audit.max_queries "
    "audit.max_gallery audit.attack_images audit.attack_steps audit.attack_batch audit.attack_learning_rate "
    "audit.membership_masks audit.batch mesh.fsdp "
    "publish.budget.images publish.resample_rounds"
).split()
ZERO_OR_MORE = (
    "seed data.split_seed synthetic.seed synthetic.difficulty mae.width mae.depth mae.heads mae.visible mae.pixel_weight "
    "mae.irm_weight mae.feature_weight mae.unlink_weight mae.shift_weight mae.mask_focus irm.chunk "
    "distort.blur distort.noise audit.seed report.images"
).split()
LIMITS: dict[str, tuple[Test, str]] = (
    {name: POSITIVE for name in ABOVE_ZERO}
    | {name: NATURAL for name in ZERO_OR_MORE}
    | {name: SHARE for name in ("data.seen_share", "mae.mask_ratio", "distort.mask_ratio")}
    | {
        name: CLOSED
        for name in (
            "mae.relation_from",
            "mae.shift_share",
            "teacher.dropout",
            "recognizer.dropout",
            "publish.budget.limit",
        )
    }
    | {name: (lambda x: 1 <= x <= 100, "from 1 to 100") for name in ("data.jpeg_quality", "reconstruct.quality")}
    | {
        "verify.folds": FOLDS,
        "distort.ksame": FOLDS,
        "mae.unlink_margin": (lambda x: -1 <= x <= 1, "a cosine, from −1 to 1"),
    }
    | {"mesh.data": (lambda x: x == -1 or x > 0, "-1 (what is left) or greater than 0")}
    | {
        f"{part}.optim.{name}": rule
        for part in ("teacher", "mae", "recognizer")
        for names, rule in (
            ("epochs batch accumulate learning_rate log_every save_every keep_latest", POSITIVE),
            ("final_learning_rate weight_decay clip keep_best", NATURAL),
            ("warmup momentum", CLOSED),
        )
        for name in names.split()
    }
    | {f"{part}.margin.{name}": NATURAL for part in ("teacher", "recognizer") for name in ("m1", "m2", "m3", "m")}
    | {f"{part}.margin.{name}": POSITIVE for part in ("teacher", "recognizer") for name in ("scale", "h")}
    | {f"{part}.head.sample": (lambda x: 0 < x <= 1, "above 0 and up to 1") for part in ("teacher", "recognizer")}
    | {
        f"{part}.augment.crop": (lambda x: 0 < x <= 1, "above 0 and up to 1")
        for part in ("teacher", "mae", "recognizer")
    }
)


def check(config: ConfigDict) -> None:
    """Fail before any work on an unknown or contradictory value: field, value, choices, nearest name.

    Raises:
        FacemaeError: one sentence on the first fault.
    """
    values = flat(config)
    for field, choices in CHOICES.items():
        given = values[field]
        for value in given if isinstance(given, tuple) else (given,):
            if value not in choices:
                near = difflib.get_close_matches(str(value), choices, n=1)
                raise FacemaeError(
                    f"--config.{field}={value}: choose one of {', '.join(choices)}{f' (did you mean {near[0]}?)' if near else ''}."
                )
        _check_once(field, given)
    for field in VARIANTS:
        for variant in values[field]:
            utility_rules.check_variant(field, variant)
        _check_once(field, values[field])
    for field, forms in SOURCES.items():
        given = values[field]
        for value in given if isinstance(given, tuple) else (given,):
            if not any(
                value == form or (":" in form and value.startswith(form.split(":")[0] + ":") and value[-1] != ":")
                for form in forms
            ):
                raise FacemaeError(f"--config.{field}={value}: choose one of the forms {', '.join(forms)}.")
    for field, (holds, text) in LIMITS.items():
        if not holds(values[field]):
            raise FacemaeError(f"--config.{field}={values[field]}: must be {text}.")
    contradictions.check_together(config)


def _check_once(field: str, given: Any) -> None:
    if isinstance(given, tuple) and len(set(given)) < len(given):
        raise FacemaeError(f"--config.{field}={','.join(given)}: a name stands twice; leave one out.")


def resolve(config: ConfigDict) -> ConfigDict:
    """The config with every derived value in its place, checked against the devices of this machine.

    ``mae.visible`` becomes an integer; ``irm.group="device"`` becomes batch / devices; batches must divide over the mesh.
    """
    config = copy.deepcopy(config)
    mesh = meshes.make_mesh(config.mesh.data, config.mesh.fsdp)
    devices = mesh.size if jax.process_count() == 1 else jax.device_count()
    for part in ("teacher", "mae", "recognizer"):
        optim = config[part].optim
        if optim.batch % optim.accumulate:
            raise FacemaeError(
                f"--config.{part}.optim.accumulate={optim.accumulate} does not divide {part}.optim.batch={optim.batch}."
            )
        meshes.check_batch(mesh, optim.batch // optim.accumulate, f"{part}.optim.batch")
    for part in ("verify", "audit"):
        meshes.check_batch(mesh, config[part].batch, f"{part}.batch")
    if attacks.trains(config):
        meshes.check_batch(mesh, config.audit.attack_batch, "audit.attack_batch")
    with config.unlocked():
        patches = (config.data.image_size // config.mae.patch) ** 2
        config.mae.visible = config.mae.visible or masking.visible_count(patches, config.mae.mask_ratio)
        micro = config.mae.optim.batch // config.mae.optim.accumulate
        if config.irm.group == "device":
            config.irm.group = str(micro // devices)
        group = int(config.irm.group)
        if group and (micro % group or group < 2):
            fits = [n for n in range(2, micro + 1) if micro % n == 0]
            raise FacemaeError(
                f"--config.irm.group={group} does not divide the {micro} images of a micro-batch: choose 0 or one of {fits}."
            )
        own = micro // devices
        if config.irm.chunk and own % min(config.irm.chunk, own):
            fits = [n for n in range(1, own + 1) if own % n == 0]
            raise FacemaeError(
                f"--config.irm.chunk={config.irm.chunk} does not divide the {own} images of a device: choose 0 or one of {fits}."
            )
    return config
