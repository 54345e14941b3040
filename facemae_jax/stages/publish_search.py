"""The retrieval attack of an audit, repeated on single images: the same judges, queries and originals. Part of ``publish``.

Embeddings come from the cache where the audit left them.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from facemae_jax.audit.contributors import Contributors
from facemae_jax.audit.found_images import asked, found_images
from facemae_jax.data.face_set import FaceSet
from facemae_jax.embed import embed
from facemae_jax.export.budget import Budget, Rate, rate
from facemae_jax.mesh import make_mesh
from facemae_jax.models.frozen import Frozen
from facemae_jax.stages import judges
from facemae_jax.stages.audit_choice import choose, others_behind
from facemae_jax.stages.inputs import Inputs, pick_faces

FIELDS = (
    "audit.max_queries",
    "audit.max_gallery",
    "audit.seed",
    "audit.batch",
    *judges.FIELDS,
)  # all are the audit's, too
UNHASHED = ("mesh", "data.threads", *judges.UNHASHED)


class Judge(NamedTuple):
    """One judge of the budget, and the originals as it sees them."""

    name: str
    frozen: Frozen
    gallery_GE: np.ndarray


class Search(NamedTuple):
    """The attack of the audit; A images count for the figure."""

    judges: list[Judge]
    labels_G: np.ndarray
    sources_A: np.ndarray  # position of each image's source in the gallery
    positions_A: np.ndarray  # and among the faces that were reconstructed
    places_A: np.ndarray  # place of each image in the reconstruction
    others: Contributors | None  # who else is behind them

    @property
    def identities_A(self) -> np.ndarray:
        """The person of each image."""
        return self.labels_G[self.sources_A]


def open_search(
    config: Any, inputs: Inputs, painted: FaceSet, wanted: list[int], names: list[str], budget: Budget
) -> Search:
    """The same queries and originals as the audit's, of the judges at the positions ``wanted``."""
    originals = pick_faces(config, inputs["faces"], config.reconstruct.subset)
    inside = np.load(inputs["reconstruct"].path / "private.npz")
    sources_n = inside["source_positions_n"]
    choice = choose(
        sources_n, len(originals), queries=config.audit.max_queries, gallery=config.audit.max_gallery, seed=config.audit.seed
    )  # fmt: skip
    gallery = originals.subset(choice.gallery_G)
    others = others_behind(inside, choice, originals.labels_n)
    counts_Q = asked(choice.sources_Q, gallery.labels_n, budget.figure, others)
    specs = judges.judges(config)
    seen = [(names[n], judges.load_judge(config, specs[n], inputs)) for n in wanted]
    record_n = np.argsort(sources_n)
    places_Q = record_n[np.searchsorted(sources_n[record_n], choice.queries_Q)]
    return Search(
        [Judge(name, frozen, _embed(config, inputs, frozen, gallery, name)) for name, frozen in seen],
        gallery.labels_n, choice.sources_Q[counts_Q], choice.queries_Q[counts_Q], places_Q[counts_Q],
        others.of(np.flatnonzero(counts_Q)) if others else None,
    )  # fmt: skip


def look(
    config: Any, inputs: Inputs, search: Search, faces: FaceSet, budget: Budget, which_a: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Whether every judge finds every image, and how clearly.

    Args:
        config, inputs: as above.
        search: whom to search for, where.
        faces: versions of the images, in the order of the search (or of ``which_a``).
        budget: with the figure.
        which_a: positions among the A images of the search; None = all.

    Returns:
        ``found_Ja`` bool, ``margin_Ja`` float32.
    """
    which_a = np.arange(len(search.sources_A)) if which_a is None else which_a
    found = [
        found_images(
            _embed(config, inputs, judge.frozen, faces, judge.name), judge.gallery_GE,
            sources_Q=search.sources_A[which_a], labels_G=search.labels_G, figure=budget.figure,
            others=search.others.of(which_a) if search.others else None,
        )
        for judge in search.judges
    ]  # fmt: skip
    return np.stack([one.found_Q for one in found]), np.stack([one.margin_Q for one in found])


def _embed(config: Any, inputs: Inputs, frozen: Frozen, faces: FaceSet, label: str) -> np.ndarray:
    return embed(
        frozen, faces, batch=config.audit.batch, mesh=make_mesh(config.mesh.data, config.mesh.fsdp),
        threads=config.data.threads, cache_dir=inputs.embeddings, label=f"{label}: budget",
    )  # fmt: skip


def rates_of(search: Search, found_JA: np.ndarray, seed: int, stays_A: np.ndarray | None = None) -> dict[str, Rate]:
    """judge → its figure over all images, or over those that stay; ``seed`` is that of the interval."""
    stays_A = np.ones(found_JA.shape[1], bool) if stays_A is None else stays_A
    return {
        judge.name: rate(found_A[stays_A], search.identities_A[stays_A], seed)
        for judge, found_A in zip(search.judges, found_JA, strict=True)
    }
