"""A recognizer in ONNX form as a differentiable JAX function: a frozen teacher, or a judge.

Only what recognizers are made of is supported (``onnx_ops.OPERATORS``); training such a model is not.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np

from facemae_jax.models.onnx_ops import OPERATORS
from facemae_jax.models.onnx_read import Graph, read_graph
from facemae_jax.models.onnx_value import Value, first
from facemae_jax.types import FacemaeError

PROBE = 112  # pixels, where the file leaves the size of its input open


class OnnxGraph(NamedTuple):
    """Weights and the function that uses them."""

    params: dict[str, np.ndarray]
    apply: Callable[[dict[str, jax.Array], jax.Array], jax.Array]  # (params, data_BCHW) → output
    input_size: int | None  # pixels
    embedding: int


def read_onnx(path: str | Path) -> OnnxGraph:
    """The model in a file.

    Raises:
        FacemaeError: as :func:`models.onnx_read.read_graph`, when the nodes do not fit images of that size, or when the
            output is no vector per image.
    """
    graph = read_graph(Path(path))

    def apply(params: dict[str, jax.Array], data_BCHW: jax.Array) -> jax.Array:
        return run_graph(graph, params, data_BCHW)

    size = graph.input_size or PROBE
    try:
        shape = jax.eval_shape(apply, graph.weights, jax.ShapeDtypeStruct((2, 3, size, size), np.float32)).shape
    except FacemaeError as error:
        raise FacemaeError(f"onnx:{path}: {error}") from error
    except Exception as error:  # whatever two shapes that do not fit raise
        reason = next(iter(str(error).strip().splitlines()), "")[:200]
        raise FacemaeError(
            f"onnx:{path} cannot be computed on two images of {size}×{size} pixels ({type(error).__name__}: {reason}): "
            "export it with a fixed image size and a free batch size."
        ) from error
    if len(shape) != 2 or shape[0] != 2:
        raise FacemaeError(
            f"onnx:{path}: for two images the output has the shape {shape}, expected one vector for each."
        )
    return OnnxGraph(graph.weights, apply, graph.input_size, shape[1])


def run_graph(graph: Graph, params: dict[str, jax.Array], data_BCHW: jax.Array) -> jax.Array:
    """All nodes in order."""
    values = {name: Value(array) for name, array in {**params, **graph.constants}.items()}
    values[graph.image] = Value(data_BCHW)
    for node in graph.nodes:
        values[node.output] = OPERATORS[node.kind]([values[name] for name in node.inputs], node.attributes)
    return first(values[graph.embedding])
