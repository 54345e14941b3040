"""Published MAEs made to fit our images: another patch size, our −1…1 instead of their normalisation, a decoder where there is none.

What changes the numbers and what does not: the normalisation is folded into the first and the last layer, exactly. Kernels are resized so
that a resized patch gives the same token: exactly where patches grow, in the sense of least squares where they shrink (FlexiViT, Beyer et al.
2022, arXiv 2212.08013, equation 3). Positions are functions of the grid and are computed anew; 224/16, 112/8 and 196/14 have the same grid.
"""

from __future__ import annotations

import dataclasses
from typing import Any, NamedTuple

import jax
import numpy as np

from facemae_jax.models.mae import MaeConfig
from facemae_jax.models.masking import visible_count
from facemae_jax.models.weights.mae_published import Published, shapes_of
from facemae_jax.types import PATCH_COLOURS, FacemaeError, Tree

TOKEN_DEVIATION = 0.02
DECODER_PARTS = ("decoder_embed", "mask_token", "decoder", "decoder_norm", "decoder_pred")


class DecoderSize(NamedTuple):
    """Of a decoder that begins untrained."""

    width: int
    depth: int  # layers
    heads: int


class Adapted(NamedTuple):
    """Parameters of ``models.mae.Mae(config)``."""

    params: Tree
    config: MaeConfig


def adapt(published: Published, *, image_size: int, patch: int = 0, decoder: DecoderSize, seed: int = 0) -> Adapted:
    """Fit a published MAE to our images in −1…1.

    Args:
        published: as a layout's reader gives it.
        image_size: pixels.
        patch: pixels; 0 = the one that keeps their grid.
        decoder: sizes of a fresh decoder, where the file has none.
        seed: of the fresh decoder.

    Raises:
        FacemaeError: a patch that does not divide the image, or sizes of a decoder that do not fit.
    """
    theirs = published.config
    patch = patch or image_size // theirs.side
    if not patch or image_size % patch:
        raise FacemaeError(
            f"--image-size={image_size} has no whole number of patches of {patch} pixels: choose another --patch, or another size."
        )
    params = dict(published.params)
    embed_PD, pred = params["patch_embed"], params.get("decoder_pred")
    if patch != theirs.patch:
        embed_PD = resized_input(embed_PD, theirs.patch, patch)
        pred = resized_output(pred, theirs.patch, patch) if pred is not None else None
    params["patch_embed"] = folded_input(embed_PD, published.mean, published.deviation)
    sizes: dict[str, Any] = dict(image_size=image_size, patch=patch)
    sizes["visible"] = visible_count((image_size // patch) ** 2, 1.0 - theirs.visible / theirs.patches)
    if pred is not None:
        # Normalised patches have no colours of their own to be folded.
        params["decoder_pred"] = (
            pred if published.norm_pix else folded_output(pred, published.mean, published.deviation)
        )
        return Adapted(params, dataclasses.replace(theirs, **sizes))
    if min(decoder) < 1 or decoder.width % decoder.heads or decoder.width % 4:
        raise FacemaeError(
            f"--decoder={','.join(map(str, decoder))}: width, layers and heads are at least 1, and the width divides by 4 and by the heads."
        )
    sizes |= dict(decoder_width=decoder.width, decoder_depth=decoder.depth, decoder_heads=decoder.heads)
    config = dataclasses.replace(theirs, **sizes)
    shapes = shapes_of(config)
    fresh = _born({name: shapes[name] for name in DECODER_PARTS}, np.random.default_rng(seed))
    return Adapted({**params, **fresh}, config)


def folded_input(layer: Tree, mean: tuple[float, ...], deviation: tuple[float, ...]) -> Tree:
    """A first layer over ((x + 1) / 2 − mean) / deviation as one over x in −1…1: the same tokens."""
    kernel = _by_colour(layer["kernel"], axis=0)
    scale_C, shift_C = 0.5 / np.array(deviation), (0.5 - np.array(mean)) / np.array(deviation)
    bias = layer["bias"] + np.einsum("pcd,c->d", kernel, shift_C)
    return _layer((kernel * scale_C[None, :, None]).reshape(layer["kernel"].shape), bias)


def folded_output(layer: Tree, mean: tuple[float, ...], deviation: tuple[float, ...]) -> Tree:
    """A last layer that paints (pixel − mean) / deviation as one that paints 2 · pixel − 1."""
    kernel, bias = _by_colour(layer["kernel"], axis=1), _by_colour(layer["bias"], axis=0)
    scale_C, shift_C = 2.0 * np.array(deviation), 2.0 * np.array(mean) - 1.0
    return _layer(
        (kernel * scale_C[None, None]).reshape(layer["kernel"].shape),
        (bias * scale_C[None] + shift_C[None]).reshape(-1),
    )


def resized_input(layer: Tree, old: int, new: int) -> Tree:
    """A first layer over patches of another size: its kernel goes through the pseudo-inverse of the transposed resizing."""
    inverse = np.linalg.pinv(resizing(old, new).T)
    kernel = layer["kernel"].astype(np.float64).reshape(old, old, PATCH_COLOURS, -1)
    kernel = np.einsum("ap,bq,pqcd->abcd", inverse, inverse, kernel)
    return _layer(kernel.reshape(new * new * PATCH_COLOURS, -1), layer["bias"])


def resized_output(layer: Tree, old: int, new: int) -> Tree:
    """A last layer that paints patches of another size: those of the old one, resized."""
    along = resizing(old, new)
    kernel = layer["kernel"].astype(np.float64).reshape(-1, old, old, PATCH_COLOURS)
    bias = layer["bias"].astype(np.float64).reshape(old, old, PATCH_COLOURS)
    kernel = np.einsum("ap,bq,dpqc->dabc", along, along, kernel)
    bias = np.einsum("ap,bq,pqc->abc", along, along, bias)
    return _layer(kernel.reshape(len(kernel), -1), bias.reshape(-1))


def resizing(old: int, new: int) -> np.ndarray:
    """The matrix (new, old) of bilinear resizing along one axis, antialiased where it shrinks, as ``jax.image.resize`` does it."""
    return np.asarray(jax.image.resize(np.eye(old, dtype=np.float32), (new, old), "bilinear"), np.float64)


def _by_colour(array: np.ndarray, axis: int) -> np.ndarray:
    """Numbers of a patch (rows, columns, colours) apart: (…, pixels, colours, …), float64."""
    shape = array.shape
    return array.astype(np.float64).reshape(*shape[:axis], -1, PATCH_COLOURS, *shape[axis + 1 :])


def _layer(kernel: np.ndarray, bias: np.ndarray) -> Tree:
    return dict(kernel=kernel.astype(np.float32), bias=np.asarray(bias, np.float32))


def _born(shapes: Tree, random: np.random.Generator) -> Tree:
    """Fresh parameters as our own MAE begins: Xavier-uniform kernels, tokens of deviation 0.02."""

    def birth(path: tuple, leaf: jax.ShapeDtypeStruct) -> np.ndarray:
        name = path[-1].key
        if name == "kernel":
            bound = (6.0 / sum(leaf.shape)) ** 0.5
            return random.uniform(-bound, bound, leaf.shape).astype(np.float32)
        if name == "mask_token":
            return (TOKEN_DEVIATION * random.normal(size=leaf.shape)).astype(np.float32)
        return np.full(leaf.shape, 1.0 if name == "scale" else 0.0, np.float32)

    return jax.tree_util.tree_map_with_path(birth, shapes)
