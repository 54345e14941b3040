"""Faces in a zip: entries ``identity/image.jpg``, of any nesting. The identity is the path of the folder that holds the image.

Nothing is unpacked to disk. An archive that could harm (paths that climb out, bombs) is refused as a whole.
"""

from __future__ import annotations

import re
import struct
import zipfile
import zlib
from collections import Counter
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import numpy as np

from facemae_jax.data.face_set import FaceSet
from facemae_jax.data.formats.divisible import DivisibleSource
from facemae_jax.data.formats.names import MAX_FILE, ending_of, file_for, identity_of, why_ignored
from facemae_jax.data.formats.window import Window
from facemae_jax.data.images import BadImage
from facemae_jax.types import FacemaeError

MAX_RATIO = 100  # unpacked bytes per byte of the archive
HARMLESS = 64 << 20  # bytes unpacked that no ratio makes a bomb
METHODS = {zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED}  # the others unpack without a limit on what they give at once
LOCAL = struct.Struct("<4s22xHH")  # before an entry's bytes: signature, then lengths of the name and of what follows it
UTF8, ENCRYPTED = 0x800, 0x1  # flag bits of an entry


def write_zip(faces: FaceSet, out: Path, *, more: Mapping[str, str] | None = None) -> None:
    """Write a zip of ``IDENTITY/FILE`` for every record, byte for byte, uncompressed: encoded images do not get smaller.

    Args:
        faces: the records.
        out: the file, which must not exist.
        more: further files, name → text.

    Raises:
        FacemaeError: names that cannot be paths, or two records with one path.
        OSError: a full disk.
    """
    with zipfile.ZipFile(out, "x", zipfile.ZIP_STORED) as made:
        for name, text in (more or {}).items():
            made.writestr(zipfile.ZipInfo(name), text)  # a ZipInfo's time is 1980: the same set gives the same bytes
        taken = set()
        for position in range(len(faces)):
            record = faces[position]
            where = f"{faces.path}, record {record.key}"
            name = file_for(record.key, faces.identity_names[record.label], ending_of(record.image, where), where)
            if name in taken:
                raise FacemaeError(f"{where}: another record has the file {name} too; export without --allow-names.")
            taken.add(name)
            made.writestr(zipfile.ZipInfo(name), record.image)


class ArchiveSource(DivisibleSource):
    """The images in a zip, in the order of their keys; read by several threads.

    Attributes:
        keys: path of every image inside the archive, sorted.
        ignored: what was left aside → how often.

    Raises:
        FacemaeError: no whole zip, or one that is refused.
    """

    _own = ("_zip", "_file", "_window")

    def __init__(self, path: Path):
        self.path = path
        self.ignored: Counter[str] = Counter()
        try:
            found = self._zip.infolist()
        except (zipfile.BadZipFile, ValueError, struct.error, EOFError, NotImplementedError) as error:
            raise FacemaeError(f"{path}: this is no whole zip file ({error}); copy or download it again.") from error
        self._begin()
        entries = {}
        places = {}
        for number, entry in enumerate(found):
            if entry.is_dir():
                continue
            key = self._key(entry)
            if reason := why_ignored(key):
                self.ignored[reason] += 1
            elif key in entries:
                raise FacemaeError(f"{path}: the entry {key!r} stands twice; make the zip again with one of them.")
            else:
                entries[key] = entry
                places[key] = _Place(
                    number, entry.header_offset, entry.compress_type, entry.compress_size, entry.file_size, entry.CRC
                )
        self._check(entries)
        self.keys = sorted(entries)
        self._places = [places[key] for key in self.keys]

    def identity(self, position: int) -> str:
        """Whom an image shows."""
        return identity_of(self.keys[position])

    def where(self, position: int) -> str:
        """The entry, for errors."""
        return f"{self.path}, entry {self.keys[position]}"

    def read(self, position: int) -> bytes:
        """The bytes of an image file, checksum tested.

        Raises:
            BadImage: a damaged entry, or one far too large for an image.
        """
        place = self._places[position]
        if place.size > MAX_FILE:
            raise BadImage(self.where(position), f"the file has {place.size:,} bytes, more than {MAX_FILE:,}")
        if (data := self._plainly(place)) is not None:
            return data
        try:
            with self._zip.open(self._zip.infolist()[place.number]) as file:
                return file.read(place.size)  # what an entry holds beyond its declared size is never unpacked
        except (zipfile.BadZipFile, zlib.error, EOFError, ValueError, struct.error, NotImplementedError) as error:
            raise BadImage(self.where(position), f"the archive is damaged here ({error})") from error

    def close(self) -> None:
        """Close the archive."""
        if "_zip" in self.__dict__:
            self._zip.close()
        self._file.close()

    @cached_property
    def _zip(self) -> zipfile.ZipFile:
        return zipfile.ZipFile(self.path)

    def _begin(self) -> None:
        self._file = open(self.path, "rb")
        self._window = Window(self._file.fileno())

    def _keep(self, rows_n: np.ndarray) -> None:
        self._places = [self._places[row] for row in rows_n.tolist()]

    def _plainly(self, place: _Place) -> bytes | None:
        """The bytes of an entry, in half of ``zipfile``'s time; None where anything is odd, which it then tells."""
        head = self._window.read(place.start, LOCAL.size)
        if len(head) < LOCAL.size or place.packed > MAX_FILE:
            return None
        sign, name, extra = LOCAL.unpack(head)
        data = self._window.read(place.start + LOCAL.size + name + extra, place.packed)
        if sign != b"PK\3\4" or len(data) != place.packed:
            return None
        if place.method == zipfile.ZIP_DEFLATED:
            try:
                data = zlib.decompressobj(-zlib.MAX_WBITS).decompress(data, place.size + 1)
            except zlib.error:
                return None
        return data if len(data) == place.size and zlib.crc32(data) == place.crc else None

    def _key(self, entry: zipfile.ZipInfo) -> str:
        name = entry.filename
        if not entry.flag_bits & UTF8:  # written as UTF-8 by many programs that do not say so
            try:
                name = name.encode("cp437").decode()
            except UnicodeError:
                name = entry.filename
        parts = name.replace("\\", "/").split("/")  # some programs for Windows write the wrong stroke
        if parts[0] == "" or ".." in parts or re.match(r"[A-Za-z]:[\\/]", name):
            raise FacemaeError(
                f"{self.path}: the entry {name!r} leads out of the archive; such a zip is not trusted: make it again from the images."
            )
        return "/".join(part for part in parts if part not in ("", "."))

    def _check(self, entries: dict[str, zipfile.ZipInfo]) -> None:
        for key, entry in entries.items():
            if entry.flag_bits & ENCRYPTED:
                raise FacemaeError(
                    f"{self.path}: the entry {key!r} is encrypted; unpack the zip with its password and name the folder."
                )
            if entry.compress_type not in METHODS:
                name = zipfile.compressor_names.get(entry.compress_type, f"method {entry.compress_type}")  # type: ignore[attr-defined]
                raise FacemaeError(
                    f"{self.path}: the entry {key!r} is compressed by {name}; make the zip again with deflate or none."
                )
        unpacked, packed = sum(entry.file_size for entry in entries.values()), self.path.stat().st_size
        if unpacked > max(HARMLESS, MAX_RATIO * packed):
            raise FacemaeError(
                f"{self.path}: {packed:,} bytes that unpack to {unpacked:,} are taken for a zip bomb (more than "
                f"{MAX_RATIO} to 1); if they are faces, unpack them and name the folder."
            )


class _Place(NamedTuple):
    """Where an entry lies, and what the archive's directory says of it; sizes in bytes."""

    number: int  # in the directory
    start: int  # of its header
    method: int
    packed: int
    size: int
    crc: int
