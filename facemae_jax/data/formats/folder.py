"""Faces in a folder: ``identity/image.jpg``, of any nesting. The identity is the path of the folder that holds the image."""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path

from facemae_jax.data.face_set import FaceSet
from facemae_jax.data.formats.divisible import DivisibleSource
from facemae_jax.data.formats.names import MAX_FILE, ending_of, file_for, identity_of, why_ignored
from facemae_jax.data.images import BadImage
from facemae_jax.types import FacemaeError

USUAL = 64 << 10  # bytes that most image files have at most
CHUNK = 1 << 20


def write_folder(faces: FaceSet, out: Path) -> None:
    """Write ``out/IDENTITY/FILE`` for every record, byte for byte. ``out`` must not exist.

    Raises:
        FacemaeError: names that cannot be paths, or two records with one path.
        OSError: a full disk.
    """
    out.mkdir()
    for position in range(len(faces)):
        record = faces[position]
        where = f"{faces.path}, record {record.key}"
        identity = faces.identity_names[record.label]
        file = out / file_for(record.key, identity, ending_of(record.image, where), where)
        file.parent.mkdir(parents=True, exist_ok=True)
        try:
            with open(file, "xb") as written:
                written.write(record.image)
        except FileExistsError as error:
            raise FacemaeError(
                f"{where}: another record has the file {file.name} too; export without --allow-names."
            ) from error


class FolderSource(DivisibleSource):
    """The images below a folder, in the order of their keys. Links to files are followed, links to folders are not.

    Attributes:
        keys: path of every image inside the folder, sorted.
        ignored: what was left aside → how often.

    Raises:
        FacemaeError: a folder that may not be read.
    """

    def __init__(self, path: Path):
        self.path, self._root = path, str(path)
        self.ignored: Counter[str] = Counter()
        self.keys = sorted(self._walk())

    def identity(self, position: int) -> str:
        """Whom an image shows."""
        return identity_of(self.keys[position])

    def where(self, position: int) -> str:
        """The file, for errors."""
        return f"{self._root}/{self.keys[position]}"

    def read(self, position: int) -> bytes:
        """The bytes of an image file.

        Raises:
            BadImage: a file that may not be read, is gone, or is far too large for an image.
        """
        try:
            file = os.open(f"{self._root}/{self.keys[position]}", os.O_RDONLY | os.O_CLOEXEC)
            try:  # in half of the time that a file object takes
                data = os.read(file, USUAL)
                size = len(data)
                if more := os.read(file, USUAL):
                    size = os.fstat(file).st_size
                    rest = iter(lambda: os.read(file, CHUNK), b"") if size <= MAX_FILE else ()
                    data = b"".join((data, more, *rest))
            finally:
                os.close(file)
        except (PermissionError, FileNotFoundError) as error:
            raise BadImage(self.where(position), f"the file cannot be read ({error.strerror})") from error
        if size > MAX_FILE:
            raise BadImage(self.where(position), f"the file has more than {MAX_FILE:,} bytes")
        return data

    def close(self) -> None:
        """Nothing is held open."""

    def _walk(self) -> list[str]:
        found, folders = [], [""]
        while folders:
            folder = folders.pop()
            try:
                with os.scandir(self.path / folder) as entries:
                    inside = list(entries)
            except PermissionError as error:
                raise FacemaeError(
                    f"{self.path / folder}: the folder may not be read; give yourself permission, or move it elsewhere."
                ) from error
            for entry in inside:
                key = f"{folder}/{entry.name}" if folder else entry.name
                if entry.is_dir(follow_symlinks=False):
                    if entry.name.startswith("."):
                        self.ignored["hidden folders"] += 1
                    else:
                        folders.append(key)
                elif entry.is_dir():
                    self.ignored["links to folders"] += 1  # they may lead round in a circle
                elif reason := why_ignored(key):
                    self.ignored[reason] += 1
                elif not entry.is_file() and not entry.is_symlink():
                    self.ignored["pipes and devices"] += 1
                else:
                    found.append(key)
        return found
