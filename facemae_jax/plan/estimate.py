"""From counted numbers to bytes, seconds and a verdict. Arithmetic alone: no program, no device."""

from __future__ import annotations

from typing import NamedTuple

from facemae_jax.plan.machine import Assumptions, Collective, Machine, moved, seconds
from facemae_jax.plan.memory import Memory

DAY = 86_400
PASSES = 14  # how often an activation's bytes pass, forwards and backwards: 13 and 16 in programs of libtpu (IResNet-50, ViT-B MAE)


class Counts(NamedTuple):
    """What a training is made of."""

    name: str  # teacher | mae | recognizer
    identities: int
    images: int
    batch: int  # images per step
    accumulate: int
    steps: int
    dtype: str  # of the products
    mesh: tuple[int, int]  # (data, fsdp)
    parameters: int  # of the network
    centres: int  # numbers in class centres, without padding
    flops: int  # of a step, over all devices
    memory: Memory  # bytes per device
    collectives: tuple[Collective, ...]  # as planned
    compiled: int = 0  # bytes per device of a program compiled for this very machine; 0 = there is none
    refused: str = ""  # the words of a compiler that found no room on this very machine


class Estimate(NamedTuple):
    """The plan of one training on one machine."""

    counts: Counts
    flops_per_image: float
    needed: int  # bytes per device
    usable: int  # bytes per device
    fits: bool
    arithmetic: str  # the sum behind ``fits``
    largest_batch: int  # images per step that fit by the same arithmetic; 0 = none
    moved: dict[str, float]  # bytes that a device sends per step, by mesh axis
    compute_seconds: float  # of a step
    memory_seconds: float
    network_seconds: float
    step_seconds: float  # the slower of computing and reading memory, then the network: nothing is taken to overlap
    images_per_second: float
    days: float


def estimate(counts: Counts, machine: Machine, assumed: Assumptions) -> Estimate:
    """The plan of one training.

    Args:
        counts: of ``plan.count``.
        machine: with as many devices as the mesh of the counts.
        assumed: shares of the peaks.
    """
    memory, devices = counts.memory, machine.devices
    needed, usable = counts.compiled or memory.total, int(machine.memory * assumed.usable)
    rate = machine.bfloat16 if counts.dtype == "bfloat16" else machine.float32
    compute = counts.flops / devices / (rate * assumed.utilisation)
    state = memory.weights + memory.optimizer + memory.gradients + memory.centres_gradients
    traffic = PASSES * memory.activations * counts.accumulate + 2 * state + memory.frozen
    reading = traffic / (machine.memory_rate * assumed.memory_rate)
    network = sum(seconds(one, machine, counts.mesh, assumed.links) for one in counts.collectives)
    step = max(compute, reading) + network
    return Estimate(
        counts=counts,
        flops_per_image=counts.flops / counts.batch,
        needed=needed,
        usable=usable,
        fits=needed <= usable and not counts.refused,
        arithmetic=_arithmetic(counts, machine, assumed, needed, usable),
        largest_batch=_largest_batch(counts, devices, usable),
        moved=_moved(counts, machine),
        compute_seconds=compute,
        memory_seconds=reading,
        network_seconds=network,
        step_seconds=step,
        images_per_second=counts.batch / step,
        days=counts.steps * step / DAY,
    )


def size(count: float) -> str:
    """Bytes for people.

    >>> size(527_337_472), size(2048)
    ('502.9 MiB', '2 KiB')
    """
    unit = "B"
    for larger in ("KiB", "MiB", "GiB", "TiB"):
        if count < 1024:
            break
        count, unit = count / 1024, larger
    return f"{count:.1f}".removesuffix(".0") + f" {unit}" if count else "0"


def _arithmetic(counts: Counts, machine: Machine, assumed: Assumptions, needed: int, usable: int) -> str:
    if counts.refused:
        return f"the compiler finds no room: {counts.refused.rstrip('.')}"
    memory = counts.memory
    parts = [f"{name.replace('_', ' ')} {size(value)}" for name, value in memory._asdict().items() if value]
    source = "compiled program" if counts.compiled else " + ".join(parts)
    verdict = f"≤ {size(usable)}: fits" if needed <= usable else f"> {size(usable)}: {size(needed - usable)} too much"
    return f"{source} = {size(needed)} per device {verdict} ({assumed.usable:.0%} of {size(machine.memory)} on {machine.chip})"


def _largest_batch(counts: Counts, devices: int, usable: int) -> int:
    """Images per step when activations grow with them: those that pass at once, times accumulation."""
    memory = counts.memory
    each = (
        (memory.activations + memory.batch) * devices * counts.accumulate / counts.batch
    )  # bytes per image that passes at once
    room = usable - memory.fixed
    return int(room // each) * devices * counts.accumulate if room > 0 and each else 0


def _moved(counts: Counts, machine: Machine) -> dict[str, float]:
    """Bytes that a device sends per step, by mesh axis; ``data+fsdp`` = over all devices."""
    sums: dict[str, float] = {}
    for one in counts.collectives:
        axis = "+".join(one.axes)
        sums[axis] = sums.get(axis, 0.0) + sum(moved(one, machine, counts.mesh))
    return sums
