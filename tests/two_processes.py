"""Two processes of one run, played by two threads: what JAX's runtime would carry between them goes through a barrier.

For tests of what a process does alone and what it agrees on with the other; real processes: tests/chain/test_several_processes.py.
"""

import threading
from concurrent.futures import ThreadPoolExecutor

import jax
import numpy as np
from jax.experimental import multihost_utils

PATIENCE = 60  # seconds; whoever waits longer for the other would have waited for ever


def as_two(monkeypatch, work):
    """[work(0), work(1)], each on a thread that takes itself for that process; an error is given back in place of a result."""
    here, meeting, brought = threading.local(), threading.Barrier(2, timeout=PATIENCE), [None, None]

    def exchange(mine):
        brought[here.number] = np.array(mine)
        meeting.wait()
        everyone = list(brought)
        meeting.wait()  # so that nobody brings the next one too early
        return everyone

    def one(number):
        here.number = number
        try:
            return work(number)
        except Exception as error:
            return error

    with monkeypatch.context() as patch:
        patch.setattr(jax, "process_count", lambda: 2)
        patch.setattr(jax, "process_index", lambda: getattr(here, "number", 0))
        patch.setattr(multihost_utils, "process_allgather", lambda x: np.stack(exchange(x)))
        patch.setattr(multihost_utils, "broadcast_one_to_all", lambda x: exchange(x)[0])
        patch.setattr(multihost_utils, "sync_global_devices", exchange)
        with ThreadPoolExecutor(2) as threads:
            return list(threads.map(one, range(2)))
