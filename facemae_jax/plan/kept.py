"""What the backward pass keeps of the forward pass: an estimate from the traced loss, where there is no compiled program to ask.

Kept are the results of heavy operations (products, convolutions, sums, loops, exchanges) and the inputs of products and convolutions;
what follows from these by element-wise work is computed again, as XLA's fusion does. Inside a loop over layers (``scan``) there is
no fusion across the loop: everything that JAX saves there is kept. Rematerialised blocks keep what their policy says.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import jax
from jax.extend.core import Literal

from facemae_jax.train.task import Loss
from facemae_jax.types import Batch, Tree

PRODUCTS = ("dot_general", "conv_general_dilated")
CALLS = ("jit", "pjit", "closed_call", "core_call", "custom_jvp_call", "custom_vjp_call")
HEAVY = (
    *PRODUCTS, "scan", "while", "cond", "shard_map", "checkpoint", "remat2", "sort", "top_k", "gather", "cumsum", "random_bits",
    "threefry2x32",
)  # fmt: skip
HEAVY_STARTS = ("reduce_", "scatter", "arg", "all_", "psum", "pmax")


class Value(NamedTuple):
    """One array of the forward pass."""

    size: int  # bytes, over all devices
    heavy: bool  # not computed again
    given: bool  # an argument
    split: bool  # its bytes lie spread over the devices: it depends on the batch, or was made part by part
    sources: tuple[int, ...]


class Kept(NamedTuple):
    """Bytes that the backward pass reads, besides the arguments."""

    activations: int  # over all devices, each holding a part
    copies: int  # of parameters in the dtype of the products, whole on every device


def kept(loss: Loss, params: Tree, extra: Tree, frozen: Tree, batch: Batch, keys: dict[str, Any]) -> Kept:
    """Trace the loss and its derivative, and add up.

    Args:
        loss: of a ``train.task.Task``.
        params: abstract, with shardings; so are the other arguments.
        extra: statistics.
        frozen: parameters only read.
        batch: images that pass at once.
        keys: of the step.
    """

    def forward(params: Tree, *rest: Any) -> Any:
        return jax.vjp(lambda p: loss(p, *rest), params, has_aux=True)[1]

    closed = jax.make_jaxpr(forward)(params, extra, frozen, batch, keys)
    graph = _Graph()
    leaves = [(leaf, part) for part in (params, extra, frozen, batch, keys) for leaf in jax.tree.leaves(part)]
    arguments = [
        graph.add(var.aval, heavy=True, given=True, split=part is batch)
        for var, (_, part) in zip(closed.jaxpr.invars, leaves, strict=True)
    ]
    constants = [graph.add(var.aval, heavy=True, given=True) for var in closed.jaxpr.constvars]
    results = graph.follow(closed.jaxpr, constants, arguments)
    needed: set[int] = set()
    pending = [one for one in results if one is not None]
    while pending:
        number = pending.pop()
        value = graph.values[number]
        if number in needed:
            continue
        if value.heavy or number in graph.operands:
            needed.add(number)
        else:
            pending += value.sources
    values = [graph.values[number] for number in needed]
    gathered = [
        number for number, (leaf, part) in zip(arguments, leaves, strict=True) if part is params and is_split(leaf)
    ]
    return Kept(
        activations=sum(value.size for value in values if value.split and not value.given),
        copies=sum(value.size for value in values if not value.split and not value.given)
        + sum(graph.values[number].size for number in gathered if number in graph.operands),
    )


def is_split(leaf: Any) -> bool:
    """Whether devices hold different parts of an abstract array."""
    where = getattr(leaf, "sharding", None)
    return where is not None and tuple(where.shard_shape(leaf.shape)) != tuple(leaf.shape)


class _Graph:
    """Arrays of a program by number, the calls inside it opened."""

    def __init__(self) -> None:
        self.values: list[Value] = []
        self.operands: set[int] = set()  # inputs of products

    def add(
        self, aval: Any, heavy: bool, given: bool = False, split: bool = False, sources: tuple[int, ...] = ()
    ) -> int:
        self.values.append(Value(_bytes(aval), heavy, given, split, sources))
        return len(self.values) - 1

    def follow(self, jaxpr: Any, constants: list[Any], arguments: list[Any]) -> list[Any]:
        """The numbers of the results; None for what is no array of the program."""
        known = dict(zip([*jaxpr.constvars, *jaxpr.invars], [*constants, *arguments], strict=True))

        def number(var: Any) -> Any:
            return None if isinstance(var, Literal) else known[var]

        for equation in jaxpr.eqns:
            name, inputs = equation.primitive.name, [number(var) for var in equation.invars]
            if name in CALLS:
                inner = equation.params.get("jaxpr") or equation.params["call_jaxpr"]
                results = self.follow(inner.jaxpr, [None] * len(inner.jaxpr.constvars), inputs)
            else:
                results = self._made(equation, name, inputs)
            known.update(zip(equation.outvars, results, strict=True))
        return [number(var) for var in jaxpr.outvars]

    def _made(self, equation: Any, name: str, inputs: list[Any]) -> list[int]:
        sources = tuple(one for one in inputs if one is not None)
        if name in PRODUCTS:
            self.operands.update(sources)
        split = [any(self.values[one].split for one in sources)] * len(equation.outvars)
        if name == "scan":
            flags = [one is not None and self.values[one].split for one in inputs]
            split = _depends(equation.params["jaxpr"].jaxpr, flags)
        if name == "shard_map":
            split = [True] * len(equation.outvars)
        heavy = name in HEAVY or name.startswith(HEAVY_STARTS)
        return [
            self.add(var.aval, heavy, split=part, sources=sources)
            for var, part in zip(equation.outvars, split, strict=True)
        ]


def _depends(jaxpr: Any, flags: list[bool]) -> list[bool]:
    """Which results of a program depend on the flagged arguments."""
    known = dict(zip(jaxpr.invars, flags, strict=True))
    for equation in jaxpr.eqns:
        flag = any(known.get(var, False) for var in equation.invars if not isinstance(var, Literal))
        known.update(dict.fromkeys(equation.outvars, flag))
    return [not isinstance(var, Literal) and known.get(var, False) for var in jaxpr.outvars]


def _bytes(aval: Any) -> int:
    return math.prod(aval.shape) * aval.dtype.itemsize
