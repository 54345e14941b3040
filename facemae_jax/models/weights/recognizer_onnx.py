"""ONNX recognizers as trainable parameters of ours: InsightFace's IResNets (w600k_r50 and its like) and MobileFaceNet.

The network is recovered from the nodes, whatever they are called: how many units in each stage, which widths. Batch normalisations that
stand in the file are taken as they are; those that the export folded into a convolution leave their bias (see
:mod:`models.weights.recognizer_norms`), and :mod:`models.weights.statistics` measures the rest again. As a frozen teacher or judge any
ONNX recognizer works without this, through :mod:`models.onnx_graph`.
"""

from __future__ import annotations

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from facemae_jax.models import mobilefacenet
from facemae_jax.models.frozen import RANGES
from facemae_jax.models.onnx_graph import run_graph
from facemae_jax.models.onnx_read import plain_graph
from facemae_jax.models.recognizer import described, from_description
from facemae_jax.models.weights.onnx_walk import Convolution, Walk
from facemae_jax.models.weights.recognizer_arcface_torch import HALVINGS, depth_of
from facemae_jax.models.weights.recognizer_norms import Imported, dense_and_norm, float32, ours
from facemae_jax.types import FacemaeError, Tree

KNOWN = "an IResNet or a MobileFaceNet"
CLOSE = 1e-3  # of the largest number in the embedding: two ways of computing the same


class Parts:
    """Our variables as they are gathered; ``path`` is ("layer1_0", "bn2") and so on."""

    def __init__(self) -> None:
        self.params: Tree = {}
        self.stats: Tree = {}
        self.folded: list[str] = []

    def put(self, path: tuple[str, ...], params: Tree, stats: Tree | None = None) -> None:
        """Parameters, and statistics, of one layer."""
        for tree, value in ((self.params, params), (self.stats, stats)):
            if value is not None:
                for name in path[:-1]:
                    tree = tree.setdefault(name, {})
                tree[path[-1]] = value

    def convolution(self, found: Convolution, conv: tuple[str, ...], norm: tuple[str, ...]) -> None:
        """A convolution and its normalisation."""
        self.put(conv, float32(dict(kernel=found.kernel_OIHW.transpose(2, 3, 1, 0))))
        self.put(norm, *ours(found.norm))
        if found.norm.folded:
            self.folded.append("/".join(norm))


def from_onnx(path: Path, network: str = "") -> Imported:
    """The recognizer in a file as our variables.

    Args:
        path: of the file; its images are RGB, −1…1 or with their normalisation inside.
        network: iresnet18 | 34 | 50 | 100 | mobilefacenet, or "" for what the file holds.

    Raises:
        FacemaeError: as ``plain_graph``; when the nodes are neither network, or another one than ``network``.
    """
    graph = plain_graph(path)
    walk = Walk(graph, f"onnx:{path}", network or KNOWN)
    factor, _, at = walk.input_scale(RANGES)
    parts = Parts()
    stem, stride, at = walk.convolution(at, 3, strides=(1, 2))
    stem = stem._replace(kernel_OIHW=stem.kernel_OIHW * factor)
    slope, at = walk.prelu(at)
    if stride == 1 and "BatchNormalization" in walk.kinds(at):
        parts.convolution(stem, ("conv1",), ("bn1",))
        parts.put(("prelu",), float32(dict(slope=slope)))
        description = _iresnet(walk, at, parts, network)
    elif stride == 2 and walk.kinds(at) == ["Conv"]:
        parts.convolution(stem, ("stem", "conv"), ("stem", "bn"))
        parts.put(("stem", "prelu"), float32(dict(slope=slope)))
        description = _mobilefacenet(walk, at, parts, network)
    else:
        raise walk.wrong(f"behind its first convolution and PReLU, at {at}, comes {', '.join(walk.kinds(at))}")
    _same_shapes(parts, description, walk)
    return Imported({"params": parts.params, "batch_stats": parts.stats}, description, tuple(parts.folded))


def _iresnet(walk: Walk, at: str, parts: Parts, network: str) -> dict:
    units: list[int] = []  # of each stage
    while set(walk.kinds(at)) & {"Add", "Conv"}:  # beside the normalisation of a unit lies its way around
        begins = "Conv" in walk.kinds(at)
        if begins:
            units.append(0)
        elif not units:
            raise walk.wrong(f"the unit at {at} does not halve the image")
        unit = f"layer{len(units)}_{units[-1]}"
        units[-1] += 1
        first = walk.step(at, "BatchNormalization")
        parts.put((unit, "bn1"), *ours(walk.norm(first)))
        conv1, _, inner = walk.convolution(first.output, 3)
        parts.convolution(conv1, (unit, "conv1"), (unit, "bn2"))
        slope, inner = walk.prelu(inner)
        parts.put((unit, "prelu"), float32(dict(slope=slope)))
        conv2, _, inner = walk.convolution(inner, 3, strides=(2 if begins else 1,))
        parts.convolution(conv2, (unit, "conv2"), (unit, "bn3"))
        around = at
        if begins:
            shortcut, _, around = walk.convolution(at, 1, strides=(2,))
            parts.convolution(shortcut, (unit, "downsample_conv"), (unit, "downsample_bn"))
        add = walk.step(inner, "Add")
        if set(add.inputs) != {inner, around}:
            raise walk.wrong(f"{add.output} adds {', '.join(add.inputs)}, expected {inner} and {around}")
        at = add.output
    depth = depth_of(tuple(units), walk.where, network)
    last = walk.step(at, "BatchNormalization")
    parts.put(("bn2",), *ours(walk.norm(last)))
    flat = walk.step(last.output, "Flatten", "Reshape")
    kernel_DE, bias_E, at = walk.dense(flat.output)
    width, embedding = len(walk.norm(last).scale), kernel_DE.shape[1]
    side = round((len(kernel_DE) / width) ** 0.5)
    if side * side * width != len(kernel_DE):
        raise walk.wrong(f"its dense layer reads {len(kernel_DE)} numbers, which are no square map of {width} channels")
    rows_first_DE = kernel_DE.reshape(width, side, side, embedding).transpose(1, 2, 0, 3).reshape(-1, embedding)
    dense, params, stats = dense_and_norm(rows_first_DE, bias_E, walk.last(at))
    parts.put(("fc",), dense)
    parts.put(("features",), params, stats)
    return described(f"iresnet{depth}", embedding, "float32", 0.0, walk.graph.input_size or side * HALVINGS)


def _mobilefacenet(walk: Walk, at: str, parts: Parts, network: str) -> dict:
    if network not in ("", "mobilefacenet"):
        raise FacemaeError(
            f"{walk.where} looks like a mobilefacenet, not a network={network}: name it, or leave the name out."
        )
    walk.what = "the MobileFaceNet of Chen et al. 2018"

    def layer(
        at: str,
        path: tuple[str, ...],
        size: int,
        *,
        stride: int = 1,
        depthwise: bool = False,
        linear: bool = False,
        pad: int | None = None,
    ) -> str:
        found, _, at = walk.convolution(at, size, strides=(stride,), depthwise=depthwise, pad=pad)
        parts.convolution(found, (*path, "conv"), (*path, "bn"))
        if not linear:
            slope, at = walk.prelu(at)
            parts.put((*path, "prelu"), float32(dict(slope=slope)))
        return at

    at = layer(at, ("stem_depthwise",), 3, depthwise=True)
    before = mobilefacenet.STEM
    for stage, (_, features, repetitions, first) in enumerate(mobilefacenet.BOTTLENECKS, 1):
        for unit in range(repetitions):
            name, stride = f"stage{stage}_{unit}", first if unit == 0 else 1
            inner = layer(at, (name, "expand"), 1)
            inner = layer(inner, (name, "depthwise"), 3, stride=stride, depthwise=True)
            inner = layer(inner, (name, "project"), 1, linear=True)
            if (stride, features) == (1, before):
                add = walk.step(inner, "Add")
                if set(add.inputs) != {inner, at}:
                    raise walk.wrong(f"{add.output} adds {', '.join(add.inputs)}, expected {inner} and {at}")
                inner = add.output
            at, before = inner, features
    at = layer(at, ("last",), 1)
    side = walk.weight(walk.step(at, "Conv"), 1).shape[-1]
    at = layer(at, ("everywhere",), side, depthwise=True, linear=True, pad=0)
    flat = walk.step(at, "Flatten", "Reshape")
    kernel_DE, bias_E, at = walk.dense(flat.output)
    norm = walk.last(at)
    parts.put(("fc",), float32(dict(kernel=kernel_DE)))
    parts.put(("features",), *ours(norm._replace(mean=norm.mean - bias_E)))
    size = walk.graph.input_size or side * mobilefacenet.STRIDE
    return described("mobilefacenet", kernel_DE.shape[1], "float32", 0.0, size)


def _same_shapes(parts: Parts, description: dict, walk: Walk) -> None:
    """The network that the description names has exactly these arrays."""
    wanted, found = abstract_of(description), {"params": parts.params, "batch_stats": parts.stats}

    def flat(tree: Tree) -> dict[str, tuple[int, ...]]:
        leaves = jax.tree.leaves_with_path(tree)
        return {jax.tree_util.keystr(path, simple=True, separator="/"): leaf.shape for path, leaf in leaves}

    ours_are, its_are = flat(wanted), flat(found)
    for name in sorted(ours_are.keys() | its_are.keys()):
        if ours_are.get(name) != its_are.get(name):
            raise walk.wrong(
                f"{name} would have the shape {its_are.get(name)}, our {description['network']} has {ours_are.get(name)} there"
            )


def abstract_of(description: dict) -> Tree:
    """Shapes of the variables of a network that ``described`` tells of."""
    model, size = from_description(description), description["image_size"]
    return jax.eval_shape(lambda key: model.init(key, jnp.zeros((1, size, size, 3)), train=False), jax.random.key(0))


def expect_same(path: Path, imported: Imported, *, seed: int = 0) -> float:
    """Compute one picture of noise by the file's nodes and by our network: the largest difference, as a share of the largest number.

    Raises:
        FacemaeError: when it is more than rounding; then the file means something that was not understood.
    """
    graph, description = plain_graph(path), imported.description
    _, (scale, shift), _ = Walk(graph, f"onnx:{path}", KNOWN).input_scale(RANGES)
    size = description["image_size"]
    image_BHWC = np.random.default_rng(seed).uniform(-1, 1, (1, size, size, 3)).astype(np.float32)
    data_BCHW = (image_BHWC * scale + shift).transpose(0, 3, 1, 2)
    theirs = np.asarray(jax.jit(lambda weights, data: run_graph(graph, weights, data))(graph.weights, data_BCHW))
    network = from_description(description)
    mine = np.asarray(jax.jit(lambda v, x: network.apply(v, x, train=False))(imported.variables, image_BHWC))
    off = float(np.abs(theirs - mine).max() / np.abs(theirs).max())
    if not off <= CLOSE:
        raise FacemaeError(
            f"onnx:{path}: our {description['network']} gives another embedding than the file (by {off:.1e} of its size): "
            "use it frozen, as onnx:FILE."
        )
    return off
