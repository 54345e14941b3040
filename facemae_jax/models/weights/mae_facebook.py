"""Masked autoencoders in the names of the authors' own files (``mae_pretrain_vit_*.pth``, ``mae_visualize_vit_*.pth``), in.

Layout: ``blocks.N`` and ``decoder_blocks.N`` with ``norm1``, ``attn.qkv`` (queries, keys, values; in each the heads one after another),
``attn.proj``, ``norm2``, ``mlp.fc1``, ``mlp.fc2``; fixed positions with a row of zeros for the class token; LayerNorm ε = 1e-6; inputs
normalised by ImageNet's mean and deviation. Encoder-only files end after ``norm``. The files hold neither heads nor whether the targets were
normalised. Source: the names and shapes in the published files; He et al. 2021 (arXiv 2111.06377).
"""

from __future__ import annotations

from typing import Any

import numpy as np

from facemae_jax.models.mae import MaeConfig
from facemae_jax.models.masking import visible_count
from facemae_jax.models.weights.mae_published import (
    DECODER_HEADS,
    IMAGENET_DEVIATION,
    IMAGENET_MEAN,
    Arrays,
    Published,
    check_shapes,
    encoder_heads,
    heads_of,
)
from facemae_jax.types import FacemaeError, Tree

MASK_RATIO = 0.75


def is_facebook(arrays: dict[str, np.ndarray]) -> bool:
    """Whether the names are those of this layout."""
    return "patch_embed.proj.weight" in arrays and "blocks.0.attn.qkv.weight" in arrays


def from_facebook(
    arrays: dict[str, np.ndarray], where: str, *, norm_pix: bool | None = None, heads: tuple[int, int] = (0, 0)
) -> Published:
    """Weights by their names there → ours.

    Args:
        arrays: name → array, as ``read_pth`` gives them.
        where: the file, for messages.
        norm_pix: whether a file with a decoder was trained with norm_pix_loss; of no meaning without one.
        heads: of encoder and decoder; 0 = those of the published sizes.

    Raises:
        FacemaeError: parts that are missing or too many, learned positions, other shapes, or ``norm_pix`` not told.
    """
    given = Arrays(arrays, where)
    whole = "mask_token" in arrays
    if whole and norm_pix is None:
        raise FacemaeError(
            f"{where} has a decoder, and does not say whether it paints pixels (the published mae_visualize files) or normalised patches "
            "(norm_pix_loss): add --norm-pix=no or --norm-pix=yes."
        )
    embed = given.patches("patch_embed.proj")
    width, side = embed["bias"].size, given.positions("pos_embed")
    patch = round((embed["kernel"].shape[0] / 3) ** 0.5)
    params: Tree = dict(
        patch_embed=embed,
        cls_token=given.take("cls_token"),
        encoder=given.blocks("blocks", _block),
        encoder_norm=given.norm("norm"),
    )
    decoder: dict[str, Any] = dict(
        decoder_width=width, decoder_depth=1, decoder_heads=1
    )  # of no meaning without a decoder
    if whole:
        if given.positions("decoder_pos_embed") != side:
            raise FacemaeError(f"{where}: decoder_pos_embed has another grid than pos_embed: give the whole file.")
        params |= dict(
            decoder_embed=given.dense("decoder_embed"),
            mask_token=given.take("mask_token"),
            decoder=given.blocks("decoder_blocks", _block),
            decoder_norm=given.norm("decoder_norm"),
            decoder_pred=given.dense("decoder_pred"),
        )
        across = params["decoder_embed"]["bias"].size
        decoder = dict(
            decoder_width=across,
            decoder_depth=len(params["decoder"]),
            decoder_heads=heads_of(across, heads[1], DECODER_HEADS, where),
        )
    given.done()
    config = MaeConfig(
        image_size=side * patch, patch=patch, visible=visible_count(side**2, MASK_RATIO), width=width,
        depth=len(params["encoder"]), heads=encoder_heads(width, heads[0], where), **decoder,
    )  # fmt: skip
    check_shapes(params, config, where)
    return Published(params, config, IMAGENET_MEAN, IMAGENET_DEVIATION, bool(whole and norm_pix), whole)


def _block(given: Arrays, name: str) -> Tree:
    return dict(
        norm1=given.norm(f"{name}.norm1"),
        qkv=given.dense(f"{name}.attn.qkv"),
        proj=given.dense(f"{name}.attn.proj"),
        norm2=given.norm(f"{name}.norm2"),
        fc1=given.dense(f"{name}.mlp.fc1"),
        fc2=given.dense(f"{name}.mlp.fc2"),
    )
