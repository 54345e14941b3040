"""Batch statistics measured again on faces, without changing what a network computes in evaluation.

A file with folded normalisations still computes the right embedding, but a training step, which normalises with the statistics of its
own batch, would begin with another network. Here mean and variance become those of given faces, and scale and bias are changed
against them: y = a·x + b stays as it was.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from facemae_jax.models.recognizer import from_description
from facemae_jax.models.weights.recognizer_norms import EPSILON, float32
from facemae_jax.types import FacemaeError, Tree


def measured_again(
    variables: Tree, description: dict[str, Any], norms: Sequence[str], images_BHWC: np.ndarray, *, batch: int = 16
) -> Tree:
    """The same network with the statistics of ``images_BHWC`` in ``norms``.

    Args:
        variables: params and batch_stats.
        description: of the network.
        norms: paths of normalisations with a scale, as "layer1_0/bn2".
        images_BHWC: faces in −1…1; what does not fill the last batch is left out.
        batch: images at a time.

    Raises:
        FacemaeError: for fewer images than one batch.
    """
    if not norms:
        return variables
    if len(images_BHWC) < batch:
        raise FacemaeError(f"batch statistics need at least {batch} faces, not {len(images_BHWC)}: give more.")
    look = jax.jit(inputs_of_norms(description, norms))
    sums: Any = None
    count = len(images_BHWC) // batch
    for start in range(0, count * batch, batch):
        found = jax.tree.map(
            lambda leaf: np.asarray(leaf, np.float64), look(variables, images_BHWC[start : start + batch])
        )
        sums = found if sums is None else jax.tree.map(np.add, sums, found)
    params, stats = _copied(variables["params"]), _copied(variables["batch_stats"])
    for name, (mean_C, square_C) in sums.items():
        mean_C, square_C = mean_C / count, square_C / count
        _refit(_at(params, name), _at(stats, name), mean_C, np.maximum(square_C - mean_C**2, 0))
    return {**variables, "params": params, "batch_stats": stats}


def inputs_of_norms(
    description: dict[str, Any], norms: Sequence[str]
) -> Callable[[Tree, jax.Array], dict[str, tuple[jax.Array, jax.Array]]]:
    """(variables, images) → for each norm the mean and the mean square of what comes in, per channel, in evaluation."""
    network, wanted = from_description(description), set(norms)

    def look(variables: Tree, images_BHWC: jax.Array) -> dict[str, tuple[jax.Array, jax.Array]]:
        found: dict[str, tuple[jax.Array, jax.Array]] = {}

        def note(inner: Callable[..., Any], arguments: tuple, named: dict, context: Any) -> Any:
            name = "/".join(context.module.path)
            if isinstance(context.module, nn.BatchNorm) and name in wanted:
                x, axes = arguments[0].astype(jnp.float32), tuple(range(arguments[0].ndim - 1))
                found[name] = (jnp.mean(x, axes), jnp.mean(x**2, axes))
            return inner(*arguments, **named)

        with nn.intercept_methods(note):
            network.apply(variables, images_BHWC, train=False)
        return found

    return look


def _refit(params: Tree, stats: Tree, mean_C: np.ndarray, variance_C: np.ndarray) -> None:
    factor_C = params["scale"].astype(np.float64) / np.sqrt(stats["var"].astype(np.float64) + EPSILON)
    shift_C = params["bias"] - factor_C * stats["mean"]
    params.update(float32(dict(scale=factor_C * np.sqrt(variance_C + EPSILON), bias=shift_C + factor_C * mean_C)))
    stats.update(float32(dict(mean=mean_C, var=variance_C)))


def _copied(tree: Tree) -> Tree:
    return {name: _copied(value) for name, value in tree.items()} if isinstance(tree, dict) else np.asarray(tree)


def _at(tree: Tree, path: str) -> Tree:
    for name in path.split("/"):
        tree = tree[name]
    return tree
