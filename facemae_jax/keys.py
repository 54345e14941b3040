"""Randomness by name and step. No key is ever stored: a resumed run folds the same names and gets the same keys.

Not for secrets: what leaves a workdir is driven by ``export.release``.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence

import jax
import jax.numpy as jnp


def keys_for(seed: int | jax.Array, step: int | jax.Array, names: Sequence[str]) -> dict[str, jax.Array]:
    """One typed key per name: root(seed) ⊕ crc32(name) ⊕ step.

    Args:
        seed: the run's seed.
        step: the global step, a Python integer or a traced scalar.
        names: what each key is for, such as ``("mask", "dropout")``.

    Returns:
        name → scalar typed key. The same (seed, step, name) always gives the same key, whichever other names are asked for.
    """
    root = jax.random.key(seed)
    return {name: jax.random.fold_in(jax.random.fold_in(root, zlib.crc32(name.encode())), step) for name in names}


def image_keys(key: jax.Array, count: int) -> jax.Array:
    """``keys_B``: one key per position of a batch, whatever the mesh it is spread over."""
    return jax.vmap(lambda position: jax.random.fold_in(key, position))(jnp.arange(count))
