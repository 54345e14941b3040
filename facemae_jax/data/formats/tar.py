"""Faces in tar files: ``identity/image.jpg`` of any nesting, or WebDataset shards, where a sample's files share a name up to the first dot.

Whom an image shows: the ``identity`` in its ``.json``; else its ``.cls``, a number or a name; else, where it lies in no folder, the
label in its ``.json`` or its ``.txt``; else the folder that holds it. A sample's files follow one another. ``webdataset`` writes such
shards.
"""

from __future__ import annotations

import contextlib
import threading
from array import array
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from facemae_jax import logs
from facemae_jax.data.formats.brace import expand_braces
from facemae_jax.data.formats.divisible import DivisibleSource
from facemae_jax.data.formats.lazy_keys import LazyKeys, Texts, own_or
from facemae_jax.data.formats.names import ENDINGS, MAX_FILE, identity_of, number_name, why_ignored
from facemae_jax.data.formats.tar_labels import LABEL_ENDINGS, told_label
from facemae_jax.data.formats.tar_members import Member, members
from facemae_jax.data.formats.unpacked import unpacked
from facemae_jax.data.formats.window import Window
from facemae_jax.data.images import BadImage
from facemae_jax.types import FacemaeError

TAR_ENDINGS = (".tar", ".tar.gz", ".tgz")


def tar_files(folder: Path) -> list[Path]:
    """The tars right inside a folder, sorted."""
    return sorted(path for path in folder.iterdir() if path.name.lower().endswith(TAR_ENDINGS) and path.is_file())


class TarSource(DivisibleSource):
    """The images of one tar or of several shards, in the order of their keys; read by several threads.

    Keys are the ``key`` fields of the ``.json`` files where all have one and they differ; else names of the members, with several
    shards below the name of the shard. Opening it reads headers and label files alone. Memory: the keys and 40 bytes per image.

    Attributes:
        keys: sorted.
        ignored: what was left aside → how often.

    Args:
        path: a tar, plain or gzipped; a pattern such as ``faces-{000..099}.tar``; or a folder of tars.

    Raises:
        FacemaeError: no whole tar, one that is refused, or labels that cannot be read.
    """

    _own = ("_mine", "_opened")

    def __init__(self, path: Path):
        self.path, self.ignored = path, Counter[str]()
        self._files = tar_files(path) if path.is_dir() else [path] if path.is_file() else expand_braces(path)
        self._plain: dict[int, BinaryIO] = {}
        self._begin()
        found = _Found()
        with logs.progress(len(self._files), f"listing {path.name}", "files") as bar:
            for number, file in enumerate(self._files):
                self._list(number, file, found)
                bar.update(1)
        keys, order_n = own_or(found.own, found.names)
        self.keys = LazyKeys(len(keys), lambda position: keys[int(order_n[position])])
        self._file_n, self._start_n, self._size_n, self._whom_n = (
            np.array(part, np.int64 if part.typecode == "q" else np.int32)[order_n]
            for part in (found.file_n, found.start_n, found.size_n, found.whom_n)
        )
        self._people = _names(list(found.people))

    def identity(self, position: int) -> str:
        """Whom an image shows."""
        return self._people[self._whom_n[position]]

    def where(self, position: int) -> str:
        """The member, for errors."""
        return f"{self._files[self._file_n[position]]}, member {self.keys[position]}"

    def read(self, position: int) -> bytes:
        """The bytes of an image file.

        Raises:
            BadImage: a file far too large for an image, or a tar that has become shorter.
        """
        number, start, size = self._file_n.item(position), self._start_n.item(position), self._size_n.item(position)
        if size > MAX_FILE:
            raise BadImage(self.where(position), f"the file has {size:,} bytes, more than {MAX_FILE:,}")
        data = self._window(number).read(start, size)
        if len(data) < size:
            raise BadImage(self.where(position), "the tar has become shorter since it was opened")
        return data

    def close(self) -> None:
        """Let go of what was unpacked or opened."""
        for file in (*self._plain.values(), *self._opened):
            file.close()

    def divisible(self) -> bool:
        """What was unpacked is a nameless file of this process."""
        return not self._plain

    def _begin(self) -> None:
        self._mine, self._opened = threading.local(), set[Any]()

    def _keep(self, rows_n: np.ndarray) -> None:
        self._file_n, self._start_n, self._size_n, self._whom_n = (
            column_n[rows_n] for column_n in (self._file_n, self._start_n, self._size_n, self._whom_n)
        )
        self._people = []

    def _window(self, number: int) -> Window:
        """The file with a number, of which each thread has one open."""
        own = self._mine.__dict__
        if own.get("number") != number:
            before = own.get("file")
            own.clear()
            if before is not None:
                self._opened.discard(before)
                before.close()
            file = self._plain.get(number)
            if file is None:
                file = own["file"] = open(self._files[number], "rb", buffering=0)
                self._opened.add(file)
            own["number"], own["window"] = number, Window(file.fileno())
        return own["window"]

    def _list(self, number: int, path: Path, found: _Found) -> None:
        if not path.is_file():
            raise FacemaeError(f"{path}: no such file; correct the pattern, or copy the missing shard.")
        plain = unpacked(path)
        if plain is not None:
            self._plain[number] = plain
        above = f"{path.name.partition('.')[0]}/" if len(self._files) > 1 else ""
        with contextlib.nullcontext(plain) if plain else open(path, "rb") as file:
            sample: list[Member] = []
            base = ""
            for member in members(file, str(path)):
                name = _safe(member.name, path)
                if member.aside:
                    self.ignored[member.aside] += 1
                    continue
                if sample and _base(name) != base:
                    self._take(sample, file, path, number, above, found)
                    sample = []
                base = _base(name)
                sample.append(member._replace(name=name))
            self._take(sample, file, path, number, above, found)

    def _take(
        self, sample: Sequence[Member], file: BinaryIO, path: Path, number: int, above: str, found: _Found
    ) -> None:
        """Note the images among files that share a name up to the first dot."""
        labels: dict[str, Member] = {}
        if any(not why_ignored(f"folder/{member.name}") for member in sample):  # else there is nothing to label
            labels = {ending: member for member in sample if (ending := _ending(member.name)) in LABEL_ENDINGS}
        told, key = told_label(labels, file, path)
        for member in sample:
            if told is None:
                reason = why_ignored(member.name)
            elif member in labels.values():
                continue
            else:
                reason = why_ignored(f"folder/{member.name}")
                if not reason and f".{_ending(member.name)}" not in ENDINGS:
                    reason = "further images of a sample"  # such as face.mask.png beside face.jpg
            if reason:
                self.ignored[reason] += 1
                continue
            whom = told if told is not None else identity_of(member.name)
            if key:
                found.own.append(key)
            found.names.append(above + member.name)
            found.file_n.append(number)
            found.start_n.append(member.start)
            found.size_n.append(member.size)
            found.whom_n.append(found.people.setdefault(whom, len(found.people)))


class _Found:
    """The listing as it grows, in the order of the members."""

    def __init__(self) -> None:
        self.names, self.own = Texts(), Texts()
        self.file_n, self.start_n, self.size_n, self.whom_n = array("i"), array("q"), array("q"), array("i")
        self.people: dict[str, int] = {}


def _safe(name: str, path: Path) -> str:
    parts = name.split("/")
    if parts[0] == "" or ".." in parts:
        raise FacemaeError(
            f"{path}: the member {name!r} leads out of the tar; such a tar is not trusted: make it again from the images."
        )
    return "/".join(part for part in parts if part not in ("", "."))


def _base(name: str) -> str:
    """What WebDataset takes for the key of a sample: the path up to the first dot of the file's name."""
    folder, stroke, file = name.rpartition("/")
    return folder + stroke + file.partition(".")[0]


def _ending(name: str) -> str:
    """All after the first dot of the file's name, small."""
    return name.rpartition("/")[2].partition(".")[2].lower()


def _names(people: list[str]) -> list[str]:
    """Names of the people; where all are numbers, of equally many digits, so that sorting keeps their order."""
    if not all(name.isascii() and name.isdigit() for name in people):
        return people
    numbers = [int(name) for name in people]
    return [number_name(number, max(numbers, default=0)) for number in numbers]
