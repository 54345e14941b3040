"""From recognizers and pairs to rows of ``verify.json``: embeddings, similarities, figures.

Which pairs are asked is the business of ``verify`` and ``verify_protocols``.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jax.sharding import Mesh

from facemae_jax.data.face_set import FaceSet
from facemae_jax.data.pairs import Pairs
from facemae_jax.data.templates import Templates
from facemae_jax.embed import embed
from facemae_jax.metrics.groups import group_accuracy
from facemae_jax.metrics.templates import pool, template_scores, template_verification
from facemae_jax.metrics.verification import verification
from facemae_jax.models.frozen import Frozen


class Verified(NamedTuple):
    """One recognizer whose row is asked for."""

    name: str
    kind: str  # recognizer | teacher | judge
    frozen: Frozen


class Embedder(NamedTuple):
    """How faces are embedded, the same for all rows."""

    batch: int
    mesh: Mesh
    flip: bool
    threads: int
    cache_dir: Path

    def __call__(self, verified: Verified, faces: FaceSet, label: str) -> np.ndarray:
        """``embeddings_nE``, float32, unit norm."""
        return embed(
            verified.frozen, faces, batch=self.batch, mesh=self.mesh, flip=self.flip, threads=self.threads,
            cache_dir=self.cache_dir, label=f"{verified.name}: {label}",
        )  # fmt: skip


def pair_rows(
    asked: Sequence[Verified],
    embedder: Embedder,
    faces: FaceSet,
    pairs: Pairs,
    label: str,
    groups: tuple[np.ndarray, np.ndarray] | None = None,
) -> tuple[dict[str, Any], list[dict[str, Any]], list[dict[str, Any]]]:
    """Every recognizer on one list of pairs.

    Args:
        asked: the recognizers.
        embedder: as above.
        faces: that the pairs are positions in; only those that occur in a pair are embedded.
        pairs: to decide.
        label: of the progress bar.
        groups: of the two people of each pair, or None.

    Returns:
        ``count``, ``positive``, ``folds``, ``images``, ``flip``; one row per recognizer, as ``verification`` gives it; and one per recognizer
        as ``group_accuracy`` gives it, none without groups.
    """
    used, where = np.unique(np.concatenate([pairs.left_n, pairs.right_n]), return_inverse=True)
    left_n, right_n = np.split(where, 2)
    faces, rows, grouped = faces.subset(used), [], []
    for one in asked:
        embeddings_nE = embedder(one, faces, label)
        similarities_n = np.einsum("ne,ne->n", embeddings_nE[left_n], embeddings_nE[right_n])
        head = {"name": one.name, "kind": one.kind}
        rows.append(head | verification(similarities_n, pairs.same_n, pairs.fold_n))
        if groups is not None:
            grouped.append(head | group_accuracy(similarities_n, pairs.same_n, pairs.fold_n, *groups))
    facts = {
        "count": len(pairs.same_n),
        "positive": int(np.count_nonzero(pairs.same_n)),
        "folds": len(np.unique(pairs.fold_n)),
        "images": len(faces),
        "flip": bool(embedder.flip),
    }
    return facts, rows, grouped


def template_rows(
    asked: Sequence[Verified], embedder: Embedder, faces: FaceSet, templates: Templates, label: str
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Every recognizer on one list of pairs of templates; as :func:`pair_rows`, with rows of ``template_verification``."""
    used, image_n = np.unique(templates.image_n, return_inverse=True)
    faces, rows = faces.subset(used), []
    for one in asked:
        embeddings_nE = embedder(one, faces, label)
        templates_TE = pool(embeddings_nE[image_n], templates.template_n, templates.media_n)
        scores_p = template_scores(templates_TE, templates.left_p, templates.right_p)
        rows.append({"name": one.name, "kind": one.kind} | template_verification(scores_p, templates.same_p))
    facts = {
        "count": len(templates.same_p),
        "positive": int(np.count_nonzero(templates.same_p)),
        "templates": int(templates.template_n.max()) + 1,
        "images": len(faces),
        "flip": bool(embedder.flip),
    }
    return facts, rows
