"""Counting in a traced program, before any compiler has seen it: multiplications, and exchanges that the code writes itself.

What the compiler adds (gathered parameters, summed gradients) is not here: see ``plan.traffic`` for the rule and ``plan.program`` for
what really came out.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, NamedTuple

from facemae_jax.plan.machine import Collective

COLLECTIVES = {
    "all_gather": "all-gather",
    "all_gather_invariant": "all-gather",
    "psum": "all-reduce",
    "psum_invariant": "all-reduce",
    "pmax": "all-reduce",
    "pmin": "all-reduce",
    "reduce_scatter": "reduce-scatter",
    "psum_scatter": "reduce-scatter",
    "all_to_all": "all-to-all",
    "ppermute": "collective-permute",
}


class Operation(NamedTuple):
    """One operation of a program, with how often a step runs it and over how many devices its shapes are split already."""

    equation: Any
    times: int  # by the lengths of the loops around it
    devices: int  # 1, or inside a shard_map the number of devices that each do it on their own part


def operations(jaxpr: Any, times: int = 1, devices: int = 1) -> Iterator[Operation]:
    """Every operation of a program and of the programs inside it; of a branch, those of its most expensive side."""
    for equation in getattr(jaxpr, "jaxpr", jaxpr).eqns:
        name, parameters = equation.primitive.name, equation.params
        inner = list(_programs(parameters))
        if not inner:
            yield Operation(equation, times, devices)
        elif name == "cond":
            yield from max(
                (list(operations(side, times, devices)) for side in inner),
                key=lambda found: sum(map(_multiplications, found)),
            )
        else:
            loops = parameters["length"] if name == "scan" else 1
            split = devices * parameters["mesh"].size if name == "shard_map" else devices
            for program in inner:
                yield from operations(program, times * loops, split)


def flops(jaxpr: Any) -> int:
    """Floating-point operations of all matrix products and convolutions, over all devices, a multiplication and an addition each.

    Element-wise work is not counted. What rematerialisation computes again is.
    """
    return 2 * sum(map(_multiplications, operations(jaxpr)))


def written_collectives(jaxpr: Any) -> list[Collective]:
    """The exchanges inside ``shard_map``, in program order."""
    found = []
    for operation in operations(jaxpr):
        kind = COLLECTIVES.get(operation.equation.primitive.name)
        if kind is None:
            continue
        axes = operation.equation.params.get("axis_name") or operation.equation.params.get("axes")
        axes = (axes,) if isinstance(axes, str) else tuple(axes)
        arrays = operation.equation.outvars if kind == "all-gather" else operation.equation.invars
        size = sum(_bytes(array.aval) for array in arrays)
        if operation.devices > 1:
            found.append(Collective(f"written {kind}", kind, axes, size, operation.times))
    return found


def _bytes(array: Any) -> int:
    return math.prod(array.shape) * array.dtype.itemsize


def _programs(parameters: dict[str, Any]) -> Iterator[Any]:
    for value in parameters.values():
        for item in value if isinstance(value, (tuple, list)) else (value,):
            if hasattr(getattr(item, "jaxpr", item), "eqns"):
                yield item


def _multiplications(operation: Operation) -> int:
    """Multiplications of one operation, over all devices."""
    equation, (name, parameters) = operation.equation, (operation.equation.primitive.name, operation.equation.params)
    repeated = operation.times * operation.devices
    if name == "dot_general":
        (contracted, _), _ = parameters["dimension_numbers"]
        left = equation.invars[0].aval.shape
        return repeated * math.prod(equation.outvars[0].aval.shape) * math.prod(left[axis] for axis in contracted)
    if name == "conv_general_dilated":
        kernel, out = equation.invars[1].aval.shape, equation.outvars[0].aval.shape
        spec = parameters["dimension_numbers"].rhs_spec  # (out features, in features of a group, space …)
        taps = math.prod(kernel[axis] for axis in spec[1:])
        # Zeros between the rows of a dilated input (the gradient of a strided convolution) are not multiplied.
        zeros = math.prod(parameters["lhs_dilation"])
        return repeated * math.prod(out) * taps // zeros
    return 0
