"""Several processes of one run: how they find each other, what the first alone does, and how they agree.

JAX's own runtime does the work (``jax.distributed``): it knows SLURM, TPU pods, GKE and MPI. With one process every function
here does nothing, or calls what it is given.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from typing import Any, TypeVar

import jax
import numpy as np
from jax.experimental import multihost_utils

from facemae_jax.types import FacemaeError

T = TypeVar("T")
AUTO = "auto"
HEARTBEAT = 60  # seconds after which a silent process is taken for dead, and the others stop
FORM = "auto (SLURM, TPU pods, GKE, MPI), or HOST:PORT,COUNT,NUMBER"


def join(how: str) -> None:
    """Become one of the processes of a run; before the first use of a device.

    Args:
        how: "" = alone; ``auto``, or ``HOST:PORT,COUNT,NUMBER``: where process 0 listens, how many there are, which is this.

    Raises:
        FacemaeError: for another form, or when the others cannot be found.
    """
    if not how or jax.distributed.is_initialized():
        return
    given: dict[str, Any] = {}
    if how != AUTO:
        address, *numbers = how.split(",")
        if ":" not in address or len(numbers) != 2 or not all(number.isdigit() for number in numbers):
            raise FacemaeError(f"--processes={how}: give {FORM}.")
        count, number = map(int, numbers)
        if not number < count:
            raise FacemaeError(f"--processes={how}: numbers go from 0 to {count - 1}.")
        given = dict(coordinator_address=address, num_processes=count, process_id=number)
    jax.config.update("jax_cpu_collectives_implementation", "gloo")
    try:
        jax.distributed.initialize(heartbeat_timeout_seconds=HEARTBEAT, **given)
    except (ValueError, RuntimeError) as error:
        raise FacemaeError(
            f"--processes={how}: the processes of this run do not find each other ({str(error).splitlines()[0][:200]}): give {FORM}."
        ) from error


def first() -> bool:
    """Whether this process writes what is written once."""
    return jax.process_index() == 0


def barrier(name: str) -> None:
    """Until every process is here."""
    if jax.process_count() > 1:
        multihost_utils.sync_global_devices(name)


def everywhere(good: bool) -> bool:
    """Whether it holds on every process; all of them call."""
    if jax.process_count() == 1:
        return good
    return bool(np.all(multihost_utils.process_allgather(np.asarray(good))))


def from_first(work: Callable[[], T]) -> T:
    """What ``work`` gives on the first process, which alone does it: on disks that all see, once is enough.

    Args:
        work: without collectives; its result goes through JSON.

    Raises:
        FacemaeError: on all processes, when it fails on the first.
    """
    if jax.process_count() == 1:
        return work()
    told: dict[str, Any] = {}
    failed: BaseException | None = None
    if first():
        try:
            told = {"result": work()}
        except Exception as error:  # the others wait for an answer, whatever it is; raised again below
            failed, told = error, {"error": f"{type(error).__name__}: {error}"}
    told = json.loads(_broadcast(json.dumps(told).encode()))
    if failed is not None:
        raise failed
    if "error" in told:
        raise FacemaeError(f"the first process stopped: {told['error']}")
    return told["result"]


def together(work: Callable[[], T]) -> T:
    """What ``work`` gives here, once it has succeeded everywhere.

    Args:
        work: without collectives.

    Raises:
        FacemaeError: when it failed on another process; here, its own error.
    """
    failed: BaseException | None = None
    try:
        result = work()
    except Exception as error:  # the others must hear of it before it goes on
        failed = error
    if not everywhere(failed is None) and failed is None:
        raise FacemaeError("another process of this run stopped; its own message says why.")
    if failed is not None:
        raise failed
    return result


def leave(code: int) -> None:
    """End this process at once when it is one of several, without waiting for the others: they may be waiting for it."""
    if jax.process_count() > 1:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def _broadcast(text: bytes) -> bytes:
    """Bytes of the first process, on all."""
    length = int(multihost_utils.broadcast_one_to_all(np.int32(len(text))))
    padded = np.zeros(length, np.uint8)
    if first():
        padded[:] = np.frombuffer(text, np.uint8)
    return np.asarray(multihost_utils.broadcast_one_to_all(padded), np.uint8).tobytes()
