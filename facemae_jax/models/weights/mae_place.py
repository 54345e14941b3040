"""A published MAE from where it lies: a ``.pth`` of the authors, or a folder of Hugging Face's ViTMAE; and our MAE into such a folder."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np

from facemae_jax.models.weights.mae_facebook import from_facebook, is_facebook
from facemae_jax.models.weights.mae_hf import from_hf, is_hf, to_hf
from facemae_jax.models.weights.mae_published import Published
from facemae_jax.models.weights.pth_file import read_pth
from facemae_jax.models.weights.safetensors_file import read_safetensors, write_safetensors
from facemae_jax.types import FacemaeError, Tree

CONFIG, PREPROCESSOR, SAFETENSORS = "config.json", "preprocessor_config.json", "model.safetensors"
IN_FOLDER = (SAFETENSORS, "pytorch_model.bin")
IN_PARTS = "model.safetensors.index.json"


def read_arrays(path: Path) -> tuple[dict[str, np.ndarray], Path]:
    """The arrays of a file, or of a folder of Hugging Face's, and the file they came from.

    Raises:
        FacemaeError: neither, or as the reader of its form.
    """
    path = Path(path).expanduser()
    if path.is_dir():
        there = [path / name for name in IN_FOLDER if (path / name).is_file()]
        if not there and (path / IN_PARTS).is_file():
            raise FacemaeError(
                f"{path} holds weights in several parts: save it once more with max_shard_size above its size."
            )
        if not there:
            raise FacemaeError(
                f"{path} is a folder without {' or '.join(IN_FOLDER)}: name a file of weights, or such a folder."
            )
        path = there[0]
    with_path = read_safetensors if path.suffix == ".safetensors" else read_pth
    return with_path(path), path


def published_mae(
    arrays: dict[str, np.ndarray], file: Path, *, norm_pix: bool | None = None, heads: tuple[int, int] = (0, 0)
) -> Published | None:
    """The MAE that arrays are; None when they are something else.

    Args:
        arrays: of ``file``.
        file: beside it lie ``config.json`` and ``preprocessor_config.json``, in Hugging Face's layout.
        norm_pix: told by who has the file, where the file does not tell; see ``from_facebook``.
        heads: of encoder and decoder, for other than published sizes in the authors' layout.

    Raises:
        FacemaeError: as the layouts do.
    """
    if is_facebook(arrays):
        return from_facebook(arrays, str(file), norm_pix=norm_pix, heads=heads)
    if not is_hf(arrays):
        return None
    config = _json(file.with_name(CONFIG))
    if config is None:
        raise FacemaeError(
            f"{file} has no {CONFIG} beside it, which tells its heads: give the folder that save_pretrained wrote."
        )
    if norm_pix is not None:
        config["norm_pix_loss"] = norm_pix
    return from_hf(arrays, config, _json(file.with_name(PREPROCESSOR)), str(file.parent))


def write_hf(directory: Path, params: Tree, description: dict[str, Any]) -> None:
    """A folder that transformers' ``ViTMAEForPreTraining.from_pretrained`` loads; whole or not at all.

    Raises:
        FacemaeError: when something is there already.
    """
    if directory.exists():
        raise FacemaeError(f"{directory} is there already: name another folder, or remove it.")
    arrays, config, preprocessor = to_hf(params, description)
    partial = directory.with_name(directory.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    write_safetensors(partial / SAFETENSORS, arrays, {"format": "pt"})
    for name, content in ((CONFIG, config), (PREPROCESSOR, preprocessor)):
        (partial / name).write_text(json.dumps(content, indent=2, sort_keys=True) + "\n")
    os.replace(partial, directory)


def _json(path: Path) -> dict[str, Any] | None:
    if not path.is_file():
        return None
    try:
        found = json.loads(path.read_text())
    except ValueError as error:
        raise FacemaeError(f"{path} is no JSON ({error}): copy or download it again.") from error
    if not isinstance(found, dict):
        raise FacemaeError(f"{path} holds no settings by name: copy or download it again.")
    return found
