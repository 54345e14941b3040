"""Faces in records that are ``tf.train.Example`` messages, whatever files they lie in: features found by name, without TensorFlow.

Reading the files is the business of ``tfrecord`` and ``tfds_source``; a face set of this package has its own reader.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from facemae_jax import logs
from facemae_jax.data.formats.columns import IMAGES, KEYS, LABELS, choose
from facemae_jax.data.formats.lazy_keys import Texts, own_or
from facemae_jax.data.formats.record_source import Listing, RecordFile, RecordSource
from facemae_jax.types import FacemaeError


class Features(NamedTuple):
    """Names of the features that hold the image, the label and (or "") the key."""

    image: str
    label: str
    key: str = ""


class ExampleSource(RecordSource):
    """The images of all records, in the order of their keys.

    Opening it reads every record once, for labels stand beside the images. A key is the record's own (feature ``key``,
    ``filename`` …) where all of them differ, else ``FILE/NUMBER``. A label that is a number becomes a name of equally many digits, so
    that sorting names keeps their order; text is the name itself. Memory: the keys and 36 bytes per record.

    Attributes:
        keys: sorted.
        ignored: records with a negative label, which says that it is not known.

    Args:
        path: the whole, for errors.
        files: in order.
        features: their names; None: found in the first record.
        names: of the people, by label, where they are known.
        image, label: names that the user tells, if ``features`` is None.
        lengths: records that each file must hold, where that is known.

    Raises:
        FacemaeError: features that are not there or cannot be told, a damaged file.
    """

    def __init__(
        self,
        path: Path,
        files: Sequence[RecordFile],
        features: Features | None = None,
        names: Sequence[str] | None = None,
        *,
        image: str = "",
        label: str = "",
        lengths: Sequence[int] | None = None,
    ):
        super().__init__(path)
        self._features, self._names, self._told = features, names, (image, label)
        listing, own, numbered, texts = Listing(), Texts(), Texts(), {}  # type: Listing, Texts, Texts, dict[str, int]
        with logs.progress(len(files), f"listing {path.name}", "files") as bar:
            for number, file in enumerate(files):
                count = -1
                for count, (place, data) in enumerate(file.records()):
                    where = f"{file.path}, record {count}"
                    feature = self._parse(data, where)
                    whom = self._label(feature, where, texts)
                    if whom is None:
                        self.ignored["records without a label (-1)"] += 1
                        continue
                    listing.append(number, place, whom)
                    numbered.append(f"{file.path.name}/{count:08d}")
                    if len(own) == len(numbered) - 1 and (key := self._own_key(feature)):
                        own.append(key)
                if lengths is not None and count + 1 != lengths[number]:
                    raise FacemaeError(
                        f"{file.path}: holds {count + 1} records where {lengths[number]} are told; it is damaged or cut off: copy it again."
                    )
                bar.update(1)
        self._list(files, listing, *own_or(own, numbered), list(texts) or names)

    def where(self, position: int) -> str:
        """The record, for errors."""
        return f"{self._files[self._file_n[position]].path}, record {self.keys[position]}"

    def _image(self, data: bytes, where: str) -> bytes:
        return value_of(self._parse(data, where), self._chosen.image, where)

    @property
    def _chosen(self) -> Features:
        assert self._features is not None  # found in the first record
        return self._features

    def _parse(self, data: bytes, where: str) -> Any:
        feature = parse_example(data, where)
        if self._features is None:
            self._features = self._find(feature, where)
        return feature

    def _find(self, feature: Any, where: str) -> Features:
        filled = {name: value.WhichOneof("kind") for name, value in feature.items()}
        texts = [name for name, kind in filled.items() if kind == "bytes_list"]
        unsaid = [name for name in texts if name not in (*LABELS, *KEYS)]
        image = choose("image", texts if self._told[0] else unsaid, self._told[0], IMAGES, where)
        label = choose("label", [n for n in filled if n != image], self._told[1], LABELS, where)
        key = next((name for name in KEYS if filled.get(name) == "bytes_list" and name not in (image, label)), "")
        return Features(image, label, key)

    def _label(self, feature: Any, where: str, texts: dict[str, int]) -> int | None:
        value = value_of(feature, self._chosen.label, where)
        if isinstance(value, bytes):
            try:
                return texts.setdefault(value.decode(), len(texts))
            except UnicodeDecodeError as error:
                raise FacemaeError(
                    f"{where}: the label {value[:20]!r} is not valid UTF-8; write names as UTF-8."
                ) from error
        if texts or value != int(value) or (self._names and value >= len(self._names)):
            raise FacemaeError(
                f"{where}: the label {value} is no whole number or name like those before it; write labels in one form."
            )
        return int(value) if value >= 0 else None

    def _own_key(self, feature: Any) -> str:
        name = self._chosen.key
        value: Sequence[bytes] = feature[name].bytes_list.value if name and name in feature else ()
        return value[0].decode("utf-8", "replace") if len(value) == 1 else ""


def parse_example(data: bytes, where: str) -> Any:
    """Name → feature of a serialized ``tf.train.Example``.

    Raises:
        FacemaeError: it is none.
    """
    from google.protobuf.message import DecodeError
    from tensorflow_datasets.proto import tf_example_pb2  # takes over a second, which --help need not wait for

    try:
        return tf_example_pb2.Example.FromString(data).features.feature
    except DecodeError as error:
        raise FacemaeError(
            f"{where}: this is no tf.train.Example ({error}); only records of that form are read."
        ) from error


def value_of(feature: Any, name: str, where: str) -> Any:
    """The one value of a feature: bytes or a number.

    Raises:
        FacemaeError: it is not there, or holds more than one.
    """
    found = feature[name] if name in feature else None
    kind = found.WhichOneof("kind") if found is not None else None
    values: Sequence[Any] = getattr(found, kind).value if kind else ()
    if len(values) != 1:
        raise FacemaeError(
            f"{where}: the feature {name} holds {len(values)} values, one was expected; convert the records, or leave this one out."
        )
    return values[0]
