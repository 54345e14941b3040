"""Faces in InsightFace's RecordIO (``train.rec``, ``train.idx``, ``property``), without MXNet.

Images are encoded inside (JPEG or PNG), so that the question of RGB or BGR does not arise: it does for whoever decodes. (Tools that
swapped the colours before encoding cannot be found out.) How records are framed is said in ``recordio_parts``.

A record 0 with labels and no image is the list's header: its labels are the first and the last number, plus one, of the records that
list the images of each person. Where there is none, every record is an image. A label array means its first entry.
"""

from __future__ import annotations

import warnings
from collections import Counter
from pathlib import Path

import numpy as np

from facemae_jax.data.formats.divisible import DivisibleSource
from facemae_jax.data.formats.lazy_keys import LazyKeys, Texts, filled
from facemae_jax.data.formats.names import number_name
from facemae_jax.data.formats.recordio_parts import (
    EXACT,
    HEADER,
    Damaged,
    Heads,
    find_records,
    look,
    read_record,
)
from facemae_jax.data.formats.window import Window
from facemae_jax.data.images import BadImage
from facemae_jax.types import FacemaeError


def recordio_file(folder: Path) -> Path | None:
    """The ``.rec`` file right inside a folder that is meant: ``train.rec``, or the only one; None where there is none.

    Raises:
        FacemaeError: several, and none is called train.rec.
    """
    if (folder / "train.rec").is_file():
        return folder / "train.rec"
    found = sorted(folder.glob("*.rec"))
    if len(found) > 1:
        raise FacemaeError(f"{folder}: holds {', '.join(file.name for file in found[:5])}; name the one that is meant.")
    return found[0] if found else None


class RecordIOSource(DivisibleSource):
    """The images of a ``.rec`` file, in the order of their keys.

    Keys are those of a ``.tsv`` beside it (lines of number, key, label, as CVLface and :func:`write_recordio` leave it), else
    ``LABEL/NUMBER``. People are called by their labels, with equally many digits. Without an ``.idx``, or with an empty one, the
    file is walked through. Memory: 20 bytes per image (63 while it is listed), and with a ``.tsv`` the keys and 16 bytes.

    Attributes:
        keys: sorted.
        ignored: empty: records that list others are no images.

    Args:
        path: the file, or its folder.

    Raises:
        FacemaeError: an index or a ``.tsv`` that does not fit the file, or no whole record in it.
    """

    _own = ("_file", "_window")
    _numbers_n: np.ndarray
    _offsets_n: np.ndarray
    _labels_n: np.ndarray

    def __init__(self, path: Path):
        rec = recordio_file(path) if path.is_dir() else path
        if rec is None:
            raise FacemaeError(f"{path}: holds no .rec file; name the folder of train.rec.")
        self.path, self.ignored = rec, Counter[str]()
        self._begin()
        try:
            self._list(rec.with_suffix(".idx"), rec.with_suffix(".tsv"))
        except BaseException:
            self.close()
            raise

    def identity(self, position: int) -> str:
        """Whom an image shows: the label. (Of a record without one, that of the record before it; it is never read.)"""
        return number_name(int(self._labels_n[position]), self._top)

    def where(self, position: int) -> str:
        """The record, for errors."""
        return f"{self.path}, record {self._numbers_n[position]}"

    def read(self, position: int) -> bytes:
        """The encoded image of a record.

        Raises:
            BadImage: a damaged record, one without an image, or a label that is no whole number.
        """
        try:
            record = read_record(self._window, int(self._offsets_n[position]))
            if len(record) < HEADER.size:
                raise Damaged("it is shorter than its header")
            flag, label, _, _ = HEADER.unpack_from(record)
            labels = record[HEADER.size : HEADER.size + 4 * flag] if flag else b""
            image = record[HEADER.size + len(labels) :]
            label = float(np.frombuffer(labels, "<f4", 1)[0]) if len(labels) >= 4 else label
            if len(labels) < 4 * flag or label != self._labels_n[position]:
                raise Damaged(
                    f"its label is {label}, which is no identity"
                    if len(labels) == 4 * flag
                    else "its labels are cut off"
                )
            if not image:
                raise Damaged("it holds no image")
        except Damaged as error:
            raise BadImage(self.where(position), f"the record is damaged: {error}") from error
        return image

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def _begin(self) -> None:
        self._file = open(self.path, "rb")
        self._window = Window(self._file.fileno())

    def _keep(self, rows_n: np.ndarray) -> None:
        self._numbers_n, self._offsets_n = self._numbers_n[rows_n], self._offsets_n[rows_n]
        self._labels_n = self._labels_n[rows_n]

    def _list(self, idx: Path, tsv: Path) -> None:
        indexed = idx.is_file() and idx.stat().st_size > 0
        numbers_n, offsets_n = _index(idx) if indexed else (None, find_records(self._file.fileno()))
        heads = look(str(self.path), offsets_n)
        if numbers_n is None:
            numbers_n = _own_numbers(heads)
        good_n = np.isfinite(heads.labels_n) & (heads.labels_n >= 0) & (heads.labels_n == np.floor(heads.labels_n))
        good_n &= heads.labels_n < 2**31
        image_n = _images(self.path, numbers_n, heads, good_n, indexed)
        if not (good_n & image_n).any():
            raise FacemaeError(
                f"{self.path}: not one whole image record is in it; this is no RecordIO file, or a damaged one."
            )
        labels_n = filled(heads.labels_n[image_n], good_n[image_n])
        numbers_n, offsets_n = numbers_n[image_n], offsets_n[image_n]
        self._top = int(labels_n.max())
        most = int(numbers_n.max())
        if tsv.is_file():
            texts = _keys(tsv, numbers_n)
            rank_n = texts.order_n()
            order_n = np.argsort(numbers_n, kind="stable")[rank_n]
            self.keys = LazyKeys(len(rank_n), lambda position: texts[int(rank_n[position])])
        else:
            order_n = np.lexsort((numbers_n, labels_n))
            self.keys = LazyKeys(
                len(order_n),
                lambda position: f"{self.identity(position)}/{number_name(int(self._numbers_n[position]), most)}",
            )
        self._numbers_n, self._offsets_n, self._labels_n = numbers_n[order_n], offsets_n[order_n], labels_n[order_n]


def _index(idx: Path) -> tuple[np.ndarray, np.ndarray]:
    """Numbers and offsets of the records, int64."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            found_n2 = np.loadtxt(idx, np.int64, delimiter="\t", ndmin=2, comments=None)
        numbers_n, offsets_n = found_n2.T
    except (ValueError, UserWarning) as error:
        raise FacemaeError(
            f"{idx}: a line is not NUMBER, tab, OFFSET ({error}); delete the file, and the records are found without it."
        ) from error
    return np.ascontiguousarray(numbers_n), np.ascontiguousarray(offsets_n)


def _own_numbers(heads: Heads) -> np.ndarray:
    """Numbers of records found without an index: those in their headers where these differ, else their order."""
    count = len(heads.ids_n)
    fits = count and heads.ids_n.max() < 2**63 and len(np.unique(heads.ids_n)) == count
    return heads.ids_n.astype(np.int64) if fits else np.arange(count)


def _images(path: Path, numbers_n: np.ndarray, heads: Heads, good_n: np.ndarray, indexed: bool) -> np.ndarray:
    """Which records are images: those that do not only list others; what the header promises must be there."""
    image_n = ~heads.bare_n
    header_n = np.flatnonzero(heads.bare_n & (numbers_n == 0 if indexed else heads.ids_n == 0))
    if not len(header_n):
        return image_n
    first = float(heads.labels_n[header_n[0]])
    if not 1 <= first < EXACT:  # larger counts are not exact in float32
        return image_n
    if indexed:
        image_n = (numbers_n >= 1) & (numbers_n < first)
    found = int(image_n.sum())
    if found != int(first) - 1 and (indexed or good_n.all()):
        raise FacemaeError(
            f"{path}: its record 0 promises {int(first) - 1:,} images, and {found:,} are {'in its .idx' if indexed else 'there'}; "
            f"{'copy both again, or delete the .idx' if indexed else 'the file is cut off: copy it again'}."
        )
    return image_n


def _keys(tsv: Path, numbers_n: np.ndarray) -> Texts:
    """The keys in a ``.tsv``, in the order of the records' numbers."""
    wanted_n, texts, line = np.sort(numbers_n), Texts(), ""
    fits = True
    with open(tsv, encoding="utf-8", errors="surrogateescape", newline="\n") as lines:
        for line in lines:
            number, _, rest = line.rstrip("\r\n").partition("\t")
            fits = len(texts) < len(wanted_n) and number == str(wanted_n[len(texts)]) and "\t" in rest
            if not fits:
                break
            texts.append(rest.rpartition("\t")[0])
    if not fits or len(texts) != len(wanted_n):
        raise FacemaeError(
            f"{tsv}: line {len(texts) + 1} should be the number, key and label of record "
            f"{wanted_n[len(texts)] if len(texts) < len(wanted_n) else '(there is none left)'}, parted by tabs, but is {line[:80]!r}; "
            "delete the file, and the records are named by their labels and numbers."
        )
    return texts
