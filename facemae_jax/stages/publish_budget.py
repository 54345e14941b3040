"""Keeping a release within its leakage budget: refuse, leave images out, or paint them again. Part of ``publish``.

What is compared with the budget is the upper end of the very interval that stands in ``audit.json``. To choose images, the audit's retrieval attack
is repeated with the same judges, queries and originals, since that needs to know who was found, not only how many; the embeddings are in the
cache. Fused images (``publish.budget.images`` > 1) are no single image's doing: there only refusing is possible.

``resample`` paints the worst images again, each round under masks that follow from the secret, the image's key and the round, and keeps
what is found less clearly. So a mask that was published is one of a few, and which one depends on what the judges saw: **the choice leaks**
something about the face behind it, to whoever can guess what the other masks would have given. The card says so.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from facemae_jax import logs
from facemae_jax.data.face_set import FaceSet, open_face_set
from facemae_jax.export.budget import Budget, Rate, left_out, painted_again, refusal
from facemae_jax.stages import judges
from facemae_jax.stages.inputs import Inputs, Ref
from facemae_jax.stages.publish_repaint import Repainter
from facemae_jax.stages.publish_search import Search, look, open_search, rates_of
from facemae_jax.types import FacemaeError, Record

REPAINTED = "repainted"  # private; images that are painted again, until the release is whole


class Kept(NamedTuple):
    """What of the reconstruction may be published."""

    faces: FaceSet  # the records that stay, in their order
    again: dict[str, tuple[FaceSet, int]]  # key → where its image lies, if painted again
    told: dict[str, Any] | None  # for card and metadata, as ``export.budget.budget_lines`` takes it

    def record(self, place: int) -> Record:
        """The record at a place among those that stay."""
        record = self.faces[place]
        if record.key not in self.again:
            return record
        faces, position = self.again[record.key]
        return record._replace(image=faces[position].image)


def budget_of(config: Any) -> Budget | None:
    """The budget of a config, or None."""
    b = config.publish.budget
    return Budget(b.judge, b.figure, b.images, b.limit) if b.limit < 1 else None


def reads(config: Any) -> dict[str, Ref]:
    """The judges that this chain trains, where images may have to be chosen."""
    return judges.reads(config, teacher=False) if _chooses(config) else {}


def outside(config: Any) -> dict[str, str]:
    """The judges from outside, likewise."""
    return judges.outside(config) if _chooses(config) else {}


def _chooses(config: Any) -> bool:
    return budget_of(config) is not None and config.publish.on_excess != "refuse"


def keep_within(config: Any, inputs: Inputs, out: Path) -> Kept:
    """The records that may be published.

    Args:
        config: the view of ``publish``.
        inputs: of ``publish``.
        out: of ``publish``; images that are painted again lie in ``out/repainted`` (private) until the release is whole.

    Raises:
        FacemaeError: over budget, and it must or did not help to do something about it; a judge or figure that the audit does not have.
    """
    painted = open_face_set(inputs["reconstruct"].path / "faces")
    budget = budget_of(config)
    if budget is None:
        return Kept(painted, {}, None)
    measured = json.loads((inputs["audit"].path / "audit.json").read_text())
    names = [judge["name"] for judge in measured["judges"]]
    if budget.judge and budget.judge not in names:
        raise FacemaeError(
            f"publish.budget.judge={budget.judge}: the audit has no such judge; choose one of {', '.join(names)}, or leave it "
            "empty for all."
        )
    wanted = [name for name in names if budget.judge in ("", name)]
    before = {judge["name"]: _measured(judge, budget) for judge in measured["judges"] if judge["name"] in wanted}
    over = {name: found for name, found in before.items() if found.high > budget.limit}
    if not over:
        return Kept(painted, {}, _told(config, budget, before))
    if config.publish.on_excess == "refuse":
        raise FacemaeError(refusal(budget, over))
    if jax.process_count() > 1:
        raise FacemaeError(
            f"over publish.budget.limit, and publish.on_excess={config.publish.on_excess} embeds images"
            f"{' and paints some' if config.publish.on_excess == 'resample' else ''} on one process, while this run has {jax.process_count()}: "
            "everything else is there, so run `python -m facemae_jax publish` with one process."
        )
    _check_all_audited(config, len(painted), measured["queries"])
    search = open_search(config, inputs, painted, [names.index(name) for name in wanted], names, budget)
    found_JA, margin_JA = look(config, inputs, search, painted.subset(search.places_A), budget)
    if config.publish.on_excess == "drop":
        return _drop(config, painted, search, found_JA, margin_JA, before, budget)
    return _resample(config, inputs, out, painted, search, found_JA, margin_JA, before, budget)


def _measured(judge: dict[str, Any], budget: Budget) -> Rate:
    """The figure of one judge, from ``audit.json``."""
    attacked = judge["variants"]["reconstruction"]
    if budget.images > 1:
        found = _fused(judge["name"], attacked.get("fusion"), budget)
    elif (found := attacked["retrieval"][budget.figure]) is None:
        raise FacemaeError(
            f"publish.budget.figure={budget.figure}: nobody among the audited originals has two images, so there is no such figure; "
            "choose same_image."
        )
    if "interval" not in found:
        raise FacemaeError(
            f"publish.budget compares an interval over people, and the audit's figure {budget.figure} of judge {judge['name']} rests on "
            "one person: audit more of them."
        )
    return Rate(found["rank"]["1"], *found["interval"]["rank"]["1"])


def _fused(name: str, attack: dict[str, Any] | None, budget: Budget) -> dict[str, Any]:
    """The point of the curve of fused images that the budget is about."""
    points = {point["n"]: point["without_sources"] for point in attack["points"]} if attack else {}
    if budget.images not in points:
        has = f"only n = {', '.join(map(str, points))}" if points else "no fusion attack"
        raise FacemaeError(
            f"publish.budget.images={budget.images}: for judge {name} the audit has {has}; choose one that is there (with "
            "fusion among audit.attacks), or publish.budget.images=1."
        )
    return points[budget.images]


def _check_all_audited(config: Any, images: int, queries: int) -> None:
    """Choosing among some images would leave all others as they are, and the figure would speak for the chosen ones alone."""
    if queries < images:
        gallery = f" and audit.max_gallery={images}" if config.audit.max_gallery < images else ""
        raise FacemaeError(
            f"publish.on_excess={config.publish.on_excess} needs an audit of all {images} images, this one looked at {queries}: set "
            f"--config.audit.max_queries={images}{gallery}, or publish.on_excess=refuse."
        )


def _told(config: Any, budget: Budget, rates: dict[str, Rate], before: dict[str, Rate] | None = None) -> dict[str, Any]:
    def numbers(found: Rate) -> dict[str, Any]:
        return {"value": found.value, "interval": [found.low, found.high]}

    return budget._asdict() | {
        "on_excess": config.publish.on_excess,
        "figures": [
            {"judge": name, **numbers(found), "before": numbers(before[name]) if before else None}
            for name, found in rates.items()
        ],
        "left_out": None,
        "painted_again": None,
    }


def _drop(
    config: Any, painted: FaceSet, search: Search, found_JA: np.ndarray, margin_JA: np.ndarray,
    before: dict[str, Rate], budget: Budget,
) -> Kept:  # fmt: skip
    try:
        out_A = left_out(found_JA, margin_JA, search.identities_A, limit=budget.limit, seed=config.audit.seed)
    except FacemaeError as error:
        over = {name: found for name, found in before.items() if found.high > budget.limit}
        raise FacemaeError(refusal(budget, over, f" ({str(error).rstrip('.')})")) from error
    stays_n = np.ones(len(painted), bool)
    stays_n[search.places_A[out_A]] = False
    faces = painted.subset(np.flatnonzero(stays_n))
    lost = painted.identities - faces.identities
    told = _told(config, budget, rates_of(search, found_JA, config.audit.seed, ~out_A), before)
    told["left_out"] = {"images": int(out_A.sum()), "of": len(painted), "people": lost}
    logs.say(f"publish: left out {out_A.sum():,} of {len(painted):,} images over budget; {lost:,} people lost all")
    return Kept(faces, {}, told)


def _resample(
    config: Any, inputs: Inputs, out: Path, painted: FaceSet, search: Search, found_JA: np.ndarray, margin_JA: np.ndarray,
    before: dict[str, Rate], budget: Budget,
) -> Kept:  # fmt: skip
    seed, rounds = config.audit.seed, config.publish.resample_rounds
    repainter = Repainter(config, inputs, painted, out / REPAINTED)
    again: dict[str, tuple[FaceSet, int]] = {}
    keys = painted.keys()
    rates, turn = rates_of(search, found_JA, seed), 0
    while any(found.high > budget.limit for found in rates.values()):
        if turn == rounds:
            came = "".join(
                f", {name} came from {found}" for name, found in before.items() if rates[name].high > budget.limit
            )
            over = {name: found for name, found in rates.items() if found.high > budget.limit}
            tried = (
                f" (after painting {len(again):,} images again in {rounds} rounds{came}; more: publish.resample_rounds)"
            )
            raise FacemaeError(refusal(budget, over, tried))
        turn += 1
        # Some are found under the new mask, too, and the most stubborn ones every time: each round takes twice as many as the one before.
        chosen_a = np.flatnonzero(
            painted_again(
                found_JA, margin_JA, search.identities_A, limit=budget.limit, times=2 ** (turn - 1), seed=seed
            )
        )
        faces = repainter.paint(turn, search.positions_A[chosen_a], search.places_A[chosen_a])
        found_Ja, margin_Ja = look(config, inputs, search, faces, budget, chosen_a)
        better_a = margin_Ja.max(axis=0) < margin_JA[:, chosen_a].max(axis=0)
        found_JA[:, chosen_a[better_a]] = found_Ja[:, better_a]
        margin_JA[:, chosen_a[better_a]] = margin_Ja[:, better_a]
        again |= {keys[search.places_A[chosen_a[row]]]: (faces, int(row)) for row in np.flatnonzero(better_a)}
        rates = rates_of(search, found_JA, seed)
        told = "; ".join(f"{name} {found}" for name, found in rates.items())
        logs.say(f"publish: round {turn}, {len(chosen_a):,} images painted again: {told}")
    result = _told(config, budget, rates, before)
    result["painted_again"] = {"images": len(again), "of": len(painted), "rounds": turn}
    return Kept(painted, again, result)
