"""Whom the images of a WebDataset sample show, by the label files beside them; the order in which they count is in ``tar``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, BinaryIO

from facemae_jax.data.formats.columns import LABELS
from facemae_jax.data.formats.tar_members import Member
from facemae_jax.types import FacemaeError

LABEL_ENDINGS = ("cls", "json", "txt")
MAX_LABEL = 1 << 20  # bytes of a label file


def told_label(labels: dict[str, Member], file: BinaryIO, path: Path) -> tuple[str | None, str]:
    """(whom the images of a sample show, None where no file says it; their key, "" where none is given).

    Args:
        labels: ending of a file of the sample → where it lies.
        file: the tar, unpacked.
        path: of the tar, for errors.

    Raises:
        FacemaeError: a label that is far too large, is no UTF-8 or JSON, or names nobody.
    """
    texts = {}
    for ending, member in labels.items():
        if member.size > MAX_LABEL:
            raise FacemaeError(f"{path}, member {member.name}: a label of {member.size:,} bytes; this is no label.")
        file.seek(member.start)
        try:
            texts[ending] = file.read(member.size).decode()
            if ending == "json":
                texts["fields"] = json.loads(texts["json"])
        except (UnicodeDecodeError, json.JSONDecodeError, RecursionError) as error:
            raise FacemaeError(
                f"{path}, member {member.name}: the label cannot be read ({error}); write it as UTF-8{' JSON' if ending == 'json' else ''}."
            ) from error
    fields: Any = texts.get("fields")
    fields = fields if isinstance(fields, dict) else {}
    key = fields.get("key", "")
    key = key if isinstance(key, str) else ""
    if isinstance(fields.get("identity"), str):
        return fields["identity"], key
    if "cls" in texts:
        return texts["cls"].strip(), key
    if "/" in next((member.name for member in labels.values()), "/"):
        return None, ""  # beside images in folders a text says something else
    if "json" in texts:
        name = next((name for name in LABELS if isinstance(fields.get(name), str | int)), "")
        if name:
            return str(fields[name]).strip(), key
        if "txt" not in texts:
            member = labels["json"]
            raise FacemaeError(
                f"{path}, member {member.name}: it has no field that says whom the image shows; call it {LABELS[0]}."
            )
    return (texts["txt"].strip(), key) if "txt" in texts else (None, "")
