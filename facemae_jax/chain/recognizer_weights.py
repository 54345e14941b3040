"""What the verbs ``import-weights`` and ``export-weights`` do with recognizers; flags and files of all kinds are in ``chain.weights_command``."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np

from facemae_jax.data import synthetic
from facemae_jax.data.face_set import open_face_set
from facemae_jax.data.images import decode_record
from facemae_jax.models.onnx_networks import write_onnx
from facemae_jax.models.scaling import to_unit
from facemae_jax.models.weights.mae_place import read_arrays
from facemae_jax.models.weights.recognizer_arcface_torch import count_units, from_arcface_torch, to_arcface_torch
from facemae_jax.models.weights.recognizer_norms import Imported
from facemae_jax.models.weights.recognizer_onnx import expect_same, from_onnx
from facemae_jax.models.weights.safetensors_file import write_safetensors
from facemae_jax.models.weights.statistics import measured_again
from facemae_jax.types import FacemaeError, Tree

FACES, FACES_SEED = 128, 0  # how many are looked at, and which, for batch statistics that a file no longer holds
Model = tuple[Tree, dict[str, Any], tuple[str, ...]]  # variables, description, what the user should know


def read_arcface_torch(path: Path, options: Mapping[str, str]) -> Model | None:
    """An IResNet under arcface_torch's names; None for other weights.

    Raises:
        FacemaeError: as ``from_arcface_torch``.
    """
    if path.suffix == ".onnx":
        return None
    arrays, file = read_arrays(path)
    if not any(count_units(arrays)):
        return None
    imported = from_arcface_torch(arrays, str(file), options.get("network", ""))
    return _model(imported, file, options, ())


def read_onnx_recognizer(path: Path, options: Mapping[str, str]) -> Model | None:
    """An IResNet or MobileFaceNet as ONNX; None for other files.

    Raises:
        FacemaeError: as ``from_onnx``; when our network does not give the file's embedding.
    """
    if path.suffix != ".onnx":
        return None
    imported = from_onnx(path, options.get("network", ""))
    off = expect_same(path, imported)
    told = [f"the same embedding as the file, to {off:.0e} of its size"]
    if imported.folded:
        faces_BHWC, named = _faces(options.get("faces", ""), imported.description["image_size"])
        variables = measured_again(imported.variables, imported.description, imported.folded, faces_BHWC)
        imported = imported._replace(variables=variables)
        told.append(
            f"{len(imported.folded)} batch normalisations are folded in the file; mean and variance for training were measured on "
            f"{len(faces_BHWC)} {named}"
        )
    return _model(imported, path, options, tuple(told))


def _faces(place: str, size: int) -> tuple[np.ndarray, str]:
    """Faces in −1…1 and what they are: evenly out of a face set, or drawn."""
    if not place:
        drawn = synthetic.people(FACES, 1, seed=FACES_SEED, size=size)
        faces = np.stack([drawn[position][1] for position in range(FACES)])
        return np.asarray(to_unit(jnp.asarray(faces))), "synthetic faces; with --faces=FACE_SET it would be real ones"
    found = open_face_set(Path(place).expanduser())
    if found.image_size != size:
        raise FacemaeError(
            f"--faces={place} has images of {found.image_size or 'several'} pixels, the recognizer reads {size}: "
            f"import them with --config.data.image_size={size}."
        )
    chosen = np.unique(np.linspace(0, len(found) - 1, FACES).astype(int))
    faces = np.stack([decode_record(found[int(position)].image) for position in chosen])
    return np.asarray(to_unit(jnp.asarray(faces))), f"faces of {place}"


def _model(imported: Imported, file: Path, options: Mapping[str, str], told: tuple[str, ...]) -> Model:
    d, out = imported.description, options["out"]
    fields = f"network={d['network']}, embedding={d['embedding']}, image_size={d['image_size']}"
    told = (
        f"recognizer: {fields}; it reads RGB, −1…1",
        *told,
        f"as teacher: --config.teacher.source=checkpoint:{out}; as judge: --config.audit.judges=checkpoint:{out}",
        f"begin a training from it: --config.recognizer.network={d['network']} --config.recognizer.embedding={d['embedding']} "
        f"--config.data.image_size={d['image_size']} --config.recognizer.optim.init_from={out}",
    )
    return imported.variables, d | dict(name=file.stem, taken_from=file.name), told


def write_recognizer_onnx(variables: Tree, description: dict[str, Any], out: Path) -> None:
    """As ONNX."""
    _expect_free(out)
    write_onnx(out, variables, description)


def write_arcface_torch(variables: Tree, description: dict[str, Any], out: Path) -> None:
    """Safetensors under arcface_torch's names."""
    _expect_free(out)
    arrays = to_arcface_torch(variables, description)
    if not out.parent.is_dir():
        raise FacemaeError(f"{out.parent}: no such folder; make it, or name another place for {out.name}.")
    write_safetensors(out, arrays, {"format": "pt", "network": description["network"], "colour_order": "RGB"})


def _expect_free(out: Path) -> None:
    if out.exists():
        raise FacemaeError(f"--out={out} is there already: name another file, or remove it.")
