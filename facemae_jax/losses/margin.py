"""Margin softmax for recognizers: ArcFace, CosFace and their combination. Where class centres live is ``train``'s business."""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp
import optax

EDGE = 1e-4  # cosines are kept this far from ±1 where a square root or arc cosine would have an infinite slope


def unit(x_E: jax.Array) -> jax.Array:
    """Rows of norm 1; a zero row stays zero with a finite gradient."""
    square = jnp.sum(x_E**2, axis=-1, keepdims=True)
    return x_E * jax.lax.rsqrt(jnp.maximum(square, 1e-12))


def margin_logits(
    cosines_BK: jax.Array,
    labels_B: jax.Array,
    *,
    m1: float = 1.0,
    m2: float = 0.0,
    m3: float = 0.0,
    scale: float = 64.0,
) -> jax.Array:
    r"""Logits with a margin on the own class, :math:`s(\cos(m_1\theta + m_2) - m_3)`, and :math:`s\cos\theta` elsewhere.

    m2 alone is ArcFace (Deng et al., arXiv 1801.07698), m3 alone CosFace (Wang et al., arXiv 1801.09414), m1 alone SphereFace.
    Beyond :math:`m_1\theta + m_2 = \pi` the cosine would rise again; there the margin goes on as the straight line
    :math:`\cos\theta - m_2\sin m_2`, as ArcFace trains it (m1 = 1), or stays at −1 (m1 ≠ 1).

    **Gradient convention:** the true derivative, made finite: the angle is taken from cosines clipped to 1 − 1e-4, and the clip
    passes gradients straight through. insightface differs: its margin changes the value and the gradient passes as if there were none.

    Args:
        cosines_BK: cosines of embeddings and class centres.
        labels_B: int, own class of each row; a label outside 0…K−1 (padding) gets no margin.
        m1: factor of the angle.
        m2: added to the angle, radians.
        m3: taken from the cosine.
        scale: s.

    Returns:
        ``logits_BK``, float32.

    >>> import jax.numpy as jnp
    >>> logits = margin_logits(jnp.array([[0.8, 0.2]]), jnp.array([0]), m3=0.3, scale=10.0)
    >>> [round(x, 3) for x in logits[0].tolist()]
    [5.0, 2.0]
    """
    cosines_BK = cosines_BK.astype(jnp.float32)
    own_BK = labels_B[:, None] == jnp.arange(cosines_BK.shape[1])[None, :]
    shifted_BK = cosines_BK
    if m1 != 1.0 or m2:
        clipped = jnp.clip(cosines_BK, -1.0 + EDGE, 1.0 - EDGE)
        safe = cosines_BK + jax.lax.stop_gradient(clipped - cosines_BK)
        if m1 == 1.0:
            bent = safe * math.cos(m2) - jnp.sqrt(1.0 - safe**2) * math.sin(m2)
            beyond = safe < -math.cos(m2)  # θ + m2 > π
            line = safe - m2 * math.sin(m2)  # below −1 there: harder never means a higher logit
            shifted_BK = jnp.where(beyond, line, bent)
        else:
            angle = jnp.minimum(m1 * jnp.arccos(safe) + m2, math.pi)
            shifted_BK = jnp.cos(angle)
    return scale * jnp.where(own_BK, shifted_BK - m3, cosines_BK)


def margin_loss(
    embeddings_BE: jax.Array,
    centres_KE: jax.Array,
    labels_B: jax.Array,
    *,
    m1: float = 1.0,
    m2: float = 0.0,
    m3: float = 0.0,
    scale: float = 64.0,
) -> jax.Array:
    r"""Softmax cross-entropy of :func:`margin_logits`: :math:`-\log \mathrm{softmax}(\text{logits})_{y}`.

    Args:
        embeddings_BE: raw; normalised here.
        centres_KE: raw class centres; normalised here.
        labels_B: own class.
        m1, m2, m3, scale: as in :func:`margin_logits`.

    Returns:
        ``loss_B``, float32.

    >>> import jax.numpy as jnp
    >>> loss = margin_loss(jnp.array([[2.0, 0.0]]), jnp.eye(2), jnp.array([0]), scale=1.0)
    >>> round(float(loss[0]), 4)  # log(1 + e^-1)
    0.3133
    """
    cosines_BK = unit(embeddings_BE.astype(jnp.float32)) @ unit(centres_KE.astype(jnp.float32)).T
    logits_BK = margin_logits(cosines_BK, labels_B, m1=m1, m2=m2, m3=m3, scale=scale)
    return softmax_loss(logits_BK, labels_B)


def softmax_loss(logits_BK: jax.Array, labels_B: jax.Array) -> jax.Array:
    """``loss_B``: cross-entropy of each row with its own class (optax)."""
    return optax.softmax_cross_entropy_with_integer_labels(logits_BK, labels_B)
