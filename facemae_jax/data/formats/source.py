"""Faces from outside, whatever they come in: a listing sorted by key, and the bytes of one image at a time.

One file per format beside this one; ``open_source`` finds out which it is.
"""

from __future__ import annotations

import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol

import numpy as np

from facemae_jax.data.face_set import find_versions
from facemae_jax.data.formats.archive import ArchiveSource
from facemae_jax.data.formats.face_set_source import FaceSetSource
from facemae_jax.data.formats.folder import FolderSource
from facemae_jax.types import FacemaeError


class Source(Protocol):
    """Images by position."""

    @property
    def keys(self) -> Sequence[str]:
        """A key for every image, sorted."""

    @property
    def ignored(self) -> Mapping[str, int]:
        """What was left aside → how often."""

    def identity(self, position: int) -> str:
        """Whom an image shows."""

    def where(self, position: int) -> str:
        """What to call an image in an error."""

    def read(self, position: int) -> bytes | np.ndarray:
        """An encoded image, or its uint8 RGB pixels. Safe in several threads.

        Raises:
            BadImage: a file that cannot be read.
        """

    def close(self) -> None:
        """Let go of files and processes."""


def open_source(path: Path) -> Source:
    """The faces in a folder, a zip, or a face set directory.

    Raises:
        FacemaeError: none of these, or one that is refused.
    """
    if path.is_dir():
        return FaceSetSource(path) if find_versions(path) else FolderSource(path)
    if not path.exists():
        raise FacemaeError(f"{path}: no such file or folder; name a folder, a zip or a face set directory.")
    if path.suffix.lower() == ".zip" or zipfile.is_zipfile(path):
        return ArchiveSource(path)
    raise FacemaeError(f"{path}: this is no folder, no zip and no face set directory; unpack it and name the folder.")
