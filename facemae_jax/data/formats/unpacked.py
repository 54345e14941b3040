"""A gzipped file as one that can be read at random: unpacked once, into a nameless temporary file that is gone when it is closed."""

from __future__ import annotations

import gzip
import tempfile
import zlib
from pathlib import Path
from typing import BinaryIO

from facemae_jax.types import FacemaeError

LARGEST = 8 << 30  # bytes unpacked; beyond that a disk's owner shall decide
MAX_RATIO = 100  # unpacked bytes per byte of the file
HARMLESS = 64 << 20  # bytes unpacked that no ratio makes a bomb
CHUNK = 1 << 20
OTHERS = {b"BZh": "bunzip2", b"\xfd7zXZ": "unxz", b"\x28\xb5\x2f\xfd": "unzstd", b"PK\x03\x04": "unzip"}


def unpacked(path: Path) -> BinaryIO | None:
    """The content of a gzipped file; None if it is not compressed.

    The temporary file lies where ``TMPDIR`` says.

    Raises:
        FacemaeError: compressed otherwise, damaged, a bomb, or more than 8 GiB.
        OSError: a full disk.
    """
    with open(path, "rb") as file:
        head = file.read(6)
    for magic, program in OTHERS.items():
        if head.startswith(magic):
            raise FacemaeError(
                f"{path}: this is compressed in a form that is not read here; run {program} and name the result."
            )
    if not head.startswith(b"\x1f\x8b"):
        return None
    packed, size = path.stat().st_size, 0
    plain = tempfile.TemporaryFile()
    try:
        with gzip.open(path, "rb") as source:
            while chunk := source.read(CHUNK):
                size += len(chunk)
                if size > max(HARMLESS, MAX_RATIO * packed):
                    raise FacemaeError(
                        f"{path}: {packed:,} bytes that unpack to more than {size:,} are taken for a bomb (more than {MAX_RATIO} to 1); "
                        "if they are faces, unpack them and name the result."
                    )
                if size > LARGEST:
                    raise FacemaeError(
                        f"{path}: unpacks to more than {LARGEST >> 30} GiB, and a compressed tar cannot be read by position; "
                        "run gunzip on a disk with room, and name the tar."
                    )
                plain.write(chunk)
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        plain.close()
        raise FacemaeError(f"{path}: the gzip file is damaged or cut off ({error}); copy it again.") from error
    except BaseException:
        plain.close()
        raise
    plain.flush()
    return plain
