"""What a stage is given: the directories of the stages it reads, and the faces among them.

Where those directories come from (fingerprints, reuse) is the business of ``chain``.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from facemae_jax.data.face_set import FaceSet, open_face_set
from facemae_jax.data.split import split_identities
from facemae_jax.types import FacemaeError

SHARED = "faces"  # the import variant that holds seen and unseen people together


class Ref(NamedTuple):
    """A stage's result, by name: the verb and the variant ("" where a stage has one result)."""

    stage: str
    variant: str = ""

    def __str__(self) -> str:
        return f"{self.stage}/{self.variant}" if self.variant else self.stage


class Input(NamedTuple):
    """A finished stage directory, or an outside file or folder."""

    path: Path
    variant: str = ""


class Inputs(dict[str, Input]):
    """name → :class:`Input`, and the workdir for caches that belong to no stage."""

    def __init__(self, inputs: dict[str, Input], workdir: Path):
        super().__init__(inputs)
        self.workdir = workdir

    @property
    def embeddings(self) -> Path:
        """Where embeddings are cached per (recognizer, face set)."""
        return self.workdir / "private" / "embeddings"


def one_source(config: Any) -> bool:
    """Whether seen and unseen people come from the same faces and are split by identity."""
    return config.data.unseen in ("", config.data.seen)


def faces_ref(config: Any, subset: str) -> Ref:
    """The imported face set that holds ``subset``: seen, unseen or all."""
    if one_source(config):
        return Ref("import-faces", SHARED)
    if subset == "all":
        raise FacemaeError(
            'reconstruct.subset="all" needs one face set, but data.seen and data.unseen name two: choose "seen" or "unseen".'
        )
    return Ref("import-faces", subset)


def pick_faces(config: Any, faces: Input, subset: str) -> FaceSet:
    """The records of ``subset`` in an imported face set, with their original labels.

    Args:
        config: with ``data.seen_share`` and ``data.split_seed``.
        faces: the import that :func:`faces_ref` named.
        subset: seen | unseen | all.

    Raises:
        FacemaeError: when the split leaves nobody on the asked side.
    """
    whole = open_face_set(faces.path / "faces")
    if faces.variant != SHARED or subset == "all":
        return whole
    seen_K = split_identities(whole.identity_names, config.data.seen_share, config.data.split_seed)
    wanted_K = seen_K if subset == "seen" else ~seen_K
    indices_n = np.flatnonzero(wanted_K[whole.labels_n])
    if not len(indices_n):
        raise FacemaeError(
            f"data.seen_share={config.data.seen_share} leaves no {subset} identity of the {len(seen_K)} in {whole.path}: "
            "choose a share further from 0 and 1, or import more people."
        )
    return whole.subset(indices_n)
