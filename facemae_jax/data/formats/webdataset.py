"""Writing WebDataset shards: ``faces-000000.tar`` and so on, a sample being ``NUMBER.jpg``, ``NUMBER.cls`` and ``NUMBER.json``.

``tar`` reads them, and so does the library of that name.
"""

from __future__ import annotations

import io
import json
import tarfile
from pathlib import Path

import numpy as np

from facemae_jax.data.face_set import FaceSet
from facemae_jax.data.formats.names import ending_of

SHARD = "faces-{:06d}.tar"


def write_webdataset(faces: FaceSet, out: Path, *, names: bool = False, shard_records: int = 10_000) -> None:
    """Write shards, images byte for byte. The same set gives the same bytes.

    The order is mixed (always in the same way): such shards are read from front to back, and a reader that mixes within a buffer
    would else meet the people one after another. ``.cls`` holds the label, ``.json`` the label, the key and, if ``names``, the
    identity.

    Args:
        faces: the records.
        out: a folder that must not exist.
        names: whether the names of the people go along.
        shard_records: samples per shard.

    Raises:
        OSError: a full disk.
    """
    out.mkdir()
    order_n = np.random.default_rng(0).permutation(len(faces))
    for shard, start in enumerate(range(0, len(faces), shard_records)):
        with tarfile.open(out / SHARD.format(shard), "x:", format=tarfile.USTAR_FORMAT) as tar:
            for number, position in enumerate(order_n[start : start + shard_records].tolist(), start):
                record = faces[position]
                said = {"label": record.label, "key": record.key}
                if names:
                    said["identity"] = faces.identity_names[record.label]
                files = {
                    ending_of(record.image, f"{faces.path}, record {record.key}"): record.image,
                    "cls": str(record.label).encode(),
                    "json": json.dumps(said, ensure_ascii=False).encode(),
                }
                for ending, data in files.items():
                    member = tarfile.TarInfo(f"{number:09d}.{ending}")  # its time is 0
                    member.size = len(data)
                    tar.addfile(member, io.BytesIO(data))
