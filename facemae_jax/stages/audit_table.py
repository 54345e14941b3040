"""The figures of an audit as text, for the terminal: those that matter first, in percent."""

from __future__ import annotations

from typing import Any

TRAINED = {"aware": "└ aware attacker", "inversion": "└ inverted first"}


def table(result: dict[str, Any]) -> str:
    """The figures of ``audit.json`` that matter first, as text, in percent."""
    lines = [
        f"audit of {result['queries']} protected images against {result['gallery']} originals of {result['identities']} "
        "people (%; lower is more private):"
    ]
    names = [name for judge in result["judges"] for name in judge["variants"]]
    width = max(map(len, (*names, "ceiling", *TRAINED.values())))
    lines += _without_a_judge(result)
    for judge in result["judges"]:
        stranger = "independent of the teacher" if judge["independent"] else "not independent of the teacher"
        lines.append(f"  judge {judge['name']} ({stranger}: {judge['reason']})")
        lines.append(
            f"    {'':{width}} {'same image':>17} {'same identity, own source left out':>36} {'cosine to':>10} {'TAR at FAR':>11}"
        )
        far = next((far for far in ("0.001", "0.01", "0.1") if far in _first(judge)["matching"]["tar_at_far"]), "")
        lines.append(
            f"    {'':{width}} {'rank-1':>8} {'rank-10':>8} {'rank-1':>15} {'rank-10':>10} {'mAP':>9} {'source':>10} {far:>11}"
        )
        for name, found in judge["variants"].items():
            match = found["matching"]
            tar = f"{100 * match['tar_at_far'][far]:11.1f}" if far else f"{'–':>11}"
            lines.append(f"    {name:{width}} {_rates(found['retrieval'])} {match['mated']['mean']:10.2f} {tar}")
            lines += [
                f"    {title:{width}} {_rates(found[attack]['retrieval'])} {found[attack]['matching']['mated']['mean']:10.2f}"
                for attack, title in TRAINED.items()
                if attack in found
            ]
        if "original" not in judge["variants"]:
            lines.append(f"    {'ceiling':{width}} {_rates(judge['ceiling'])}")
        lines += _fused_and_linked(judge)
        chance = {
            kind: figures["chance"] if (figures := judge["ceiling"][kind]) else None
            for kind in ("same_image", "same_identity")
        }
        lines.append(f"    {'chance':{width}} {_rates(chance)}")
    return "\n".join(lines)


def _first(judge: dict[str, Any]) -> dict[str, Any]:
    return next(iter(judge["variants"].values()))


def _rates(found: dict[str, Any]) -> str:
    """Rank-1, rank-10 of the same image; rank-1, rank-10, mAP of the same identity."""
    image, person = found["same_image"], found["same_identity"]
    text = f"{100 * image['rank']['1']:8.1f} {100 * image['rank']['10']:8.1f}"
    if person is None:
        return text + f" {'–':>15} {'–':>10} {'–':>9}"
    return text + f" {100 * person['rank']['1']:15.1f} {100 * person['rank']['10']:10.1f} {100 * person['map']:9.1f}"


def _without_a_judge(result: dict[str, Any]) -> list[str]:
    """Attacks that need no recognizer."""
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
