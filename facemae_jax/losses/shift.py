"""Relations kept, identity moved: each painted face is drawn to where an isometry of the teacher's space puts its original.

Relations between embeddings (IRM) do not change when one and the same orthogonal map moves all of them, so that they say nothing
about *where* a face should be. This term says it: elsewhere. The map flips the signs of some principal components of real
embeddings, which keeps their mean, their covariance and their relations, so that a moved embedding still looks like one of a face.
Ours, not of the paper. The map is the same for every image and lies in the MAE's weights: it hides nobody from an attacker who has
pairs of originals and paintings to learn it from (the audit's ``aware`` attack), or who knows the seed of the training.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from facemae_jax.types import FacemaeError


class Shift(NamedTuple):
    """``moved = mean + (e − mean) · map``, brought to unit norm."""

    mean_E: jax.Array | np.ndarray
    map_EE: jax.Array | np.ndarray  # orthogonal and symmetric: moving twice is moving back


def fit_shift(embeddings_nE: np.ndarray, *, share: float, seed: int) -> Shift:
    """A map that flips principal components, drawn at random, until they hold ``share`` of the variance.

    Args:
        embeddings_nE: of real faces, unit norm; the mean and the principal components are theirs.
        share: of the variance that is flipped, from 0 (nothing moves) to 1 (every face goes to the far side of the mean).
        seed: which components.

    Raises:
        FacemaeError: fewer faces than two, so that nothing varies.
    """
    if len(embeddings_nE) < 2:
        raise FacemaeError(
            f"mae.shift_weight needs at least 2 seen faces to see how embeddings vary, got {len(embeddings_nE)}: import more."
        )
    mean_E = embeddings_nE.mean(axis=0, dtype=np.float64)
    values_E, vectors_EE = np.linalg.eigh(np.cov(embeddings_nE.astype(np.float64), rowvar=False))
    order_E = np.random.default_rng(seed).permutation(len(values_E))
    before_E = np.concatenate([[0.0], np.cumsum(values_E[order_E])[:-1]]) / values_E.sum()
    signs_E = np.ones(len(values_E))
    signs_E[order_E[before_E < share - 1e-9]] = -1.0
    map_EE = (vectors_EE * signs_E) @ vectors_EE.T
    return Shift(mean_E.astype(np.float32), map_EE.astype(np.float32))


def shifted(embeddings_BE: jax.Array, shift: Shift) -> jax.Array:
    """Where the map puts embeddings; unit norm."""
    moved_BE = shift.mean_E[None, :] + (embeddings_BE - shift.mean_E[None, :]) @ shift.map_EE
    return jnp.asarray(moved_BE * jax.lax.rsqrt(jnp.maximum(jnp.sum(moved_BE**2, axis=-1, keepdims=True), 1e-12)))


def shift_loss(real_BE: jax.Array, painted_BE: jax.Array, shift: Shift) -> jax.Array:
    r"""Pull each painted face to its moved original: :math:`1 - s(e)\cdot\hat e`.

    Args:
        real_BE: unit embeddings of the originals; no gradient flows into them.
        painted_BE: unit embeddings of the paintings.
        shift: s, of :func:`fit_shift`.

    Returns:
        ``loss_B``, from 0 to 2.

    >>> import jax.numpy as jnp
    >>> mirror = Shift(jnp.zeros(2), jnp.diag(jnp.array([1.0, -1.0])))
    >>> shift_loss(jnp.eye(2), jnp.eye(2), mirror).tolist()
    [0.0, 2.0]
    """
    target_BE = jax.lax.stop_gradient(shifted(real_BE, shift))
    return 1.0 - jnp.sum(target_BE * painted_BE, axis=-1)
