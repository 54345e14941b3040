"""The forms in which a face set can leave: what each is, who writes it, and how people read it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from facemae_jax.data.formats.archive import write_zip
from facemae_jax.data.formats.folder import write_folder
from facemae_jax.data.formats.lmdb_set import write_lmdb
from facemae_jax.data.formats.parquet_writer import write_parquet
from facemae_jax.data.formats.recordio_writer import write_recordio
from facemae_jax.data.formats.tfds_source import write_tfds
from facemae_jax.data.formats.webdataset import write_webdataset
from facemae_jax.data.outgoing import OutgoingFaces


class Form(NamedTuple):
    """One form."""

    summary: str  # for --help
    said: str  # for the card, in Markdown
    viewer: str = ""  # glob of the data files for the viewer of the Hugging Face hub


FORMS = {
    "folder": Form(
        "IDENTITY/FILE.jpg, for torchvision's ImageFolder and everything else",
        "One folder per person, one file per image. `torchvision.datasets.ImageFolder(root)` reads it.",
    ),
    "zip": Form("the same in one zip", "One folder per person, one file per image, in one zip."),
    "recordio": Form(
        "train.rec, train.idx, property: InsightFace, AdaFace, CVLface; no MXNet needed",
        "`train.rec`, `train.idx` and `property`, as arcface_torch reads them: `config.rec = \"PATH\"`.",
    ),
    "parquet": Form(
        "Hugging Face image columns (needs pyarrow)",
        "Parquet files with the columns `image` and `label`: `datasets.load_dataset(\"PATH\")`.",
        "*.parquet",
    ),
    "webdataset": Form(
        "tar shards of .jpg, .cls and .json, in mixed order",
        "Tar shards; a sample is `.jpg`, `.cls` (the label) and `.json`, in mixed order: "
        "`webdataset.WebDataset(\"PATH/faces-{000000..N}.tar\")`.",
        "*.tar",
    ),
    "lmdb": Form(
        "key → encoded image and label, for Vec2Face's trainers (needs lmdb; call it NAME.lmdb)",
        "An LMDB environment: key → MessagePack of the encoded image and the label.",
    ),
    "tfds": Form(
        "ArrayRecord and TFRecord in one directory: tfds.load, tfds.data_source, Grain",
        "A TFDS directory with ArrayRecord and TFRecord files: `tfds.load(\"faces\", data_dir=\"PATH\")`, or without TensorFlow "
        "`tfds.data_source(\"faces\", data_dir=\"PATH\")`.",
    ),
}  # fmt: skip


def write(form: str, faces: OutgoingFaces, out: Path, *, metadata: Mapping[str, Any], card: Mapping[str, str]) -> None:
    """Write the records in a form; ``card`` (name → text) goes into the zip, which has no folder beside it.

    Raises:
        FacemaeError: names that cannot be paths, a library that is missing.
        OSError: a full disk.
    """
    match form:
        case "folder":
            write_folder(faces, out)
        case "zip":
            write_zip(faces, out, more=card)
        case "recordio":
            write_recordio(faces, out)
        case "parquet":
            write_parquet(faces, out)
        case "webdataset":
            write_webdataset(faces, out, names=faces.names)
        case "lmdb":
            write_lmdb(faces, out)
        case "tfds":
            write_tfds(faces, out, metadata=metadata, names=faces.names)
