"""A process that writes shards of an import for another one, which ``import_crew`` speaks for.

It reads from one connection: a ``Target``, and shards that go there, after each of which it tells ``("free", None)``; meanwhile
``("count", images)``, or ``("failed", error)``. None says that this import is over: for a while it waits for the ``Target`` of another one. When the
connection ends, because its caller has ended in whatever way, it ends at once.
"""

from __future__ import annotations

import os
import pickle
import queue
import threading
import time
import traceback
from multiprocessing.connection import Connection
from typing import Any

from facemae_jax.data.shard_import import Shard, Target, import_shard

OFTEN = 0.1  # seconds between counts
IDLE = 20.0  # seconds after an import in which another one must come


def main(file: int) -> None:
    """Serve the connection with this descriptor."""
    connection = Connection(file)
    told: queue.SimpleQueue[Any] = queue.SimpleQueue()
    threading.Thread(target=_listen, args=(connection, told), daemon=True).start()
    resting = False
    while True:
        try:
            wanted: Target | Shard | None = told.get(timeout=IDLE if resting else None)
        except queue.Empty:
            return
        resting = wanted is None
        if isinstance(wanted, Target):
            target = wanted
        elif wanted is not None:
            _serve(wanted, target, connection)
        if not resting:
            connection.send(("free", None))


def _listen(connection: Connection, told: queue.SimpleQueue[Any]) -> None:
    """Take what comes, also while a shard is written; the end of the connection ends the process."""
    try:
        while True:
            told.put(connection.recv())
    except (EOFError, ConnectionError):
        os._exit(0)
    except BaseException:
        traceback.print_exc()
        os._exit(1)


def _serve(shard: Shard, target: Target, connection: Connection) -> None:
    waiting, last = 0, time.monotonic()

    def finished(count: int) -> None:
        nonlocal waiting, last
        waiting += count
        if time.monotonic() - last >= OFTEN:
            connection.send(("count", waiting))
            waiting, last = 0, time.monotonic()

    try:
        import_shard(shard, target, finished)
    except Exception as error:  # whatever it is, the caller raises it
        connection.send(("failed", _portable(error)))
    else:
        connection.send(("count", waiting))


def _portable(error: Exception) -> Exception:
    """The error itself where it can be pickled, else its text; with the place in this process where it came from."""
    error.add_note("".join(traceback.format_exception(error)))
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:  # whatever an exception's own way of being made says of it
        return RuntimeError(f"{type(error).__name__}: {error}")
    return error
