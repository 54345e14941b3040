"""Writing faces as Parquet files with an image column, as Hugging Face ``datasets`` has them."""

from __future__ import annotations

import json
from pathlib import Path

from facemae_jax.data.face_set import FaceSet
from facemae_jax.data.formats.names import number_name
from facemae_jax.data.formats.staged import staged_folder

GROUP = 100  # rows of a row group, as Hugging Face writes images: what must be read for one
MANY = 100_000  # people beyond which their numbers are not listed in every file


def write_parquet(faces: FaceSet, out: Path, *, shard_records: int = 10_000) -> Path:
    """Write ``train-00000-of-0000N.parquet`` with the columns ``image`` (Hugging Face), ``label`` and ``key``.

    ``datasets.load_dataset(out)`` reads them, and so does every Parquet reader. Images are taken byte for byte, and not compressed
    again. Rows are sorted by key. The label is a ``ClassLabel`` with the face set's names of the people, or their numbers where it
    keeps no names; with more than 100,000 numbered people it is a plain whole number. The same records, the same pyarrow: the same
    bytes. Memory: one row group of images.

    Args:
        faces: the records.
        out: a folder that must not exist.
        shard_records: rows per file.

    Returns:
        The folder.

    Raises:
        FacemaeError: a folder that exists.
        OSError: a full disk.
    """
    import pyarrow as pa
    from pyarrow import parquet

    keys = faces.keys()
    order = sorted(range(len(keys)), key=keys.__getitem__)
    names = faces.identity_names
    if names == [
        str(label) for label in range(len(names))
    ]:  # sorted by their names they would leave the order of the labels
        names = [number_name(label, len(names) - 1) for label in range(len(names))]
    numbered = len(names) > MANY and all(name.isdigit() for name in names)
    value = {"dtype": "int64", "_type": "Value"} if numbered else {"names": names, "_type": "ClassLabel"}
    features = {"image": {"_type": "Image"}, "label": value, "key": {"dtype": "string", "_type": "Value"}}
    schema = pa.schema(
        [
            ("image", pa.struct([("bytes", pa.binary()), ("path", pa.string())])),
            ("label", pa.int64()),
            ("key", pa.string()),
        ],
        {"huggingface": json.dumps({"info": {"features": features}}, ensure_ascii=False)},
    )
    shards = -(-len(order) // shard_records)
    with staged_folder(out) as partial:
        for shard in range(shards):
            file = partial / f"train-{shard:05d}-of-{shards:05d}.parquet"
            with parquet.ParquetWriter(
                file, schema, compression="none", use_dictionary=False, write_statistics=["label", "key"]
            ) as made:
                rows = order[shard * shard_records : (shard + 1) * shard_records]
                for start in range(0, len(rows), GROUP):
                    records = [faces[position] for position in rows[start : start + GROUP]]
                    table = {
                        "image": [{"bytes": record.image, "path": None} for record in records],
                        "label": [record.label for record in records],
                        "key": [record.key for record in records],
                    }
                    made.write_table(pa.Table.from_pydict(table, schema), row_group_size=GROUP)
    return out
