"""The verbs ``import-weights`` and ``export-weights``: weights of other projects become a model directory of ours, and back. No config, no run.

A model directory is what ``mae.optim.init_from``, ``mae.source=checkpoint:``, ``teacher.source=checkpoint:`` and ``audit.judges`` read.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from facemae_jax import logs
from facemae_jax.chain import recognizer_weights
from facemae_jax.checkpoint import load_model, save_model
from facemae_jax.models.vit import SIZES
from facemae_jax.models.weights.mae_adapt import DecoderSize, adapt
from facemae_jax.models.weights.mae_place import published_mae, read_arrays, write_hf
from facemae_jax.train.mae_task import MaeLoss
from facemae_jax.types import FacemaeError, Tree

IMPORT, EXPORT = "import-weights", "export-weights"
SUMMARY = {
    IMPORT: "published weights become a model directory: MAE (.pth of the authors, ViTMAE of Hugging Face), recognizer (arcface_torch, ONNX)",
    EXPORT: "a trained model in the form that others read: ViTMAE of Hugging Face, ONNX, arcface_torch's names",
}
FLAGS = {
    IMPORT: ("out", "image-size", "patch", "decoder", "heads", "norm-pix", "network", "faces"),
    EXPORT: ("to", "out"),
}
IMAGE_SIZE, DECODER = "112", "256,4,8"  # the defaults of configs/base.py

HELP = {
    IMPORT: """\
import-weights: {summary}

  python -m facemae_jax import-weights FILE --out=DIR [--image-size=112] [--patch=8] …

  FILE           weights; what they are is seen from the names in them:
{kinds}
                 A .pth is read without running what is inside; a file that wants to run something is refused.
  --out          the model directory to make
  --image-size   of MAEs: pixels of your images (112)
  --patch        of MAEs: pixels; by default the one that keeps their grid of patches (224/16 → 112/8). Kernels are resized
  --decoder      of MAEs without one: WIDTH,LAYERS,HEADS of an untrained decoder (256,4,8, as configs/base.py has it)
  --heads        of MAEs of other than published widths: ENCODER,DECODER
  --norm-pix     of the authors' MAEs with a decoder: no (it paints pixels: mae_visualize files) or yes (trained with norm_pix_loss;
                 such an MAE can begin a training, but nothing it paints is published)
  --network      of recognizers: iresnet18 | 34 | 50 | 100 | mobilefacenet; another one in the file is refused (default: what it holds)
  --faces        of ONNX recognizers whose batch normalisations were folded away, as InsightFace's: a face set of the recognizer's image
                 size; mean and variance are measured on 128 of its faces (default: on synthetic ones, a worse start of a training).
                 What the recognizer computes as teacher or judge does not depend on it

  python -m facemae_jax import-weights backbone.pth --out=models/arcface
  python -m facemae_jax import-weights w600k_r50.onnx --faces=runs/mine/import-faces/faces-5e6f7a8b/faces --out=models/w600k
  python -m facemae_jax import-weights mae_pretrain_vit_base.pth --out=models/mae_base
  python -m facemae_jax import-weights ./vit-mae-large/ --out=models/mae_large
""",
    EXPORT: """\
export-weights: {summary}

  python -m facemae_jax export-weights MODEL --to=FORM --out=PATH

  MODEL          a model directory, or a stage's directory that holds model/ (runs/demo/train-mae-…)
  --to           the form:
{kinds}
  --out          what to make; it must not be there
""",
}


class Given(NamedTuple):
    """What a reader may look at: the path as named, and flags."""

    path: Path
    options: Mapping[str, str]


class Found(NamedTuple):
    """What a reader found: a model of ours, and what its user should know."""

    variables: Tree
    description: dict[str, Any]
    told: tuple[str, ...]


class Reader(NamedTuple):
    """A kind of weights that come in. ``read`` gives None for weights of another kind."""

    summary: str
    read: Callable[[Given], Found | None]


class Writer(NamedTuple):
    """A form that weights go out in: of which kind of model, and how (variables, description, path)."""

    summary: str
    kind: str  # mae | recognizer
    write: Callable[[Tree, dict[str, Any], Path], None]


def read_mae(given: Given) -> Found | None:
    """A masked autoencoder, fitted to our images."""
    options = given.options
    if given.path.suffix == ".onnx":
        return None
    arrays, file = read_arrays(given.path)
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
    return Found(
        {"params": made.params}, description, tuple(_told_mae(given, c, theirs, published.whole, published.norm_pix))
    )


def _told_mae(given: Given, c: Any, theirs: Any, whole: bool, norm_pix: bool) -> list[str]:
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
    out = given.options["out"]
    flags = " ".join(f"--config.{section}.{name}={value}" for name, (section, value) in fields.items())
    told.append(f"begin a training from it: {flags} --config.mae.optim.init_from={out}")
    if whole and not norm_pix:
        told.append(f"or paint with it as it is: --config.mae.source=checkpoint:{out} instead of init_from")
    return told


def write_mae_hf(variables: Tree, description: dict[str, Any], out: Path) -> None:
    """ViTMAE."""
    write_hf(out, variables["params"], description)


def read_arcface_torch(given: Given) -> Found | None:
    """An IResNet under arcface_torch's names."""
    model = recognizer_weights.read_arcface_torch(given.path, given.options)
    return model and Found(*model)


def read_onnx_recognizer(given: Given) -> Found | None:
    """A recognizer in ONNX form."""
    model = recognizer_weights.read_onnx_recognizer(given.path, given.options)
    return model and Found(*model)


READERS = {
    "mae": Reader(
        "masked autoencoders: mae_pretrain_vit_*.pth, mae_visualize_vit_*.pth; a folder of Hugging Face's ViTMAE",
        read_mae,
    ),
    "arcface_torch": Reader(
        "recognizers: IResNet-18/34/50/100 of arcface_torch (backbone.pth, or safetensors with its names)",
        read_arcface_torch,
    ),
    "onnx": Reader(
        "recognizers: InsightFace's IResNets (w600k_r50.onnx, glintr100.onnx …) and MobileFaceNets, trainable",
        read_onnx_recognizer,
    ),
}
WRITERS = {
    "hf": Writer(
        "of an MAE: a folder that transformers' ViTMAEForPreTraining.from_pretrained loads", "mae", write_mae_hf
    ),
    "onnx": Writer(
        "of a recognizer: RGB N×3×S×S, −1…1 (input_mean = input_std = 127.5) → embeddings, not normalised",
        "recognizer",
        recognizer_weights.write_recognizer_onnx,
    ),
    "safetensors": Writer(
        "of an IResNet: the names of arcface_torch, for load_state_dict of its backbone",
        "recognizer",
        recognizer_weights.write_arcface_torch,
    ),
}


def help_text(verb: str) -> str:
    """What ``VERB --help`` prints."""
    kinds: dict[str, Reader] | dict[str, Writer] = READERS if verb == IMPORT else WRITERS
    listed = "\n".join(f"                   {name:15s} {kind.summary}" for name, kind in kinds.items())
    return HELP[verb].format(summary=SUMMARY[verb], kinds=listed)


def serve(verb: str, places: tuple[str, ...], options: Mapping[str, str]) -> None:
    """Import or export one file of weights, and say what it is.

    Args:
        verb: one of the two.
        places: the words after it: one file or directory.
        options: flag → text, of ``FLAGS[verb]``.

    Raises:
        FacemaeError: a word or flag that is missing or wrong, and as the readers and writers.
    """
    if len(places) != 1:
        raise FacemaeError(
            f"{verb} takes one {'file' if verb == IMPORT else 'model'}, found {len(places)}; see {verb} --help."
        )
    if not options.get("out"):
        raise FacemaeError(f"--out is missing: name what to make; see {verb} --help.")
    (_import if verb == IMPORT else _export)(Path(places[0]).expanduser(), options)


def _import(path: Path, options: Mapping[str, str]) -> None:
    out = Path(options["out"]).expanduser()
    if out.exists():
        raise FacemaeError(f"--out={out} is there already: name another directory, or remove it.")
    for kind, reader in READERS.items():
        found = reader.read(Given(path, options))
        if found is not None:
            save_model(out, found.variables, found.description)
            for line in found.told:
                logs.say(f"{IMPORT}: {line}")
            logs.say(f"{IMPORT}: {out} ({kind})")
            return
    raise FacemaeError(f"{path} holds weights of none of the known kinds ({', '.join(READERS)}): see {IMPORT} --help.")


def _export(model: Path, options: Mapping[str, str]) -> None:
    form = options.get("to", "")
    if form not in WRITERS:
        near = difflib.get_close_matches(form, WRITERS, n=1)
        said = (
            f"--to={form}: no such form{f' (did you mean {near[0]}?)' if near else ''}" if form else "--to is missing"
        )
        raise FacemaeError(f"{said}; choose one of {', '.join(WRITERS)}.")
    variables, description = load_model(model)
    if description.get("kind") != WRITERS[form].kind:
        raise FacemaeError(f"{model} holds a {description.get('kind')}; --to={form} writes a {WRITERS[form].kind}.")
    out = Path(options["out"]).expanduser()
    WRITERS[form].write(variables, description, out)
    logs.say(f"{EXPORT}: {out} ({form})")


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
