"""The adapter: corrects a frozen recognizer's embedding of a protected image.

It begins as the frozen recognizer and learns what to add (a residual adapter as of Houlsby et al. 2019, arXiv 1902.00751, put
behind the last layer), so that a recognizer can be taught that is too slow to train here, or no differentiable function at all.
"""

from __future__ import annotations

import flax.linen as nn
import jax


class Adapter(nn.Module):
    """Embeddings by the frozen recognizer → raw embeddings of the same length.

    Attributes:
        embedding: length E.
        hidden: width of the one hidden layer.
        dropout: share of it that is dropped in training.
    """

    embedding: int
    hidden: int = 512
    dropout: float = 0.5

    @nn.compact
    def __call__(self, given_BE: jax.Array, dropout: jax.Array | None = None) -> jax.Array:
        """``embeddings_BE``, not normalised; with a key, in training."""
        hidden = nn.gelu(nn.Dense(self.hidden, name="in")(given_BE))
        hidden = nn.Dropout(self.dropout, deterministic=dropout is None)(hidden, rng=dropout)
        # Zero at the beginning: an attacker who learned nothing is the plain judge.
        return given_BE + nn.Dense(self.embedding, kernel_init=nn.initializers.zeros, name="out")(hidden)
