"""One record of a face set as bytes, and the index (labels, keys, digest) over all of them.

The bytes are a ``tf.train.Example`` as TFDS writes it, made and parsed without TensorFlow. Which files records lie in is
the business of ``face_set`` and ``face_set_writer``.
"""

from __future__ import annotations

import functools
import hashlib
import zipfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from facemae_jax.types import FacemaeError, Record

# Private files inside a version directory; no TFDS reader looks at them.
INDEX = "index.npz"  # labels, keys and digest
NAMES = "identities.json"  # names of the people, in the order of the labels


class Index(NamedTuple):
    """What can be known of a face set without its images: ``labels_n`` int64, one key per record, a digest of the content."""

    labels_n: np.ndarray
    keys: list[str]
    digest: str


@functools.cache
def _example() -> Any:
    from tensorflow_datasets.proto import tf_example_pb2  # takes over a second, which --help need not wait for

    return tf_example_pb2.Example


def to_example(record: Record) -> bytes:
    """The serialized ``tf.train.Example`` of a record: ``image`` and ``key`` bytes, ``label`` int64; a pure function of it."""
    example = _example()()
    feature = example.features.feature
    feature["image"].bytes_list.value.append(record.image)
    feature["label"].int64_list.value.append(record.label)
    feature["key"].bytes_list.value.append(record.key.encode())
    return example.SerializeToString(deterministic=True)


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
    for record in records:
        labels.append(record.label)
        keys.append(record.key)
        hash_record(digest, record)
    return Index(np.array(labels, np.int64), keys, digest.hexdigest())


def hash_record(digest: Any, record: Record) -> None:
    """Feed one record to a running ``hashlib`` digest."""
    key = record.key.encode()
    sizes = (len(record.image), record.label, len(key))
    digest.update(b"".join(size.to_bytes(8, "little", signed=True) for size in sizes))
    digest.update(record.image)
    digest.update(key)


def join(indices: Iterable[Index]) -> Index:
    """The index of a whole face set from those of its shards, in order: its digest is the sha256 of theirs."""
    parts = [part for part in indices if len(part.keys)]
    labels_n = np.concatenate([part.labels_n for part in parts]) if parts else np.zeros(0, np.int64)
    digest = hashlib.sha256("".join(part.digest for part in parts).encode()).hexdigest()
    return Index(labels_n, [key for part in parts for key in part.keys], digest)


def save_index(path: Path, index: Index, **more: np.ndarray) -> None:
    """Write an index, and ``more`` arrays beside it. The same index gives the same bytes."""
    encoded = [key.encode() for key in index.keys]
    with path.open("wb") as file:
        np.savez(
            file,
            labels_n=index.labels_n,
            keys=np.frombuffer(b"".join(encoded), np.uint8),
            key_ends_n=np.cumsum([len(key) for key in encoded], dtype=np.int64),
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
        keys = list(_cut(found.pop("keys").tobytes(), found.pop("key_ends_n")))
        return Index(found.pop("labels_n"), keys, str(found.pop("digest"))), found
    except (ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise FacemaeError(
            f"{path}: the index of this face set is damaged ({error}); delete it, and it is read from the records."
        ) from error


def _cut(joined: bytes, ends_n: np.ndarray) -> Iterator[str]:
    start = 0
    for end in ends_n.tolist():
        yield joined[start:end].decode()
        start = end
