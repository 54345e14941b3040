"""An ONNX file as plain nodes and arrays, checked before anything is computed. Nothing in the file is executed.

What the operators mean is in ``models.onnx_ops``.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import onnx
from onnx import numpy_helper

from facemae_jax.models.onnx_ops import OPERATORS
from facemae_jax.types import FacemaeError


class Node(NamedTuple):
    """One operation: its kind, the names it reads and the one it makes."""

    kind: str
    inputs: tuple[str, ...]
    output: str
    attributes: dict[str, Any]


class Graph(NamedTuple):
    """A model: weights by name, nodes in order, the name of its image and of its embedding."""

    weights: dict[str, np.ndarray]
    constants: dict[str, np.ndarray]  # integers: shapes, axes
    nodes: tuple[Node, ...]
    image: str
    embedding: str
    input_size: int | None


def read_graph(path: Path) -> Graph:
    """Read and check a recognizer, and fold its normalisations.

    Raises:
        FacemaeError: as :func:`plain_graph`.
    """
    return fold_norms(plain_graph(path))


def plain_graph(path: Path) -> Graph:
    """Read and check a recognizer: the nodes as the file has them.

    Raises:
        FacemaeError: no such file, not ONNX, an operator we do not know, more than one image input, a wrong image shape.
    """
    if not path.is_file():
        raise FacemaeError(f"onnx:{path}: no such file; correct the path.")
    try:
        model = onnx.load(str(path))
        onnx.checker.check_model(model)
    except Exception as error:  # onnx and protobuf raise several unrelated kinds
        reason = next(iter(str(error).strip().splitlines()), "")[:200]
        raise FacemaeError(
            f"onnx:{path} is not a readable ONNX model ({type(error).__name__}: {reason}): download or export it again."
        ) from error
    arrays = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    nodes = []
    for node in model.graph.node:
        attributes = {a.name: _plain(onnx.helper.get_attribute_value(a)) for a in node.attribute}
        if node.op_type == "Constant":
            arrays[node.output[0]] = np.asarray(
                attributes["value"] if "value" in attributes else next(iter(attributes.values()))
            )
            continue
        if node.op_type not in OPERATORS or node.domain not in ("", "ai.onnx"):
            raise FacemaeError(
                f"onnx:{path}: operator {node.domain + '.' if node.domain else ''}{node.op_type} of node {node.name or node.output[0]} is not "
                f"supported; known are {', '.join(sorted(OPERATORS))}."
            )
        inputs = node.input[:1] if node.op_type == "Dropout" else [name for name in node.input if name]
        nodes.append(Node(node.op_type, tuple(inputs), node.output[0], attributes))
    images = [value for value in model.graph.input if value.name not in arrays]
    if len(images) != 1 or len(model.graph.output) != 1:
        raise FacemaeError(
            f"onnx:{path}: a recognizer has one input and one output; this model has {len(images)} and {len(model.graph.output)}."
        )
    size = _input_size(images[0], path)
    weights = {
        name: value.astype(np.float32) for name, value in arrays.items() if np.issubdtype(value.dtype, np.floating)
    }
    constants = {name: value for name, value in arrays.items() if name not in weights}
    return Graph(weights, constants, tuple(nodes), images[0].name, model.graph.output[0].name, size)


def _plain(value: Any) -> Any:
    if isinstance(value, onnx.TensorProto):
        return numpy_helper.to_array(value)
    return value.decode() if isinstance(value, bytes) else value


def _input_size(value: Any, path: Path) -> int | None:
    """The side of the square image, or None where the file leaves it open."""
    dims = [dim.dim_value for dim in value.type.tensor_type.shape.dim]
    if len(dims) != 4 or dims[1] not in (0, 3) or dims[2] != dims[3]:
        raise FacemaeError(f"onnx:{path}: the input {value.name} has the shape {dims}, expected images N×3×S×S.")
    return dims[2] or None


def fold_norms(graph: Graph) -> Graph:
    """BatchNormalization right after a Conv that nothing else reads becomes part of the Conv: the same numbers, less work."""
    weights = dict(graph.weights)
    readers: dict[str, int] = {graph.embedding: 1}
    for node in graph.nodes:
        for name in node.inputs:
            readers[name] = readers.get(name, 0) + 1
    made_by = {node.output: node for node in graph.nodes}
    replaced: dict[str, Node] = {}
    gone: set[str] = set()
    for node in graph.nodes:
        before = made_by.get(node.inputs[0])
        if node.kind != "BatchNormalization" or before is None or before.kind != "Conv" or readers[before.output] != 1:
            continue
        if any(name not in weights for name in (*before.inputs[1:], *node.inputs[1:5])):
            continue  # they come from another node, such as an Identity that shares them
        scale, bias, mean, variance = (weights[name].astype(np.float64) for name in node.inputs[1:5])
        factor = scale / np.sqrt(variance + node.attributes.get("epsilon", 1e-5))
        kernel, shift = f"{node.output}:kernel", f"{node.output}:bias"
        old = weights[before.inputs[2]] if len(before.inputs) > 2 else 0.0
        weights[kernel] = (weights[before.inputs[1]] * factor[:, None, None, None]).astype(np.float32)
        weights[shift] = ((old - mean) * factor + bias).astype(np.float32)
        replaced[node.output] = Node("Conv", (before.inputs[0], kernel, shift), node.output, before.attributes)
        gone.add(before.output)
    nodes = tuple(replaced.get(node.output, node) for node in graph.nodes if node.output not in gone)
    used = {name for node in nodes for name in node.inputs}
    return graph._replace(weights={name: value for name, value in weights.items() if name in used}, nodes=nodes)
