"""Reading a face set: a TFDS version directory of ArrayRecord shards with ``image``, ``label`` and ``key``, without TensorFlow.

Images stay encoded here; ``images.decode_record`` and ``pipeline`` decode. ``face_shards`` reads the files,
``face_set_writer`` writes them.
"""

from __future__ import annotations

import functools
import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from facemae_jax.data.face_record import INDEX, NAMES
from facemae_jax.data.face_set_writer import FaceSetWriter
from facemae_jax.data.face_shards import Shards
from facemae_jax.types import FacemaeError, Record

__all__ = ["FaceSet", "FaceSetWriter", "check_image_size", "find_versions", "open_face_set"]


class FaceSet:
    """Records by position, from shards that are opened when first needed, in each process anew; it can be pickled and forked.

    Attributes:
        path: the version directory.
        image_size: pixels per side; 0 where the set does not promise square images of one size.
    """

    def __init__(
        self,
        shards: Shards,
        *,
        path: Path,
        image_size: int,
        names: Sequence[str] | None = None,
        positions_n: np.ndarray | None = None,
        classes_K: np.ndarray | None = None,
    ):
        self.path, self.image_size = path, image_size
        self._shards, self._names, self._positions_n, self._classes_K = shards, names, positions_n, classes_K

    def __len__(self) -> int:
        return len(self._shards) if self._positions_n is None else len(self._positions_n)

    def __getitem__(self, position: int) -> Record:
        if not -len(self) <= position < len(self):
            raise IndexError(f"record {position} of {len(self)} in {self.path}")
        position = int(position) % len(self)
        record = self._shards.read(position if self._positions_n is None else int(self._positions_n[position]))
        if self._classes_K is None:
            return record
        return record._replace(label=int(np.searchsorted(self._classes_K, record.label)))

    def __repr__(self) -> str:
        return f"FaceSet({str(self.path)!r}, {len(self)} records, {self.image_size} pixels)"

    @functools.cached_property
    def labels_n(self) -> np.ndarray:
        """int64 label of every record, known without reading images where the set has an index."""
        labels_n = self._shards.index.labels_n
        labels_n = labels_n if self._positions_n is None else labels_n[self._positions_n]
        return labels_n if self._classes_K is None else np.searchsorted(self._classes_K, labels_n)

    def keys(self) -> Sequence[str]:
        """The key of every record, decoded when asked for."""
        keys = self._shards.index.keys
        return keys if self._positions_n is None else keys.take(self._positions_n)

    @functools.cached_property
    def identities(self) -> int:
        """Number of different labels among the records."""
        return len(np.unique(self.labels_n))

    @functools.cached_property
    def identity_names(self) -> list[str]:
        """Name of the person of each label; the label itself where the set keeps no names."""
        if self._classes_K is not None:
            return [self._names[label] if self._names else str(label) for label in self._classes_K.tolist()]
        return list(self._names) if self._names else [str(label) for label in range(self.labels_n.max(initial=-1) + 1)]

    @functools.cached_property
    def digest(self) -> str:
        """sha256 (hex) of what the records hold; of a subset or relabelled set also of which and how."""
        digest = self._shards.index.digest
        for kind, part in (("subset", self._positions_n), ("relabelled", self._classes_K)):
            if part is not None:
                content = np.ascontiguousarray(part, "<i8").tobytes()
                digest = hashlib.sha256(f"{digest}:{kind}:".encode() + content).hexdigest()
        return digest

    def subset(self, positions_n: np.ndarray) -> FaceSet:
        """The records at ``positions_n`` of this set, in that order, with the labels they have here."""
        positions_n = np.asarray(positions_n, np.int64)
        if positions_n.size and not (0 <= positions_n.min() and positions_n.max() < len(self)):
            raise IndexError(f"records {positions_n.min()}…{positions_n.max()} of {len(self)} in {self.path}")
        inner_n = positions_n if self._positions_n is None else self._positions_n[positions_n]
        return self._with(positions_n=inner_n, classes_K=self._classes_K)

    def relabelled(self) -> FaceSet:
        """The same records with labels 0 … K−1, in the ascending order of the labels they have here."""
        present_K = np.unique(self.labels_n)
        classes_K = present_K if self._classes_K is None else self._classes_K[present_K]
        return self._with(positions_n=self._positions_n, classes_K=classes_K)

    def _with(self, positions_n: np.ndarray | None, classes_K: np.ndarray | None) -> FaceSet:
        return FaceSet(
            self._shards,
            path=self.path,
            image_size=self.image_size,
            names=self._names,
            positions_n=positions_n,
            classes_K=classes_K,
        )


def find_versions(path: Path) -> list[Path]:
    """The TFDS version directories that ``path`` may mean: itself, its children, or those of its child ``faces``."""
    if (path / "dataset_info.json").is_file():
        return [path]
    inner = [*path.glob("*/dataset_info.json"), *path.glob("faces/*/dataset_info.json")]
    return sorted(found.parent for found in inner if not found.parent.name.endswith(".partial"))


def open_face_set(path: Path | str) -> FaceSet:
    """The face set in ``path``.

    Args:
        path: a version directory (``…/faces/1.0.0``), or a folder that holds exactly one; written by this package or by
            anybody as ArrayRecord with the features ``image``, ``label`` and ``key``. Of several splits ``train`` is taken.

    Raises:
        FacemaeError: no face set, more than one, or one that cannot be read here.
    """
    path = Path(path)
    if not path.is_dir():
        raise FacemaeError(f"{path}: no such folder; a face set directory with dataset_info.json was expected.")
    versions = find_versions(path)
    if len(versions) != 1:
        seen = ", ".join(version.relative_to(path).as_posix() for version in versions[:5]) or "no dataset_info.json"
        raise FacemaeError(
            f"{path}: one face set (a TFDS version directory) was expected, found {seen}; name the directory."
        )
    return _open(versions[0])


def _open(version: Path) -> FaceSet:
    import tensorflow_datasets as tfds  # takes over a second, which --help need not wait for

    try:
        info = tfds.builder_from_directory(str(version)).info
        splits, features = dict(info.splits), dict(info.features or {})
    except Exception as error:  # whatever TFDS says of a directory that is not its own
        raise FacemaeError(f"{version}: TFDS cannot open this directory ({error}); make the face set again.") from error
    missing = [name for name in ("image", "label", "key") if name not in features]
    if missing or not isinstance(features["image"], tfds.features.Image):
        has = ", ".join(sorted(features)) or "none"
        raise FacemaeError(
            f"{version}: a face set has the features image, label and key, this one has {has}; convert it."
        )
    if "train" not in splits and len(splits) != 1:
        raise FacemaeError(
            f"{version}: holds the splits {', '.join(splits)}, neither train nor a single one; keep one of them."
        )
    split = splits.get("train") or next(iter(splits.values()))
    if tfds.core.FileFormat.ARRAY_RECORD not in info.available_file_formats():
        raise FacemaeError(
            f"{version}: is stored as {info.file_format.value}; write it as array_record to read it by position."
        )
    template = split.filename_template.replace(filetype_suffix="array_record")
    files = [str(file) for file in template.sharded_filepaths(num_shards=split.num_shards)]
    for file in files:
        if not Path(file).is_file():
            raise FacemaeError(f"{file}: this shard of the face set is missing; copy or make the face set again.")
    if not split.num_examples:
        raise FacemaeError(f"{version}: the face set is empty; make it again.")
    height, width, _ = features["image"].shape
    return FaceSet(
        Shards(files, split.shard_lengths, version / INDEX),
        path=version,
        image_size=height if height and height == width else 0,
        names=_names(version, features["label"]),
    )


def _names(version: Path, label: Any) -> list[str] | None:
    if (version / NAMES).is_file():
        return json.loads((version / NAMES).read_text())
    return getattr(label, "names", None)  # a ClassLabel has them


def check_image_size(faces: FaceSet, image_size: int, field: str = "data.image_size") -> None:
    """Refuse a face set of another image size than a stage works with.

    Raises:
        FacemaeError: naming the set, both sizes and the way out.
    """
    if faces.image_size != image_size:
        has = f"{faces.image_size}×{faces.image_size} pixels" if faces.image_size else "images of varying size"
        raise FacemaeError(
            f"{faces.path}: the face set has {has}, but {field}={image_size}; set {field} to its size, "
            "or import it: import-faces resizes."
        )
