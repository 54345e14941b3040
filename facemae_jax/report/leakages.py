"""The figures of leakage that a curve may have to the right, and the strongest attacker. Figures of an audit in, numbers out.

An attacker who searches with single images asks with the protected image itself (retrieval), after having learned from pairs (aware), or with
what a network painted back (inversion). The worst case of a variant is the one who finds most people, over all judges.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from facemae_jax.report.measured import Measure

SINGLE = {"retrieval": "plain search", "aware": "aware attacker", "inversion": "inversion"}
STRONGEST = "strongest_same_identity_rank_1"
OVERALL = "worst over all judges"  # stands where the name of a judge stands


class Leakage(NamedTuple):
    """One figure of leakage: the higher, the more is given away."""

    words: str  # of the choice
    axis: str
    share: bool = True  # told in %, else as it is
    chance: str = ""  # the figure of a blind guess


LEAKAGES = {
    STRONGEST: Leakage(
        "people found by the strongest attacker with single images",
        "people found by the strongest attacker (%)",
        chance="chance_same_identity",
    ),
    "same_identity_rank_1": Leakage(
        "people found by plain search, own source left out",
        "people found, plain search (%)",
        chance="chance_same_identity",
    ),
    "same_image_rank_1": Leakage(
        "own source found by plain search", "own source found, plain search (%)", chance="chance_same_image"
    ),
    "aware_same_identity_rank_1": Leakage(
        "people found by the aware attacker", "people found, aware attacker (%)", chance="chance_same_identity"
    ),
    "inversion_same_identity_rank_1": Leakage(
        "people found after inversion", "people found, inversion (%)", chance="chance_same_identity"
    ),
    "fusion_rank_1": Leakage("people found by fusing many of their images", "people found, images fused (%)"),
    "linkage_same_identity_d_sys": Leakage(
        "two releases linked, same person (D_sys)", "linkability D_sys, 0 … 1", share=False
    ),
}


class Worst(NamedTuple):
    """The strongest attacker with single images."""

    value: float  # share of people found first, own source left out
    error: float | None  # one standard error
    judge: str
    attack: str  # of SINGLE
    among: int  # attackers that were tried


def worst(found: Sequence[Measure], variant: str, judge: str | None = None) -> Worst | None:
    """Who finds most people behind a variant, by one judge or by any; the first of equals. None where nobody could be searched for."""
    tried = [
        one for one in found
        if one.variant == variant and one.attack in SINGLE and judge in (None, one.judge)
        and (one.question, one.figure) == ("same_identity", "rank_1")
    ]  # fmt: skip
    if not tried:
        return None
    most = max(tried, key=lambda one: one.value)
    return Worst(most.value, most.error, most.judge, most.attack, len(tried))
