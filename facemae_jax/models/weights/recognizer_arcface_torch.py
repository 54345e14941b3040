"""IResNets under the names and in the layout of arcface_torch's ``backbone.pth``, in and out.

Layout: convolutions (outputs, inputs, rows, columns); ``fc.weight`` (outputs, inputs), its inputs flattened channels first, then rows,
then columns (ours: rows, columns, channels); batch normalisations with ε = 1e-5; ``features.weight`` kept at 1. Images are RGB,
(x / 255 − 0.5) / 0.5, which is our −1…1. Source: the names in InsightFace's published checkpoints and Deng et al. 2019 (arXiv 1801.07698).
"""

from __future__ import annotations

import re
from typing import Any

import numpy as np

from facemae_jax.models import iresnet
from facemae_jax.models.recognizer import described
from facemae_jax.models.weights.recognizer_norms import Imported, Norm, dense_and_norm, float32, ours
from facemae_jax.types import FacemaeError, Tree

HALVINGS = 16  # pixels of the image for each place of the last map
INSIDE = {
    **{name: name for name in ("bn1", "conv1", "bn2", "prelu", "conv2", "bn3")},
    "downsample_conv": "downsample.0",
    "downsample_bn": "downsample.1",
}
NORM = ("weight", "bias", "running_mean", "running_var")


def from_arcface_torch(arrays: dict[str, np.ndarray], where: str, network: str = "") -> Imported:
    """Weights by their names there → our variables.

    Args:
        arrays: name → array, as ``read_pth`` and ``read_safetensors`` give them.
        where: the file, for messages.
        network: iresnet18 | 34 | 50 | 100, or "" for what the names say.

    Raises:
        FacemaeError: when they are no IResNet that we have, another one than ``network``, or shapes do not fit.
    """
    units = count_units(arrays)
    depth = depth_of(units, where, network)
    left = {name: value for name, value in arrays.items() if not name.endswith(".num_batches_tracked")}

    def take(name: str, *shape: int) -> np.ndarray:
        if name not in left:
            raise FacemaeError(
                f"{where} has no {name}, which an iresnet{depth} of arcface_torch has: give the whole file."
            )
        value = left.pop(name).astype(np.float64)
        if value.shape != shape:
            raise FacemaeError(f"{where}: {name} has the shape {value.shape}, an iresnet{depth} has {shape} there.")
        return value

    def norm(name: str, width: int) -> Norm:
        scale, bias, mean, variance = (take(f"{name}.{part}", width) for part in NORM)
        return Norm(scale, bias, mean, variance)

    params: Tree = {}
    stats: Tree = {}

    def part(into: tuple[Tree, Tree], name: str, source: str, *shape: int) -> None:
        if "bn" in name:
            into[0][name], into[1][name] = ours(norm(source, *shape))
        elif name == "prelu":
            into[0][name] = float32(dict(slope=take(f"{source}.weight", *shape)))
        else:
            into[0][name] = float32(dict(kernel=take(f"{source}.weight", *shape).transpose(2, 3, 1, 0)))

    before = iresnet.WIDTHS[0]
    part((params, stats), "conv1", "conv1", before, 3, 3, 3)
    part((params, stats), "bn1", "bn1", before)
    part((params, stats), "prelu", "prelu", before)
    for stage, (width, count) in enumerate(zip(iresnet.WIDTHS, units, strict=True), 1):
        for unit in range(count):
            shapes: dict[str, tuple[int, ...]] = dict(
                bn1=(before,), conv1=(width, before, 3, 3), bn2=(width,), prelu=(width,), conv2=(width, width, 3, 3), bn3=(width,)
            )  # fmt: skip
            if unit == 0:
                shapes |= dict(downsample_conv=(width, before, 1, 1), downsample_bn=(width,))
            into: tuple[Tree, Tree] = ({}, {})
            for name, shape in shapes.items():
                part(into, name, f"layer{stage}.{unit}.{INSIDE[name]}", *shape)
            params[f"layer{stage}_{unit}"], stats[f"layer{stage}_{unit}"] = into
            before = width
    part((params, stats), "bn2", "bn2", before)
    embedding, flat = left["fc.weight"].shape if "fc.weight" in left and left["fc.weight"].ndim == 2 else (0, 0)
    side = round((flat / before) ** 0.5)
    if not side or side * side * before != flat:
        raise FacemaeError(
            f"{where}: fc.weight is not made for square images: it reads {flat} numbers, {before} for each place."
        )
    kernel_DE = take("fc.weight", embedding, flat).reshape(embedding, before, side, side).transpose(2, 3, 1, 0)
    params["fc"], params["features"], stats["features"] = dense_and_norm(
        kernel_DE.reshape(flat, embedding), take("fc.bias", embedding), norm("features", embedding)
    )
    if left:
        raise FacemaeError(
            f"{where} holds what no iresnet{depth} has: {', '.join(list(left)[:5])}; arcface_torch's other networks are not read."
        )
    description = described(f"iresnet{depth}", embedding, "float32", 0.0, side * HALVINGS)
    return Imported({"params": params, "batch_stats": stats}, description)


def count_units(arrays: dict[str, np.ndarray]) -> tuple[int, ...]:
    """How many units each of the four stages has, by the names."""
    found = {match.groups() for name in arrays if (match := re.match(r"layer([1-4])\.(\d+)\.", name))}
    return tuple(sum(stage == str(wanted) for stage, _ in found) for wanted in (1, 2, 3, 4))


def depth_of(units: tuple[int, ...], where: str, network: str = "") -> int:
    """18, 34, 50 or 100, from the units of the four stages.

    Raises:
        FacemaeError: when there is no such IResNet, or it is another one than ``network``.
    """
    for depth, known in iresnet.DEPTHS.items():
        if known == units:
            if network not in ("", f"iresnet{depth}"):
                raise FacemaeError(
                    f"{where} holds an iresnet{depth}, not a network={network}: name it, or leave the name out."
                )
            return depth
    choices = "; ".join(f"iresnet{depth} {known}" for depth, known in iresnet.DEPTHS.items())
    raise FacemaeError(f"{where} is no IResNet that is known: its stages have {units} units, known are {choices}.")


def to_arcface_torch(variables: Tree, description: dict[str, Any]) -> dict[str, np.ndarray]:
    """Inverse of :func:`from_arcface_torch`: what ``load_state_dict`` of arcface_torch's backbone of the same depth takes.

    Raises:
        FacemaeError: when the model is no IResNet.
    """
    if not description.get("network", "").startswith("iresnet"):
        raise FacemaeError(
            f"a model with network={description.get('network')} has no names in arcface_torch, only iresnets have: write it as onnx."
        )
    params, stats = variables["params"], variables["batch_stats"]
    result: dict[str, np.ndarray] = {}

    def norm(target: str, given: Tree, kept: Tree) -> None:
        bias = np.asarray(given["bias"])
        result[f"{target}.weight"] = np.asarray(given.get("scale", np.ones_like(bias)))
        result[f"{target}.bias"] = bias
        result[f"{target}.running_mean"], result[f"{target}.running_var"] = (
            np.asarray(kept["mean"]),
            np.asarray(kept["var"]),
        )
        result[f"{target}.num_batches_tracked"] = np.array(0, np.int64)

    def part(target: str, given: Tree, kept: Tree | None) -> None:
        if kept is not None:
            norm(target, given, kept)
        elif "slope" in given:
            result[f"{target}.weight"] = np.asarray(given["slope"])
        else:
            result[f"{target}.weight"] = np.asarray(given["kernel"]).transpose(3, 2, 0, 1)

    for name in ("conv1", "bn1", "prelu"):
        part(name, params[name], stats.get(name))
    depth = int(description["network"].removeprefix("iresnet"))
    for stage, count in enumerate(iresnet.DEPTHS[depth], 1):
        for unit in range(count):
            mine, theirs = f"layer{stage}_{unit}", f"layer{stage}.{unit}"
            for name, target in INSIDE.items():
                if name in params[mine]:
                    part(f"{theirs}.{target}", params[mine][name], stats[mine].get(name))
    part("bn2", params["bn2"], stats["bn2"])
    result["fc.weight"], result["fc.bias"] = (
        channels_first_kernel(params["fc"]["kernel"], iresnet.WIDTHS[-1]),
        np.asarray(params["fc"]["bias"]),
    )
    norm("features", params["features"], stats["features"])
    return {name: np.asarray(value, order="C") for name, value in result.items()}


def channels_first_kernel(kernel_DE: Any, channels: int) -> np.ndarray:
    """A kernel over rows, columns, channels as (outputs, inputs) over channels, rows, columns of a square map."""
    kernel = np.asarray(kernel_DE)
    flat, embedding = kernel.shape
    side = round((flat / channels) ** 0.5)
    return kernel.reshape(side, side, channels, embedding).transpose(3, 2, 0, 1).reshape(embedding, flat)
