"""Margin softmax for recognizers: ArcFace, CosFace, their combination, AdaFace. For centres spread over devices: ``sharded_softmax``."""

from __future__ import annotations

import math
from typing import Any

import jax
import jax.numpy as jnp
import optax

Number = float | jax.Array
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
    m2: Number = 0.0,
    m3: Number = 0.0,
    scale: float = 64.0,
) -> jax.Array:
    r"""Logits with a margin on the own class, :math:`s(\cos(m_1\theta + m_2) - m_3)`, and :math:`s\cos\theta` elsewhere.

    m2 alone is ArcFace (Deng et al., arXiv 1801.07698), m3 alone CosFace (Wang et al., arXiv 1801.09414), m1 alone SphereFace.
    Beyond :math:`m_1\theta + m_2 = \pi` the cosine would rise again; there the margin goes on as the straight line
    :math:`\cos\theta - m_2\sin m_2`, as ArcFace trains it (m1 = 1), or stays at −1 (m1 ≠ 1). A negative m2, as AdaFace gives sharp faces,
    ends at 1 where :math:`\theta + m_2` would fall below 0.

    **Gradient convention:** the true derivative, made finite: the angle is taken from cosines clipped to 1 − 1e-4, and the clip
    passes gradients straight through. insightface differs: its margin changes the value and the gradient passes as if there were none.

    Args:
        cosines_BK: cosines of embeddings and class centres.
        labels_B: int, own class of each row; a label outside 0…K−1 (padding) gets no margin.
        m1: factor of the angle.
        m2: added to the angle, radians; one number, or ``m2_B`` (m1 = 1).
        m3: taken from the cosine; one number, or ``m3_B``.
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
    own_B = jnp.sum(jnp.where(own_BK, cosines_BK, 0.0), axis=1)  # the margin bends one number per row, not K
    shifted_B = _shifted(own_B, m1, m2) - m3
    return scale * jnp.where(own_BK, shifted_B[:, None], cosines_BK)


def _shifted(cosines_B: jax.Array, m1: float, m2: Number) -> jax.Array:
    """cos(m1·θ + m2), made monotonic."""
    if m1 == 1.0 and isinstance(m2, (int, float)) and m2 == 0.0:
        return cosines_B
    clipped = jnp.clip(cosines_B, -1.0 + EDGE, 1.0 - EDGE)
    safe = cosines_B + jax.lax.stop_gradient(clipped - cosines_B)
    if m1 != 1.0:
        return jnp.cos(jnp.minimum(m1 * jnp.arccos(safe) + m2, math.pi))
    bent = safe * jnp.cos(m2) - jnp.sqrt(1.0 - safe**2) * jnp.sin(m2)
    line = safe - m2 * jnp.sin(m2)  # below −1 beyond π: harder never means a higher logit
    beyond = (m2 > 0) & (safe < -jnp.cos(m2))  # θ + m2 > π
    before = (m2 < 0) & (safe > jnp.cos(m2))  # θ + m2 < 0
    return jnp.where(beyond, line, jnp.where(before, 1.0, bent))


def adaface_margins(
    norms_B: jax.Array, mean: jax.Array, std: jax.Array, *, m: float = 0.4, h: float = 0.333
) -> tuple[jax.Array, jax.Array]:
    r"""``m2_B`` and ``m3_B`` of AdaFace (Kim et al., arXiv 2204.00964, equations 13–15).

    With :math:`\hat z = \mathrm{clip}\big((\|z\| - \mu)\,h/\sigma, -1, 1\big)`: :math:`m_2 = -m\hat z`, :math:`m_3 = m\hat z + m`.
    The norm stands for image quality: blurred faces (ẑ = −1) are trained as by ArcFace, sharp ones (ẑ = 1) with a margin that
    stresses hard samples. No gradient flows through the norm.

    Args:
        norms_B: of raw embeddings, all of the global batch or a part of it.
        mean, std: μ and σ, running, of :func:`norm_statistics`.
        m: margin.
        h: concentration.

    >>> import jax.numpy as jnp
    >>> m2, m3 = adaface_margins(jnp.array([10.0, 20.0, 30.0]), jnp.array(20.0), jnp.array(1.0), m=0.4)
    >>> m2.tolist() == [x * jnp.float32(0.4) for x in (1, 0, -1)]
    True
    >>> [round(x, 3) for x in m3.tolist()]
    [0.0, 0.4, 0.8]
    """
    quality_B = jnp.clip(jax.lax.stop_gradient(_safe_norms(norms_B) - mean) * h / (std + 1e-3), -1.0, 1.0)
    return -m * quality_B, m * quality_B + m


def norm_statistics(norms_B: jax.Array, mean: jax.Array, std: jax.Array, momentum: float = 0.01) -> tuple[Any, Any]:
    """The running mean and standard deviation of norms after one more (global) batch, as AdaFace keeps them."""
    norms_B = jax.lax.stop_gradient(_safe_norms(norms_B))
    return momentum * norms_B.mean() + (1 - momentum) * mean, momentum * norms_B.std(ddof=1) + (1 - momentum) * std


def _safe_norms(norms_B: jax.Array) -> jax.Array:
    return jnp.clip(norms_B.astype(jnp.float32), 1e-3, 100.0)


def margin_loss(
    embeddings_BE: jax.Array,
    centres_KE: jax.Array,
    labels_B: jax.Array,
    *,
    m1: float = 1.0,
    m2: Number = 0.0,
    m3: Number = 0.0,
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
