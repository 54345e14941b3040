"""What ``import-weights`` and ``export-weights`` do with masked autoencoders; flags and files of all kinds are in ``chain.weights_command``."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from facemae_jax.chain.recognizer_weights import Model
from facemae_jax.models.vit import SIZES
from facemae_jax.models.weights.mae_adapt import DecoderSize, adapt
from facemae_jax.models.weights.mae_place import published_mae, read_arrays, write_hf
from facemae_jax.train.mae_task import MaeLoss
from facemae_jax.types import FacemaeError, Tree

IMAGE_SIZE, DECODER = "112", "256,4,8"  # the defaults of configs/base.py


def read_mae(path: Path, options: Mapping[str, str]) -> Model | None:
    """A masked autoencoder, fitted to our images; None for other weights.

    Raises:
        FacemaeError: a flag that cannot be read, and as ``published_mae`` and ``adapt``.
    """
    if path.suffix == ".onnx":
        return None
    arrays, file = read_arrays(path)
    said = options.get("norm-pix", "")
    if said not in ("", "yes", "no"):
        raise FacemaeError(f"--norm-pix={said}: choose yes or no.")
    encoder, decoder = _numbers(options, "heads", "0,0", 2)
    published = published_mae(arrays, file, norm_pix=said == "yes" if said else None, heads=(encoder, decoder))
    if published is None:
        return None
    (image_size,), (patch,) = _numbers(options, "image-size", IMAGE_SIZE, 1), _numbers(options, "patch", "0", 1)
    made = adapt(
        published, image_size=image_size, patch=patch, decoder=DecoderSize(*_numbers(options, "decoder", DECODER, 3))
    )
    c, theirs = made.config, published.config
    # Of the losses that trained it only this is known; publish tells them on its card.
    loss = MaeLoss(pixel_weight=1.0, norm_pix=published.norm_pix)
    description = c.to_dict() | loss._asdict() | dict(
        kind="mae", mask_ratio=1.0 - theirs.visible / theirs.patches, seed=0, shift_share=0.0, teacher="",
        taken_from=file.name, untrained="" if published.whole else "decoder",
    )  # fmt: skip
    told = _told_mae(options["out"], c, theirs, published.whole, published.norm_pix)
    return {"params": made.params}, description, tuple(told)


def _told_mae(out: str, c: Any, theirs: Any, whole: bool, norm_pix: bool) -> list[str]:
    resized = "" if c.patch == theirs.patch else ", patch kernels resized"
    grid = "the same grid" if c.side == theirs.side else f"grid {theirs.side}×{theirs.side} → {c.side}×{c.side}"
    told = [
        f"MAE: encoder {c.depth} × {c.width}, decoder {c.decoder_depth} × {c.decoder_width}; {theirs.image_size}/{theirs.patch} → "
        f"{c.image_size}/{c.patch} ({grid}{resized})"
    ]
    if not whole:
        told.append("the file has no decoder: this one is untrained, the MAE paints nothing before it is trained.")
    if norm_pix:
        told.append(
            "its decoder paints normalised patches (norm_pix_loss): train it on; its paintings cannot be published."
        )
    named = next((name for name, size in SIZES.items() if size == (c.width, c.depth, c.heads)), "custom")
    fields = dict(
        image_size=("data", c.image_size), size=("mae", named), patch=("mae", c.patch), decoder_width=("mae", c.decoder_width),
        decoder_depth=("mae", c.decoder_depth), decoder_heads=("mae", c.decoder_heads),
    )  # fmt: skip
    if named == "custom":
        fields |= dict(width=("mae", c.width), depth=("mae", c.depth), heads=("mae", c.heads))
    flags = " ".join(f"--config.{section}.{name}={value}" for name, (section, value) in fields.items())
    told.append(f"begin a training from it: {flags} --config.mae.optim.init_from={out}")
    if whole and not norm_pix:
        told.append(f"or paint with it as it is: --config.mae.source=checkpoint:{out} instead of init_from")
    return told


def write_mae_hf(variables: Tree, description: dict[str, Any], out: Path) -> None:
    """ViTMAE."""
    write_hf(out, variables["params"], description)


def _numbers(options: Mapping[str, str], flag: str, default: str, count: int) -> tuple[int, ...]:
    text = options.get(flag, default)
    try:
        found = tuple(int(part) for part in text.split(","))
    except ValueError:
        found = ()
    if len(found) != count or min(found) < 0:
        many = "one whole number" if count == 1 else f"{count} whole numbers with commas between them"
        raise FacemaeError(f"--{flag}={text}: write {many}, such as {default}.")
    return found
