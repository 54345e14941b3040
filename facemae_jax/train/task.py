"""What one kind of training is: how its variables begin, and what its loss is. The loop knows nothing else about it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax

from facemae_jax import mesh as meshes
from facemae_jax.types import Batch, Tree

Loss = Callable[[Tree, Tree, Tree, Batch, dict[str, jax.Array]], tuple[jax.Array, tuple[dict[str, jax.Array], Tree]]]


class Task(NamedTuple):
    """One kind of training, as pure functions.

    ``loss(params, extra, frozen, batch, keys)`` gives (scalar, (metrics, new extra)); ``extra`` holds what a forward pass updates
    (BatchNorm statistics), ``frozen`` what it only reads (a teacher).
    """

    init: Callable[[jax.Array], dict[str, Tree]]  # key → variables: "params" and other collections
    loss: Loss
    key_names: tuple[str, ...] = ()  # randomness a step needs, by name
    frozen: Tree = ()
    rules: Sequence[Any] = meshes.RULES  # shardings of parameters
