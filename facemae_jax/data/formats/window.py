"""Reading a file that is mostly read from front to back: many small pieces from one read, in several threads."""

from __future__ import annotations

import os
import threading

AHEAD = 256 << 10  # bytes that are read at once


class Window:
    """Pieces of an open file. A piece that begins shortly behind the one before it (in the same thread) brings those behind it along.

    Args:
        file: its descriptor; nothing must write into it.

    Memory: 256 KiB per thread, or the largest piece.
    """

    def __init__(self, file: int):
        self._file, self._own = file, threading.local()

    def read(self, start: int, size: int) -> bytes:
        """The bytes from ``start`` on; fewer than ``size`` only where the file ends."""
        own = self._own.__dict__
        first, held, last = own.get("held", (0, b"", 0))
        at = start - first
        if 0 <= at and at + size <= len(held):
            own["held"] = first, held, start + size
            return held[at : at + size]
        if size < AHEAD and last <= start < last + AHEAD:
            held = os.pread(self._file, AHEAD, start)
            own["held"] = start, held, start + size
            return held[:size]
        own["held"] = start, b"", start + size
        return os.pread(self._file, size, start)
