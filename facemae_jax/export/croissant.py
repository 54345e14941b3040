"""What an exported set says of itself to programs: Croissant 1.0 metadata (MLCommons), as ``croissant.json``. Plain values in, a dict out.

No time, host or address comes in, so that the same set gives the same bytes.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

FILE = "croissant.json"
CR, SCHEMA = "http://mlcommons.org/croissant/", "https://schema.org/"
TERMS = (
    "citeAs column examples extract field fileProperty fileObject fileSet format includes isLiveDataset jsonPath key md5 parentField path "
    "recordSet references regex repeated replace separator source subField transform"
).split()
CONTEXT = (
    {"@language": "en", "@vocab": SCHEMA, "cr": CR, "sc": SCHEMA, "dct": "http://purl.org/dc/terms/", "conformsTo": "dct:conformsTo"}
    | {term: f"cr:{term}" for term in TERMS}
    | {"data": {"@id": "cr:data", "@type": "@json"}, "dataType": {"@id": "cr:dataType", "@type": "@vocab"}}
    | {"examples": {"@id": "cr:examples", "@type": "@json"}, "rai": f"{CR}RAI/"}
)  # fmt: skip
TYPES = {".parquet": "application/x-parquet", ".tar": "application/x-tar", ".json": "application/json"}
CHUNK = 1 << 20


def files_of(folder: Path) -> list[dict[str, Any]]:
    """A FileObject for each file below a folder, with its size and sha256, sorted."""
    found = []
    for file in sorted(path for path in folder.rglob("*") if path.is_file()):
        name = file.relative_to(folder).as_posix()
        digest = hashlib.sha256()
        with open(file, "rb") as data:
            while chunk := data.read(CHUNK):
                digest.update(chunk)
        found.append(
            {
                "@type": "cr:FileObject",
                "@id": name,
                "name": name,
                "contentUrl": name,
                "contentSize": f"{file.stat().st_size} B",
                "encodingFormat": TYPES.get(file.suffix, "application/octet-stream"),
                "sha256": digest.hexdigest(),
            }
        )
    return found


def folder_of_images(endings: Iterable[str]) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """(distribution, record sets) of ``IDENTITY/FILE``: the image is the file, the label the name of its folder."""
    types = {"jpg": "image/jpeg", "png": "image/png", "webp": "image/webp", "bmp": "image/bmp"}
    ending = sorted(endings)[0]
    source = {"fileSet": {"@id": "images"}}
    path = source | {"extract": {"fileProperty": "fullpath"}, "transform": {"regex": r"^(?:.*/)?([^/]+)/[^/]+$"}}
    files = {
        "@type": "cr:FileSet",
        "@id": "images",
        "name": "images",
        "encodingFormat": types[ending],
        "includes": f"**/*.{ending}",
    }
    fields = [
        _field("image", "sc:ImageObject", source | {"extract": {"fileProperty": "content"}}, "The face crop."),
        _field("label", "sc:Text", path, "Whom it shows: the name of its folder."),
    ]
    return [files], [_records(fields)]


def table(distribution: list[dict[str, Any]]) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """(distribution, record sets) of parquet files with the columns ``image`` (a struct with the bytes) and ``label``."""
    files = {
        "@type": "cr:FileSet", "@id": "tables", "name": "tables", "encodingFormat": "application/x-parquet", "includes": "*.parquet",
    }  # fmt: skip
    source: dict[str, Any] = {"fileSet": {"@id": "tables"}}
    fields = [
        _field("image", "sc:ImageObject", source | {"extract": {"column": "image"}, "transform": {"jsonPath": "bytes"}}, "The face crop."),
        _field("label", "sc:Integer", source | {"extract": {"column": "label"}}, "Whom it shows."),
    ]  # fmt: skip
    return [*distribution, files], [_records(fields)]


def croissant(
    *,
    name: str,
    version: str,
    description: str,
    licence: str,
    distribution: list[dict[str, Any]],
    records: list[dict[str, Any]],
) -> dict[str, Any]:
    """The metadata, as a JSON object.

    Args:
        name: of the set; letters, digits, ``-``, ``_`` and blanks are kept.
        version: such as 1.0.0.
        description: one or two sentences.
        licence: terms of the source faces, as text.
        distribution: FileObjects and FileSets.
        records: record sets; none where the format has no reader in Croissant.
    """
    made: dict[str, Any] = {
        "@context": CONTEXT,
        "@type": "sc:Dataset",
        "conformsTo": f"{CR}1.0",
        "name": re.sub(r"[^\w -]", "_", name),
        "version": version,
        "description": description,
        "license": licence,
        "distribution": distribution,
    }
    return made | ({"recordSet": records} if records else {})


def _records(fields: list[dict[str, Any]]) -> dict[str, Any]:
    return {"@type": "cr:RecordSet", "@id": "faces", "name": "faces", "field": fields}


def _field(name: str, kind: str, source: dict[str, Any], said: str) -> dict[str, Any]:
    return {
        "@type": "cr:Field",
        "@id": f"faces/{name}",
        "name": name,
        "description": said,
        "dataType": kind,
        "source": source,
    }
