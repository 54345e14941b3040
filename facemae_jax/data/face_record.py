"""One record of a face set as bytes, and the index (labels, keys, digest) over all of them.

The bytes are a ``tf.train.Example`` as TFDS writes it, made and parsed without TensorFlow. Which files records lie in is
the business of ``face_set`` and ``face_set_writer``.
"""

from __future__ import annotations

import functools
import hashlib
import struct
import zipfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from facemae_jax.data.packed_keys import PackedKeys
from facemae_jax.types import FacemaeError, Record

# Private files inside a version directory; no TFDS reader looks at them.
INDEX = "index.npz"  # labels, keys and digest
NAMES = "identities.json"  # names of the people, in the order of the labels
ONE = [bytes((number,)) for number in range(128)]
SIZES = struct.Struct("<qqq")  # bytes of the image, label, bytes of the key: before each record in the digest
TOGETHER = (
    256 << 10
)  # bytes that are hashed at once: hashing lets other threads run, and handing over costs as much as one image


class Index(NamedTuple):
    """What can be known of a face set without its images: ``labels_n`` int64, one key per record, a digest of the content."""

    labels_n: np.ndarray
    keys: PackedKeys
    digest: str


@functools.cache
def _example() -> Any:
    from tensorflow_datasets.proto import tf_example_pb2  # takes over a second, which --help need not wait for

    return tf_example_pb2.Example


def to_example(record: Record) -> bytes:
    """The serialized ``tf.train.Example`` of a record: ``image`` and ``key`` bytes, ``label`` int64; a pure function of it.

    Written out here, field by field in the order of their names, with one copy of the image; the bytes are those of protobuf.
    """
    image, label, key = record
    text, number = key.encode(), _varint(label)
    rest = _entry_head(b"key", b"\x0a", len(text)) + text + _entry_head(b"label", b"\x1a", len(number)) + number
    head = _image_head(len(image))
    total = len(head) + len(image) + len(rest)
    return b"".join((b"\x0a", _varint(total), head, image, rest))


def _entry_head(name: bytes, kind: bytes, length: int) -> bytes:
    """What stands before the ``length`` bytes of a value in an entry of the map ``Features.feature``; ``kind``: tag of its list."""
    values = b"\x0a" + _varint(length)  # BytesList.value, or Int64List.value, packed
    feature = kind + _varint(len(values) + length) + values
    entry = b"\x0a" + _varint(len(name)) + name + b"\x12" + _varint(len(feature) + length) + feature
    return b"\x0a" + _varint(len(entry) + length) + entry


@functools.lru_cache(maxsize=1 << 16)
def _image_head(length: int) -> bytes:
    return _entry_head(b"image", b"\x0a", length)


def _varint(number: int) -> bytes:
    """Seven bits to a byte, the lowest first; negative numbers as those of 64 bits.

    >>> _varint(300).hex(), len(_varint(-1))
    ('ac02', 10)
    """
    if 0 <= number < 128:
        return ONE[number]
    number &= 2**64 - 1
    made = bytearray()
    while number > 127:
        made.append(number & 127 | 128)
        number >>= 7
    made.append(number)
    return bytes(made)


def from_example(data: bytes) -> Record:
    """The record in a serialized ``tf.train.Example``; further features are left aside."""
    feature = _example().FromString(data).features.feature
    return Record(
        feature["image"].bytes_list.value[0],
        feature["label"].int64_list.value[0],
        feature["key"].bytes_list.value[0].decode(),
    )


def index_records(records: Iterable[Record]) -> Index:
    """The index of one shard's records; its digest is the sha256 of their images, labels and keys with their lengths."""
    labels, keys, digest = [], [], hashlib.sha256()
    parts: list[bytes] = []
    waiting = 0
    for image, label, key in records:
        labels.append(label)
        keys.append(key)
        encoded = key.encode()
        parts += (SIZES.pack(len(image), label, len(encoded)), image, encoded)
        waiting += len(image)
        if waiting >= TOGETHER:
            digest.update(b"".join(parts))
            parts.clear()
            waiting = 0
    digest.update(b"".join(parts))
    return Index(np.array(labels, np.int64), PackedKeys.of(keys), digest.hexdigest())


def join(indices: Iterable[Index]) -> Index:
    """The index of a whole face set from those of its shards, in order: its digest is the sha256 of theirs."""
    parts = [part for part in indices if len(part.keys)]
    labels_n = np.concatenate([part.labels_n for part in parts]) if parts else np.zeros(0, np.int64)
    digest = hashlib.sha256("".join(part.digest for part in parts).encode()).hexdigest()
    return Index(labels_n, PackedKeys.join([part.keys for part in parts]), digest)


def save_index(path: Path, index: Index, **more: np.ndarray) -> None:
    """Write an index, and ``more`` arrays beside it. The same index gives the same bytes."""
    with path.open("wb") as file:
        np.savez(
            file,
            labels_n=index.labels_n,
            keys=index.keys.run,
            key_ends_n=index.keys.ends_n,
            digest=np.array(index.digest),
            **more,  # type: ignore[arg-type]
        )


def load_index(path: Path) -> tuple[Index, dict[str, np.ndarray]]:
    """What :func:`save_index` wrote: the index, and the further arrays.

    Raises:
        FacemaeError: a damaged file.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            found = dict(file)
        keys = PackedKeys(found.pop("keys"), found.pop("key_ends_n"))
        return Index(found.pop("labels_n"), keys, str(found.pop("digest"))), found
    except (ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise FacemaeError(
            f"{path}: the index of this face set is damaged ({error}); delete it, and it is read from the records."
        ) from error
