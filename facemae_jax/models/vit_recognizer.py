"""Vision transformers as recognizers of aligned faces: blocks over all patches, then one dense head over all tokens.

Sizes and head are those of the ViT recipes for WebFace42M in arcface_torch (InsightFace): learned positions, no class token, every
token kept and flattened, Dense–BatchNorm–Dense–BatchNorm. The blocks are those of ``models.vit`` (Dosovitskiy et al. 2020, arXiv
2010.11929). So it differs from those recipes in this: patches of 8 pixels, which divide 112 (theirs of 9 leave four rows and columns
unseen); exact GELU, and biases of queries, keys and values; LayerNorm's ε is 1e-6 and BatchNorm's 1e-5 (theirs 1e-5 and 2e-5); no bias
where the next BatchNorm takes it away again; neither stochastic depth nor masked patches in training.

Those recipes train with optim.optimizer=adamw, learning_rate=1e-3 at batches of 24,576, weight_decay=0.1 and warmup=0.1; the SGD of the
configs here is for convolutions.
"""

from __future__ import annotations

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from facemae_jax.models.iresnet import batch_norm
from facemae_jax.models.masking import patchify
from facemae_jax.models.vit import EPSILON, Stack, VitSize
from facemae_jax.types import FacemaeError

SIZES = {"tiny": VitSize(256, 12, 8), "small": VitSize(512, 12, 8), "base": VitSize(512, 24, 8)}
PATCH = 8  # pixels: 112 / 8 = 14, so 196 tokens
STD = 0.02  # of fresh positions and of the head's first kernels


class VitRecognizer(nn.Module):
    """Square images in −1…1, side divisible by 8 → raw embeddings.

    ``size`` is tiny, small or base. Parameters are float32; products are computed in ``dtype``, norms and softmax in float32.
    Positions and the head belong to one image size: weights of 112 do not fit another.
    """

    size: str
    embedding: int = 512
    dtype: Any = jnp.float32
    dropout: float = 0.0

    @nn.compact
    def __call__(self, images_BHWC: jax.Array, train: bool) -> jax.Array:
        """``embeddings_BE`` float32, not normalised. With ``train``, the head's batch statistics are used and updated.

        Raises:
            FacemaeError: for images that do not divide into patches.
        """
        height, width = images_BHWC.shape[1:3]
        if height != width or height % PATCH:
            raise FacemaeError(
                f"network=vit_{self.size} cuts square images into patches of {PATCH} pixels, these are {height}×{width}: "
                f"choose a data.image_size that divides by {PATCH}, such as 112."
            )
        dim, depth, heads = SIZES[self.size]

        def dense(features: int, name: str, **more: Any) -> nn.Dense:
            return nn.Dense(features, dtype=self.dtype, name=name, **more)

        patches_BNP = patchify(images_BHWC.astype(self.dtype), PATCH)
        tokens_BND = dense(dim, "patch_embed", kernel_init=nn.initializers.xavier_uniform())(patches_BNP)
        position_1ND = self.param("position_1ND", nn.initializers.truncated_normal(STD), (1, *tokens_BND.shape[1:]))
        tokens_BND = tokens_BND + position_1ND.astype(self.dtype)
        tokens_BND = Stack(depth, heads, dtype=jnp.dtype(self.dtype).name, name="encoder")(tokens_BND)
        # No bias but the last from here on: the BatchNorm behind the next product would take it away again.
        tokens_BND = nn.LayerNorm(epsilon=EPSILON, use_bias=False, dtype=jnp.float32, name="encoder_norm")(tokens_BND)

        small = nn.initializers.truncated_normal(STD)
        x = tokens_BND.astype(self.dtype).reshape(len(tokens_BND), -1)
        x = dense(dim, "fc1", use_bias=False, kernel_init=small)(x)
        x = batch_norm(train, self.dtype, "bn1", use_bias=False)(x)
        x = nn.Dropout(self.dropout, deterministic=not train)(x)
        x = dense(self.embedding, "fc2", use_bias=False, kernel_init=small)(x)
        return batch_norm(train, jnp.float32, "features")(x).astype(jnp.float32)
