"""The figures of an audit as text, for the terminal: those that matter first, in percent, with their intervals over people."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

TRAINED = {"aware": "└ aware attacker", "inversion": "└ inverted first"}
WIDE = 19  # of a figure with its interval


def table(result: dict[str, Any]) -> str:
    """The figures of ``audit.json`` that matter first, as text, in percent."""
    lines = [
        f"audit of {result['queries']} protected images against {result['gallery']} originals of {result['identities']} "
        "people (%, in brackets the 95 % interval over people; lower is more private):"
    ]
    names = [name for judge in result["judges"] for name in judge["variants"]]
    width = max(map(len, (*names, "ceiling", *TRAINED.values())))
    lines += _without_a_judge(result)
    for judge in result["judges"]:
        stranger = "independent of the teacher" if judge["independent"] else "not independent of the teacher"
        lines.append(f"  judge {judge['name']} ({stranger}: {judge['reason']})")
        far = next((far for far in ("0.001", "0.01", "0.1") if far in _first(judge)["matching"]["tar_at_far"]), "")
        lines += [
            f"    {'':{width}} {'same image':>{WIDE + 9}} {'same identity, own source left out':>{WIDE + 18}} {'cosine to':>10} "
            f"{'TAR at FAR':>{WIDE}}".rstrip(),
            f"    {'':{width}} {'rank-1':>{WIDE}} {'rank-10':>8} {'rank-1':>{WIDE}} {'rank-10':>8} {'mAP':>8} {'source':>10} {far:>{WIDE}}".rstrip(),
        ]
        for name, found in judge["variants"].items():
            lines.append(f"    {name:{width}} {_rates(found['retrieval'])} {_matched(found['matching'], far)}")
            lines += [
                f"    {title:{width}} {_rates(found[attack]['retrieval'])} {_matched(found[attack]['matching'], far)}"
                for attack, title in TRAINED.items()
                if attack in found
            ]
        if "original" not in judge["variants"]:
            lines.append(f"    {'ceiling':{width}} {_rates(judge['ceiling'])}")
        chance = {
            kind: figures["chance"] if (figures := judge["ceiling"][kind]) else None
            for kind in ("same_image", "same_identity")
        }
        lines.append(f"    {'chance':{width}} {_rates(chance)}")
        lines += _fused_and_linked(judge) + _worth(judge)
    return "\n".join(lines)


def _first(judge: dict[str, Any]) -> dict[str, Any]:
    return next(iter(judge["variants"].values()))


def _bounded(value: float, interval: Sequence[float] | None) -> str:
    """A share in percent with its interval, where it has one."""
    text = f"{100 * value:.1f}"
    return (f"{text} ({100 * interval[0]:.1f}…{100 * interval[1]:.1f})" if interval else text).rjust(WIDE)


def _rates(found: dict[str, Any]) -> str:
    """Rank-1, rank-10 of the same image; rank-1, rank-10, mAP of the same identity."""
    image, person = found["same_image"], found["same_identity"]
    text = f"{_first_rank(image)} {100 * image['rank']['10']:8.1f}"
    if person is None:
        return text + f" {'–':>{WIDE}} {'–':>8} {'–':>8}"
    return text + f" {_first_rank(person)} {100 * person['rank']['10']:8.1f} {100 * person['map']:8.1f}"


def _first_rank(figures: dict[str, Any]) -> str:
    return _bounded(figures["rank"]["1"], figures.get("interval", {}).get("rank", {}).get("1"))


def _matched(match: dict[str, Any], far: str) -> str:
    """Cosine to the source, TAR."""
    if far not in match["tar_at_far"]:
        return f"{match['mated']['mean']:10.2f} {'–':>{WIDE}}"
    tar = _bounded(match["tar_at_far"][far], match.get("interval", {}).get("tar_at_far", {}).get(far))
    return f"{match['mated']['mean']:10.2f} {tar}"


def _without_a_judge(result: dict[str, Any]) -> list[str]:
    """Attacks that need no recognizer, and what differs within a person."""
    lines = []
    for variant, found in result.get("pixels", {}).items():
        copied, nearest = found["visible"], found["nearest"]
        lines.append(
            f"  {variant}: {100 * copied['mean']:.1f} % of patches are copies of the source (another person's image: "
            f"{100 * copied['chance']['mean']:.1f}), {100 * nearest['rank']['1']:.1f} % have it as their nearest image in pixels"
        )
    if member := result.get("membership"):
        low, high = member["interval"]
        lines.append(
            f"  membership in the MAE's training: AUC {member['auc']:.3f} ({low:.3f}…{high:.3f}; a blind guess 0.5)"
        )
    apart = {name: found for name, found in result.get("set", {}).items() if found and found["ratio"] is not None}
    if apart:
        told = ", ".join(f"{name} {found['ratio']:.2f}" for name, found in apart.items())
        lines.append(f"  diversity within a person (light, colour, background; originals 1): {told}")
    return lines


def _fused_and_linked(judge: dict[str, Any]) -> list[str]:
    """What several images of a person add, and what links two releases."""
    lines = []
    for name, found in judge["variants"].items():
        points = found.get("fusion", {}).get("points", [])
        if points:
            curve = ", ".join(f"{100 * point['without_sources']['rank']['1']:.1f} (n={point['n']})" for point in points)
            lines.append(f"    {name}, n images of a person fused, same identity rank-1: {curve}")
        if link := found.get("linkage"):
            image, person = link["same_image"], link["same_identity"]
            told = f", same identity {person['linkage']['d_sys']:.2f}" if person else ""
            lines.append(
                f"    {name}, two releases, linkability D_sys: same image {image['linkage']['d_sys']:.2f}{told} (0 = not linkable)"
            )
    return lines


def _worth(judge: dict[str, Any]) -> list[str]:
    """Uniqueness and consistency of the variants as sets; nothing where there were too few pairs for a threshold."""
    told = {name: found["set"] for name, found in judge["variants"].items() if found.get("set")}
    if not told:
        return []
    far = 100 * next(iter(told.values()))["far"]
    figures = [
        f"{name} {100 * one['uniqueness']:.1f}"
        + ("" if one["consistency"] is None else f" / {100 * one['consistency']:.1f}")
        for name, one in told.items()
    ]
    return [
        f"    as a set, unique people / consistent images (threshold: {far:g} % of strangers): {', '.join(figures)}"
    ]
