"""A tensor on its way through an ONNX graph, and where its channels are."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp


class Value(NamedTuple):
    """A tensor on its way; with ``last`` its channels were moved from axis 1 to the end."""

    array: Any
    last: bool = False


Attributes = dict[str, Any]
Operator = Callable[[list[Value], Attributes], Value]


def first(value: Value) -> jax.Array:
    """The tensor as the file means it: channels at axis 1."""
    return jnp.moveaxis(value.array, -1, 1) if value.last else value.array


def channels_last(value: Value) -> jax.Array:
    """The tensor with its channels at the end."""
    return value.array if value.last else jnp.moveaxis(jnp.asarray(value.array), 1, -1)
