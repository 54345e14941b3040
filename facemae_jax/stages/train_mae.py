"""The masked autoencoder: trained on seen people under the total loss of FaceMAE, or taken from a checkpoint.

With ``mae.relation_from`` above 0 the first part of the steps uses the pixel loss alone; then the frozen teachers join. That part is trained once
per workdir for all settings of the losses that follow (``mae.keep_pixels``).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from jax.sharding import Mesh

from facemae_jax import logs
from facemae_jax.checkpoint import load_model, save_model
from facemae_jax.data.face_set import FaceSet
from facemae_jax.embed import embed
from facemae_jax.losses.shift import fit_shift
from facemae_jax.models.mae import Mae, MaeConfig, mae_config
from facemae_jax.models.vit import stack, unstack
from facemae_jax.stages import teachers
from facemae_jax.stages.inputs import Inputs, Ref, faces_ref, pick_faces
from facemae_jax.stages.teachers import TEACHER_SEEDS
from facemae_jax.stages.training import CADENCE, Common, faces_of_size, fit, mesh_of, warm_start
from facemae_jax.train.mae_task import Guide, MaeLoss, mae_task
from facemae_jax.types import FacemaeError

VERB = "train-mae"
VERSION = 1
ALONE = False  # every process takes part
SUMMARY = "train the masked autoencoder on seen people: pixels, and relations through the teacher"
FIELDS = {
    "": (
        "seed", "data.image_size", "data.seen_share", "data.split_seed", "mae", "irm", "teacher.count", "teacher.input_range",
        "teacher.colour_order",
    )
}  # fmt: skip
UNHASHED = (
    "mesh", "data.threads", "teacher.source", "teacher.more", "mae.source", "mae.keep_pixels", "mae.optim.init_from",
    *(f"mae.optim.{name}" for name in CADENCE),
)  # fmt: skip
# Fields of mae that the part of pixels alone does not depend on, and those that say where things come from or go to.
LATER = ("irm_weight", "feature_weight", "unlink_weight", "unlink_margin", "shift_weight", "shift_share")
ELSEWHERE = ("source", "keep_pixels", "optim", "relation_from")


def variants(config: Any) -> tuple[str, ...]:
    """One MAE."""
    return ("",)


def _weights(config: Any) -> tuple[float, ...]:
    return config.mae.irm_weight, config.mae.feature_weight, config.mae.unlink_weight, config.mae.shift_weight


def reads(config: Any, variant: str) -> dict[str, Ref]:
    """Seen faces and, where a loss compares embeddings, the teachers; nothing for an MAE from a checkpoint."""
    if config.mae.source != "train":
        return {}
    found = {"faces": faces_ref(config, "seen")}
    return found | (teachers.reads(config) if any(_weights(config)) else {})


def outside(config: Any, variant: str) -> dict[str, str]:
    """An MAE, teachers, or weights to begin with, from outside."""
    if config.mae.source != "train":
        return {"mae": config.mae.source}
    place = config.mae.optim.init_from
    found = {"init_from": f"checkpoint:{place}"} if place else {}
    return found | (teachers.outside(config) if any(_weights(config)) else {})


def run(config: Any, inputs: Inputs, out: Path, variant: str) -> dict[str, Any]:
    """Train and save; or check and copy."""
    if config.mae.source != "train":
        return _adopt(config, inputs, out)
    faces = faces_of_size(pick_faces(config, inputs["faces"], "seen"), config)
    mesh = mesh_of(config)
    model = Mae(mae_config(config.mae, config.data.image_size), mesh)
    loss = MaeLoss(
        pixel_weight=config.mae.pixel_weight,
        irm_weight=config.mae.irm_weight,
        feature_weight=config.mae.feature_weight,
        unlink_weight=config.mae.unlink_weight,
        unlink_margin=config.mae.unlink_margin,
        shift_weight=config.mae.shift_weight,
        irm_kind=config.irm.kind,
        irm_group=int(config.irm.group),
        irm_form=config.irm.form,
        irm_chunk=config.irm.chunk,
        norm_pix=config.mae.norm_pix_loss,
    )
    guides = _guides(config, inputs, faces, mesh) if loss.needs_teacher else []
    tasks = [(1.0, mae_task(model, loss, guides=guides, mesh=mesh))]
    if loss.needs_teacher and config.mae.relation_from > 0:
        tasks.insert(0, (config.mae.relation_from, mae_task(model, loss.pixels_only(), mesh=mesh)))
    warm = warm_start(config.mae.optim.init_from, "mae", "mae.optim.init_from")
    if warm is not None and config.mae.scan:
        plain = warm

        def warm(variables):
            return {"params": stack(plain({"params": unstack(variables["params"])})["params"])}

    fitted = fit(
        config=config, section=config.mae, faces=faces, tasks=tasks, mesh=mesh, out=out, label="mae", warm=warm,
        common=_common(config, inputs),
    )  # fmt: skip
    described = model.config.to_dict() | loss._asdict()
    described |= dict(
        kind="mae", mask_ratio=config.mae.mask_ratio, seed=config.seed, shift_share=config.mae.shift_share,
        teacher=", ".join(guide.teacher.name for guide in guides),
    )  # fmt: skip
    # Saved weights do not depend on the switch mae.scan.
    save_model(out / "model", {"params": unstack(fitted.state.params)}, described)
    logs.say(
        f"mae: {fitted.summary['images']:,} images of {fitted.summary['identities']} people; model in {out.name}/model"
    )
    return fitted.summary


def _common(config: Any, inputs: Inputs) -> Common | None:
    """The part of pixels alone; None where there is none, where it is not to be kept, and where a run begins from weights of its own."""
    mae = config.mae
    if not (mae.keep_pixels and 0 < mae.relation_from < 1) or mae.optim.init_from:
        return None
    fields = {name: value for name, value in mae.to_dict().items() if name not in (*LATER, *ELSEWHERE)}
    fields["pixel_weight"] = mae.pixel_weight or 1.0  # as MaeLoss.pixels_only
    return Common(mae.relation_from, [fields, config.data.image_size], inputs.workdir / "private" / "phases")


def _guides(config: Any, inputs: Inputs, faces: FaceSet, mesh: Mesh) -> list[Guide]:
    """The teachers and, where a loss asks, how the space of each is moved: by what it sees in the seen faces."""
    found = []
    for number, teacher in enumerate(teachers.load(config, inputs)):
        shift = None
        if config.mae.shift_weight:
            embeddings_nE = embed(
                teacher, faces, batch=config.mae.optim.batch, mesh=mesh, threads=config.data.threads,
                cache_dir=inputs.embeddings, label=f"{teacher.name}: seen faces",
            )  # fmt: skip
            shift = fit_shift(embeddings_nE, share=config.mae.shift_share, seed=TEACHER_SEEDS * config.seed + number)
        found.append(Guide(teacher, shift))
    return found


def _adopt(config: Any, inputs: Inputs, out: Path) -> dict[str, Any]:
    """A trained MAE becomes this run's, after checking that the config means the same images and patches."""
    variables, description = load_model(inputs["mae"].path)
    if description.get("kind") != "mae":
        raise FacemaeError(
            f"mae.source={config.mae.source} holds a {description.get('kind')}, not an MAE: name a train-mae directory."
        )
    theirs = MaeConfig.from_dict(description)
    for field, mine, value in (
        ("data.image_size", config.data.image_size, theirs.image_size),
        ("mae.patch", config.mae.patch, theirs.patch),
    ):
        if mine != value:
            raise FacemaeError(
                f"mae.source: that MAE was trained with {field}={value}, this config says {mine}: add --config.{field}={value}."
            )
    save_model(out / "model", variables, description)
    logs.say(f"mae: taken from {config.mae.source.partition(':')[0]}; model in {out.name}/model")
    return {"taken": True}
