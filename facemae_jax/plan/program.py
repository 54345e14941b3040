"""The compiled step of a training, for a pod that is not here: its memory and its exchanges as the compiler decided them.

With libtpu installed a TPU slice needs only its name. Otherwise the same program is compiled for as many virtual CPU devices: its
exchanges are what partitioning made of it, its memory is a CPU's. No accelerator is touched, and nothing is run.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax

from facemae_jax.plan.hlo import collectives
from facemae_jax.plan.jobs import Job, step_arguments, step_program
from facemae_jax.plan.machine import Collective, Machine, nearest
from facemae_jax.types import FacemaeError

SOURCES = ("auto", "topology", "virtual", "none")
QUIET = {
    "TPU_SKIP_MDS_QUERY": "1",  # there is no metadata server to ask
    "ALLOW_MULTIPLE_LIBTPU_LOAD": "1",  # no device is used, so that another process may plan, or use it
    "TPU_WORKER_HOSTNAMES": "localhost",
    "TPU_WORKER_ID": "0",
    "TPU_STDERR_LOG_LEVEL": "3",
    "TPU_MIN_LOG_LEVEL": "3",
}


class Program(NamedTuple):
    """What the compiler says of one device."""

    arguments: int  # bytes: state, batch and frozen parameters
    temporaries: int  # bytes: all else at the fullest moment
    results: int  # bytes that do not lie in the place of an argument
    collectives: tuple[Collective, ...]
    failure: str = ""  # the compiler's own words, where it found that the program does not fit

    @property
    def peak(self) -> int:
        """Bytes that the program needs."""
        return self.arguments + self.temporaries + self.results


def choose_source(machine: Machine, asked: str = "auto") -> str:
    """topology | virtual | none.

    Raises:
        FacemaeError: an unknown word; or ``topology`` without libtpu, or for what is no TPU.
    """
    if asked not in SOURCES:
        raise nearest(asked, SOURCES, "--program")
    there = importlib.util.find_spec("libtpu") is not None
    if asked == "topology" and not (machine.topology and there):
        reason = "needs libtpu: pip install libtpu" if machine.topology else f"is for TPUs, and {machine.name} is none"
        raise FacemaeError(f"--program=topology {reason}; or choose --program=virtual.")
    if asked == "auto":
        return "topology" if machine.topology and there else "virtual"
    return asked


def devices_for(machine: Machine, source: str) -> tuple[Sequence[Any], str]:
    """The devices to compile for, and a sentence that says what they are; before the first use of a device.

    Raises:
        FacemaeError: when this process already uses fewer virtual devices.
    """
    if source == "topology":
        for name, value in ({"TPU_ACCELERATOR_TYPE": machine.name} | QUIET).items():
            os.environ.setdefault(name, value)
        from jax.experimental import topologies

        slices = {"num_slices": machine.slices} if machine.slices > 1 else {}
        topology = topologies.get_topology_desc(machine.topology, platform="tpu", **slices)
        version = importlib.metadata.version("libtpu")
        return topology.devices, f"compiled for the topology {machine.topology} by libtpu {version}"
    devices = jax.devices("cpu")
    if len(devices) < machine.devices:
        raise FacemaeError(
            f"{machine.devices} virtual devices are needed, but this process has {len(devices)} "
            "(jax_num_cpu_devices is set before the first use of a device)."
        )
    return devices[: machine.devices], (
        f"compiled for {machine.devices} virtual CPU devices by jax {jax.__version__}; whether it fits is arithmetic, since the "
        f"temporaries of a CPU are not those of {machine.chip}"
    )


def compile_job(job: Job) -> Program:
    """Compile the step of a job whose mesh holds real or described devices."""
    lowered = step_program(job).lower(*step_arguments(job))
    try:
        compiled = lowered.compile()
    except jax.errors.JaxRuntimeError as error:
        if "RESOURCE_EXHAUSTED" not in str(error):
            raise
        return Program(0, 0, 0, (), _short(str(error)))
    memory: Any = compiled.memory_analysis()
    mesh = (job.mesh.shape["data"], job.mesh.shape["fsdp"])
    return Program(
        arguments=memory.argument_size_in_bytes,
        temporaries=memory.temp_size_in_bytes,
        results=memory.output_size_in_bytes - memory.alias_size_in_bytes,
        collectives=tuple(collectives(compiled.as_text(), mesh)),
    )


def _short(text: str) -> str:
    """The sentence of an error about memory that holds the numbers."""
    for line in text.splitlines():
        if "hbm" in line.lower() or "memory" in line.lower():
            return line.strip()[:300]
    return text.splitlines()[0][:300]
