"""Processes that write shards of an import: started, told, heard and stopped.

Each is a Python of its own that imports neither JAX nor TensorFlow (``import_worker``): started anew and not forked, since the caller may
have threads, and without the caller's main module. Starting takes some 0.2 seconds of a core, so those that are free at the end of an
import wait for the next one for ``import_worker.IDLE`` seconds.
"""

from __future__ import annotations

import atexit
import os
import selectors
import signal
import subprocess
import sys
from multiprocessing import Pipe
from types import TracebackType
from typing import Any

from facemae_jax.data.shard_import import Shard, Target
from facemae_jax.types import FacemaeError

# Ctrl-C, which reaches all processes of a terminal, is the caller's to handle from the first moment on.
CODE = """
import signal
signal.signal(signal.SIGINT, signal.SIG_IGN)
import sys
from facemae_jax.data.import_worker import main
main(int(sys.argv[1]))
"""


class Worker:
    """One process, and the connection to it."""

    def __init__(self) -> None:
        self.connection, theirs = Pipe()
        self.shard: int | None = None  # that it is writing
        self.rested = False  # whether it may have left since it was last heard
        with theirs:
            self.process = subprocess.Popen(
                [sys.executable, "-P", "-c", CODE, str(theirs.fileno())],
                stdin=subprocess.DEVNULL,
                pass_fds=[theirs.fileno()],
                env=os.environ | {"PYTHONPATH": os.pathsep.join(path or os.getcwd() for path in sys.path)},
            )

    def rest(self) -> bool:
        """Let it wait for another import; whether it is still there."""
        try:
            self.connection.send(None)
        except ConnectionError:
            return False
        self.rested = True
        return True

    def end(self) -> None:
        """End it, whatever it is doing: nothing of a shard that is not whole counts."""
        self.process.kill()
        self.process.wait()
        self.connection.close()


_resting: list[Worker] = []  # free ones of earlier imports of this process
os.register_at_fork(after_in_child=_resting.clear)


@atexit.register
def dismiss() -> None:
    """End the processes that wait for another import."""
    while _resting:
        _resting.pop().end()


class Crew:
    """Some workers for one import. Those that write something at the end of the block are ended, and after an error all.

    Args:
        count: of processes.
        target: where shards go.
        name: of the source, for errors.
    """

    def __init__(self, count: int, target: Target, name: str):
        self._target, self._name = target, name
        self._free: list[Worker] = []
        self._all: list[Worker] = []
        self._selector = selectors.DefaultSelector()
        try:
            for _ in range(count):
                self._join(_resting.pop() if _resting else Worker())
        except BaseException:
            self._leave(keep=False)
            raise

    def __enter__(self) -> Crew:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._leave(keep=kind is None)

    def free(self) -> bool:
        """Whether a process has nothing to do."""
        return bool(self._free)

    def busy(self) -> list[int]:
        """The shards that are being written."""
        return [worker.shard for worker in self._all if worker.shard is not None]

    def give(self, shard: Shard) -> None:
        """Let a free process write a shard."""
        worker = self._free.pop()
        worker.shard = shard.number
        try:
            worker.connection.send(shard)
        except ConnectionError:
            raise self._ended(worker) from None

    def hear(self, seconds: float | None) -> list[tuple[int, str, Any]]:
        """What the processes tell of their shards: ``(shard, "count", images)``, ``(shard, "failed", error)``.

        Args:
            seconds: to wait for the first; None = as long as it takes.

        Raises:
            FacemaeError: a process has ended.
        """
        heard = []
        for key, _ in self._selector.select(seconds):
            worker: Worker = key.data
            try:
                kind, value = worker.connection.recv()
            except (EOFError, ConnectionError):
                if not worker.rested:
                    raise self._ended(worker) from None
                self._selector.unregister(worker.connection)  # its time was over as it was called
                self._all.remove(worker)
                worker.end()
                self._join(Worker())
                continue
            worker.rested = False
            if kind == "free":
                worker.shard = None
                self._free.append(worker)
            else:
                assert worker.shard is not None
                heard.append((worker.shard, kind, value))
        return heard

    def _join(self, worker: Worker) -> None:
        self._all.append(worker)
        self._selector.register(worker.connection, selectors.EVENT_READ, worker)
        try:
            worker.connection.send(self._target)
        except ConnectionError:  # heard as its end
            return

    def _ended(self, worker: Worker) -> FacemaeError:
        code, shard = worker.process.wait(), worker.shard
        how = f"signal {-code}, {signal.strsignal(-code)}" if code < 0 else f"exit code {code}"
        return FacemaeError(
            f"{self._name}: a process that imports images has ended ({how})"
            f"{f' in shard {shard}' if shard is not None else ''}; if memory is short, set data.threads lower. Start again: "
            "whole shards are kept."
        )

    def _leave(self, keep: bool) -> None:
        self._selector.close()
        for worker in self._all:
            if keep and worker in self._free and worker.rest():
                _resting.append(worker)
            else:
                worker.end()
                self._target.writer.sweep(worker.process.pid)
