"""The card of a release: what it is, how it was made, what was measured, in Markdown. Plain values in, text out.

No time, host, name or path comes in, so that the same release gives the same bytes.
"""

from __future__ import annotations

from typing import Any

from facemae_jax.export.budget import budget_lines


def percent(share: float | None) -> str:
    """A share as percent with one decimal."""
    return "–" if share is None else f"{100 * share:.1f}"


def card_text(facts: dict[str, Any]) -> str:
    """The card.

    Args:
        facts: as ``stages.publish`` collects them: name, version, description, images, identities, images_per_identity, made
            (name → text), terms, audit (subset, queries, gallery, judges with rows), budget (as
            ``export.budget.budget_lines`` takes it; None without), utility (rows), software.
    """
    per = facts["images_per_identity"]
    real = facts["real_pixel_share"]
    lines = [
        f"# {facts['name']} {facts['version']}",
        "",
        facts["description"],
        "",
        f"{facts['images']:,} images of {facts['identities']:,} people "
        f"({per['min']} to {per['max']} each, median {per['median']:g}). "
        + (
            "**No pixel is copied from a source image.**"
            if real == 0
            else f"**{percent(real)} % of the pixels are copied from the source images.**"
        ),
        "",
        "## How it was made",
        "",
        "A masked autoencoder saw the visible patches of each face and painted the image (FaceMAE, arXiv 2205.11090). "
        "Keys, labels, order and masks follow from a secret that is not part of the release.",
        "",
        *(f"- {name}: {text}" for name, text in facts["made"].items()),
        "",
        "## Privacy: what was measured",
        "",
        *_audit(facts["audit"]),
        *budget_lines(facts.get("budget")),
        "",
        "## Utility",
        "",
        *_utility(facts["utility"]),
        "",
        "## What is not promised",
        "",
        "- The figures hold for the attacks and judges named. A stronger recognizer, an attacker trained on such images, or one who combines "
        "several of a person may find more. There is no formal guarantee, such as differential privacy.",
        "- Each image is painted after a real person, who may be recognized in it by people or machines.",
        f"- Left visible on purpose: the number of people ({facts['identities']:,}) and of images of each, and which images show one person.",
        "",
        "## Terms of the source faces",
        "",
        facts["terms"],
        "",
        "## Software",
        "",
        ", ".join(f"{name} {version}" for name, version in facts["software"].items()),
        "",
        "## Citation",
        "",
        "Wang et al., FaceMAE: Privacy-Preserving Face Recognition via Masked Autoencoders, arXiv 2205.11090, 2022. Made with facemae_jax.",
        "",
    ]
    return "\n".join(lines)


def _audit(audit: dict[str, Any]) -> list[str]:
    lines = [
        f"{audit['queries']:,} protected images searched {audit['gallery']:,} originals, among them their own sources. "
        "Rank-1 rates in %: *same image* is the own source; *same identity* another image of the person when the own source "
        "is taken away.",
        "",
        "| judge | independent of the teacher | variant | same image | same identity |",
        "|---|---|---|---|---|",
    ]
    for judge in audit["judges"]:
        answer = "yes" if judge["independent"] else "no"
        for row in judge["rows"]:
            lines.append(
                f"| {judge['name']} | {answer} | {row['variant']} | {percent(row['same_image'])} | {percent(row['same_identity'])} |"
            )
        lines.append(
            f"| {judge['name']} | {answer} | *blind guess* | {percent(judge['chance_image'])} | {percent(judge['chance_identity'])} |"
        )
    lines += ["", *(f"- {judge['name']}: {judge['reason']}." for judge in audit["judges"])]
    return lines


def _utility(utility: dict[str, Any] | None) -> list[str]:
    if utility is None:
        return ["Not measured: no faces to verify on were given."]
    lines = [
        f"Recognizers trained by one recipe ({utility['recipe']}) on each variant of the same people, verified on "
        f"{utility['pairs']:,} pairs of other people ({utility['folds']} folds). `original` is the real-data control.",
        "",
        "| trained on | accuracy % | ± one standard error |",
        "|---|---|---|",
    ]
    return lines + [
        f"| {row['name']} | {100 * row['accuracy']:.2f} | {100 * row['standard_error']:.2f} |"
        for row in utility["rows"]
    ]
