"""Our recognizers as ONNX nodes, layer by layer, in evaluation; the tests hold them against the networks themselves."""

from __future__ import annotations

from collections.abc import Callable
from math import sqrt
from pathlib import Path
from typing import Any

import numpy as np

from facemae_jax.models import cpu_net, iresnet, mobilefacenet, vit_recognizer
from facemae_jax.models.onnx_write import INPUT, Writer, save_onnx
from facemae_jax.models.vit import EPSILON
from facemae_jax.models.weights.recognizer_arcface_torch import channels_first_kernel
from facemae_jax.types import FacemaeError, Tree


def write_onnx(path: Path, variables: Tree, description: dict[str, Any]) -> None:
    """A recognizer as an ONNX file; what it reads and gives is said in :mod:`models.onnx_write`. Computes in float32.

    Args:
        path: of the file.
        variables: params and batch_stats.
        description: as models.recognizer.described.

    Raises:
        FacemaeError: when the model is no recognizer, or the folder is not there.
    """
    network = description.get("network", "")
    kind = next((kind for kind in NETWORKS if network.startswith(kind)), None)
    if description.get("kind") != "recognizer" or kind is None:
        raise FacemaeError(
            f"only recognizers become ONNX files; this model is a {description.get('kind')}{f' ({network})' if network else ''}."
        )
    writer = Writer()
    NETWORKS[kind](writer, variables["params"], variables["batch_stats"], description)
    save_onnx(
        path,
        writer,
        image_size=description["image_size"],
        embedding=description["embedding"],
        about=dict(network=network),
    )


def _head(w: Writer, at: str, params: Tree, stats: Tree, channels: int) -> None:
    """Flatten a map, channels first as ONNX has it; a dense layer; the last normalisation."""
    at = w.node("Flatten", "flat", at, axis=1)
    at = w.gemm(at, "fc", channels_first_kernel(params["fc"]["kernel"], channels), params["fc"].get("bias"))
    w.norm(at, "features", params["features"], stats["features"])


def _iresnet(w: Writer, params: Tree, stats: Tree, description: dict[str, Any]) -> None:
    at = w.conv(INPUT, "conv1", params["conv1"])
    at = w.prelu(w.norm(at, "bn1", params["bn1"], stats["bn1"]), "prelu", params["prelu"])
    for stage, count in enumerate(iresnet.DEPTHS[int(description["network"].removeprefix("iresnet"))], 1):
        for unit in range(count):
            name = f"layer{stage}_{unit}"
            p, s, stride = params[name], stats[name], 2 if unit == 0 else 1
            y = w.norm(at, f"{name}.bn1", p["bn1"], s["bn1"])
            y = w.norm(w.conv(y, f"{name}.conv1", p["conv1"]), f"{name}.bn2", p["bn2"], s["bn2"])
            y = w.conv(w.prelu(y, f"{name}.prelu", p["prelu"]), f"{name}.conv2", p["conv2"], stride=stride)
            y = w.norm(y, f"{name}.bn3", p["bn3"], s["bn3"])
            if "downsample_conv" in p:
                at = w.conv(at, f"{name}.downsample.0", p["downsample_conv"], stride=stride)
                at = w.norm(at, f"{name}.downsample.1", p["downsample_bn"], s["downsample_bn"])
            at = w.node("Add", f"{name}.sum", y, at)
    _head(w, w.norm(at, "bn2", params["bn2"], stats["bn2"]), params, stats, iresnet.WIDTHS[-1])


def _cpu(w: Writer, params: Tree, stats: Tree, description: dict[str, Any]) -> None:
    at = INPUT
    for block in range(len(cpu_net.WIDTHS)):

        def layer(at: str, conv: str, norm: str, prelu: str, stride: int) -> str:
            at = w.norm(w.conv(at, conv, params[conv], stride=stride), norm, params[norm], stats[norm])
            return w.prelu(at, prelu, params[prelu])

        at = layer(at, f"down{block}", f"bn{block}", f"prelu{block}", 2)
        if block:
            y = layer(at, f"conv{block}", f"inner_bn{block}", f"inner{block}", 1)
            at = w.node("Add", f"sum{block}", at, y)
    _head(w, at, params, stats, cpu_net.WIDTHS[-1])


def _mobilefacenet(w: Writer, params: Tree, stats: Tree, description: dict[str, Any]) -> None:
    def layer(at: str, name: str, p: Tree, s: Tree, **how: Any) -> str:
        at = w.norm(w.conv(at, f"{name}.conv", p["conv"], **how), f"{name}.bn", p["bn"], s["bn"])
        return w.prelu(at, f"{name}.prelu", p["prelu"]) if "prelu" in p else at

    at = layer(INPUT, "stem", params["stem"], stats["stem"], stride=2)
    at = layer(at, "stem_depthwise", params["stem_depthwise"], stats["stem_depthwise"], depthwise=True)
    before = mobilefacenet.STEM
    for stage, (_, features, repetitions, first) in enumerate(mobilefacenet.BOTTLENECKS, 1):
        for unit in range(repetitions):
            name, stride = f"stage{stage}_{unit}", first if unit == 0 else 1
            p, s = params[name], stats[name]
            y = layer(at, f"{name}.expand", p["expand"], s["expand"])
            y = layer(y, f"{name}.depthwise", p["depthwise"], s["depthwise"], stride=stride, depthwise=True)
            y = layer(y, f"{name}.project", p["project"], s["project"])
            at = w.node("Add", f"{name}.sum", y, at) if (stride, features) == (1, before) else y
            before = features
    at = layer(at, "last", params["last"], stats["last"])
    at = layer(at, "everywhere", params["everywhere"], stats["everywhere"], pad=0, depthwise=True)
    _head(w, at, params, stats, mobilefacenet.LAST)


def _vit(w: Writer, params: Tree, stats: Tree, description: dict[str, Any]) -> None:
    dim, depth, heads = vit_recognizer.SIZES[description["network"].removeprefix("vit_")]
    patch, tokens, each = vit_recognizer.PATCH, (description["image_size"] // vit_recognizer.PATCH) ** 2, dim // heads
    embed = params["patch_embed"]
    kernel_HWIO = np.asarray(embed["kernel"]).reshape(patch, patch, 3, dim)
    at = w.conv(INPUT, "patch_embed", dict(kernel=kernel_HWIO, bias=embed["bias"]), stride=patch, pad=0)
    at = w.transpose(w.reshape(at, "patches", 0, dim, tokens), "tokens", 0, 2, 1)
    at = w.node("Add", "placed", at, w.weight("position", params["position_1ND"]))
    for layer in range(depth):
        name, p = f"encoder.{layer}", params["encoder"][f"block_{layer}"]
        y = w.layer_norm(at, f"{name}.norm1", p["norm1"], EPSILON)

        def part(number: int, letter: str, *order: int, name: str = name, p: Tree = p, y: str = y) -> str:
            chosen = {key: np.asarray(value)[..., number * dim : (number + 1) * dim] for key, value in p["qkv"].items()}
            made = w.dense(y, f"{name}.{letter}", chosen)
            return w.transpose(
                w.reshape(made, f"{name}.{letter}.split", 0, tokens, heads, each), f"{name}.{letter}.heads", *order
            )

        q, k, v = part(0, "query", 0, 2, 1, 3), part(1, "key", 0, 2, 3, 1), part(2, "value", 0, 2, 1, 3)
        scores = w.constant("Mul", w.node("MatMul", f"{name}.products", q, k), f"{name}.scores", 1 / sqrt(each))
        shares = w.node("Softmax", f"{name}.shares", scores, axis=-1)
        mixed = w.transpose(w.node("MatMul", f"{name}.mixed", shares, v), f"{name}.mixed.heads", 0, 2, 1, 3)
        y = w.dense(w.reshape(mixed, f"{name}.joined", 0, tokens, dim), f"{name}.proj", p["proj"])
        at = w.node("Add", f"{name}.sum1", at, y)
        y = w.dense(w.layer_norm(at, f"{name}.norm2", p["norm2"], EPSILON), f"{name}.fc1", p["fc1"])
        y = w.dense(_gelu(w, y, f"{name}.gelu"), f"{name}.fc2", p["fc2"])
        at = w.node("Add", f"{name}.sum2", at, y)
    at = w.node("Flatten", "flat", w.layer_norm(at, "encoder_norm", params["encoder_norm"], EPSILON), axis=1)
    at = w.gemm(at, "fc1", np.asarray(params["fc1"]["kernel"]).T)
    at = w.gemm(w.norm(at, "bn1", params["bn1"], stats["bn1"]), "fc2", np.asarray(params["fc2"]["kernel"]).T)
    w.norm(at, "features", params["features"], stats["features"])


def _gelu(w: Writer, at: str, name: str) -> str:
    """x · (1 + erf(x / √2)) / 2; the operator of that name came with a later opset."""
    y = w.node("Erf", f"{name}.erf", w.constant("Mul", at, f"{name}.small", 1 / sqrt(2)))
    y = w.constant("Mul", w.constant("Add", y, f"{name}.up", 1.0), f"{name}.half", 0.5)
    return w.node("Mul", name, at, y)


NETWORKS: dict[str, Callable[[Writer, Tree, Tree, dict[str, Any]], None]] = dict(
    iresnet=_iresnet, cpu=_cpu, mobilefacenet=_mobilefacenet, vit=_vit
)
