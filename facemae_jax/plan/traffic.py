"""The exchanges that a step should make: those the code writes, and those that follow from where arrays lie. Anything else is news."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Any

import jax

from facemae_jax.mesh import AXES
from facemae_jax.plan.jobs import Job
from facemae_jax.plan.kept import is_split
from facemae_jax.plan.machine import Collective
from facemae_jax.plan.trace import written_collectives
from facemae_jax.train.recognizer_task import CENTRES


def planned(job: Job, jaxpr: Any) -> list[Collective]:
    """What a step exchanges, largest first.

    Embeddings, labels and softmax sums are in the program. Gradients of parameters are summed over all devices, once per
    micro-batch. Parameters that are split over fsdp are gathered for the forward and again for the backward pass; their gradients are
    summed over fsdp whole, over data in parts. Compilers move both in the dtype of the products: so it came out for TPUs, which
    settled what is written here. BatchNorm sums two numbers per channel forwards and two backwards. Class centres and logits never move.
    """
    found = joined(written_collectives(jaxpr))
    whole: list[int] = []
    split: list[int] = []
    for path, leaf in jax.tree.leaves_with_path(job.state.params):
        if not jax.tree_util.keystr(path, simple=True, separator="/").endswith(CENTRES):
            (split if is_split(leaf) else whole).append(math.prod(leaf.shape) * leaf.dtype.itemsize)
    data, fsdp, times = job.mesh.shape["data"], job.mesh.shape["fsdp"], job.accumulate
    narrow = 2 if job.dtype == "bfloat16" else 1
    if data * fsdp > 1 and whole:
        name = "gradients of whole parameters"
        found.append(Collective(name, "all-reduce", AXES, sum(whole) // narrow, times, max(whole)))
    if split:
        total, widest, name = sum(split) // narrow, max(split), "gradients of split parameters"
        found.append(
            Collective("parameters, forwards and backwards", "all-gather", ("fsdp",), total, 2 * times, widest)
        )
        found.append(Collective(name, "all-reduce", ("fsdp",), total, times, widest))
        if data > 1:
            found.append(Collective(name, "all-reduce", ("data",), total // fsdp, times, widest // fsdp))
    statistics = sum(math.prod(leaf.shape) * leaf.dtype.itemsize for leaf in jax.tree.leaves(job.state.extra))
    if statistics and job.mesh.size > 1:
        found.append(Collective("BatchNorm sums", "all-reduce", AXES, 2 * statistics, times))
    return sorted(found, key=lambda one: -one.size * one.times)


def unplanned(found: Sequence[Collective], expected: Iterable[Collective], at_least: int = 2**20) -> list[Collective]:
    """Exchanges of a compiled program that the plan does not know.

    Compilers cut, move and rename them; so each array of ``at_least`` bytes must be covered by an expected one that is as large or
    larger, over the same axes or more, of the same kind or of one that does its work (a reduce-scatter may come as an all-reduce).

    Args:
        found: of ``plan.hlo.collectives``.
        expected: of :func:`planned`.
        at_least: bytes.
    """
    plan = list(expected)

    def covered(one: Collective) -> bool:
        return any(
            one.size <= each.widest
            and set(one.axes) <= set(each.axes)
            and one.kind in STANDS_FOR.get(each.kind, (each.kind,))
            for each in plan
        )

    return [one for one in found if one.size >= at_least and not covered(one)]


STANDS_FOR = {
    "reduce-scatter": ("reduce-scatter", "all-reduce", "all-to-all"),
    "all-reduce": ("all-reduce", "reduce-scatter"),
    "all-gather": ("all-gather", "collective-permute"),
}


def joined(found: Iterable[Collective]) -> list[Collective]:
    """Exchanges of one name and kind over the same axes as one, their sizes added."""
    parts: dict[tuple[str, str, tuple[str, ...], int], list[int]] = defaultdict(list)
    for one in found:
        parts[one.what, one.kind, one.axes, one.times].append(one.size)
    return [
        Collective(what, kind, axes, sum(sizes), count, max(sizes))
        for (what, kind, axes, count), sizes in parts.items()
    ]
