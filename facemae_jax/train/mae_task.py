"""Training the MAE: paint the faces, keep their relations as a frozen teacher sees them (FaceMAE, arXiv 2205.11090).

total = pixel_weight · MSE + irm_weight · L_IRM + feature_weight · (1 − e·ê) + unlink_weight · relu(e·ê − unlink_margin)
        + shift_weight · (1 − s(e)·ê)

With several teachers every term that compares embeddings is the mean over them, so that it does not pay to fool one alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.sharding import Mesh

from facemae_jax.keys import image_keys
from facemae_jax.losses.feature import feature_loss, own_cosine, unlink_loss
from facemae_jax.losses.pixels import pixel_loss
from facemae_jax.losses.relation import relation_loss_sharded
from facemae_jax.losses.shift import Shift, shift_loss
from facemae_jax.models.frozen import Frozen
from facemae_jax.models.mae import Mae
from facemae_jax.models.masking import random_mask
from facemae_jax.models.scaling import to_unit
from facemae_jax.train.task import Task
from facemae_jax.types import Batch, FacemaeError, Tree


class MaeLoss(NamedTuple):
    """Weights and switches of the total loss."""

    pixel_weight: float = 1.0
    irm_weight: float = 0.0
    feature_weight: float = 0.0
    unlink_weight: float = 0.0
    unlink_margin: float = 0.3
    shift_weight: float = 0.0
    irm_kind: str = "cosine"
    irm_group: int = 0
    irm_form: str = "rows"
    irm_chunk: int = 0
    norm_pix: bool = False

    @property
    def needs_teacher(self) -> bool:
        """Whether any term compares embeddings."""
        return bool(self.irm_weight or self.feature_weight or self.unlink_weight or self.shift_weight)

    def pixels_only(self) -> MaeLoss:
        """The phase before the teacher joins; the pixel loss counts 1 even where it is dropped later."""
        return self._replace(
            pixel_weight=self.pixel_weight or 1.0,
            irm_weight=0.0,
            feature_weight=0.0,
            unlink_weight=0.0,
            shift_weight=0.0,
        )


class Guide(NamedTuple):
    """A teacher, and where its space is moved to; ``shift`` is needed by a loss with ``shift_weight``."""

    teacher: Frozen
    shift: Shift | None = None


def mae_task(model: Mae, loss: MaeLoss, *, guides: Sequence[Guide] = (), mesh: Mesh) -> Task:
    """The task. Masks depend on (seed, step, position in the global batch) alone.

    Args:
        model: built with the same mesh.
        loss: weights; a term of weight 0 is not computed.
        guides: the frozen recognizers; needed when a weight asks for one.
        mesh: over which the relation graph is gathered.

    Raises:
        FacemaeError: a loss that needs a teacher, without one.
    """
    if loss.needs_teacher and not guides:
        raise FacemaeError(
            "mae.irm_weight, mae.feature_weight, mae.unlink_weight and mae.shift_weight compare embeddings: give a teacher, or set "
            "them to 0."
        )
    assert not loss.shift_weight or all(guide.shift is not None for guide in guides), "shift_weight without a shift"
    guides = tuple(guides) if loss.needs_teacher else ()
    c = model.config

    def init(key: jax.Array) -> dict[str, Tree]:
        # The activations are pinned over the mesh, so the images of this rehearsal must divide over it.
        images = jnp.zeros((mesh.size, c.image_size, c.image_size, 3))
        visible_BV = jnp.broadcast_to(jnp.arange(c.visible, dtype=jnp.int32)[None], (mesh.size, c.visible))
        return dict(model.init(key, images, visible_BV))

    def compared(real_BE: jax.Array, painted_BE: jax.Array, shift: Shift | None) -> dict[str, jax.Array]:
        """The terms in one teacher's eyes, unweighted."""
        parts = {"cosine": own_cosine(real_BE, painted_BE).mean()}
        if loss.irm_weight:
            parts["irm"] = relation_loss_sharded(
                real_BE, painted_BE, mesh=mesh, kind=loss.irm_kind, group=loss.irm_group, form=loss.irm_form,
                chunk=loss.irm_chunk,
            )  # fmt: skip
        if loss.feature_weight:
            parts["feature"] = feature_loss(real_BE, painted_BE).mean()
        if loss.unlink_weight:
            parts["unlink"] = unlink_loss(real_BE, painted_BE, loss.unlink_margin).mean()
        if loss.shift_weight and shift is not None:
            parts["shift"] = shift_loss(real_BE, painted_BE, shift).mean()
        return parts

    def total(params: Tree, extra: Tree, frozen: Tree, batch: Batch, keys: dict[str, jax.Array]):
        images_BHWC = to_unit(batch.images_BHWC)
        image_keys_B = image_keys(keys["mask"], len(images_BHWC))
        mask = random_mask(image_keys_B, patches=c.patches, visible=c.visible, focus=c.mask_focus)
        output: Any = model.apply({"params": params}, images_BHWC, mask.visible_BV)
        painted_BHWC = output.pixels_BHWC
        parts = {"pixel": pixel_loss(painted_BHWC, images_BHWC, patch=c.patch, normalise=loss.norm_pix).mean()}
        value = loss.pixel_weight * parts["pixel"]
        each = []
        for guide, (weights, shift) in zip(guides, frozen, strict=True):
            real_BE = jax.lax.stop_gradient(guide.teacher.apply(weights, images_BHWC))
            each.append(compared(real_BE, guide.teacher.apply(weights, painted_BHWC), shift))
        if each:
            parts |= jax.tree.map(lambda *values: sum(values) / len(values), *each)
            weights_of = loss._asdict()
            value += sum(weights_of[f"{name}_weight"] * parts[name] for name in each[0] if name != "cosine")
        return value, (parts, extra)

    # Of a shift that no term asks for nothing is carried.
    frozen = tuple((guide.teacher.params, guide.shift if loss.shift_weight else None) for guide in guides)
    return Task(init=init, loss=total, key_names=("mask",), frozen=frozen)
