"""What one kind of training is: how its variables begin, and what its loss is. The loop knows nothing else about it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax

from facemae_jax import mesh as meshes
from facemae_jax.types import Batch, Tree

Loss = Callable[[Tree, Tree, Tree, Batch, dict[str, jax.Array]], tuple[jax.Array, tuple[dict[str, jax.Array], Tree]]]


class Selection(NamedTuple):
    """The rows that one step trains, of every leaf that ``named`` says yes to: of parameters and of the optimizer's memory of them."""

    rows_S: jax.Array
    named: Callable[[str], bool]  # path such as "params/centres_KE" → whether it is narrowed
    take: Callable[[jax.Array, jax.Array], jax.Array]  # whole, rows → part
    put: Callable[[jax.Array, jax.Array, jax.Array], jax.Array]  # whole, part, rows → whole

    def narrow(self, tree: Tree) -> Tree:
        """The tree with only the chosen rows."""
        return jax.tree.map_with_path(lambda path, x: self.take(x, self.rows_S) if self._has(path) else x, tree)

    def widen(self, whole: Tree, part: Tree) -> Tree:
        """The whole tree with the chosen rows replaced, and everything else taken from ``part``."""
        return jax.tree.map_with_path(
            lambda path, x, new: self.put(x, new, self.rows_S) if self._has(path) else new, whole, part
        )

    def _has(self, path: Any) -> bool:
        return self.named(jax.tree_util.keystr(path, simple=True, separator="/"))


class Task(NamedTuple):
    """One kind of training, as pure functions.

    ``loss(params, extra, frozen, batch, keys)`` gives (scalar, (metrics, new extra)); ``extra`` holds what a forward pass updates
    (BatchNorm statistics), ``frozen`` what it only reads (a teacher).

    A task whose step trains only some rows of some arrays gives ``select``: (whole batch, keys) → a :class:`Selection`. The loss
    then gets ``params`` with only those rows, and finds them as ``keys["rows"]``; all other rows, and all that the optimizer
    remembers of them, stay as they are, untouched by momentum and decay.
    """

    init: Callable[[jax.Array], dict[str, Tree]]  # key → variables: "params" and other collections
    loss: Loss
    key_names: tuple[str, ...] = ()  # randomness a step needs, by name
    frozen: Tree = ()
    rules: Sequence[Any] = meshes.RULES  # shardings of parameters
    select: Callable[[Batch, dict[str, jax.Array]], Selection] | None = None
