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
from facemae_jax.data.formats.folder import FolderSource
from facemae_jax.data.formats.lmdb_set import LmdbSource, lmdb_file
from facemae_jax.data.formats.names import why_ignored
from facemae_jax.data.formats.parquet import ParquetSource, parquet_files
from facemae_jax.data.formats.recordio import RecordIOSource, recordio_file
from facemae_jax.data.formats.tar import TAR_ENDINGS, TarSource, tar_files
from facemae_jax.data.formats.tface import TFaceSource, tface_list
from facemae_jax.data.formats.tfds_source import PREFIX, open_tfds, tfds_folder
from facemae_jax.data.formats.tfrecord import NAMED, open_tfrecord, tfrecord_files
from facemae_jax.data.formats.verification_bin import VerificationBinSource, is_bin
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
    """The faces in a folder, an archive, record files, a TFDS directory or (``tfds:NAME``) one that TFDS has prepared here.

    Raises:
        FacemaeError: none of these, or one that is refused.
    """
    if str(path).startswith(PREFIX):
        return open_tfds(tfds_folder(str(path)))
    if path.is_dir():
        return _open_folder(path)
    if "{" in path.name and not path.exists():
        return TarSource(path)
    if not path.exists():
        raise FacemaeError(
            f"{path}: no such file or folder; name a folder, an archive, record files or a TFDS directory."
        )
    name = path.name.lower()
    if name.endswith(TAR_ENDINGS):
        return TarSource(path)
    if is_bin(path):
        return VerificationBinSource(path)
    if NAMED.search(name):
        return open_tfrecord(path)
    if name.endswith(".rec"):
        return RecordIOSource(path)
    if name.endswith(".parquet"):
        return ParquetSource(path)
    if lmdb_file(path):
        return LmdbSource(path)
    if name.endswith(".zip") or zipfile.is_zipfile(path):
        return ArchiveSource(path)
    raise FacemaeError(
        f"{path}: this is no folder, no zip, tar or TFRecord file and no TFDS directory; unpack it and name the folder."
    )


def _open_folder(path: Path) -> Source:
    if find_versions(path):
        return open_tfds(path)
    if recordio_file(path):  # before folders of people: converters leave some of the images beside it
        return RecordIOSource(path)
    if lmdb_file(path):
        return LmdbSource(path)
    if _holds_people(path):
        return FolderSource(path)
    if parquet_files(path):
        return ParquetSource(path)
    if tar_files(path):
        return TarSource(path)
    if tfrecord_files(path):
        listed = tface_list(path)
        return TFaceSource(path, listed) if listed else open_tfrecord(path)
    return FolderSource(path)


def _holds_people(path: Path) -> bool:
    """Whether a folder right inside holds an image: then shards beside it are not what is meant."""
    folders = (entry for entry in path.iterdir() if entry.is_dir() and not entry.name.startswith("."))
    try:
        return any(not why_ignored(f"{folder.name}/{file.name}") for folder in folders for file in folder.iterdir())
    except PermissionError:
        return True  # the reader of folders names the one that may not be read
