"""Faces in Parquet files: image columns as Hugging Face ``datasets`` writes them, and plain columns of encoded images.

An image column is a struct of ``bytes`` and ``path``, or bytes. The identity is a ``ClassLabel`` (whose names stand in the schema's
metadata under "huggingface"), whole numbers, or text.
"""

from __future__ import annotations

import threading
from bisect import bisect_right
from collections import Counter, OrderedDict
from collections.abc import Iterator, Sequence
from itertools import accumulate, pairwise
from pathlib import Path
from typing import Any

import numpy as np

from facemae_jax.data.formats.divisible import DivisibleSource
from facemae_jax.data.formats.lazy_keys import LazyKeys, Texts
from facemae_jax.data.formats.names import MAX_FILE, number_name
from facemae_jax.data.formats.parquet_columns import find_columns, of_one_split, people_in
from facemae_jax.data.images import BadImage
from facemae_jax.types import FacemaeError

BATCH = 64  # rows that are decoded together
LARGE_GROUP = 5_000  # rows: a row group is read from its front, and from there again by everyone who begins inside
KEPT = 4  # batches that are kept: readers ask in order, but not quite


def parquet_files(folder: Path) -> list[Path]:
    """The Parquet files right inside a folder or its ``data``, in the order of their names."""
    found = [*folder.glob("*.parquet"), *folder.glob("data/*.parquet")]
    return sorted(found, key=lambda file: f"{file.relative_to(folder).as_posix()}/")


class ParquetSource(DivisibleSource):
    """The images in a Parquet file, or in all those of a folder (of several splits ``train``), in the order of their keys.

    Keys are the column ``key`` (or ``filename`` …) where it ascends from row to row, as ``parquet_writer`` writes it, else
    ``FILE/ROW``: so that images are always read in the order in which they lie, a batch of rows at a time. Numbers that are no
    ``ClassLabel`` become names of equally many digits. Memory: 12 bytes per image, with a key column 8 more and the keys; of images
    a few hundred, whatever the size of the row groups.

    Attributes:
        keys: sorted.
        ignored: rows with no label or a negative one, files of other splits.

    Args:
        path: the file or folder.
        image, label: names of the columns; "" finds them: the image column of the metadata, a ``ClassLabel``, or by usual names.

    Raises:
        FacemaeError: damaged files, columns that are not there or cannot be told, shards that differ.
    """

    _own = ("_lock", "_batches", "_open", "_walk")
    _open: tuple[int, Any] | None
    _walk: tuple[int, int, int, Iterator[Any]] | None  # file, row group, next row, batches from there
    _rows_n: np.ndarray
    _whom_n: np.ndarray
    _ends: list[int]
    _groups: list[list[int]]
    _names: Sequence[str]

    def __init__(self, path: Path, *, image: str = "", label: str = ""):
        self.path, self.ignored = path, Counter[str]()
        self._files = of_one_split(path, parquet_files(path) if path.is_dir() else [path], self.ignored)
        self._begin()
        with self._parquet(0) as first:
            self._columns = find_columns(first.schema_arrow, image, label, self._files[0])
        self._list()

    def identity(self, position: int) -> str:
        """Whom an image shows."""
        whom = int(self._whom_n[position])
        return self._names[whom] if self._names else number_name(whom, self._top)

    def where(self, position: int) -> str:
        """The row, for errors."""
        file, row = self._place(position)
        return f"{self._files[file]}, row {row}"

    def read(self, position: int) -> bytes:
        """The encoded image of a row.

        Raises:
            BadImage: a row without bytes, or a damaged part of the file.
        """
        import pyarrow

        file, row = self._place(position)
        try:
            with self._lock:
                data, path = self._row(file, row)
        except (pyarrow.ArrowException, OSError) as error:
            raise BadImage(self.where(position), f"the file is damaged here ({error})") from error
        if data is None:
            raise BadImage(
                self.where(position), f"only the path {path!r} is there, no image" if path else "there is no image"
            )
        if len(data) > MAX_FILE:
            raise BadImage(self.where(position), f"it has more than {MAX_FILE:,} bytes")
        return data

    def close(self) -> None:
        """Close the file that is open."""
        with self._lock:
            if self._open:
                self._open[1].close()
            self._open = self._walk = None
            self._batches.clear()

    def divisible(self) -> bool:
        """Whether all row groups are small."""
        return all(end - start <= LARGE_GROUP for ends in self._groups for start, end in pairwise((0, *ends)))

    def _begin(self) -> None:
        self._lock = threading.Lock()
        self._batches: OrderedDict[tuple[int, int, int], Any] = OrderedDict()
        self._open = self._walk = None

    def _keep(self, rows_n: np.ndarray) -> None:
        self._rows_n = self._rows_n[rows_n]
        touched = {bisect_right(self._ends, int(row)) for row in self._rows_n}
        self._groups = [ends if file in touched else [] for file, ends in enumerate(self._groups)]
        self._columns, self._whom_n, self._names = self._columns._replace(names=None), self._whom_n[:0], ()

    def _place(self, position: int) -> tuple[int, int]:
        row = int(self._rows_n[position])
        file = bisect_right(self._ends, row)
        return file, row - (self._ends[file - 1] if file else 0)

    def _parquet(self, file: int) -> Any:
        return _opened(self._files[file])

    def _list(self) -> None:
        columns, texts, known = self._columns, Texts(), dict[str, int]()
        whom, groups, ends = [], [], []  # of every file: labels; ends of its row groups
        for number, path in enumerate(self._files):
            with self._parquet(number) as parquet:
                if find_columns(parquet.schema_arrow, columns.image, columns.label, path) != columns:
                    raise FacemaeError(
                        f"{path}: has other columns or names of people than {self._files[0]}; name one of the two."
                    )
                sizes = [parquet.metadata.row_group(g).num_rows for g in range(parquet.metadata.num_row_groups)]
                groups.append(list(accumulate(sizes)))
                ends.append(parquet.metadata.num_rows)
                wanted = [columns.label, *([columns.key] if columns.key else [])]
                labels = [np.zeros(0, np.int32)]
                try:
                    for batch in parquet.iter_batches(1 << 16, columns=wanted):
                        labels.append(people_in(batch.column(columns.label), columns, known, path))
                        if columns.key:
                            for own_key in batch.column(columns.key):
                                texts.append(own_key.as_py() or "")
                except _arrow_errors() as error:
                    raise FacemaeError(f"{path}: its labels cannot be read ({error}); copy the file again.") from error
                whom.append(np.concatenate(labels))
        self._groups, self._ends = groups, list(accumulate(ends))
        whom_n = np.concatenate(whom)
        self._rows_n = np.flatnonzero(whom_n >= 0)
        if without := len(whom_n) - len(self._rows_n):
            self.ignored["rows without a label"] += without
        self._whom_n = whom_n[self._rows_n]
        self._top = int(self._whom_n.max(initial=0))
        self._names = list(known) or columns.names or ()
        own, most = bool(columns.key) and texts.ascending(), int(max(ends, default=0))
        inside = [file.relative_to(self.path).as_posix() if file != self.path else file.name for file in self._files]

        def key(position: int) -> str:
            if own:
                return texts[int(self._rows_n[position])]
            file, row = self._place(position)
            return f"{inside[file]}/{number_name(row, most)}"

        self.keys = LazyKeys(len(self._rows_n), key)

    def _row(self, file: int, row: int) -> tuple[bytes | None, str | None]:
        """Bytes and path of an image, through the batches; called under the lock."""
        group = bisect_right(self._groups[file], row)
        row -= self._groups[file][group - 1] if group else 0
        wanted = (file, group, row // BATCH)
        while wanted not in self._batches:
            self._step(wanted)
        self._batches.move_to_end(wanted)
        images, paths = self._batches[wanted]
        data = images[row % BATCH].as_py()
        return data, paths[row % BATCH].as_py() if data is None and paths is not None else None

    def _step(self, wanted: tuple[int, int, int]) -> None:
        """Decode one more batch of a row group, from its beginning where the walk has left it or is past it."""
        file, group, number = wanted
        if self._walk is None or self._walk[:2] != (file, group) or self._walk[2] > number:
            if self._open is None or self._open[0] != file:
                if self._open:
                    self._open[1].close()
                self._open = file, self._parquet(file)
            batches = self._open[1].iter_batches(BATCH, row_groups=[group], columns=[self._columns.image])
            self._walk = file, group, 0, batches
        _, _, at, batches = self._walk
        try:
            self._batches[file, group, at] = _parts(next(batches).column(0))
        except StopIteration:
            raise OSError("a row group ends early") from None
        self._walk = file, group, at + 1, batches
        while len(self._batches) > KEPT:
            self._batches.popitem(last=False)


def _parts(column: Any) -> tuple[Any, Any]:
    """The bytes and the paths (None where there are none) of an image column."""
    import pyarrow

    if not pyarrow.types.is_struct(column.type):
        return column, None
    found = dict(zip((field.name for field in column.type), column.flatten(), strict=True))
    nothing = pyarrow.nulls(len(column))
    return found.get("bytes", nothing), found.get("path", nothing)


def _arrow_errors() -> tuple[type[BaseException], ...]:
    import pyarrow

    return (pyarrow.ArrowException, OSError)


def _opened(path: Path) -> Any:
    from pyarrow import parquet

    try:
        return parquet.ParquetFile(path, buffer_size=1 << 20, pre_buffer=False)
    except _arrow_errors() as error:
        raise FacemaeError(f"{path}: this is no whole Parquet file ({error}); copy it again.") from error
