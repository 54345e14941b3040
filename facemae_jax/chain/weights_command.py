"""The verbs ``import-weights`` and ``export-weights``: weights of other projects become a model directory of ours, and back. No config, no run.

A model directory is what ``mae.optim.init_from``, ``mae.source=checkpoint:``, ``teacher.source=checkpoint:`` and ``audit.judges`` read.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from facemae_jax import logs
from facemae_jax.chain import mae_weights, recognizer_weights
from facemae_jax.chain.recognizer_weights import Model
from facemae_jax.checkpoint import load_model, save_model
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


class Reader(NamedTuple):
    """A kind of weights that come in. ``read`` gives None for weights of another kind."""

    summary: str
    read: Callable[[Path, Mapping[str, str]], Model | None]


class Writer(NamedTuple):
    """A form that weights go out in: of which kind of model, and how (variables, description, path)."""

    summary: str
    kind: str  # mae | recognizer
    write: Callable[[Tree, dict[str, Any], Path], None]


READERS = {
    "mae": Reader(
        "masked autoencoders: mae_pretrain_vit_*.pth, mae_visualize_vit_*.pth; a folder of Hugging Face's ViTMAE",
        mae_weights.read_mae,
    ),
    "arcface_torch": Reader(
        "recognizers: IResNet-18/34/50/100 of arcface_torch (backbone.pth, or safetensors with its names)",
        recognizer_weights.read_arcface_torch,
    ),
    "onnx": Reader(
        "recognizers: InsightFace's IResNets (w600k_r50.onnx, glintr100.onnx …) and MobileFaceNets, trainable",
        recognizer_weights.read_onnx_recognizer,
    ),
}
WRITERS = {
    "hf": Writer(
        "of an MAE: a folder that transformers' ViTMAEForPreTraining.from_pretrained loads",
        "mae",
        mae_weights.write_mae_hf,
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
        found = reader.read(path, options)
        if found is not None:
            variables, description, told = found
            save_model(out, variables, description)
            for line in told:
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
