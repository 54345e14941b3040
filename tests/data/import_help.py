"""A folder of faces for imports by several processes, some of which behave oddly where a worker reads them."""

import os
import signal
import time
from pathlib import Path

import numpy as np

from facemae_jax.data.formats.folder import FolderSource
from facemae_jax.data.images import encode_jpeg

SIZE = 8


def picture(number: int, size: int = SIZE) -> np.ndarray:
    return np.random.default_rng(number).integers(0, 256, (size, size, 3), np.uint8)


def fill(folder: Path, count: int, people: int = 4, **odd: bytes) -> Path:
    """``count`` images, shared by the people in turn of equal parts; ``odd``: n7=b"…" is what image 7 holds instead."""
    for number in range(count):
        file = folder / f"p{number * people // count}" / f"{number:03d}.jpg"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(odd.get(f"n{number}", encode_jpeg(picture(number), 90)))
    return folder


class Odd(FolderSource):
    """Files that hold a word do what it says, in a worker alone; where the source was opened each image takes ``slow`` seconds."""

    def __init__(self, path: Path, slow: float = 0.0):
        super().__init__(path)
        self.home, self.slow = os.getpid(), slow

    def read(self, position: int) -> bytes:
        data = super().read(position)
        if os.getpid() == self.home:
            time.sleep(self.slow)
            return encode_jpeg(picture(0), 90) if data in (b"die", b"stray", b"sleep") else data
        with open(self.path.parent / "workers", "a") as told:
            told.write(f"{os.getpid()} {len(self.keys)}\n")
        if data == b"die":
            os.kill(os.getpid(), signal.SIGKILL)
        if data == b"stray":
            raise ZeroDivisionError("nobody thought of this")
        if data == b"sleep":
            time.sleep(60)
        return data


def workers(folder: Path) -> set[int]:
    """The processes that have read an image."""
    file = folder / "workers"
    return {int(line.split()[0]) for line in file.read_text().splitlines()} if file.is_file() else set()


def listed(folder: Path) -> set[int]:
    """How many images the sources had that workers read from."""
    return {int(line.split()[1]) for line in (folder / "workers").read_text().splitlines()}


def alive(process: int) -> bool:
    try:
        with open(f"/proc/{process}/stat") as stat:
            return stat.read().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def gone(processes: set[int], seconds: float = 10.0) -> bool:
    """Whether all of them have ended, or do so soon."""
    end = time.monotonic() + seconds
    while any(map(alive, processes)):
        if time.monotonic() > end:
            return False
        time.sleep(0.02)
    return True
