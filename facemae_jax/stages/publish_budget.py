"""Keeping a release within its leakage budget: refuse, leave images out, or paint them again. Part of ``publish``.

The retrieval attack of ``audit`` is repeated with the same judges, queries and originals, since choosing images and the interval over people
need to know who was found, not only how many; the embeddings are in the cache. Fused images (``publish.budget.images`` > 1) are no single
image's doing: there the curve in ``audit.json`` is compared, and only refusing is possible.

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
    """The judges that this chain trains, where a budget must look at images."""
    budget = budget_of(config)
    return judges.reads(config, teacher=False) if budget and budget.images == 1 else {}


def outside(config: Any) -> dict[str, str]:
    """The judges from outside, likewise."""
    budget = budget_of(config)
    return judges.outside(config) if budget and budget.images == 1 else {}


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
    if budget.images > 1:
        rates = {j["name"]: _fused(j, budget) for j in measured["judges"] if j["name"] in wanted}
        _refuse_over(budget, rates)
        return Kept(painted, {}, _told(config, budget, rates))
    if jax.process_count() > 1:
        raise FacemaeError(
            f"publish.budget embeds images{' and paints some' if config.publish.on_excess == 'resample' else ''} on one process, and this "
            f"run has {jax.process_count()}: everything else is there, so run `python -m facemae_jax publish` with one process."
        )
    search = open_search(config, inputs, painted, [names.index(name) for name in wanted], names, budget)
    found_JA, margin_JA = look(config, inputs, search, painted.subset(search.places_A), budget)
    seed = config.audit.seed
    before = rates_of(search, found_JA, seed)
    if all(found.high <= budget.limit for found in before.values()):
        return Kept(painted, {}, _told(config, budget, before))
    if config.publish.on_excess == "refuse":
        _refuse_over(budget, before)
    _check_all_audited(config, len(painted), measured["queries"])
    if config.publish.on_excess == "drop":
        out_A = left_out(found_JA, margin_JA, search.identities_A, limit=budget.limit, seed=seed)
        return _drop(config, painted, search, out_A, found_JA, before, budget)
    return _resample(config, inputs, out, painted, search, found_JA, margin_JA, before, budget)


def _fused(judge: dict[str, Any], budget: Budget) -> Rate:
    """The figure of fused images, from ``audit.json``."""
    attack = judge["variants"]["reconstruction"].get("fusion")
    points = {point["n"]: point["without_sources"] for point in attack["points"]} if attack else {}
    if budget.images not in points:
        has = f"only n = {', '.join(map(str, points))}" if points else "no fusion attack"
        raise FacemaeError(
            f"publish.budget.images={budget.images}: for judge {judge['name']} the audit has {has}; choose one that is there (with "
            "fusion among audit.attacks), or publish.budget.images=1."
        )
    found = points[budget.images]
    return Rate(found["rank"]["1"], *found["interval"]["rank"]["1"])


def _refuse_over(budget: Budget, rates: dict[str, Rate], came: str = "") -> None:
    over = {name: found for name, found in rates.items() if found.high > budget.limit}
    if over:
        raise FacemaeError(refusal(budget, over, came))


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
    config: Any, painted: FaceSet, search: Search, out_A: np.ndarray, found_JA: np.ndarray,
    before: dict[str, Rate], budget: Budget,
) -> Kept:  # fmt: skip
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
    rates, turn = before, 0
    while any(found.high > budget.limit for found in rates.values()):
        if turn == rounds:
            came = "".join(
                f", {name} came from {found}" for name, found in before.items() if rates[name].high > budget.limit
            )
            _refuse_over(
                budget, rates,
                f" (after painting {len(again):,} images again in {rounds} rounds{came}; more: publish.resample_rounds)",
            )  # fmt: skip
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
