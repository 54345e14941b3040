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
from pathlib import Path

from facemae_jax.data.face_set import FaceSet
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


class ArchiveSource:
    """The images in a zip, in the order of their keys; read by several threads.

    Attributes:
        keys: path of every image inside the archive, sorted.
        ignored: what was left aside → how often.

    Raises:
        FacemaeError: no whole zip, or one that is refused.
    """

    def __init__(self, path: Path):
        self.path = path
        self.ignored: Counter[str] = Counter()
        try:
            self._zip = zipfile.ZipFile(path)
        except (zipfile.BadZipFile, ValueError, struct.error, EOFError, NotImplementedError) as error:
            raise FacemaeError(f"{path}: this is no whole zip file ({error}); copy or download it again.") from error
        self._file = open(path, "rb")
        self._window = Window(self._file.fileno())
        entries = {}
        for entry in self._zip.infolist():
            if entry.is_dir():
                continue
            key = self._key(entry)
            if reason := why_ignored(key):
                self.ignored[reason] += 1
            elif key in entries:
                raise FacemaeError(f"{path}: the entry {key!r} stands twice; make the zip again with one of them.")
            else:
                entries[key] = entry
        self._check(entries)
        self.keys = sorted(entries)
        self._entries = [entries[key] for key in self.keys]

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
        entry = self._entries[position]
        if entry.file_size > MAX_FILE:
            raise BadImage(self.where(position), f"the file has {entry.file_size:,} bytes, more than {MAX_FILE:,}")
        if entry.compress_type == zipfile.ZIP_STORED and (data := self._stored(entry)) is not None:
            return data
        try:
            with self._zip.open(entry) as file:
                return file.read(entry.file_size)  # what an entry holds beyond its declared size is never unpacked
        except (zipfile.BadZipFile, zlib.error, EOFError, ValueError, struct.error, NotImplementedError) as error:
            raise BadImage(self.where(position), f"the archive is damaged here ({error})") from error

    def close(self) -> None:
        """Close the archive."""
        self._zip.close()
        self._file.close()

    def _stored(self, entry: zipfile.ZipInfo) -> bytes | None:
        """The bytes of an uncompressed entry, in half of ``zipfile``'s time; None where anything is odd, which it then tells."""
        head = self._window.read(entry.header_offset, LOCAL.size)
        if len(head) < LOCAL.size:
            return None
        sign, name, extra = LOCAL.unpack(head)
        data = self._window.read(entry.header_offset + LOCAL.size + name + extra, entry.file_size)
        whole = sign == b"PK\3\4" and len(data) == entry.file_size == entry.compress_size
        return data if whole and zlib.crc32(data) == entry.CRC else None

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
