"""IResNet, the recognizer of ArcFace: improved residual units, no pooling in the stem, a flattened head.

Source: Deng et al. 2019, "ArcFace" (arXiv 1801.07698), section 3.1; the unit is BN–conv–BN–PReLU–conv–BN (Han et al. 2017,
arXiv 1610.02915). Names follow arcface_torch's (conv1, bn1, prelu, layerN.M, bn2, fc, features) so that its weights can be mapped.
"""

from __future__ import annotations

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

DEPTHS = {18: (2, 2, 2, 2), 34: (3, 4, 6, 3), 50: (3, 4, 14, 3), 100: (3, 13, 30, 3)}
WIDTHS = (64, 128, 256, 512)
SLOPE = 0.25  # initial slope of a PReLU


class PRelu(nn.Module):
    """max(x, 0) + slope · min(x, 0) with one learned slope per channel."""

    @nn.compact
    def __call__(self, x_BHWC: jax.Array) -> jax.Array:
        """The same shape."""
        channels = x_BHWC.shape[-1]
        slope_C = self.param("slope", nn.initializers.constant(SLOPE), (channels,))
        slope = slope_C.astype(x_BHWC.dtype).reshape((1,) * (x_BHWC.ndim - 1) + (channels,))
        return jnp.where(x_BHWC >= 0, x_BHWC, slope * x_BHWC)


def batch_norm(train: bool, dtype: Any, name: str, **more: Any) -> nn.BatchNorm:
    """Statistics over the whole global batch (plain jit over a mesh averages over all devices), kept in float32."""
    return nn.BatchNorm(use_running_average=not train, momentum=0.9, epsilon=1e-5, dtype=dtype, name=name, **more)


def conv(features: int, size: int, stride: int, dtype: Any, name: str) -> nn.Conv:
    """A square convolution without bias; padding as in the reference, (size − 1) / 2 on every side."""
    pad = (size - 1) // 2
    return nn.Conv(
        features, (size, size), (stride, stride), padding=[(pad, pad)] * 2, use_bias=False, dtype=dtype,
        kernel_init=nn.initializers.normal(0.1), name=name,
    )  # fmt: skip


class Unit(nn.Module):
    """One improved residual unit."""

    features: int
    stride: int
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x_BHWC: jax.Array, train: bool) -> jax.Array:
        """``stride`` times fewer rows and columns, ``features`` channels."""
        y = batch_norm(train, self.dtype, "bn1")(x_BHWC)
        y = conv(self.features, 3, 1, self.dtype, "conv1")(y)
        y = PRelu(name="prelu")(batch_norm(train, self.dtype, "bn2")(y))
        y = batch_norm(train, self.dtype, "bn3")(conv(self.features, 3, self.stride, self.dtype, "conv2")(y))
        if self.stride != 1 or x_BHWC.shape[-1] != self.features:
            x_BHWC = conv(self.features, 1, self.stride, self.dtype, "downsample_conv")(x_BHWC)
            x_BHWC = batch_norm(train, self.dtype, "downsample_bn")(x_BHWC)
        return x_BHWC + y


class IResNet(nn.Module):
    """Images in −1…1, side divisible by 16 → raw embeddings.

    ``depth`` is 18, 34, 50 or 100. The head flattens rows, then columns, then channels.
    """

    depth: int
    embedding: int = 512
    dtype: Any = jnp.float32
    dropout: float = 0.0

    @nn.compact
    def __call__(self, images_BHWC: jax.Array, train: bool) -> jax.Array:
        """``embeddings_BE`` float32, not normalised. With ``train``, batch statistics are used and updated."""
        x = conv(WIDTHS[0], 3, 1, self.dtype, "conv1")(images_BHWC.astype(self.dtype))
        x = PRelu(name="prelu")(batch_norm(train, self.dtype, "bn1")(x))
        for stage, (width, units) in enumerate(zip(WIDTHS, DEPTHS[self.depth], strict=True), 1):
            for unit in range(units):
                x = Unit(width, 2 if unit == 0 else 1, self.dtype, name=f"layer{stage}_{unit}")(x, train)
        x = batch_norm(train, self.dtype, "bn2")(x)
        x = nn.Dropout(self.dropout, deterministic=not train)(x)
        x = nn.Dense(self.embedding, dtype=self.dtype, name="fc")(x.reshape(len(x), -1))
        return batch_norm(train, jnp.float32, "features", use_scale=False)(x).astype(jnp.float32)
