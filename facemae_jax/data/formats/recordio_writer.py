"""Writing faces as InsightFace's RecordIO, for arcface_torch and its like, without MXNet."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from facemae_jax.data.face_set import FaceSet
from facemae_jax.data.formats.recordio_parts import EXACT, HEADER, frame
from facemae_jax.data.formats.staged import staged_folder
from facemae_jax.types import FacemaeError


def write_recordio(faces: FaceSet, out: Path) -> Path:
    """Write ``train.rec``, ``train.idx``, ``property`` (number of identities, rows, columns) and ``train.tsv`` (number, key, label).

    Images are taken byte for byte. Records are sorted by label, within it in the order of the face set: number 0 is the header, then
    come the images, then a record per identity with the range of its images (InsightFace's layout). With more than 2^24 records in
    all the header could not count them (its numbers are float32), so it and the identities' records are left out, and the images are
    numbered from 0: trainers take every record for an image then. (A reader that does not know the header, as DALI's, needs that too.)
    Memory: 16 bytes per image beside the face set's own.

    Args:
        faces: the records.
        out: a folder that must not exist.

    Returns:
        The folder.

    Raises:
        FacemaeError: a folder that exists, a label that float32 cannot hold, or a tab or a line's end in a key.
        OSError: a full disk.
    """
    people_K, counts_K = np.unique(faces.labels_n, return_counts=True)
    if len(people_K) and not (0 <= people_K[0] and people_K[-1] <= EXACT):
        raise FacemaeError(
            f"{faces.path}: RecordIO holds labels from 0 to {EXACT:,} only, and this set has {people_K[-1]}."
        )
    total, listed = len(faces), len(faces) + 1 + len(people_K) <= EXACT
    with staged_folder(out) as partial:
        with (
            open(partial / "train.rec", "wb") as rec,
            open(partial / "train.idx", "w", encoding="ascii", newline="\n") as idx,
            open(partial / "train.tsv", "w", encoding="utf-8", newline="\n", errors="surrogateescape") as tsv,
        ):

            def put(number: int, labels: tuple[int, ...], image: bytes = b"") -> None:
                several = len(labels) > 1
                head = HEADER.pack(len(labels) if several else 0, 0.0 if several else labels[0], number, 0)
                idx.write(f"{number}\t{rec.tell()}\n")
                rec.write(frame(head + (np.array(labels, "<f4").tobytes() if several else b"") + image))

            if listed:
                put(0, (total + 1, total + 1 + len(people_K)))
            for number, position in enumerate(np.argsort(faces.labels_n, kind="stable"), int(listed)):
                record = faces[int(position)]
                if any(sign in record.key for sign in "\t\n\r"):
                    raise FacemaeError(
                        f"{faces.path}, record {record.key!r}: a key with a tab or a line's end cannot be listed."
                    )
                put(number, (record.label,), record.image)
                tsv.write(f"{number}\t{record.key}\t{record.label}\n")
            if listed:
                ends_K = np.cumsum(counts_K) + 1
                for number, (count, end) in enumerate(zip(counts_K.tolist(), ends_K.tolist(), strict=True), total + 1):
                    put(number, (end - count, end))
        size = faces.image_size
        (partial / "property").write_text(f"{int(people_K[-1]) + 1},{size},{size}\n", encoding="ascii")
    return out
