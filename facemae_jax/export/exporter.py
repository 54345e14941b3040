"""A face set out of here: its records in another form, with a card and metadata, there whole or not at all.

Which forms there are is said in ``forms``; names of people stay behind unless they are wanted.
"""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from facemae_jax import logs
from facemae_jax.data.face_set import FaceSet, open_face_set
from facemae_jax.data.formats.names import ending_of
from facemae_jax.data.outgoing import OutgoingFaces
from facemae_jax.export import croissant, forms, set_card
from facemae_jax.types import FacemaeError

PARTIAL = ".partial"


class Exported(NamedTuple):
    """What was written."""

    out: Path
    images: int
    identities: int
    names: bool  # whether names of people went along
    sealed: bool  # keys that tell nothing of the source
    release: bool


def find_faces(place: Path) -> FaceSet:
    """The face set that ``place`` means: a set, a stage's directory with its ``faces``, or a release (``publish-…`` or its ``release``).

    Raises:
        FacemaeError: there is none, or more than one.
    """
    deeper = sorted(
        {found.parent for pattern in ("*/*", "release/*/*") for found in place.glob(f"{pattern}/dataset_info.json")}
    )
    deeper = [path for path in deeper if not path.name.endswith(PARTIAL)]
    direct = [place / "dataset_info.json", *place.glob("*/dataset_info.json"), *place.glob("faces/*/dataset_info.json")]
    if not any(path.is_file() for path in direct) and len(deeper) == 1:
        return open_face_set(deeper[0])
    return open_face_set(place)


def export_faces(faces: FaceSet, form: str, out: Path, *, allow_names: bool = False) -> Exported:
    """Write all records of a face set.

    Args:
        faces: the set.
        form: a key of ``forms.FORMS``.
        out: the folder (of ``zip``: the file) to make.
        allow_names: names and paths of people go along; else an imported set gets numbers for them.

    Raises:
        FacemaeError: ``out`` is there, or has no folder to lie in; a library that is missing.
        OSError: a full disk.
    """
    if os.path.lexists(out):
        raise FacemaeError(f"--out={out}: there is something already; name a new place, or move it away.")
    if not out.absolute().parent.is_dir():
        raise FacemaeError(f"--out={out}: there is no folder {out.absolute().parent}; make it first.")
    partial = out.with_name(out.name + PARTIAL)
    _remove(partial)  # what a killed export left
    metadata = _json(faces.path / "metadata.json")
    own = faces.path / "card.md"
    release = own.is_file() and "sealed_fingerprint" in metadata
    try:
        with logs.progress(len(faces), f"export-faces {form}") as bar:
            going = OutgoingFaces(
                faces, names=allow_names, read=lambda: bar.update(int(bar.done < len(faces)))
            )  # some forms look at the first one twice
            card = set_card.card_of(
                _facts(going, metadata),
                {"files": forms.FORMS[form].viewer, "said": forms.FORMS[form].said},
                own.read_text(encoding="utf-8") if release else "",
            )
            plain = form in ("folder", "zip")  # their files need not be there to be described
            told = {set_card.FILE: card} | (
                {croissant.FILE: _croissant(going, form, partial, metadata)} if plain else {}
            )
            kept = metadata if release else {"made_by": "facemae_jax export-faces", "private": not going.sealed}
            forms.write(form, going, partial, metadata=kept, card=told)
        if form != "zip":
            if not plain:
                told[croissant.FILE] = _croissant(going, form, partial, metadata)
            for name, text in told.items():
                (partial / name).write_text(text, encoding="utf-8")
        os.rename(partial, out)
    except BaseException:
        _remove(partial)
        raise
    return Exported(out, len(going), going.identities, going.names, going.sealed, release)


def _facts(faces: OutgoingFaces, metadata: dict[str, Any]) -> dict[str, Any]:
    counts_K = np.bincount(faces.labels_n)
    info = _json(faces.path / "dataset_info.json")
    return dict(
        name=str(info.get("name", "faces")),
        images=len(faces),
        identities=faces.identities,
        smallest=int(counts_K.min()),
        largest=int(counts_K.max()),
        image_size=faces.image_size,
        names=faces.names,
        sealed=faces.sealed,
        terms=str(metadata.get("terms", "")),
    )


def _croissant(faces: OutgoingFaces, form: str, written: Path, metadata: dict[str, Any]) -> str:
    facts = _facts(faces, metadata)
    if form in ("folder", "zip"):
        distribution, records = croissant.folder_of_images([ending_of(faces[0].image, str(faces.path))])
    else:
        distribution, records = croissant.files_of(written), []
        if form == "parquet":
            distribution, records = croissant.table(distribution)
    made = croissant.croissant(
        name=facts["name"],
        version=faces.path.name,
        description=f"{facts['images']} face crops of {facts['identities']} people.",
        licence=facts["terms"] or "The terms of the source; they are not known here.",
        distribution=distribution,
        records=records,
    )
    return json.dumps(made, indent=1, ensure_ascii=False) + "\n"


def _json(file: Path) -> dict[str, Any]:
    if not file.is_file():
        return {}
    found = json.loads(file.read_text(encoding="utf-8"))
    return found if isinstance(found, dict) else {}


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
