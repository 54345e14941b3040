"""A recognizer for machines without an accelerator: a stride-2 stem and four residual blocks, widths 16–128.

Not a published design; it exists so that the whole chain can be run and compared on two cores. For results to
publish use ``models.iresnet``.
"""

from __future__ import annotations

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from facemae_jax.models.iresnet import PRelu, batch_norm, conv

WIDTHS = (16, 32, 64, 128)


class CpuNet(nn.Module):
    """Images in −1…1, side divisible by 16 → raw embeddings."""

    embedding: int = 128
    dtype: Any = jnp.float32
    dropout: float = 0.0

    @nn.compact
    def __call__(self, images_BHWC: jax.Array, train: bool) -> jax.Array:
        """``embeddings_BE`` float32, not normalised. With ``train``, batch statistics are used and updated."""
        x = images_BHWC.astype(self.dtype)
        for block, width in enumerate(WIDTHS):
            x = conv(width, 3, 2, self.dtype, f"down{block}")(x)
            x = PRelu(name=f"prelu{block}")(batch_norm(train, self.dtype, f"bn{block}")(x))
            if block:  # at half resolution a second convolution would cost more than all others together
                y = conv(width, 3, 1, self.dtype, f"conv{block}")(x)
                x = x + PRelu(name=f"inner{block}")(batch_norm(train, self.dtype, f"inner_bn{block}")(y))
        x = nn.Dropout(self.dropout, deterministic=not train)(x)
        x = nn.Dense(self.embedding, dtype=self.dtype, name="fc")(x.reshape(len(x), -1))
        return batch_norm(train, jnp.float32, "features", use_scale=False)(x).astype(jnp.float32)
