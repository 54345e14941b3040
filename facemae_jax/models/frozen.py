"""Recognizers that only look: teacher and judges, from our checkpoints or from ONNX, as one pure function of images.

Differentiable in the images; never trained here.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from facemae_jax.checkpoint import load_model, model_digest
from facemae_jax.models.onnx_graph import read_onnx
from facemae_jax.models.recognizer import from_description
from facemae_jax.types import FacemaeError, Tree

RANGES = {"unit": (1.0, 0.0), "zero_one": (0.5, 0.5), "bytes": (127.5, 127.5)}  # scale, shift from −1…1


class Frozen(NamedTuple):
    """A recognizer as ``apply(params, images_BHWC in −1…1) → embeddings_BE`` of norm 1, float32."""

    params: Tree
    apply: Callable[[Tree, jax.Array], jax.Array]
    image_size: int | None  # what it was made for; others are resized inside apply
    embedding: int
    digest: str  # of the weights' content and of how images are fed
    name: str  # for reports: no path


def load_frozen(source: str, *, input_range: str = "unit", colour_order: str = "rgb") -> Frozen:
    """From ``onnx:PATH`` or ``checkpoint:PATH``.

    Args:
        source: the form and the place; a checkpoint is a model directory, or a stage directory that holds one.
        input_range: what an ONNX model reads: unit (−1…1), zero_one, bytes (0…255). Our checkpoints read units.
        colour_order: rgb or bgr, of an ONNX model's input.

    Raises:
        FacemaeError: for an unknown form, a missing file, or a checkpoint that is no recognizer.
    """
    kind, _, place = source.partition(":")
    path = Path(place).expanduser()
    if kind == "onnx":
        return _from_onnx(path, input_range, colour_order)
    if kind == "checkpoint":
        variables, description = load_model(path)
        if description.get("kind") != "recognizer":
            raise FacemaeError(
                f"{source} holds a {description.get('kind')}, not a recognizer: name a train-teacher or train-recognizer directory."
            )
        return frozen_network(variables, description, digest=model_digest(path))
    raise FacemaeError(f"{source}: a frozen recognizer is named onnx:PATH or checkpoint:PATH.")


def frozen_network(variables: Tree, description: dict[str, Any], *, digest: str) -> Frozen:
    """One of our networks with its variables, in evaluation mode."""
    network = from_description(description)
    size = description["image_size"]

    def apply(params: Tree, images_BHWC: jax.Array) -> jax.Array:
        embeddings_BE: Any = network.apply(params, resized(images_BHWC, size), train=False)
        return unit(embeddings_BE)

    name = description.get("name") or description["network"]
    return Frozen(variables, apply, size, description["embedding"], digest, name)


def _from_onnx(path: Path, input_range: str, colour_order: str) -> Frozen:
    if input_range not in RANGES or colour_order not in ("rgb", "bgr"):
        raise FacemaeError(
            f"input_range={input_range}, colour_order={colour_order}: choose {', '.join(RANGES)}; rgb or bgr."
        )
    graph = read_onnx(path)
    scale, shift = RANGES[input_range]

    def apply(params: Tree, images_BHWC: jax.Array) -> jax.Array:
        images_BHWC = resized(images_BHWC, graph.input_size) * scale + shift
        if colour_order == "bgr":
            images_BHWC = images_BHWC[..., ::-1]
        return unit(graph.apply(params, images_BHWC.transpose(0, 3, 1, 2)))

    content = hashlib.sha256(path.read_bytes() + f"{input_range} {colour_order}".encode()).hexdigest()
    return Frozen(graph.params, apply, graph.input_size, graph.embedding, content, path.stem)


def resized(images_BHWC: jax.Array, size: int | None) -> jax.Array:
    """Bilinear to ``size``, antialiased when shrinking; unchanged where it fits already."""
    b, height, width, colours = images_BHWC.shape
    if size is None or (height, width) == (size, size):
        return images_BHWC
    return jax.image.resize(images_BHWC, (b, size, size, colours), "bilinear", antialias=True)


def unit(embeddings_BE: jax.Array) -> jax.Array:
    """Rows of norm 1 in float32; finite gradient at zero."""
    embeddings_BE = embeddings_BE.astype(jnp.float32)
    square_B1 = jnp.sum(embeddings_BE**2, axis=-1, keepdims=True)
    return embeddings_BE * jax.lax.rsqrt(jnp.maximum(square_B1, 1e-12))
