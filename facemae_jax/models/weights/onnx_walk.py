"""Walking along the nodes of an ONNX recognizer, layer by layer, and taking their weights.

Every step says what it expects; what comes instead, and behind which value, stands in the error.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from facemae_jax.models.onnx_read import Graph, Node
from facemae_jax.models.weights.recognizer_norms import Norm, folded_norm
from facemae_jax.types import FacemaeError

PASSED = ("Identity", "Dropout")  # do nothing in evaluation


class Convolution(NamedTuple):
    """A convolution and the normalisation behind it, or what was folded into it."""

    kernel_OIHW: np.ndarray
    norm: Norm


class Walk:
    """A graph, its weights by name (also through Identity nodes that share them), and who reads a value."""

    def __init__(self, graph: Graph, where: str, what: str):
        """``where`` is the file and ``what`` the network that is looked for, both for messages."""
        self.graph, self.where, self.what = graph, where, what
        self.weights = dict(graph.weights)
        alias: dict[str, str] = {}
        self.readers: dict[str, list[Node]] = {}
        for node in graph.nodes:
            source = alias.get(node.inputs[0], node.inputs[0])
            if node.kind == "Identity" and source in self.weights:
                self.weights[node.output] = self.weights[source]
            elif node.kind in PASSED:
                alias[node.output] = source
            else:
                node = node._replace(inputs=tuple(alias.get(name, name) for name in node.inputs))
                for name in set(node.inputs):
                    self.readers.setdefault(name, []).append(node)
        self.end = alias.get(graph.embedding, graph.embedding)

    def wrong(self, why: str) -> FacemaeError:
        """The error: this file is not what was looked for."""
        return FacemaeError(
            f"{self.where} is not {self.what}: {why}. As a frozen teacher or judge it can still be used: onnx:FILE."
        )

    def kinds(self, at: str) -> list[str]:
        """What reads a value, sorted."""
        return sorted(node.kind for node in self.readers.get(at, ()))

    def step(self, at: str, *kinds: str) -> Node:
        """The one reader of a value that is of one of ``kinds``.

        Raises:
            FacemaeError: when there is none, or several.
        """
        found = [node for node in self.readers.get(at, ()) if node.kind in kinds]
        if len(found) != 1:
            there = ", ".join(self.kinds(at)) or "the end of the model"
            raise self.wrong(f"behind {at} comes {there} where one {' or '.join(kinds)} is expected")
        return found[0]

    def weight(self, node: Node, number: int) -> np.ndarray:
        """A weight of a node, float64."""
        name = node.inputs[number]
        if name not in self.weights:
            raise self.wrong(f"{node.kind} {node.output} reads {name}, which is no weight")
        return self.weights[name].astype(np.float64)

    def norm(self, node: Node) -> Norm:
        """The vectors of a BatchNormalization."""
        scale, bias, mean, variance = (self.weight(node, number) for number in (1, 2, 3, 4))
        return Norm(scale, bias, mean, variance, node.attributes.get("epsilon", 1e-5))

    def convolution(
        self, at: str, size: int, *, strides: tuple[int, ...] = (1,), pad: int | None = None, depthwise: bool = False
    ) -> tuple[Convolution, int, str]:
        """A square convolution from ``at`` and its normalisation: (weights, stride, the value behind).

        Args:
            at: the value that it reads.
            size: of the kernel.
            strides: those that fit.
            pad: pixels on each side; None = (size − 1) / 2.
            depthwise: each channel by itself.

        Raises:
            FacemaeError: when another thing stands there.
        """
        fits = []
        for node in self.readers.get(at, ()):
            if node.kind == "Conv" and node.inputs[0] == at and self.weight(node, 1).shape[2:] == (size, size):
                fits.append(node)
        if len(fits) != 1:
            raise self.wrong(
                f"behind {at} comes {', '.join(self.kinds(at)) or 'the end'} where a convolution of {size}×{size} is expected"
            )
        (node,) = fits
        kernel = self.weight(node, 1)
        pad = (size - 1) // 2 if pad is None else pad
        given = node.attributes
        stride = list(given.get("strides", [1, 1]))
        groups = len(kernel) if depthwise else 1
        expected = dict(pads=[pad] * 4, dilations=[1, 1], group=groups, auto_pad="NOTSET")
        found = dict(
            pads=list(given.get("pads", [0] * 4)), dilations=list(given.get("dilations", [1, 1])),
            group=given.get("group", 1), auto_pad=given.get("auto_pad", "NOTSET"),
        )  # fmt: skip
        if stride[0] != stride[-1] or stride[0] not in strides or found != expected:
            raise self.wrong(
                f"convolution {node.output} has strides {stride}, {found}; expected are one of {strides}, {expected}"
            )
        bias = self.weight(node, 2) if len(node.inputs) > 2 else np.zeros(len(kernel))
        readers = self.readers.get(node.output, [])
        if len(readers) == 1 and readers[0].kind == "BatchNormalization":
            norm = self.norm(readers[0])
            return Convolution(kernel, norm._replace(mean=norm.mean - bias)), stride[0], readers[0].output
        return Convolution(kernel, folded_norm(bias)), stride[0], node.output

    def prelu(self, at: str) -> tuple[np.ndarray, str]:
        """A PReLU from ``at``: (one slope per channel, the value behind)."""
        node = self.step(at, "PRelu")
        return self.weight(node, 1).reshape(-1), node.output

    def input_scale(self, ranges: dict[str, tuple[float, float]]) -> tuple[float, tuple[float, float], str]:
        """Normalisation at the beginning, if any: (factor of our −1…1, the range that the file reads, the value behind).

        Without one the model reads −1…1, as PyTorch exports of face recognizers do.

        Args:
            ranges: name → (scale, shift) from −1…1, of inputs that are known.

        Raises:
            FacemaeError: when grey does not become 0; the zeros around the image would mean something else then.
        """
        at, factor, shift, seen = self.graph.image, 1.0, 0.0, False
        while self.kinds(at) in (["Sub"], ["Mul"], ["Div"], ["Add"]):
            node = self.readers[at][0]
            number = self.weight(node, 1)
            if number.size != 1:
                raise self.wrong(f"{node.kind} {node.output} treats the colours differently")
            value = float(number.reshape(()))
            match node.kind:
                case "Sub":
                    shift -= value
                case "Add":
                    shift += value
                case "Mul":
                    factor, shift = factor * value, shift * value
                case "Div":
                    factor, shift = factor / value, shift / value
            at, seen = node.output, True
        if not seen:
            return 1.0, (1.0, 0.0), at
        for scale, middle in ranges.values():
            if middle and abs(factor * middle + shift) < 1e-6 * abs(factor * middle):
                return factor * scale, (scale, middle), at
        raise self.wrong(f"its input is read as {factor:g} · x + {shift:g}, under which middle grey is not 0")

    def dense(self, at: str) -> tuple[np.ndarray, np.ndarray, str]:
        """A dense layer from ``at``, also as MatMul and Add: (kernel over inputs and outputs, bias, the value behind)."""
        node = self.step(at, "Gemm", "MatMul")
        kernel_DE = self.weight(node, 1)
        if node.kind == "Gemm":
            given = node.attributes
            if given.get("transA") or given.get("alpha", 1.0) != 1.0 or given.get("beta", 1.0) != 1.0:
                raise self.wrong(f"Gemm {node.output} is scaled or transposed")
            if given.get("transB"):
                kernel_DE = kernel_DE.T
            bias = self.weight(node, 2).reshape(-1) if len(node.inputs) > 2 else np.zeros(kernel_DE.shape[1])
            return kernel_DE, bias, node.output
        if self.kinds(node.output) == ["Add"]:
            add = self.step(node.output, "Add")
            return kernel_DE, self.weight(add, 1 if add.inputs[0] == node.output else 0).reshape(-1), add.output
        return kernel_DE, np.zeros(kernel_DE.shape[1]), node.output

    def last(self, at: str) -> Norm:
        """The BatchNormalization from ``at`` with which the model ends."""
        node = self.step(at, "BatchNormalization")
        if node.output != self.end:
            raise self.wrong(f"more comes behind {node.output}, where the embedding is expected")
        return self.norm(node)
