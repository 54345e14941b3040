"""Processes that write shards of an import beside the caller's own, and the sharing out of the shards among all.

A worker is a Python of its own that imports neither JAX nor TensorFlow (``import_worker``): started anew and not forked, since the caller may
have threads, and without the caller's main module. It is told one shard at a time, with the places of that shard's images and nothing else
of the source.
"""

from __future__ import annotations

import os
import selectors
import signal
import subprocess
import sys
from collections import deque
from collections.abc import Callable, Iterable
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from types import TracebackType
from typing import Any

from facemae_jax.data.shard_import import Shard, Target
from facemae_jax.types import FacemaeError

CODE = "import sys; from facemae_jax.data.import_worker import main; main(int(sys.argv[1]))"


def share_out(
    shards: Iterable[int],
    workers: int,
    target: Target,
    part: Callable[[int], Shard],
    write_here: Callable[[int, Callable[[], None]], None],
    finished: Callable[[int], None],
    name: str,
) -> None:
    """Write shards, each by whoever is free: the workers or the caller. Which it is leaves no trace in the files.

    Args:
        shards: their numbers, ascending.
        workers: processes beside the caller's.
        target: where shards go.
        part: a shard for a worker, to be pickled.
        write_here: writes a shard in this process; it must call what it is given every few images.
        finished: is told how many images workers have finished.
        name: of the source, for errors.

    Raises:
        Whatever the lowest shard that fails raises, once all below it are whole; the others are stopped.
        FacemaeError: a worker was killed.
    """
    waiting, failed = deque(shards), dict[int, Exception]()
    with Workers(workers, target, name) as crew:

        def attend(own: int | None = None, seconds: float | None = 0) -> None:
            for shard, kind, value in crew.hear(seconds):
                if kind == "count":
                    finished(value)
                elif kind == "failed":
                    failed[shard] = value
            while waiting and not failed and crew.free():
                crew.give(part(waiting.popleft()))
            if own is not None and failed and min(failed) < own:
                raise failed[min(failed)]

        attend()
        while waiting and not failed:
            shard = waiting.popleft()
            try:
                write_here(shard, lambda shard=shard: attend(shard))  # type: ignore[misc]
            except Exception as error:  # a shard below may fail too, and then that is the first bad image
                failed[shard] = error
            attend()
        while any(shard < min(failed, default=shard + 1) for shard in crew.busy()):
            attend(seconds=None)
    if failed:
        raise failed[min(failed)]


class Workers:
    """The processes. At the end of the block they are gone, whatever they were doing.

    Args:
        count: of processes.
        target: where shards go.
        name: of the source, for errors.
    """

    def __init__(self, count: int, target: Target, name: str):
        self._target, self._name = target, name
        self._processes: list[subprocess.Popen[bytes]] = []
        self._connections: list[Connection] = []
        self._free: list[int] = []
        self._writing: dict[int, int] = {}  # worker → shard
        self._selector = selectors.DefaultSelector()
        try:
            for number in range(count):
                self._start(number)
        except BaseException:
            self._end()
            raise

    def __enter__(self) -> Workers:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end()

    def free(self) -> bool:
        """Whether a process has nothing to do."""
        return bool(self._free)

    def busy(self) -> list[int]:
        """The shards that are being written."""
        return list(self._writing.values())

    def give(self, shard: Shard) -> None:
        """Let a free process write a shard."""
        worker = self._free.pop()
        self._writing[worker] = shard.number
        self._send(worker, shard)

    def hear(self, seconds: float | None) -> list[tuple[int, str, Any]]:
        """What the processes tell of their shards: ``(shard, "count", images)``, ``(shard, "failed", error)``.

        Args:
            seconds: to wait for the first; None = as long as it takes.

        Raises:
            FacemaeError: a process was killed.
        """
        heard = []
        for key, _ in self._selector.select(seconds):
            worker = key.data
            try:
                kind, value = self._connections[worker].recv()
            except (EOFError, ConnectionError):
                raise self._killed(worker) from None
            if kind == "free":
                self._writing.pop(worker, None)
                self._free.append(worker)
            else:
                heard.append((self._writing[worker], kind, value))
        return heard

    def _start(self, number: int) -> None:
        ours, theirs = Pipe()
        self._connections.append(ours)
        with theirs:
            self._processes.append(
                subprocess.Popen(
                    [sys.executable, "-c", CODE, str(theirs.fileno())],
                    stdin=subprocess.DEVNULL,
                    pass_fds=[theirs.fileno()],
                    env=os.environ | {"PYTHONPATH": os.pathsep.join(path or os.getcwd() for path in sys.path)},
                )
            )
        self._selector.register(ours, selectors.EVENT_READ, number)
        self._send(number, self._target)

    def _send(self, worker: int, value: Any) -> None:
        try:
            self._connections[worker].send(value)
        except ConnectionError:
            raise self._killed(worker) from None

    def _killed(self, worker: int) -> FacemaeError:
        code, shard = self._processes[worker].wait(), self._writing.get(worker)
        how = f"signal {-code}, {signal.strsignal(-code)}" if code < 0 else f"exit code {code}"
        return FacemaeError(
            f"{self._name}: a process that imports images has ended ({how})"
            f"{f' in shard {shard}' if shard is not None else ''}; if memory is short, set data.threads lower. Start again: "
            "whole shards are kept."
        )

    def _end(self) -> None:
        for process in self._processes:
            process.kill()  # nothing of a shard that is not whole counts
        for process in self._processes:
            process.wait()
            self._target.writer.sweep(process.pid)
        for connection in self._connections:
            connection.close()
        self._selector.close()
