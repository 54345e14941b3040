"""The verb ``export-faces``: its flags, its help, and what it says in the end. Neither a config nor a device is needed."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from pathlib import Path

from facemae_jax import logs
from facemae_jax.export import forms
from facemae_jax.export.exporter import export_faces, find_faces
from facemae_jax.types import FacemaeError

VERB = "export-faces"
SUMMARY = (
    "a face set or release in the form that another trainer reads: folder, RecordIO, parquet, WebDataset, LMDB, TFDS"
)
FLAGS = ("to", "out", "allow-names")
HELP = """\
export-faces: {summary}

  python -m facemae_jax export-faces FACES --to=FORM --out=PATH [--allow-names]

  FACES          a face set directory (…/faces/1.0.0), a stage's directory (runs/demo/reconstruct-…), or a release
                 (runs/demo/publish-… or the release folder in it)
  --to           the form:
{forms}
  --out          the folder (for zip: the file) to make; it must not be there, and appears only when it is whole
  --allow-names  let the names and paths of people go along

Images go through byte for byte; labels are numbers from 0. A dataset card (README.md, in the form of the Hugging Face hub) and Croissant
metadata (croissant.json) go along; a release brings its whole card.

Privacy: an imported set holds the names of people and the paths of their files. They stay behind: people become numbers, in the order
of the set's labels, and files LABEL/NUMBER; --allow-names lets them go. This hides words, not faces: the images of an imported set are
still those of its people, and who has the same source can number it as well. A release, and a reconstruction, has keys that follow from
the secret and no names; it keeps its keys, labels and order in every form (webdataset mixes the order).

  python -m facemae_jax export-faces runs/demo/publish-1a2b3c4d --to=recordio --out=faces_emore
  python -m facemae_jax export-faces runs/mine/import-faces/faces-5e6f7a8b --to=webdataset --out=shards
"""


def help_text() -> str:
    """What ``export-faces --help`` prints."""
    listed = "\n".join(f"                   {name:11s} {form.summary}" for name, form in forms.FORMS.items())
    return HELP.format(summary=SUMMARY, forms=listed)


def serve(places: tuple[str, ...], options: Mapping[str, str]) -> None:
    """Export one face set, and say where it is.

    Args:
        places: the words after the verb: one face set.
        options: flag → text, of :data:`FLAGS`.

    Raises:
        FacemaeError: a word or flag that is missing or wrong, and as ``export_faces``.
    """
    if len(places) != 1:
        raise FacemaeError(
            f"{VERB} takes one face set, found {len(places)}: write {VERB} FACES --to=FORM --out=PATH; see {VERB} --help."
        )
    form = options.get("to", "")
    if form not in forms.FORMS:
        near = difflib.get_close_matches(form, forms.FORMS, n=1)
        said = (
            f"--to={form}: no such form{f' (did you mean {near[0]}?)' if near else ''}" if form else "--to is missing"
        )
        raise FacemaeError(f"{said}; choose one of {', '.join(forms.FORMS)}.")
    if not options.get("out"):
        raise FacemaeError(f"--out is missing: name the {'file' if form == 'zip' else 'folder'} to make.")
    faces = find_faces(Path(places[0]).expanduser())
    made = export_faces(faces, form, Path(options["out"]).expanduser(), allow_names="allow-names" in options)
    if made.sealed and not made.release:
        logs.warn("this is a reconstruction that was not audited: only what publish writes is meant for others.")
    elif not made.sealed:
        logs.warn("these are images of real people unless the set was rendered; hiding names does not hide faces.")
    keys = (
        "with names and paths"
        if made.names
        else "keys of the release"
        if made.sealed
        else "numbers for names and paths"
    )
    logs.say(f"export-faces: {made.out} ({form}; {made.images:,} images of {made.identities:,} people, {keys})")
