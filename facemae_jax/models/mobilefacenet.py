"""MobileFaceNet, a recognizer of about one million parameters for small machines.

Source: Chen et al. 2018, "MobileFaceNets" (arXiv 1804.07573), table 1: a fast stem, inverted residual bottlenecks (Sandler et al.
2018, arXiv 1801.04381) with PReLU, and a global depthwise convolution in place of pooling, so that each place of the last map has its
own weight. BatchNorm follows every convolution; a linear layer has no PReLU behind it.
"""

from __future__ import annotations

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from facemae_jax.models.iresnet import PRelu, batch_norm
from facemae_jax.types import FacemaeError

STEM = 64
# Expansion of the channels inside, channels, repetitions, stride of the first repetition.
BOTTLENECKS = ((2, 64, 5, 2), (4, 128, 1, 2), (2, 128, 6, 1), (4, 128, 1, 2), (2, 128, 2, 1))
LAST = 512  # channels before the global convolution
STRIDE = 16  # of the whole network: 112 pixels become 7


class Layer(nn.Module):
    """Convolution without bias, BatchNorm, and PReLU unless ``linear``."""

    features: int
    size: int
    stride: int = 1
    depthwise: bool = False  # each channel by itself; ``features`` are then those that come in
    linear: bool = False
    padding: int | None = None  # pixels on every side; None = (size − 1) / 2
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x_BHWC: jax.Array, train: bool) -> jax.Array:
        """``stride`` times fewer rows and columns, ``features`` channels."""
        pad = (self.size - 1) // 2 if self.padding is None else self.padding
        x = nn.Conv(
            self.features, (self.size, self.size), (self.stride, self.stride), padding=[(pad, pad)] * 2, use_bias=False,
            feature_group_count=self.features if self.depthwise else 1, dtype=self.dtype,
            kernel_init=nn.initializers.variance_scaling(2.0, "fan_out", "normal"), name="conv",
        )(x_BHWC)  # fmt: skip
        x = batch_norm(train, self.dtype, "bn")(x)
        return x if self.linear else PRelu(name="prelu")(x)


class Bottleneck(nn.Module):
    """Widen, convolve each channel by itself, narrow linearly; the input is added where its shape is kept."""

    expansion: int
    features: int
    stride: int
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x_BHWC: jax.Array, train: bool) -> jax.Array:
        """``stride`` times fewer rows and columns, ``features`` channels."""
        inner = self.expansion * x_BHWC.shape[-1]
        y = Layer(inner, 1, dtype=self.dtype, name="expand")(x_BHWC, train)
        y = Layer(inner, 3, self.stride, depthwise=True, dtype=self.dtype, name="depthwise")(y, train)
        y = Layer(self.features, 1, linear=True, dtype=self.dtype, name="project")(y, train)
        return x_BHWC + y if x_BHWC.shape == y.shape else y


class MobileFaceNet(nn.Module):
    """Square images in −1…1, side divisible by 16 → raw embeddings; the paper's are of 112 pixels and E = 128.

    The global convolution is as large as what is left of the image (side / 16), so weights of one image size do not fit another.
    """

    embedding: int = 128
    dtype: Any = jnp.float32
    dropout: float = 0.0

    @nn.compact
    def __call__(self, images_BHWC: jax.Array, train: bool) -> jax.Array:
        """``embeddings_BE`` float32, not normalised. With ``train``, batch statistics are used and updated.

        Raises:
            FacemaeError: for images that do not divide by 16.
        """
        height, width = images_BHWC.shape[1:3]
        if height != width or height % STRIDE:
            raise FacemaeError(
                f"network=mobilefacenet halves square images four times, these are {height}×{width}: "
                f"choose a data.image_size that divides by {STRIDE}, such as 112."
            )
        x = Layer(STEM, 3, 2, dtype=self.dtype, name="stem")(images_BHWC.astype(self.dtype), train)
        x = Layer(STEM, 3, depthwise=True, dtype=self.dtype, name="stem_depthwise")(x, train)
        for stage, (expansion, features, repetitions, stride) in enumerate(BOTTLENECKS, 1):
            for unit in range(repetitions):
                first = stride if unit == 0 else 1
                x = Bottleneck(expansion, features, first, self.dtype, name=f"stage{stage}_{unit}")(x, train)
        x = Layer(LAST, 1, dtype=self.dtype, name="last")(x, train)
        left = x.shape[1]
        x = Layer(LAST, left, depthwise=True, linear=True, padding=0, dtype=self.dtype, name="everywhere")(x, train)
        x = nn.Dropout(self.dropout, deterministic=not train)(x.reshape(len(x), LAST))
        x = nn.Dense(self.embedding, use_bias=False, dtype=self.dtype, name="fc")(x)
        return batch_norm(train, jnp.float32, "features")(x).astype(jnp.float32)
