"""Batch normalisations of other projects as ours: another ε, scales where ours has none, or none at all because they were folded away.

In evaluation a normalisation is y = scale · (x − mean) / √(variance + ε) + bias. Its four vectors are not determined by what it
does, but training needs the mean and the variance that its input really has: what is known of them is kept.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from facemae_jax.types import Tree

EPSILON = 1e-5  # of models.iresnet.batch_norm


class Imported(NamedTuple):
    """A recognizer from another project."""

    variables: Tree  # params and batch_stats, float32
    description: dict[str, Any]  # as models.recognizer.described
    folded: tuple[str, ...] = ()  # normalisations ("layer1_0/bn2") whose mean and variance the file no longer holds


class Norm(NamedTuple):
    """One normalisation: vectors over its channels."""

    scale: np.ndarray
    bias: np.ndarray
    mean: np.ndarray
    variance: np.ndarray
    epsilon: float = EPSILON
    folded: bool = False  # into the convolution before it; these vectors do nothing but add ``bias``


def folded_norm(bias: np.ndarray) -> Norm:
    """What stands behind a convolution whose normalisation was folded into its kernel and its ``bias``."""
    zeros = np.zeros(len(bias))
    return Norm(zeros + np.sqrt(1 + EPSILON), bias, zeros, zeros + 1, EPSILON, folded=True)


def ours(norm: Norm) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """(parameters, statistics) that do the same with our ε."""
    scale = norm.scale * gain(norm)
    return float32(dict(scale=scale, bias=norm.bias)), float32(dict(mean=norm.mean, var=norm.variance))


def gain(norm: Norm) -> np.ndarray:
    """What takes back that our ε is another: √(variance + ours) / √(variance + its)."""
    variance = norm.variance.astype(np.float64)
    return np.sqrt((variance + EPSILON) / (variance + norm.epsilon))


def dense_and_norm(
    kernel_DE: np.ndarray, bias_E: np.ndarray, norm: Norm
) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray], dict[str, np.ndarray]]:
    """A dense layer, and behind it a normalisation that in ours has no scale: (dense, parameters, statistics).

    The scale, which ArcFace keeps at 1, goes into the dense layer.
    """
    factor_E = norm.scale * gain(norm)
    dense = float32(dict(kernel=kernel_DE * factor_E[None], bias=bias_E * factor_E))
    return dense, float32(dict(bias=norm.bias)), float32(dict(mean=norm.mean * factor_E, var=norm.variance))


def float32(arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Each as a float32 array of its own."""
    return {name: np.array(array, np.float32) for name, array in arrays.items()}
