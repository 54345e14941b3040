"""Recognizers as ONNX files: the inverse of :mod:`models.onnx_read`. What a network is made of is in ``models.onnx_networks``.

The file reads RGB images −1…1 as N×3×S×S (``(x − 127.5) / 127.5`` of bytes, what InsightFace calls input_mean = input_std = 127.5) and
gives the raw embedding, not normalised; both stand in its metadata. The batch is free. Normalisations are written as they are, not
folded, so that nothing of the model is lost; runtimes fold them when they load it.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from facemae_jax.types import FacemaeError, Tree

OPSET, IR = 17, 8  # of 2022, for older runtimes; LayerNormalization came with it
INPUT, OUTPUT = "data", "embedding"
METADATA = dict(
    input_mean="127.5", input_std="127.5", input_range="-1..1", colour_order="RGB", input_layout="NCHW",
    embedding_normalised="no",
)  # fmt: skip


class Writer:
    """Nodes and weights as they are added; every method gives the name of the value it makes. Arrays are in our layout."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.weights: dict[str, np.ndarray] = {}

    def node(self, kind: str, name: str, *inputs: str, **attributes: Any) -> str:
        """One operation."""
        self.nodes.append(helper.make_node(kind, list(inputs), [name], name=name, **attributes))
        return name

    def weight(self, name: str, array: Any, dtype: Any = np.float32) -> str:
        """An array of the model."""
        self.weights[name] = np.ascontiguousarray(array, dtype)
        return name

    def conv(
        self, at: str, name: str, params: Tree, *, stride: int = 1, pad: int | None = None, depthwise: bool = False
    ) -> str:
        """A square convolution with our kernel over rows, columns, inputs, outputs; ``pad`` None = (size − 1) / 2 on every side."""
        kernel_OIHW = np.asarray(params["kernel"]).transpose(3, 2, 0, 1)
        outputs, _, size, _ = kernel_OIHW.shape
        inputs = [at, self.weight(f"{name}.weight", kernel_OIHW)]
        if "bias" in params:
            inputs.append(self.weight(f"{name}.bias", params["bias"]))
        pad = (size - 1) // 2 if pad is None else pad
        return self.node(
            "Conv", name, *inputs, kernel_shape=[size, size], strides=[stride] * 2, pads=[pad] * 4,
            group=outputs if depthwise else 1,
        )  # fmt: skip

    def norm(self, at: str, name: str, params: Tree, stats: Tree) -> str:
        """Batch normalisation with stored statistics; a scale or bias that ours does not have is 1 or 0."""
        mean = np.asarray(stats["mean"])
        vectors = dict(
            weight=params.get("scale", np.ones_like(mean)), bias=params.get("bias", np.zeros_like(mean)),
            running_mean=mean, running_var=stats["var"],
        )  # fmt: skip
        inputs = [self.weight(f"{name}.{part}", vector) for part, vector in vectors.items()]
        return self.node("BatchNormalization", name, at, *inputs, epsilon=1e-5)

    def prelu(self, at: str, name: str, params: Tree) -> str:
        """One slope per channel of a map."""
        return self.node(
            "PRelu", name, at, self.weight(f"{name}.weight", np.asarray(params["slope"]).reshape(-1, 1, 1))
        )

    def gemm(self, at: str, name: str, kernel_ED: np.ndarray, bias_E: Any = None) -> str:
        """A dense layer over a batch of vectors; the kernel is over outputs, inputs."""
        inputs = [at, self.weight(f"{name}.weight", kernel_ED)]
        if bias_E is not None:
            inputs.append(self.weight(f"{name}.bias", bias_E))
        return self.node("Gemm", name, *inputs, transB=1)

    def dense(self, at: str, name: str, params: Tree) -> str:
        """A dense layer over the last axis of anything."""
        at = self.node("MatMul", f"{name}.product", at, self.weight(f"{name}.weight", params["kernel"]))
        return self.node("Add", name, at, self.weight(f"{name}.bias", params["bias"]))

    def layer_norm(self, at: str, name: str, params: Tree, epsilon: float) -> str:
        """Normalisation over the last axis."""
        inputs = [at, self.weight(f"{name}.weight", params["scale"])]
        if "bias" in params:
            inputs.append(self.weight(f"{name}.bias", params["bias"]))
        return self.node("LayerNormalization", name, *inputs, axis=-1, epsilon=epsilon)

    def reshape(self, at: str, name: str, *shape: int) -> str:
        """Another shape; 0 keeps a length, −1 follows from the rest."""
        return self.node("Reshape", name, at, self.weight(f"{name}.shape", shape, np.int64))

    def transpose(self, at: str, name: str, *order: int) -> str:
        """Axes in another order."""
        return self.node("Transpose", name, at, perm=list(order))

    def constant(self, kind: str, at: str, name: str, value: float) -> str:
        """Add or Mul with a number."""
        return self.node(kind, name, at, self.weight(f"{name}.value", value))


def save_onnx(path: Path, writer: Writer, *, image_size: int, embedding: int, about: dict[str, str]) -> None:
    """Write and check the file, whole or not at all.

    Args:
        path: of the file.
        writer: its last node makes the embedding.
        image_size: side of the images in pixels.
        embedding: length of the output.
        about: more metadata.

    Raises:
        FacemaeError: when the folder is not there.
    """
    if not path.parent.is_dir():
        raise FacemaeError(f"{path.parent}: no such folder; make it, or name another place for {path.name}.")
    writer.nodes[-1].output[0] = OUTPUT
    graph = helper.make_graph(
        writer.nodes,
        "recognizer",
        [helper.make_tensor_value_info(INPUT, TensorProto.FLOAT, ["N", 3, image_size, image_size])],
        [helper.make_tensor_value_info(OUTPUT, TensorProto.FLOAT, ["N", embedding])],
        [numpy_helper.from_array(array, name) for name, array in writer.weights.items()],
        doc_string="RGB images of aligned faces, −1…1, to embeddings that are not normalised",
    )
    model = helper.make_model(
        graph, producer_name="facemae_jax", opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR
    )
    helper.set_model_props(model, METADATA | about)
    onnx.checker.check_model(model)
    partial = path.with_name(path.name + ".partial")
    partial.write_bytes(model.SerializeToString())
    os.replace(partial, path)
