"""Patches and masks as pure functions: cut, join, choose, compose. Which key chooses is the caller's business.

Convention: a mask lists the visible patches in ascending order and marks the hidden ones (``types.Mask``).
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

from facemae_jax.types import Mask

GREY = 0.0  # the middle of −1…1
# Of an aligned crop: the mean of the ArcFace template's five landmarks, as shares of its side, and how wide the face around it is.
MIDDLE_X, MIDDLE_Y, SPREAD = 0.5, 0.64, 0.25


def patchify(images_BHWC: jax.Array, patch: int) -> jax.Array:
    """Images → ``patches_BNP``; patches row by row, inside a patch rows, columns, colours.

    ``patch`` must divide height and width.
    """
    b, h, w, c = images_BHWC.shape
    grid = images_BHWC.reshape(b, h // patch, patch, w // patch, patch, c)
    return grid.transpose(0, 1, 3, 2, 4, 5).reshape(b, (h // patch) * (w // patch), patch * patch * c)


def unpatchify(patches_BNP: jax.Array, patch: int) -> jax.Array:
    """Inverse of :func:`patchify` for square images."""
    b, n, p = patches_BNP.shape
    side, colours = round(n**0.5), p // patch**2
    grid = patches_BNP.reshape(b, side, side, patch, patch, colours)
    return grid.transpose(0, 1, 3, 2, 4, 5).reshape(b, side * patch, side * patch, colours)


def visible_count(patches: int, mask_ratio: float) -> int:
    """round(N · (1 − ratio)): computed once, then carried as an integer (``int`` would lose a patch for some ratios)."""
    return round(patches * (1.0 - mask_ratio))


def nearness_to_middle(patches: int) -> np.ndarray:
    """``nearness_N``: how near each patch of a square crop lies to the middle of the aligned face, from 0 (far) to 1 (there).

    A normal curve over the distance to the mean of the ArcFace template's landmarks; it knows positions, no content.
    """
    side = round(patches**0.5)
    centres_S = (np.arange(side) + 0.5) / side
    squared_SS = (centres_S[None, :] - MIDDLE_X) ** 2 + (centres_S[:, None] - MIDDLE_Y) ** 2
    return np.exp(-squared_SS / (2 * SPREAD**2)).reshape(-1).astype(np.float32)


def random_mask(keys_B: jax.Array, *, patches: int, visible: int, focus: float = 0.0) -> Mask:
    """A random choice of ``visible`` of ``patches`` for each key; depends on that key alone, never on what the image shows.

    Args:
        keys_B: typed keys, one per image.
        patches: N.
        visible: V, from 1 to N.
        focus: 0 = every choice is equally likely. Above: patches are drawn one after another without replacement with
            weights ``exp(-focus · nearness_to_middle)``, so that hidden patches gather in the middle of the face.
            Drawn as the largest perturbed log-weights (Gumbel top-k: Kool et al. 2019, arXiv 1903.06059).
    """
    if focus:
        weights_N = -focus * jnp.asarray(nearness_to_middle(patches))
        scores_BN = jax.vmap(lambda key: weights_N + jax.random.gumbel(key, (patches,)))(keys_B)
        order_BN = jnp.argsort(-scores_BN, axis=1)
    else:
        order_BN = jax.vmap(lambda key: jax.random.permutation(key, patches))(keys_B)
    visible_BV = jnp.sort(order_BN[:, :visible], axis=1).astype(jnp.int32)
    return Mask(visible_BV, hidden_patches(visible_BV, patches))


def hidden_patches(visible_BV: jax.Array, patches: int) -> jax.Array:
    """``hidden_BN``: true for every patch that ``visible_BV`` does not list."""
    return ~(visible_BV[:, :, None] == jnp.arange(patches)[None, None, :]).any(axis=1)


def patch_owners(keys_B: jax.Array, visible_BV: jax.Array, *, patches: int, people: int) -> jax.Array:
    """``owner_BN``, int32: from which of the images that make one face each patch comes; 0, the face's own, at hidden patches.

    Every image gives equally many visible patches, those before one more where they do not divide; which ones depends on the key alone.

    Args:
        keys_B: typed keys, those of the masks.
        visible_BV: of :func:`random_mask`.
        patches: N.
        people: M, images per face, at most V.
    """

    def shared(key: jax.Array, visible_V: jax.Array) -> jax.Array:
        owner_V = jax.random.permutation(
            jax.random.fold_in(key, 1), jnp.arange(visible_V.shape[0], dtype=jnp.int32) % people
        )
        return jnp.zeros(patches, jnp.int32).at[visible_V].set(owner_V, unique_indices=True)

    return jax.vmap(shared)(keys_B, visible_BV)


def mix_patches(images_BMHWC: jax.Array, owner_BN: jax.Array, patch: int) -> jax.Array:
    """``images_BHWC``: each patch from the image that owns it."""
    owner_BHW1 = patches_to_pixels(owner_BN, patch)
    mixed_BHWC = images_BMHWC[:, 0]
    for number in range(1, images_BMHWC.shape[1]):
        mixed_BHWC = jnp.where(owner_BHW1 == number, images_BMHWC[:, number], mixed_BHWC)
    return mixed_BHWC


def patches_to_pixels(values_BN: jax.Array, patch: int) -> jax.Array:
    """``values_BHW1``: a value per patch on the pixel grid of square images."""
    b, n = values_BN.shape
    side = round(n**0.5)
    return jnp.repeat(jnp.repeat(values_BN.reshape(b, side, side), patch, axis=1), patch, axis=2)[..., None]


def hidden_pixels(hidden_BN: jax.Array, patch: int) -> jax.Array:
    """``hidden_BHW1``: the mask on the pixel grid of square images."""
    return patches_to_pixels(hidden_BN, patch)


def paste(painted_BHWC: jax.Array, images_BHWC: jax.Array, hidden_BN: jax.Array, patch: int) -> jax.Array:
    """Hidden patches from the painting, visible ones from the image: real pixels, and so not the default anywhere."""
    return jnp.where(hidden_pixels(hidden_BN, patch), painted_BHWC, images_BHWC)


def grey(images_BHWC: jax.Array, hidden_BN: jax.Array, patch: int) -> jax.Array:
    """Hidden patches in middle grey: what the encoder saw, for people to look at."""
    return jnp.where(hidden_pixels(hidden_BN, patch), jnp.full_like(images_BHWC, GREY), images_BHWC)
