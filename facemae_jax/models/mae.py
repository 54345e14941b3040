"""The masked autoencoder: encode the visible patches of a face, paint all of it.

The mask is an argument, the loss is elsewhere (``losses``), and hidden pixels never enter: the encoder gathers the
visible patches before anything else happens, so the gradient of the painting with respect to hidden pixels is exactly zero.

Source: He et al. 2021, "Masked Autoencoders Are Scalable Vision Learners" (arXiv 2111.06377), section 3 and appendix A.1.
"""

from __future__ import annotations

import dataclasses
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.sharding import Mesh

from facemae_jax import mesh as meshes
from facemae_jax.models.masking import patchify, unpatchify, visible_count
from facemae_jax.models.vit import EPSILON, SIZES, Stack, positions_2d
from facemae_jax.types import PATCH_COLOURS


class MaeOutput(NamedTuple):
    """What a pass gives: the painting in −1…1 units (not clipped), and the encoder's last tokens without the class token."""

    pixels_BHWC: jax.Array  # float32
    latent_BVD: jax.Array  # float32


SWITCHES = ("remat", "scan", "remat_keep", "mask_focus")


@dataclasses.dataclass(frozen=True)
class MaeConfig:
    """The sizes that define an MAE's parameters, and the switches of its computation."""

    image_size: int  # pixels
    patch: int  # pixels, divides image_size
    visible: int  # patches the encoder sees; a property of use, not of the parameters
    width: int
    depth: int  # layers
    heads: int
    decoder_width: int
    decoder_depth: int  # layers
    decoder_heads: int
    dtype: str = "float32"  # of the computation
    remat: bool = False
    scan: bool = False
    remat_keep: str = "nothing"
    mask_focus: float = 0.0  # of ``masking.random_mask``; a property of use, like visible

    @property
    def side(self) -> int:
        """Patches along one side."""
        return self.image_size // self.patch

    @property
    def patches(self) -> int:
        """N."""
        return self.side**2

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for ``model.json``."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> MaeConfig:
        """From a dictionary that may hold more than our fields, and need not hold those that change no parameter."""
        return cls(
            **{f.name: values[f.name] for f in dataclasses.fields(cls) if f.name in values or f.name not in SWITCHES}
        )


def mae_config(mae: Any, image_size: int) -> MaeConfig:
    """From the config section ``mae``: named sizes looked up, visible patches as an integer."""
    width, depth, heads = (mae.width, mae.depth, mae.heads) if mae.size == "custom" else SIZES[mae.size]
    return MaeConfig(
        image_size=image_size,
        patch=mae.patch,
        visible=mae.visible or visible_count((image_size // mae.patch) ** 2, mae.mask_ratio),
        width=width,
        depth=depth,
        heads=heads,
        decoder_width=mae.decoder_width,
        decoder_depth=mae.decoder_depth,
        decoder_heads=mae.decoder_heads,
        dtype=mae.dtype,
        remat=mae.remat,
        scan=mae.scan,
        remat_keep=mae.remat_keep,
        mask_focus=mae.mask_focus,
    )


class Mae(nn.Module):
    """Encoder on visible patches, light decoder on all; with ``mesh``, activations stay split over the batch."""

    config: MaeConfig
    mesh: Mesh | None = None

    @nn.compact
    def __call__(self, images_BHWC: jax.Array, visible_BV: jax.Array) -> MaeOutput:
        """Paint.

        Args:
            images_BHWC: float32 in −1…1.
            visible_BV: int32, ascending numbers of the patches the encoder may see.
        """
        c, dtype = self.config, jnp.dtype(self.config.dtype)
        b, v = visible_BV.shape

        def pin(x: jax.Array) -> jax.Array:
            return x if self.mesh is None else meshes.pin_batch(x, self.mesh)

        def dense(features: int, name: str) -> nn.Dense:
            return nn.Dense(features, dtype=dtype, kernel_init=nn.initializers.xavier_uniform(), name=name)

        def norm(name: str) -> nn.LayerNorm:
            return nn.LayerNorm(epsilon=EPSILON, dtype=jnp.float32, name=name)

        def token(name: str, width: int) -> jax.Array:
            return self.param(name, nn.initializers.normal(0.02), (1, 1, width))

        seen_BVP = jnp.take_along_axis(patchify(images_BHWC, c.patch), visible_BV[:, :, None], axis=1)
        at_BVD = jnp.asarray(positions_2d(c.width, c.side))[visible_BV]
        tokens_BVD = pin(dense(c.width, "patch_embed")(seen_BVP.astype(dtype)) + at_BVD.astype(dtype))
        class_B1D = jnp.broadcast_to(token("cls_token", c.width).astype(dtype), (b, 1, c.width))  # position zero
        tokens = pin(jnp.concatenate([class_B1D, tokens_BVD], axis=1))
        tokens = Stack(c.depth, c.heads, c.dtype, c.remat, c.scan, pin, c.remat_keep, name="encoder")(tokens)
        tokens = norm("encoder_norm")(tokens)

        inner = dense(c.decoder_width, "decoder_embed")(tokens.astype(dtype))
        everywhere_ND = jnp.broadcast_to(
            token("mask_token", c.decoder_width)[0].astype(dtype), (c.patches, c.decoder_width)
        )
        # Image by image: a scatter that also indexes the batch makes the partitioner gather every image onto every device.
        placed_BND = jax.vmap(lambda to_V, seen_VD: everywhere_ND.at[to_V].set(seen_VD, unique_indices=True))(
            visible_BV, inner[:, 1:]
        )
        placed_BND = placed_BND + jnp.asarray(positions_2d(c.decoder_width, c.side), dtype)[None]
        whole = pin(jnp.concatenate([inner[:, :1], placed_BND], axis=1))
        whole = Stack(c.decoder_depth, c.decoder_heads, c.dtype, c.remat, c.scan, pin, c.remat_keep, name="decoder")(
            whole
        )
        whole = norm("decoder_norm")(whole)
        painted_BNP = dense(c.patch**2 * PATCH_COLOURS, "decoder_pred")(whole[:, 1:].astype(dtype)).astype(jnp.float32)
        return MaeOutput(pin(unpatchify(painted_BNP, c.patch)), tokens[:, 1:])
