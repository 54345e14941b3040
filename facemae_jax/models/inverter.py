"""The inverter: a small U-Net that paints the original back from a protected image.

Pixels are first folded into channels (space to depth), so that no detail is lost while most of the work is done on a quarter of
the positions; the network adds to its input, and begins as the identity. Skip connections as in Ronneberger et al. 2015,
"U-Net" (arXiv 1505.04597); the sub-pixel output as in Shi et al. 2016 (arXiv 1609.05158). How it is trained is not its business.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from facemae_jax.models.masking import patchify, unpatchify
from facemae_jax.types import FacemaeError

HE = nn.initializers.he_normal()


class Inverter(nn.Module):
    """Images in −1…1, side divisible by fold · 2^(levels − 1) → images of the same shape, not clipped.

    Attributes:
        widths: channels of each level; each level below the first has half the side.
        fold: pixels along a side that become one position of the first level.
    """

    widths: Sequence[int] = (24, 48, 96)
    fold: int = 2
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, images_BHWC: jax.Array) -> jax.Array:
        """``images_BHWC`` painted back, float32."""
        b, height, width, colours = images_BHWC.shape
        step = self.fold * 2 ** (len(self.widths) - 1)
        if height != width or height % step:
            raise FacemaeError(
                f"the inverter of {len(self.widths)} levels cannot read images of {width}×{height} pixels: "
                f"use square ones of a multiple of {step}, or fewer audit.inverter_widths."
            )
        side = height // self.fold
        x = patchify(images_BHWC, self.fold).reshape(b, side, side, -1).astype(self.dtype)
        skips = []
        for level, features in enumerate(self.widths):
            if level:
                skips.append(x)
                x = self._conv(features, f"down{level}", stride=2)(x)
            x = self._block(x, features, f"in{level}")
        for level in reversed(range(len(self.widths) - 1)):
            features = self.widths[level]
            x = self._conv(features, f"up{level}")(_doubled(x))
            x = self._block(jnp.concatenate([x, skips[level]], axis=-1), features, f"out{level}")
        # Zero at the beginning: an attacker who learned nothing gives the image back as it is.
        delta = self._conv(self.fold**2 * colours, "paint", init=nn.initializers.zeros)(x)
        delta_BNP = delta.astype(jnp.float32).reshape(b, side**2, -1)
        return images_BHWC.astype(jnp.float32) + unpatchify(delta_BNP, self.fold)

    def _conv(self, features: int, name: str, *, stride: int = 1, init: Any = HE) -> nn.Conv:
        return nn.Conv(features, (3, 3), (stride, stride), kernel_init=init, dtype=self.dtype, name=name)

    def _block(self, x: jax.Array, features: int, name: str) -> jax.Array:
        x = nn.silu(self._conv(features, f"{name}_a")(x))
        y = nn.LayerNorm(dtype=self.dtype, name=f"{name}_norm")(x)
        return x + nn.silu(self._conv(features, f"{name}_b")(y))


def _doubled(x_BHWC: jax.Array) -> jax.Array:
    """Every position repeated in both directions."""
    return x_BHWC.repeat(2, axis=1).repeat(2, axis=2)
