"""How far a painting is from its image, pixel by pixel."""

from __future__ import annotations

import jax
import jax.numpy as jnp

VARIANCE_FLOOR = 1e-6


def pixel_loss(
    painted_BHWC: jax.Array, images_BHWC: jax.Array, *, patch: int = 0, normalise: bool = False
) -> jax.Array:
    r"""Mean squared error over **all** pixels, visible ones too: :math:`\frac{1}{HWC}\sum (\hat x - x)^2`.

    He et al. (arXiv 2111.06377) take hidden patches only; here the whole painting is published, so all of it counts.

    Args:
        painted_BHWC: the painting, in −1…1 units.
        images_BHWC: the image, in −1…1 units.
        patch: side of a patch in pixels, needed with ``normalise``.
        normalise: the target of each patch is shifted and scaled to mean 0 and variance 1 (``norm_pix_loss``). Such a painting
            cannot be shown without the hidden patches' own mean and variance, which would be a leak.

    Returns:
        ``loss_B``, float32.

    >>> import jax.numpy as jnp
    >>> pixel_loss(jnp.ones((1, 2, 2, 3)), jnp.zeros((1, 2, 2, 3))).tolist()
    [1.0]
    """
    target = images_BHWC.astype(jnp.float32)
    if normalise:
        b, h, w, c = target.shape
        grid = target.reshape(b, h // patch, patch, w // patch, patch, c)
        axes = (2, 4, 5)
        mean, variance = grid.mean(axes, keepdims=True), grid.var(axes, keepdims=True)
        target = ((grid - mean) / jnp.sqrt(variance + VARIANCE_FLOOR)).reshape(target.shape)
    return jnp.mean((painted_BHWC.astype(jnp.float32) - target) ** 2, axis=(1, 2, 3))
