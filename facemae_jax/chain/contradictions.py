"""Which values of fields contradict each other, each sound by itself (``rules`` has those). Nothing is derived here."""

from __future__ import annotations

from ml_collections import ConfigDict

from facemae_jax.chain import import_rules, utility_rules
from facemae_jax.models import masking
from facemae_jax.stages import attacks
from facemae_jax.types import FacemaeError


def refuse(text: str) -> None:
    """Stop with one sentence."""
    raise FacemaeError(text)


def check_together(c: ConfigDict) -> None:
    """Fail on fields that are sound each by itself and contradict each other.

    Raises:
        FacemaeError: one sentence on the first fault.
    """
    _mae(c)
    _faces(c)
    import_rules.check_import(c)
    utility_rules.check_verify(c)
    _audit(c)
    _publish(c)


def _mae(c: ConfigDict) -> None:
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
    if c.reconstruct.people > visible:
        refuse(
            f"--config.reconstruct.people={c.reconstruct.people}: {visible} patches of a face are visible, one of each person at least."
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


def _faces(c: ConfigDict) -> None:
    if c.reconstruct.subset == "all" and c.data.unseen not in ("", c.data.seen):
        refuse(
            '--config.reconstruct.subset=all needs one face set: leave data.unseen empty, or choose "seen" or "unseen".'
        )
    if c.reconstruct.composition == "paste" and not c.publish.allow_real_pixels:
        refuse(
            "--config.reconstruct.composition=paste publishes real pixels: say --config.publish.allow_real_pixels=True if that is meant."
        )
    if c.reconstruct.composition == "paste" and c.reconstruct.people > 1:
        refuse(
            f"--config.reconstruct.people={c.reconstruct.people} with composition=paste would publish real pixels of several people on one face: "
            "choose composition=full, or people=1."
        )
    real = [s for s in (c.data.seen, c.data.unseen) if s not in ("", "synthetic")]
    if real and not c.data.terms.strip():
        refuse(f"--config.data.terms is empty: say under which terms {real[0]} may be used; a release carries them.")


def _audit(c: ConfigDict) -> None:
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


def _publish(c: ConfigDict) -> None:
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
