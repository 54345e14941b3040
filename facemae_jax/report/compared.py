"""What of several runs or sweeps is set side by side: outcomes per judge and variant, and what was not alike. Dictionaries in, tuples out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from facemae_jax.report import results
from facemae_jax.report.leakages import OVERALL, worst
from facemae_jax.report.measured import measures
from facemae_jax.report.results import OURS, QUESTIONS

ATTACKERS = "attackers with single images on the reconstruction"
ERROR, DEVIATION = "one standard error", "standard deviation over seeds"
Estimate = tuple[float, float | None] | None  # mean and its bar; None where it was not measured


class Outcome(NamedTuple):
    """What one variant reached under one judge; under :data:`OVERALL`, ``same_identity`` is what the strongest attacker found."""

    judge: str
    independent: bool
    variant: str
    values: Mapping[str, Any]  # swept field → value; empty for a single run
    utility: Estimate
    same_image: Estimate
    same_identity: Estimate

    @property
    def setting(self) -> str:
        """Swept fields with their values."""
        return ", ".join(f"{field}={value}" for field, value in self.values.items())

    @property
    def label(self) -> str:
        """Variant and setting."""
        return f"{self.variant}, {self.setting}" if self.values else self.variant


class Run(NamedTuple):
    """One run, or one sweep."""

    name: str
    bars: str  # ERROR | DEVIATION
    outcomes: list[Outcome]
    conditions: dict[str, Any]  # what must be alike for figures to be comparable; name → value
    facts: list[tuple[str, str]]
    along: str | None = None  # swept field along which settings are joined


def run_of(name: str, verify: dict[str, Any] | None, audit: dict[str, Any], facts: list[tuple[str, str]]) -> Run:
    """A single run from its ``verify.json`` (None when nothing was verified) and ``audit.json``."""
    utility, found, outcomes = results.utility_rows(verify), measures(audit), []
    names, tried = results.variant_names(verify, audit), 0
    accuracy: dict[str, Estimate] = {
        name: (row["accuracy"]["mean"], row["accuracy"]["standard_error"]) for name, row in utility.items()
    }
    for judge in audit["judges"]:
        for variant in names:
            leaks = [results.leakage(judge, variant, question) for question in QUESTIONS]
            image, identity = (None if value is None else (value, error) for value, error in leaks)
            about: tuple[str, bool, str, dict[str, Any]] = (judge["name"], judge["independent"], variant, {})
            outcomes.append(Outcome(*about, accuracy.get(variant), image, identity))
    for variant in names:
        most = worst(found, variant)
        tried = max(tried, most.among if most and variant == OURS else 0)
        found_most = (most.value, most.error) if most else None
        independent = all(judge["independent"] for judge in audit["judges"])
        outcomes.append(Outcome(OVERALL, independent, variant, {}, accuracy.get(variant), None, found_most))
    conditions = {
        "originals searched": audit["gallery"],
        "queries": audit["queries"],
        "faces": audit.get("subset", "–"),
        ATTACKERS: tried,
    }
    if verify:
        protocol = verify["protocol"]
        conditions |= {"pairs verified": protocol["count"], "kind of pairs": protocol["pairs"]}
    return Run(name, ERROR, outcomes, conditions, facts)


def sweep_of(name: str, sweep: dict[str, Any]) -> Run:
    """A sweep from its ``sweep.json``: one outcome per setting, variant and judge, means over seeds."""
    outcomes, tried = [], 0
    for group in [*sweep["settings"], *sweep.get("worst", [])]:
        overall = group["judge"] == OVERALL
        asked = [None if overall else group["same_image_rank_1"], group["worst" if overall else "same_identity_rank_1"]]
        utility, image, identity = (
            (figure["mean"], figure["std"]) if figure else None for figure in [group["utility"], *asked]
        )
        about = (group["judge"], group["independent"], group["variant"], group["setting"] or {})
        outcomes.append(Outcome(*about, utility, image, identity))
        if overall and group["variant"] == OURS and group["attackers"]:
            tried = max(tried, round(group["attackers"]["mean"]))
    states = [point["state"] for point in sweep["points"]]
    facts = [("points complete", f"{states.count('complete')} of {len(states)}")]
    return Run(name, DEVIATION, outcomes, {ATTACKERS: tried} if tried else {}, facts, sweep.get("along"))
