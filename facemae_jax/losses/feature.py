"""How near each painted face is to its own original in a recognizer's eyes: pulled together, or kept apart."""

from __future__ import annotations

import jax
import jax.numpy as jnp


def own_cosine(real_BE: jax.Array, painted_BE: jax.Array) -> jax.Array:
    """``e·ê`` of each image; embeddings of unit norm, no gradient into the real ones."""
    return jnp.sum(jax.lax.stop_gradient(real_BE) * painted_BE, axis=-1)


def feature_loss(real_BE: jax.Array, painted_BE: jax.Array) -> jax.Array:
    r"""Pull each painted face towards its original: :math:`1 - e\cdot\hat e`.

    Args:
        real_BE: unit embeddings of the originals; no gradient flows into them.
        painted_BE: unit embeddings of the paintings.

    Returns:
        ``loss_B``, from 0 to 2.

    >>> import jax.numpy as jnp
    >>> feature_loss(jnp.eye(2), jnp.eye(2)).tolist()
    [0.0, 0.0]
    """
    return 1.0 - own_cosine(real_BE, painted_BE)


def unlink_loss(real_BE: jax.Array, painted_BE: jax.Array, margin: float) -> jax.Array:
    r"""Keep each painted face away from its original: :math:`\max(0,\; e\cdot\hat e - m)`. Ours, not of the paper.

    Args:
        real_BE: unit embeddings of the originals; no gradient flows into them.
        painted_BE: unit embeddings of the paintings.
        margin: the cosine m up to which nearness costs nothing.

    Returns:
        ``loss_B``.

    >>> import jax.numpy as jnp
    >>> unlink_loss(jnp.eye(2), jnp.eye(2), 0.25).tolist()
    [0.75, 0.75]
    """
    return jax.nn.relu(own_cosine(real_BE, painted_BE) - margin)
