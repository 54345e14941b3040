"""Masked autoencoders as Hugging Face's ViTMAE keeps them: ``model.safetensors``, ``config.json``, ``preprocessor_config.json``; in and out.

Layout: queries, keys and values apart; ``vit.encoder.layer.N`` and, for the decoder, ``decoder.decoder_layers.N`` (transformers 4) or
``decoder.decoder_encoder.layer.N`` (transformers 5). Both are read; 4's are written, which both versions load. The published configs tell a
LayerNorm ε of 1e-12; the authors trained with 1e-6, which is ours. Source: the names and shapes that ``save_pretrained`` of transformers 4.57
and 5.24 writes.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from facemae_jax.models.mae import MaeConfig
from facemae_jax.models.masking import visible_count
from facemae_jax.models.vit import EPSILON, MLP_RATIO, positions_2d
from facemae_jax.models.weights.mae_published import (
    IMAGENET_DEVIATION,
    IMAGENET_MEAN,
    Arrays,
    Published,
    check_shapes,
)
from facemae_jax.types import PATCH_COLOURS, FacemaeError, Tree

DECODER_LAYERS = ("decoder.decoder_layers", "decoder.decoder_encoder.layer")
PROJECTION = "embeddings.patch_embeddings.projection"
HALF = [0.5] * PATCH_COLOURS  # (pixel − 0.5) / 0.5 is our −1…1
DENSE = dict(proj="attention.output.dense", fc1="intermediate.dense", fc2="output.dense")
NORMS = dict(norm1="layernorm_before", norm2="layernorm_after")


def is_hf(arrays: dict[str, np.ndarray]) -> bool:
    """Whether the names are those of this layout; a bare encoder's have no ``vit.`` before them."""
    return any(f"{before}{PROJECTION}.weight" in arrays for before in ("vit.", ""))


def from_hf(
    arrays: dict[str, np.ndarray], config: dict[str, Any], preprocessor: dict[str, Any] | None, where: str
) -> Published:
    """Weights by their names there → ours.

    Args:
        arrays: name → array, as ``read_safetensors`` gives them.
        config: ``config.json``.
        preprocessor: ``preprocessor_config.json``; None = ImageNet's mean and deviation, as all published ones have.
        where: the folder, for messages.

    Raises:
        FacemaeError: another kind of model, parts that are missing or too many, other shapes, or a network that ours is not.
    """
    _check_kind(config, where)
    vit = "vit." if f"vit.{PROJECTION}.weight" in arrays else ""
    given = Arrays(arrays, where)
    side = given.positions(f"{vit}embeddings.position_embeddings")
    whole = "decoder.mask_token" in arrays
    params: Tree = dict(
        patch_embed=given.patches(f"{vit}{PROJECTION}"),
        cls_token=given.take(f"{vit}embeddings.cls_token"),
        encoder=given.blocks(f"{vit}encoder.layer", _block),
        encoder_norm=given.norm(f"{vit}layernorm"),
    )
    if whole:
        if given.positions("decoder.decoder_pos_embed") != side:
            raise FacemaeError(f"{where}: decoder_pos_embed has another grid than the encoder: give the whole folder.")
        layers = DECODER_LAYERS[any(name.startswith(DECODER_LAYERS[1]) for name in arrays)]
        params |= dict(
            decoder_embed=given.dense("decoder.decoder_embed"),
            mask_token=given.take("decoder.mask_token"),
            decoder=given.blocks(layers, _block),
            decoder_norm=given.norm("decoder.decoder_norm"),
            decoder_pred=given.dense("decoder.decoder_pred"),
        )
    given.done()
    told = MaeConfig(
        image_size=config["image_size"],
        patch=config["patch_size"],
        visible=visible_count(side**2, config.get("mask_ratio", 0.75)),
        width=config["hidden_size"],
        depth=config["num_hidden_layers"],
        heads=config["num_attention_heads"],
        decoder_width=config["decoder_hidden_size"],
        decoder_depth=config["decoder_num_hidden_layers"],
        decoder_heads=config["decoder_num_attention_heads"],
    )
    if told.side != side:
        raise FacemaeError(
            f"{where}: config.json tells {told.side}×{told.side} patches, the weights have {side}×{side}."
        )
    check_shapes(params, told, where)
    mean: tuple[float, ...] = IMAGENET_MEAN
    deviation: tuple[float, ...] = IMAGENET_DEVIATION
    if preprocessor is not None and preprocessor.get("do_normalize", True):
        mean, deviation = tuple(preprocessor["image_mean"]), tuple(preprocessor["image_std"])
    elif preprocessor is not None:
        mean, deviation = (0.0,) * PATCH_COLOURS, (1.0,) * PATCH_COLOURS
    return Published(params, told, mean, deviation, bool(whole and config.get("norm_pix_loss", False)), whole)


def to_hf(params: Tree, description: dict[str, Any]) -> tuple[dict[str, np.ndarray], dict[str, Any], dict[str, Any]]:
    """Inverse of :func:`from_hf`: arrays, ``config.json`` and ``preprocessor_config.json`` of what transformers' ViTMAEForPreTraining loads.

    Args:
        params: of our MAE, its layers not stacked.
        description: its ``model.json``.
    """
    c = MaeConfig.from_dict(description)
    found: dict[str, np.ndarray] = {}

    def dense(name: str, layer: Tree) -> None:
        found[f"{name}.weight"], found[f"{name}.bias"] = layer["kernel"].T, layer["bias"]

    def norm(name: str, layer: Tree) -> None:
        found[f"{name}.weight"], found[f"{name}.bias"] = layer["scale"], layer["bias"]

    def blocks(before: str, stack: Tree) -> None:
        for number in range(len(stack)):
            name, block = f"{before}.{number}", stack[f"block_{number}"]
            for mine, theirs in NORMS.items():
                norm(f"{name}.{theirs}", block[mine])
            for mine, theirs in DENSE.items():
                dense(f"{name}.{theirs}", block[mine])
            parts = zip(
                *(np.split(np.asarray(block["qkv"][part]), 3, axis=-1) for part in ("kernel", "bias")), strict=True
            )
            for which, (kernel, bias) in zip(("query", "key", "value"), parts, strict=True):
                dense(f"{name}.attention.attention.{which}", dict(kernel=kernel, bias=bias))

    def positions(width: int) -> np.ndarray:
        return np.concatenate([np.zeros((1, width), np.float32), positions_2d(width, c.side)])[None]

    kernel = np.asarray(params["patch_embed"]["kernel"]).reshape(c.patch, c.patch, PATCH_COLOURS, c.width)
    found[f"vit.{PROJECTION}.weight"] = kernel.transpose(3, 2, 0, 1)
    found[f"vit.{PROJECTION}.bias"] = params["patch_embed"]["bias"]
    found["vit.embeddings.cls_token"] = params["cls_token"]
    found["vit.embeddings.position_embeddings"] = positions(c.width)
    blocks("vit.encoder.layer", params["encoder"])
    norm("vit.layernorm", params["encoder_norm"])
    found["decoder.mask_token"] = params["mask_token"]
    found["decoder.decoder_pos_embed"] = positions(c.decoder_width)
    dense("decoder.decoder_embed", params["decoder_embed"])
    blocks(DECODER_LAYERS[0], params["decoder"])
    norm("decoder.decoder_norm", params["decoder_norm"])
    dense("decoder.decoder_pred", params["decoder_pred"])
    arrays = {name: np.ascontiguousarray(array, np.float32) for name, array in found.items()}
    return arrays, _config(c, description), _preprocessor(c)


def _block(given: Arrays, name: str) -> Tree:
    parts = [given.dense(f"{name}.attention.attention.{which}") for which in ("query", "key", "value")]
    qkv = {kind: np.concatenate([part[kind] for part in parts], axis=-1) for kind in ("kernel", "bias")}
    return dict(
        qkv=qkv,
        **{mine: given.norm(f"{name}.{theirs}") for mine, theirs in NORMS.items()},
        **{mine: given.dense(f"{name}.{theirs}") for mine, theirs in DENSE.items()},
    )


def _check_kind(config: dict[str, Any], where: str) -> None:
    for field, wanted in dict(
        model_type="vit_mae", hidden_act="gelu", qkv_bias=True, num_channels=PATCH_COLOURS
    ).items():
        if config.get(field, wanted) != wanted:
            raise FacemaeError(
                f"{where}: config.json tells {field}={config[field]}, our MAE has {wanted}: it cannot be read."
            )
    sizes = (
        "image_size patch_size hidden_size num_hidden_layers num_attention_heads decoder_hidden_size decoder_num_hidden_layers "
        "decoder_num_attention_heads"
    ).split()
    for field in sizes:
        if not isinstance(config.get(field), int):
            raise FacemaeError(f"{where}: config.json has no {field}: give the folder that save_pretrained wrote.")


def _config(c: MaeConfig, description: dict[str, Any]) -> dict[str, Any]:
    return dict(
        architectures=["ViTMAEForPreTraining"],
        model_type="vit_mae",
        image_size=c.image_size,
        patch_size=c.patch,
        num_channels=PATCH_COLOURS,
        hidden_size=c.width,
        num_hidden_layers=c.depth,
        num_attention_heads=c.heads,
        intermediate_size=MLP_RATIO * c.width,
        decoder_hidden_size=c.decoder_width,
        decoder_num_hidden_layers=c.decoder_depth,
        decoder_num_attention_heads=c.decoder_heads,
        decoder_intermediate_size=MLP_RATIO * c.decoder_width,
        mask_ratio=1.0 - c.visible / c.patches,
        norm_pix_loss=bool(description.get("norm_pix", False)),
        hidden_act="gelu",
        qkv_bias=True,
        layer_norm_eps=EPSILON,
        torch_dtype="float32",
    )


def _preprocessor(c: MaeConfig) -> dict[str, Any]:
    size = dict(height=c.image_size, width=c.image_size)
    return dict(
        image_processor_type="ViTImageProcessor", do_resize=True, size=size, resample=2, do_rescale=True,
        rescale_factor=1 / 255, do_normalize=True, image_mean=HALF, image_std=HALF,
    )  # fmt: skip
