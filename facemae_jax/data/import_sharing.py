"""The shards of an import shared out among several processes: whoever is free writes the next one.

A worker is told one shard at a time, with the places of that shard's images and nothing else of the source. How workers are started and
stopped is said in ``import_crew``.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable

from facemae_jax.data.import_crew import Crew
from facemae_jax.data.shard_import import Shard, Target

OFTEN = 0.001  # seconds between looks at what workers tell: one that is free waits so long for its next shard


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
    with Crew(workers, target, name) as crew:

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

        last = time.monotonic()

        def glance(own: int) -> None:
            nonlocal last
            if time.monotonic() - last >= OFTEN:
                attend(own)
                last = time.monotonic()

        attend()
        while waiting and not failed:
            shard = waiting.popleft()
            try:
                write_here(shard, lambda shard=shard: glance(shard))  # type: ignore[misc]
            except Exception as error:  # a shard below may fail too, and then that is the first bad image
                failed[shard] = error
            attend()
        while any(shard < min(failed, default=shard + 1) for shard in crew.busy()):
            attend(seconds=None)
    if failed:
        raise failed[min(failed)]
