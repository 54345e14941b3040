"""Faces as TFace keeps them: TFRecord files without labels, and a list beside them that says where each record lies and whom it shows.

A line is ``NAME TAB SHARD TAB OFFSET TAB LABEL`` (its training list, ``.txt``), or ``PATH TAB SHARD TAB OFFSET`` (what its converter
writes, ``NAME.index``), where the identity is the folder of the image's path. The shard is ``NAME-00000.tfrecord``.
"""

from __future__ import annotations

from pathlib import Path

from facemae_jax.data.formats.examples import parse_example, value_of
from facemae_jax.data.formats.lazy_keys import Texts
from facemae_jax.data.formats.record_source import Listing, RecordSource
from facemae_jax.data.formats.tfrecord import TFRecordReader
from facemae_jax.types import FacemaeError

FEATURE = "image"


class TFaceSource(RecordSource):
    """The records that a list names, in the order of their keys (``SHARD/OFFSET``, or the image's path).

    Attributes:
        keys: sorted.
        ignored: empty.

    Args:
        path: the folder, for errors.
        index: the list.

    Raises:
        FacemaeError: a line of another form, a shard that is missing.
    """

    def __init__(self, path: Path, index: Path):
        super().__init__(path)
        listing, keys = Listing(), Texts()
        files: dict[Path, int] = {}
        people: dict[str, int] = {}
        labelled = index.suffix == ".txt"
        with open(index, encoding="utf-8") as lines:
            for number, line in enumerate(lines, 1):
                parts = line.rstrip("\n").split("\t")
                if len(parts) != (4 if labelled else 3) or not all(part.isdigit() for part in parts[1:]):
                    raise FacemaeError(
                        f"{index}, line {number}: {'NAME, SHARD, OFFSET, LABEL' if labelled else 'PATH, SHARD, OFFSET'} parted by tabs were "
                        "expected; write the list again."
                    )
                name = parts[0] if labelled else index.stem
                if "/" in name or name in ("", ".", ".."):
                    raise FacemaeError(
                        f"{index}, line {number}: {name!r} is no name of a TFRecord; write the list again."
                    )
                file = path / f"{name}-{int(parts[1]):05d}.tfrecord"
                if file not in files and not file.is_file():
                    raise FacemaeError(f"{file}: this shard is missing ({index.name}, line {number}); copy it.")
                whom = int(parts[3]) if labelled else people.setdefault(parts[0].rpartition("/")[0], len(people))
                listing.append(files.setdefault(file, len(files)), int(parts[2]), whom)
                keys.append(f"{file.name}/{int(parts[2]):012d}" if labelled else parts[0])
        self._list([TFRecordReader(file) for file in files], listing, keys, keys.order_n(), list(people))

    def where(self, position: int) -> str:
        """The record, for errors."""
        return f"{self._files[self._file_n[position]].path}, byte {self._place_n[position]:,}"

    def _image(self, data: bytes, where: str) -> bytes:
        return value_of(parse_example(data, where), FEATURE, where)


def tface_list(folder: Path) -> Path | None:
    """The list beside TFace's TFRecord files, or None: a ``.txt`` of four columns, else an ``.index``."""
    for file in sorted(folder.glob("*.txt")):
        with open(file, encoding="utf-8", errors="replace") as lines:
            if lines.readline(4096).count("\t") == 3:
                return file
    return next(iter(sorted(folder.glob("*.index"))), None)
