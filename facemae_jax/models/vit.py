"""Pre-norm transformer blocks and fixed 2-D positions, as ViT and MAE use them. What is done with tokens is in ``models.mae``.

Sources: Dosovitskiy et al. 2020 (arXiv 2010.11929); He et al. 2021 (arXiv 2111.06377).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

Pin = Callable[[jax.Array], jax.Array]


class VitSize(NamedTuple):
    """Width and heads of every layer, number of layers."""

    width: int
    depth: int
    heads: int


SIZES = {
    "tiny": VitSize(192, 12, 3),
    "small": VitSize(384, 12, 6),
    "base": VitSize(768, 12, 12),
    "large": VitSize(1024, 24, 16),
    "huge": VitSize(1280, 32, 16),
}
MLP_RATIO = 4
EPSILON = 1e-6


def positions_2d(width: int, side: int) -> np.ndarray:
    """Fixed sine-cosine positions ``positions_ND`` of a square grid, float32.

    The first half of the width encodes the column, the second half the row; each half is sin then cos of
    position · 10000^(−2i / (width/2)). ``width`` must be divisible by 4.
    """
    quarter = width // 4
    rates = 1.0 / 10000 ** (np.arange(quarter, dtype=np.float64) / quarter)
    rows, columns = np.meshgrid(np.arange(side), np.arange(side), indexing="ij")

    def encode(at: np.ndarray) -> np.ndarray:
        angles = at.reshape(-1, 1) * rates[None, :]
        return np.concatenate([np.sin(angles), np.cos(angles)], axis=1)

    return np.concatenate([encode(columns), encode(rows)], axis=1).astype(np.float32)


class Block(nn.Module):
    """x + attention(norm(x)), then x + mlp(norm(x)). Softmax and norms in float32, products in ``dtype``."""

    heads: int
    dtype: str = "float32"
    pin: Pin | None = None

    @nn.compact
    def __call__(self, tokens_BND: jax.Array) -> jax.Array:
        """``tokens_BND`` → the same shape."""
        dtype = jnp.dtype(self.dtype)
        b, n, d = tokens_BND.shape
        pin = self.pin or (lambda x: x)

        def dense(features: int, name: str) -> nn.Dense:
            return nn.Dense(features, dtype=dtype, kernel_init=nn.initializers.xavier_uniform(), name=name)

        def norm(name: str) -> nn.LayerNorm:
            return nn.LayerNorm(epsilon=EPSILON, dtype=jnp.float32, name=name)

        qkv = dense(3 * d, "qkv")(norm("norm1")(tokens_BND).astype(dtype)).reshape(b, n, 3, self.heads, d // self.heads)
        mixed = jax.nn.dot_product_attention(qkv[:, :, 0], qkv[:, :, 1], qkv[:, :, 2])
        tokens_BND = pin(tokens_BND + dense(d, "proj")(mixed.reshape(b, n, d)))
        inner = dense(MLP_RATIO * d, "fc1")(norm("norm2")(tokens_BND).astype(dtype))
        return pin(tokens_BND + dense(d, "fc2")(nn.gelu(inner, approximate=False)))


KEPT = {"nothing": None, "dots": jax.checkpoint_policies.dots_with_no_batch_dims_saveable}


class Stack(nn.Module):
    """``depth`` blocks one after another.

    ``remat`` recomputes each block in the backward pass, all of it (``remat_keep="nothing"``) or all but the results of its matrix
    products (``"dots"``), which take memory but most of the time; ``scan`` compiles one block for all, and keeps their parameters
    stacked (:func:`unstack` and :func:`stack` convert, so that saved weights do not depend on the switch).
    """

    depth: int
    heads: int
    dtype: str = "float32"
    remat: bool = False
    scan: bool = False
    pin: Pin | None = None
    remat_keep: str = "nothing"

    @nn.compact
    def __call__(self, tokens_BND: jax.Array) -> jax.Array:
        """``tokens_BND`` → the same shape."""
        block = nn.remat(Block, prevent_cse=not self.scan, policy=KEPT[self.remat_keep]) if self.remat else Block
        if not self.scan:
            for layer in range(self.depth):
                tokens_BND = block(self.heads, self.dtype, self.pin, name=f"block_{layer}")(tokens_BND)
            return tokens_BND
        scanned = nn.scan(
            lambda module, carry, _: (module(carry), None),
            variable_axes={"params": 0},
            split_rngs={"params": True},
            length=self.depth,
        )
        tokens_BND, _ = scanned(block(self.heads, self.dtype, self.pin, name=STACKED), tokens_BND, None)
        return tokens_BND


STACKED = "blocks"


def unstack(params: dict) -> dict:
    """Parameters of scanned stacks, anywhere in the tree, as those of unrolled ones; others unchanged."""
    result: dict[str, Any] = {}
    for name, value in params.items():
        if name == STACKED:
            depth = jax.tree.leaves(value)[0].shape[0]
            result |= {f"block_{layer}": jax.tree.map(lambda leaf, at=layer: leaf[at], value) for layer in range(depth)}
        else:
            result[name] = unstack(value) if isinstance(value, dict) else value
    return result


def stack(params: dict) -> dict:
    """Inverse of :func:`unstack`."""
    if "block_0" in params:
        layers = [params[f"block_{layer}"] for layer in range(sum(name.startswith("block_") for name in params))]
        others = {name: value for name, value in params.items() if not name.startswith("block_")}
        return others | {STACKED: jax.tree.map(lambda *leaves: jnp.stack(leaves), *layers)}
    return {name: stack(value) if isinstance(value, dict) else value for name, value in params.items()}
