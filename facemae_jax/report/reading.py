"""Plain sentences on utility and leakage, computed from the numbers: what they say, how sure that is, and what they do not say.

Two figures are called alike when they differ by at most two standard errors of their difference. No sentence is written for a figure that
was not measured. The further attacks are read in ``attack_reading``.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from facemae_jax.report import results
from facemae_jax.report.measured import Measure
from facemae_jax.report.results import OURS, QUESTIONS, percent

TRAINED = {
    "aware": "an attacker who learned from pairs of other people",
    "inversion": "a network that paints the original back first",
}
FOUND = {
    "same_image": "find their own source first",
    "same_identity": "find the same person in another image first",
}


def answer(verify: dict[str, Any] | None, audit: dict[str, Any], found: Sequence[Measure] = ()) -> list[str]:
    """The result in plain sentences, with its own limits."""
    utility = results.utility_rows(verify)
    said = []
    if OURS in utility:
        ours = utility[OURS]["accuracy"]
        text = (
            f"Utility: a recognizer trained on the painted faces is right in {percent(ours['mean'], ours['standard_error'])} % of pairs "
            "of people it never saw"
        )
        others = [
            f"{percent(utility[name]['accuracy']['mean'])} % when trained on {words}"
            for name, words in (("original", "the originals"), ("mask", "masked faces"), ("blur", "blurred faces"))
            if name in utility
        ]
        said.append(text + (f" ({', '.join(others)})." if others else "."))
    else:
        said.append("Utility was not measured: no recognizer was trained on the reconstructions and verified.")
    for judge in audit["judges"]:
        if OURS not in judge["variants"]:
            continue
        image, identity = (results.leakage(judge, OURS, question)[0] for question in QUESTIONS)
        text = (
            f"Leakage, attacker {judge['name']}: of {audit['queries']} painted faces, {percent(image)} % find their own source first among "
            f"{audit['gallery']} originals (blind guess {percent(results.chance(judge, 'same_image'), digits=2)} %)"
        )
        if identity is not None:
            text += (
                f", and {percent(identity)} % find the same person in another image (originals as queries: "
                f"{percent(results.ceiling(judge, 'same_identity'))} %)"
            )
        said.append(text + ".")
    if found and (worst := strongest(found)):
        said.append(worst)
    if audit["judges"] and not any(judge["independent"] for judge in audit["judges"]):
        said.append(
            "No attacker of this audit is independent of the teacher; a stranger may find more than is shown here."
        )
    return said


def strongest(found: Sequence[Measure]) -> str:
    """Which attack found most people (or sources) behind the reconstructions; empty when they were not attacked."""
    for question in ("same_identity", "same_image"):
        tried = [
            one for one in found
            if one.variant == OURS and one.question == question and one.figure == "rank_1"
            and one.attack in ("retrieval", "aware", "inversion", "fusion")
        ]  # fmt: skip
        if tried:
            most = max(tried, key=lambda one: one.value)
            how = {
                "retrieval": "the plain search with one image",
                "fusion": f"{most.n} images of a person fused",
                **TRAINED,
            }[most.attack]
            what = "own source" if question == "same_image" else "same person in another image"
            return (
                f"The strongest search tried on the reconstructions finds the {what} first in {percent(most.value)} %: {how}, "
                f"attacker {most.judge}."
            )
    return ""


def independence(judge: dict[str, Any]) -> str:
    """Whether the attacker is a stranger, and why that matters."""
    if judge["independent"]:
        return f"Independent of the teacher; {judge['reason']}."
    return f"Not independent of the teacher; {judge['reason']}. What fools the teacher need not fool a stranger."


def trade_off(verify: dict[str, Any] | None, judge: dict[str, Any], question: str) -> str:
    """Where the reconstruction stands on the plane of leakage and utility."""
    utility = results.utility_rows(verify)
    if OURS not in utility or results.leakage(judge, OURS, question)[0] is None:
        return ""
    ours = _stand(utility, judge, OURS, question)
    sides: dict[str, list[str]] = {"better": [], "worse": [], "dearer": [], "safer": [], "alike": []}
    for variant in judge["variants"]:
        if variant in (OURS, "original") or variant not in utility:
            continue
        theirs = _stand(utility, judge, variant, question)
        useful, leaky = sign(ours[0], theirs[0]), sign(ours[1], theirs[1])
        kind = (
            "alike" if useful == leaky == 0
            else "better" if useful >= 0 and leaky <= 0
            else "worse" if useful <= 0 and leaky >= 0
            else "dearer" if useful > 0
            else "safer"
        )  # fmt: skip
        sides[kind].append(variant)
    words = {
        "better": "at least as useful and no more leaky than {}",
        "worse": "no more useful and no less leaky than {}",
        "dearer": "more useful, but more leaky than {}",
        "safer": "less leaky, but less useful than {}",
        "alike": "not to be told apart from {}",
    }
    told = [words[kind].format(", ".join(names)) for kind, names in sides.items() if names]
    start = (
        f"The reconstruction is right in {percent(*ours[0])} % of pairs, and {percent(*ours[1])} % {FOUND[question]}"
    )
    return (
        f"{start}. It is {'; '.join(told)}. Differences within two standard errors count as none."
        if told
        else f"{start}."
    )


def retrieval(judge: dict[str, Any], question: str = "same_identity") -> str:
    """How the search for reconstructions stands between a blind guess and the originals."""
    variant = shown_variant(judge)
    value, error = results.leakage(judge, variant, question)
    if value is None:
        return ""
    figures = judge["variants"][variant]["retrieval"][question]
    guess, top = results.chance(judge, question), results.ceiling(judge, question)
    return (
        f"Of the variant {variant}, {percent(value, error)} % {FOUND[question]}; a blind guess {percent(guess, digits=2)} %, the originals "
        f"themselves {percent(top)} %. Half of the queries have a right image within the first {figures['median_rank']:.0f} originals."
    )


def matching(judge: dict[str, Any]) -> str:
    """How far the scores of own sources and of others lie apart."""
    variant = shown_variant(judge)
    found = judge["variants"][variant]["matching"]
    own, others = found["mated"], found["non_mated"]
    text = (
        f"{variant}: mean cosine {own['mean']:.2f} to the own source and {others['mean']:.2f} to other people; an attacker who accepts as many "
        f"strangers as he misses sources errs in {percent(found['eer'])} % (a blind guess: 50)"
    )
    if found["tar_at_far"]:
        far = min(found["tar_at_far"], key=float)
        text += f"; accepting {100 * float(far):g} % of strangers, he recognizes {percent(found['tar_at_far'][far])} % of sources"
    return text + "."


def verification(verify: dict[str, Any]) -> str:
    """How the recognizers stand to one another."""
    rows = {row["name"]: row for row in verify["rows"] if row["kind"] == "recognizer"}
    if OURS not in rows:
        return ""
    said = [
        f"A recognizer trained on reconstructions is right in {percent(rows[OURS]['accuracy']['mean'])} % of pairs."
    ]
    for base, words in (("original", "the originals"), ("mask", "masked faces")):
        if difference := verify["differences"].get(base, {}).get(OURS):
            clear = abs(difference["mean"]) > 2 * difference["standard_error"]
            side = ("better" if difference["mean"] > 0 else "worse") if clear else "not clearly better or worse"
            said.append(
                f"Fold by fold that is {side} than with {words} ({100 * difference['mean']:+.1f} ± {100 * difference['standard_error']:.1f} points)."
            )
    return " ".join(said)


def training(lines: Sequence[dict[str, Any]]) -> str:
    """From where to where the loss went; empty when it was not logged."""
    losses = [(line["step"], line["loss"]) for line in lines if _finite(line.get("loss"))]
    lost = sum("loss" in line and not _finite(line["loss"]) for line in lines)
    text = (
        f"Loss {losses[0][1]:.3g} at step {losses[0][0]}, {losses[-1][1]:.3g} at step {losses[-1][0]}."
        if losses
        else ""
    )
    return f"{text} {lost} logged losses are no numbers.".strip() if lost else text


def shown_variant(judge: dict[str, Any]) -> str:
    """The variant that single figures are about: the reconstruction where it was attacked."""
    return OURS if OURS in judge["variants"] else next(iter(judge["variants"]))


Estimate = tuple[float, float]


def _stand(utility: dict[str, Any], judge: dict[str, Any], variant: str, question: str) -> tuple[Estimate, Estimate]:
    accuracy, (leak, error) = utility[variant]["accuracy"], results.leakage(judge, variant, question)
    return (accuracy["mean"], accuracy["standard_error"]), (leak or 0.0, error or 0.0)


def sign(left: Estimate, right: Estimate) -> int:
    """1 where left is clearly larger, −1 where it is clearly smaller, else 0."""
    difference = left[0] - right[0]
    return 0 if abs(difference) <= 2 * math.hypot(left[1], right[1]) else int(math.copysign(1, difference))


def _finite(value: Any) -> bool:
    return isinstance(value, int | float) and math.isfinite(value)
