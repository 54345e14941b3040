"""Between bytes (uint8, as stored) and units (float32 in −1…1, as models read and paint). Nothing else."""

from __future__ import annotations

import jax
import jax.numpy as jnp


def to_unit(images_BHWC: jax.Array) -> jax.Array:
    """uint8 0…255 → float32 −1…1."""
    return images_BHWC.astype(jnp.float32) / 127.5 - 1.0


def to_uint8(images_BHWC: jax.Array) -> jax.Array:
    """float −1…1 → uint8: clipped, rounded half to even. Inverse of :func:`to_unit` on every byte."""
    return jnp.clip(jnp.round((images_BHWC.astype(jnp.float32) + 1.0) * 127.5), 0, 255).astype(jnp.uint8)
