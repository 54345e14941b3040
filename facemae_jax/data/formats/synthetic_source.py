"""Rendered people as a source of faces: nobody's data is needed. The renderer itself is ``synthetic``."""

from __future__ import annotations

import os
import signal
import threading
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context, parent_process

import numpy as np

from facemae_jax.data.synthetic import People

FEW = 256  # images that are rendered sooner than other processes are started


class SyntheticSource:
    """The images of ``people``, each rendered when it is read.

    The renderer holds Python's lock, so many images are rendered in processes of their own, started anew (not forked: the caller
    may have threads of JAX).

    Attributes:
        keys: ``person-00012/0003``, sorted.
        ignored: empty.

    Args:
        people: what ``synthetic.people`` makes.
        processes: that render; 1 = the caller's own.
    """

    def __init__(self, people: People, processes: int = 1):
        keys = [people.key(position) for position in range(len(people))]
        self._order = sorted(range(len(people)), key=keys.__getitem__)
        self.keys = [keys[position] for position in self._order]
        self.ignored: Counter[str] = Counter()
        self._people = people
        self._pool: ProcessPoolExecutor | None = None
        if processes > 1 and len(people) > FEW:
            self._pool = ProcessPoolExecutor(processes, mp_context=get_context("spawn"), initializer=_serve)

    def identity(self, position: int) -> str:
        """Whom an image shows."""
        return self.keys[position].partition("/")[0]

    def where(self, position: int) -> str:
        """The image, for errors."""
        return f"synthetic {self.keys[position]}"

    def read(self, position: int) -> np.ndarray:
        """The uint8 RGB pixels of an image."""
        if self._pool is None:
            return _render(self._people, self._order[position])
        return self._pool.submit(_render, self._people, self._order[position]).result()

    def close(self) -> None:
        """End the processes."""
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)


def _render(people: People, position: int) -> np.ndarray:
    _, image = people[position]
    return image


def _serve() -> None:
    """Begin a rendering process: Ctrl-C is the caller's to handle, and when the caller is killed this ends too."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    caller = parent_process()
    assert caller is not None

    def follow() -> None:
        caller.join()
        os._exit(1)

    threading.Thread(target=follow, daemon=True).start()
