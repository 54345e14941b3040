"""Plain sentences on the further attacks, computed from the numbers: what they found beside a simpler attack, and beside chance.

A figure with an interval over people counts as changed when the interval leaves out what it is compared with; others when they differ by more
than two standard errors. No sentence is written for an attack that was not run.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from facemae_jax.report.measured import Measure, pick
from facemae_jax.report.reading import TRAINED, sign
from facemae_jax.report.results import OURS, QUESTIONS, percent, span


def fusion(found: Sequence[Measure], judge: str) -> str:
    """What several images of a person add, variant by variant."""
    said = []
    for variant in dict.fromkeys(one.variant for one in found if one.judge == judge and one.attack == "fusion"):
        asked: dict[str, Any] = dict(judge=judge, variant=variant, attack="fusion", question="same_identity")
        most = max(one.n or 0 for one in found if (one.judge, one.variant, one.attack) == (judge, variant, "fusion"))
        many, gain = (pick(list(found), figure=figure, n=most, **asked) for figure in ("rank_1", "gain"))
        if many is None or gain is None or most < 2:
            continue
        verdict = "no clear change"
        if gain.low is not None and gain.high is not None and not gain.low <= 0 <= gain.high:
            verdict = f"{'more' if gain.value > 0 else 'less'} than one by {100 * abs(gain.value):.1f} points"
        said.append(f"{variant}: {most} images of a person find {percent(many.value)} % ({verdict})")
    return (
        f"{'; '.join(said)}. The mean of embeddings is the simplest fusion; a better one may find more." if said else ""
    )


def attackers(judge: dict[str, Any]) -> list[str]:
    """How the trained attackers did beside the plain search, including those that did worse."""
    said = []
    for variant, attacked in judge["variants"].items():
        for attack, words in TRAINED.items():
            if attack not in attacked:
                continue
            question = "same_identity" if attacked[attack]["retrieval"]["same_identity"] else "same_image"
            plain, theirs = attacked["retrieval"][question], attacked[attack]["retrieval"][question]
            side = _beside(theirs, plain)
            verdict = {1: "more than", 0: "not clearly more or less than", -1: "less than"}[side]
            text = (
                f"{variant}: {words} finds {percent(theirs['rank']['1'])} % ({QUESTIONS[question]}), {verdict} the plain search "
                f"({percent(plain['rank']['1'])} %)"
            )
            if side < 0:
                text += "; this attacker was weaker than the simpler one, so that the plain figure is the one to go by"
            if attacked[attack].get("used") == "plain":
                text += "; its own trial on people held out told it to go by the plain search"
            if noise := attacked[attack].get("psnr"):
                text += (
                    f"; {noise['inverted']:.1f} dB to the original after painting back, {noise['input']:.1f} dB before"
                )
            said.append(text + ".")
    return said


def _beside(theirs: dict[str, Any], plain: dict[str, Any]) -> int:
    """1 where one rank-1 rate is clearly above the other, −1 where it is clearly below, else 0."""
    if not (interval := theirs.get("interval")):
        first, other = ((found["rank"]["1"], found["standard_error"]["rank_1"]) for found in (theirs, plain))
        return sign(first, other)
    low, high = interval["rank"]["1"]
    return int(low > plain["rank"]["1"]) - int(high < plain["rank"]["1"])


def set_quality(judge: dict[str, Any], audit: dict[str, Any]) -> str:
    """What the reconstructions are worth as a set to whoever learns from them, beside the originals; empty where it was not measured."""
    if not (ours := judge["variants"].get(OURS, {}).get("set")):
        return ""
    real = judge["variants"].get("original", {}).get("set") or {}
    told = [f"{percent(ours['uniqueness'])} % of {ours['classes']} people have no double{_of(real.get('uniqueness'))}"]
    if ours["consistency"] is not None:
        told.append(
            f"{percent(ours['consistency'])} % of images lie near the others of their person{_of(real.get('consistency'))}"
        )
    apart = audit.get("set", {}).get(OURS)
    if apart and apart["ratio"] is not None:
        told.append(
            f"light, colour and background differ within a person {apart['ratio']:.2f} times as much as in the originals"
        )
    return (
        f"As a set, in the eyes of {judge['name']}: {', '.join(told)}. Near is what this recognizer would take for one person in "
        f"{100 * ours['far']:g} % of pairs of strangers."
    )


def _of(share: float | None) -> str:
    return "" if share is None else f" (originals {percent(share)})"


def linkage(judge: dict[str, Any]) -> list[str]:
    """Whether two releases of the same people can be joined."""
    said = []
    for variant, attacked in judge["variants"].items():
        for question, words in QUESTIONS.items():
            if not (link := attacked.get("linkage", {}).get(question)):
                continue
            found = link["linkage"]
            low = found.get("interval", {}).get("d_sys", [0.0])[0]
            verdict = "more than chance explains" if low > 0 else "no more than chance explains"
            said.append(
                f"{variant}, two releases, {words}: linkability D_sys {found['d_sys']:.2f}, {verdict} ({found['unlinked']['d_sys']:.2f} for "
                f"unlinked faces, 1 for perfectly linked ones); {percent(link['search']['rank']['1'])} % find their partner first."
            )
    return said


def pixels(audit: dict[str, Any]) -> list[str]:
    """How much is copied, and whether comparing pixels is enough to find the source."""
    said = []
    for variant, found in audit.get("pixels", {}).items():
        visible, nearest = found["visible"], found["nearest"]
        low, high = visible["excess"]["interval"]
        copied = (
            "no more than another person's image"
            if low <= 0
            else f"another person's image: {percent(visible['chance']['mean'])} %"
        )
        said.append(
            f"{variant}: {percent(visible['mean'])} % of patches are the source's own pixels ({copied}); by pixels alone, "
            f"{percent(nearest['rank']['1'])} % find their source first (blind guess {percent(nearest['chance']['rank']['1'], digits=2)} %)."
        )
    return said


def membership(audit: dict[str, Any]) -> str:
    """Whether training images can be told from others."""
    if not (found := audit.get("membership")):
        return ""
    low, high = found["interval"]
    verdict = (
        "which is no better than a blind guess (50 lies within the interval)" if low <= 0.5 <= high
        else "so that it is visible whose images the MAE was trained on" if low > 0.5
        else "below a blind guess: turned around, the scores tell members from others"
    )  # fmt: skip
    return (
        f"Told by how well they are painted, {found['members']} images the MAE was trained on and {found['non_members']} others are put in the "
        f"right order in {percent(found['auc'])} % of pairs ({span((low, high))}), {verdict}. An attacker with models of his own may do better."
    )
