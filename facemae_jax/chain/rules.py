"""What values the fields may have, which contradict each other, and what is derived from them before any work starts."""

from __future__ import annotations

import copy
import difflib
from collections.abc import Callable
from typing import Any

import jax
from ml_collections import ConfigDict

from facemae_jax import mesh as meshes
from facemae_jax.chain import import_rules, utility_rules
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
    "reconstruct.shard_records distort.pixelate "
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
    _check_together(config)


def _check_once(field: str, given: Any) -> None:
    if isinstance(given, tuple) and len(set(given)) < len(given):
        raise FacemaeError(f"--config.{field}={','.join(given)}: a name stands twice; leave one out.")


def _check_together(c: ConfigDict) -> None:
    def refuse(text: str) -> None:
        raise FacemaeError(text)

    if c.data.image_size % c.mae.patch:
        fits = [p for p in range(2, c.data.image_size) if c.data.image_size % p == 0]
        refuse(
            f"--config.mae.patch={c.mae.patch} does not divide data.image_size={c.data.image_size}: choose one of {fits}."
        )
    patches = (c.data.image_size // c.mae.patch) ** 2
    visible = c.mae.visible or masking.visible_count(patches, c.mae.mask_ratio)
    if not 0 < visible < patches:
        refuse(
            f"--config.mae.visible={visible}: an image has {patches} patches; choose from 1 to {patches - 1}, or another mae.mask_ratio."
        )
    if c.mae.size == "custom" and not (c.mae.width and c.mae.depth and c.mae.heads):
        refuse("--config.mae.size=custom needs mae.width, mae.depth and mae.heads greater than 0.")
    if c.mae.size != "custom" and (c.mae.width or c.mae.depth or c.mae.heads):
        refuse(
            f"--config.mae.size={c.mae.size} fixes width, depth and heads: set mae.size=custom to choose them, or leave them 0."
        )
    for width, heads, part in (
        (c.mae.width, c.mae.heads, "mae"),
        (c.mae.decoder_width, c.mae.decoder_heads, "mae.decoder_"),
    ):
        if heads and (width % heads or width % 4):
            refuse(f"{part}: width {width} must be divisible by {heads} heads and by 4 (positions).")
    if c.irm.group not in ("device",) and not c.irm.group.isdigit():
        refuse(f"--config.irm.group={c.irm.group}: choose 0 (the whole batch), a number of images, or device.")
    if c.irm.form == "gram" and (c.irm.kind != "cosine" or c.irm.group != "0"):
        refuse("--config.irm.form=gram is for irm.kind=cosine and irm.group=0 only: choose irm.form=rows.")
    if c.irm.form == "gram" and c.irm.chunk:
        refuse("--config.irm.chunk is for irm.form=rows: gram has no rows to take one after another; leave it 0.")
    weights = (c.mae.irm_weight, c.mae.feature_weight, c.mae.unlink_weight, c.mae.shift_weight)
    if c.teacher.count > 1 and c.teacher.source != "train":
        refuse(
            f"--config.teacher.count={c.teacher.count} trains teachers, but teacher.source={c.teacher.source} names one that exists: "
            "leave count 1, and name further ones in teacher.more."
        )
    if c.mae.source == "train" and not (c.mae.pixel_weight or any(weights)):
        refuse("mae: every loss weight is 0: give mae.pixel_weight or mae.irm_weight a value.")
    if c.mae.source == "train" and c.mae.norm_pix_loss:
        refuse(
            "--config.mae.norm_pix_loss=True trains an MAE whose images cannot be published: de-normalising needs the hidden "
            "patches' own mean and variance, which is a leak; leave it False, or train such a model with `train-mae` from your own code."
        )
    if c.reconstruct.subset == "all" and c.data.unseen not in ("", c.data.seen):
        refuse(
            '--config.reconstruct.subset=all needs one face set: leave data.unseen empty, or choose "seen" or "unseen".'
        )
    if c.reconstruct.composition == "paste" and not c.publish.allow_real_pixels:
        refuse(
            "--config.reconstruct.composition=paste publishes real pixels: say --config.publish.allow_real_pixels=True if that is meant."
        )
    real = [s for s in (c.data.seen, c.data.unseen) if s not in ("", "synthetic")]
    if real and not c.data.terms.strip():
        refuse(f"--config.data.terms is empty: say under which terms {real[0]} may be used; a release carries them.")
    import_rules.check_import(c)
    utility_rules.check_verify(c)
    for judge in c.audit.judges:
        utility_rules.check_judge(c, judge)
    if not c.audit.judges:
        refuse("--config.audit.judges is empty: a release needs at least one judge, such as onnx:PATH.")
    unattacked = [name for name in c.audit.trained_on if name not in c.audit.variants or name == "original"]
    if unattacked:
        refuse(
            f"--config.audit.trained_on={unattacked[0]}: choose among the protected of audit.variants ({', '.join(c.audit.variants)})."
        )
    if attacks.trains(c) and c.reconstruct.subset != "unseen":
        refuse(
            "--config.audit.attacks: aware and inversion learn from seen people and attack others, but reconstruct.subset="
            f"{c.reconstruct.subset} protects the seen ones too: leave them out of audit.attacks."
        )
    if "membership" in c.audit.attacks and c.mae.source != "train":
        refuse(
            f"--config.audit.attacks=membership asks which images the MAE was trained on, which mae.source={c.mae.source} does not say: "
            "leave it out of audit.attacks."
        )
    if c.audit.max_gallery < c.audit.max_queries:
        refuse(
            f"--config.audit.max_gallery={c.audit.max_gallery} must hold the sources of all {c.audit.max_queries} queries (audit.max_queries)."
        )
    b = c.publish.budget
    if b.limit == 1 and (b.judge or b.images > 1 or c.publish.on_excess != "refuse"):
        refuse(
            "--config.publish.budget.limit=1.0 is no budget: give the largest rank-1 rate, such as 0.2, or leave the other fields as they are."
        )
    if b.limit < 1 and "reconstruction" not in c.audit.variants:
        refuse("--config.publish.budget needs the reconstruction measured: add reconstruction to audit.variants.")
    if b.images > 1 and "fusion" not in c.audit.attacks:
        refuse(
            f"--config.publish.budget.images={b.images} is measured by the fusion attack: add fusion to audit.attacks, or choose 1."
        )
    if b.images > 1 and c.publish.on_excess != "refuse":
        refuse(
            f"--config.publish.on_excess={c.publish.on_excess} chooses single images: with publish.budget.images={b.images} only refuse is "
            "possible."
        )
    if b.images > 1 and b.figure != "same_identity":
        refuse(
            f"--config.publish.budget.figure={b.figure} is of single images: with publish.budget.images={b.images} choose same_identity."
        )
    if not c.publish.formats:
        refuse("--config.publish.formats is empty: choose array_record, or array_record,tfrecord.")
    if not c.publish.name.isidentifier() or c.publish.name != c.publish.name.lower():
        refuse(
            f"--config.publish.name={c.publish.name}: use small letters, digits and underscores, as in tfds.load(name)."
        )
    if not all(part.isdigit() for part in c.publish.version.split(".")) or c.publish.version.count(".") != 2:
        refuse(f"--config.publish.version={c.publish.version}: write MAJOR.MINOR.PATCH, such as 1.0.0.")


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
