"""Who may write: one run in a workdir, one call on a result. The system lets go of both when a process dies."""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from facemae_jax import logs
from facemae_jax.processes import first, from_first
from facemae_jax.types import FacemaeError

CLAIM_EVERY = 2.0  # seconds between looks at a result that another call is making


@contextlib.contextmanager
def locked(workdir: Path, *, shared: bool = False) -> Iterator[None]:
    """One run at a time per workdir; a second one is told who holds it. Released by the system when a process dies.

    Args:
        workdir: made when missing.
        shared: beside others that also share it (shards of a sweep), not beside a run that wants it for itself.
    """
    if not first():
        yield
        return
    private = workdir / "private"
    private.mkdir(parents=True, exist_ok=True)
    private.chmod(0o700)
    with open(private / "lock", "a+") as file:
        try:
            fcntl.flock(file, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            raise FacemaeError(
                f"--workdir={workdir} is in use by process {file.read().strip() or 'unknown'}: wait for it, or choose another workdir."
            ) from None
        file.seek(0)
        file.truncate()
        file.write(str(os.getpid()))
        file.flush()
        yield


@contextlib.contextmanager
def claimed(file: Path, title: str) -> Iterator[None]:
    """Until this call alone may make a result; others that want it wait here. Released by the system when a process dies.

    Args:
        file: that stands for the result.
        title: of the line that tells of the wait.
    """
    held: list[IO[str]] = []

    def take() -> bool:
        if not held:
            file.parent.mkdir(parents=True, exist_ok=True)
            held.append(open(file, "a"))
        try:
            fcntl.flock(held[0], fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    told = False
    try:
        while not from_first(take):
            if not told:
                logs.say(f"{title}: another call is making it; waiting")
            told = True
            time.sleep(CLAIM_EVERY)
        yield
    finally:
        for handle in held:
            handle.close()
