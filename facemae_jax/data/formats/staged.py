"""Files that appear whole or not at all."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from facemae_jax.types import FacemaeError

PARTIAL = ".partial"


@contextmanager
def staged_folder(out: Path) -> Iterator[Path]:
    """A new folder ``out.partial`` to write into; at the end it becomes ``out``, after an error it is gone.

    Raises:
        FacemaeError: there is an ``out`` already.
    """
    if os.path.lexists(out):
        raise FacemaeError(f"{out}: there is something already; name a new place, or move it away.")
    partial = out.with_name(out.name + PARTIAL)
    shutil.rmtree(partial, ignore_errors=True)  # what a killed attempt left
    partial.mkdir(parents=True)
    try:
        yield partial
        os.rename(partial, out)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise
