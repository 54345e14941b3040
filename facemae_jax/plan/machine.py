"""A machine on paper: how many devices, what each can do, and how long a collective takes between them.

Which machines have names is in ``configs/hardware.py``. Nothing here looks at real devices.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from facemae_jax.types import FacemaeError

GIB = 2**30
JOBS = ("recognizer", "mae")  # kinds of training


class Machine(NamedTuple):
    """Devices, and peak rates of one device as its data sheet gives them."""

    name: str
    chip: str
    platform: str  # cpu | gpu | tpu
    devices: int
    hosts: int  # processes that feed them
    slices: int  # groups of devices with a fast network inside: nodes of GPUs, slices of TPUs
    memory: int  # bytes of a device
    bfloat16: float  # FLOP/s of matrix products with bfloat16 inputs
    float32: float  # FLOP/s of matrix products as JAX computes float32 ones by default (TF32 on GPUs, bfloat16 passes on TPUs)
    memory_rate: float  # bytes/s between a device and its memory
    within: float  # bytes/s that a device sends inside its slice, one way
    between: float  # bytes/s that a device sends to other slices, one way; 0 where there is only one
    meshes: Mapping[str, tuple[int, int]]  # kind of training → (data, fsdp)
    topology: str = ""  # name under which libtpu knows a slice, such as v5p:4x4x4

    @property
    def per_slice(self) -> int:
        """Devices of one slice."""
        return self.devices // self.slices


class Assumptions(NamedTuple):
    """What no data sheet says. Every plan states them."""

    utilisation: float  # share of the peak FLOP/s that a step reaches while it computes
    links: float = 0.7  # share of the peak of the networks
    memory_rate: float = 0.7  # share of the peak rate of the memory
    usable: float = 0.9  # share of the memory that a program may fill; the rest is the runtime's, and holes


# Reached by others, from published rates: arcface_torch R50, 4824 images/s on 8 V100 (37 GFLOP per image; 125 TFLOP/s peak) = 18 %;
# MAE ViT-L, 144 images/s per TPU v3 core (arXiv 2111.06377, table 2; 61 TFLOP/s peak) = 29 %.
UTILISATION = {"recognizer": 0.2, "mae": 0.3}


class Collective(NamedTuple):
    """One kind of exchange of a step, under one name."""

    what: str
    kind: str  # all-gather | reduce-scatter | all-reduce | all-to-all | collective-permute
    axes: tuple[str, ...]  # of the mesh
    size: int  # bytes of the whole arrays: gathered, or to be summed, on one device
    times: int = 1  # per step
    largest: int = 0  # bytes of the largest of them in float32, where there are several

    @property
    def widest(self) -> int:
        """Bytes of the largest single array."""
        return self.largest or self.size


def nearest(name: str, known: Iterable[str], what: str) -> FacemaeError:
    """The error for a name that is none of ``known``."""
    choices = list(known)
    near = difflib.get_close_matches(name, choices, n=3, cutoff=0.4)
    hint = f"did you mean {' or '.join(near)}? " if near else ""
    return FacemaeError(f"{what}={name}: {hint}choose one of {', '.join(choices)}.")


def mesh_sizes(machine: Machine, data: int, fsdp: int) -> tuple[int, int]:
    """The mesh on this machine; -1 stands for what the other size leaves.

    Raises:
        FacemaeError: when the product is not the machine's number of devices; the sentence shows the arithmetic.
    """
    asked, given = f"mesh.data={data} × mesh.fsdp={fsdp}", max(data, fsdp)
    if data == fsdp == -1 or 0 in (data, fsdp) or min(data, fsdp) < -1:
        raise FacemaeError(f"{asked}: give numbers of devices, at most one of them -1 (what is left).")
    if -1 in (data, fsdp) and machine.devices % given == 0:
        rest = machine.devices // given
        data, fsdp = (rest if data == -1 else data), (rest if fsdp == -1 else fsdp)
    if -1 in (data, fsdp) or data * fsdp != machine.devices:
        fits = ", ".join(
            f"{machine.devices // n} × {n}" for n in range(1, machine.devices + 1) if machine.devices % n == 0
        )
        product = "" if -1 in (data, fsdp) else f" = {data * fsdp} devices"
        raise FacemaeError(
            f"{asked}{product} does not fit {machine.name} with {machine.devices}: choose one of {fits}."
        )
    return data, fsdp


def moved(collective: Collective, machine: Machine, mesh: tuple[int, int]) -> tuple[float, float]:
    """Bytes that one device sends per step, (inside its slice, to other slices), by the best ring or tree.

    A group of g devices, l of them in one slice, m = g / l slices: an all-reduce of S bytes sends 2·S·(l − 1)/l inside and
    2·(S/l)·(m − 1)/m across; a gather, a reduce-scatter or an all-to-all half of that; a permute S.

    Args:
        collective: size and axes.
        machine: its slices hold consecutive devices.
        mesh: (data, fsdp); neighbours along fsdp are consecutive devices.
    """
    data, fsdp = mesh
    sizes = {"data": data, "fsdp": fsdp}
    group = math.prod(sizes[axis] for axis in collective.axes)
    stride = fsdp if collective.axes == ("data",) else 1
    local = min(group, max(1, machine.per_slice // stride))
    far = group // local
    if collective.kind == "collective-permute":
        inside, across = (collective.size, 0.0) if far == 1 else (0.0, collective.size)
    else:
        inside = collective.size * (local - 1) / local
        across = collective.size / local * (far - 1) / far
    times = collective.times * (2 if collective.kind == "all-reduce" else 1)
    return inside * times, across * times


def seconds(collective: Collective, machine: Machine, mesh: tuple[int, int], links: float) -> float:
    """How long it takes at ``links`` of the networks' peak; no latency is counted."""
    inside, across = moved(collective, machine, mesh)
    total = inside / (machine.within * links) if inside else 0.0
    return total + (across / (machine.between * links) if across else 0.0)
