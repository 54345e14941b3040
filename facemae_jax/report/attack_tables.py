"""The attack tables of a report: what was measured, as rows of cells. One table per judge, one for attacks that need no judge.

Rows are figures, grouped by attack; columns are variants, then a blind guess and the ceiling (the originals in place of the protected
images), where these are one number for all variants; else they stand in the cells of each variant.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from facemae_jax.report.measured import ATTACKS, Measure
from facemae_jax.report.results import OURS, QUESTIONS, span

TITLES = {
    "retrieval": "Search the originals with a protected image",
    "reverse": "Search the protected images with an original",
    "matching": "Hold one original against one protected image",
    "fusion": "Fuse n protected images of a person, then search the originals",
    "aware": "Aware attacker: learned from (protected, original) pairs of other people, then searches the originals",
    "inversion": "Inversion: a trained network paints the original back, then the originals are searched",
    "linkage": "Link two releases of the same people",
    "copy": "Compare pixels with the originals, without a recognizer",
    "membership": "Tell which images the MAE was trained on, without a recognizer",
}
assert list(TITLES) == list(ATTACKS)
SET = "set"  # no attack: what the images are worth as a set
HEADS = TITLES | {SET: "As a set (no attack): uniqueness, consistency, diversity; higher is better"}


class Cell(NamedTuple):
    """A figure, and beneath it its bounds."""

    text: str
    below: str = ""


class Row(NamedTuple):
    """One figure over all variants."""

    head: str
    cells: list[Cell]
    chance: str
    ceiling: str


class Block(NamedTuple):
    """The rows of one attack."""

    title: str
    rows: list[Row]


class Table(NamedTuple):
    """A table with its columns; ``ours`` says which of them is the reconstruction."""

    variants: list[str]
    ours: list[bool]
    blocks: list[Block]


def judge_table(found: Sequence[Measure], judge: str) -> Table:
    """What one judge measured. The originals are a column of ceilings, not a variant."""
    mine = [one for one in found if one.judge == judge]
    names = list(dict.fromkeys(one.variant for one in mine))
    return _table(mine, [name for name in names if name != "original"] or names)


def judgeless_table(found: Sequence[Measure]) -> Table | None:
    """Attacks without a recognizer on images; None when none was run."""
    mine = [one for one in found if not one.judge and one.variant]
    return _table(mine, list(dict.fromkeys(one.variant for one in mine))) if mine else None


def membership_rows(found: Sequence[Measure]) -> list[Row]:
    """The attack on the MAE's training images; empty when it was not run."""
    return [
        Row(label(one), [_cell(one)], number(one, one.chance, fine=True), number(one, one.ceiling))
        for one in found
        if one.attack == "membership"
    ]


def not_run(audit: dict[str, Any], found: Sequence[Measure]) -> list[str]:
    """In words, the attacks of :data:`measured.ATTACKS` of which no figure is there, and why where the audit says so."""
    there, asked = {one.attack for one in found}, audit.get("attacks", [])
    said = []
    for attack, words in ATTACKS.items():
        if attack not in there:
            why = "asked for, but nobody has enough images" if attack == "fusion" and attack in asked else "not run"
            said.append(f"{attack}: {words} ({why})")
            continue
        tried = {one.variant for one in found if one.attack == attack and one.variant}
        left = [name for judge in audit["judges"] for name in judge["variants"] if name not in {*tried, "original"}]
        if tried and left:
            said.append(f"{attack}: run on {', '.join(sorted(tried))} only, not on {', '.join(dict.fromkeys(left))}")
    return said


def label(one: Measure) -> str:
    """What a row of figures is called."""
    words = {**QUESTIONS, "with_sources": "sources among the originals"}.get(one.question, "")
    figure, _, at = one.figure.rpartition("_")
    if one.attack == "matching" or (one.attack in ("aware", "inversion") and one.figure in ("auc", "eer")):
        words = "matching" if one.attack != "matching" else ""
    match figure, at:
        case ("rank", k):
            text = f"rank {k}"
        case ("tar_at_far", far):
            text = f"TAR at FAR {float(far):g}"
        case ("tpr_at_fpr", fpr):
            text = f"true positives at {100 * float(fpr):g} % false ones"
        case _:
            text = PLAIN[one.figure]
    if one.unit == "dB":
        words = ""
    if one.n is not None:
        text = f"{text}, n = {one.n}"
    return f"{words}, {text}" if words else text[:1].upper() + text[1:]


PLAIN = {
    "map": "mAP",
    "eer": "EER",
    "auc": "AUC",
    "cosine_mated": "mean cosine to own source",
    "cosine_non_mated": "mean cosine to other people",
    "psnr_input": "PSNR before (dB)",
    "psnr_inverted": "PSNR painted back (dB)",
    "d_sys": "D_sys (0 … 1)",
    "maximal": "maximal linkability (0 … 1 bit)",
    "visible": "patches that are copies",
    "excess": "beyond chance",
    "nearest_pixel_rank_1": "nearest in pixels",
    "rank_1_of_one": "one image of the same people",
    "gain": "gain over one image",
    "uniqueness": "people with no double (uniqueness)",
    "consistency": "images near the others of their person (consistency)",
    "diversity": "diversity within a person, times that of the originals",
}
# Figures that a table shows; all others are in the CSV. For aware and inverted, what a plain search shows as well.
SHOWN = {
    "retrieval": ("rank_1", "rank_10", "map"),
    "reverse": ("rank_1", "map"),
    "matching": ("tar_at_far", "eer", "auc", "cosine"),
    "fusion": ("rank_1", "gain"),
    "aware": ("rank_1", "auc"),
    "inversion": ("rank_1", "auc", "psnr"),
    "linkage": ("d_sys", "maximal", "rank_1"),
    "copy": ("visible", "excess", "nearest_pixel_rank_1"),
    SET: ("uniqueness", "consistency", "diversity"),
}


def number(one: Measure, value: float | None, *, fine: bool = False) -> str:
    """A value in the unit of its figure: % for shares, with one more digit where it is small and ``fine`` asks for it."""
    if value is None:
        return ""
    match one.unit:
        case "share":
            return f"{100 * value:.{2 if fine and 0 < value < 0.0995 else 1}f}"
        case "dB":
            return f"{value:.1f}"
        case _:
            return f"{value:.2f}"


def _cell(one: Measure | None, *, chance: bool = False, ceiling: bool = False) -> Cell:
    if one is None:
        return Cell("–")
    text, below = number(one, one.value), []
    if one.low is not None and one.high is not None:
        below.append(span((one.low, one.high), *((1, 100) if one.unit == "share" else (2, 1))))
    elif one.error is not None:
        below.append(f"± {100 * one.error:.1f}")
    if chance and one.chance is not None:
        below.append(f"guess {number(one, one.chance, fine=True)}")
    if ceiling and one.ceiling is not None:
        below.append(f"ceiling {number(one, one.ceiling)}")
    return Cell(text, "; ".join(below))


def _table(mine: Sequence[Measure], variants: list[str]) -> Table:
    blocks = []
    for attack, figures in SHOWN.items():
        keys = dict.fromkeys(
            (one.question, one.figure, one.n)
            for one in mine
            if one.attack == attack
            and any(_is(one.figure, name) for name in figures)
            and not (one.figure == "gain" and one.n == 1)
        )
        rows = []
        for question, figure, n in sorted(keys, key=lambda key: _order(key, figures)):
            of = {
                one.variant: one
                for one in mine
                if (one.attack, one.question, one.figure, one.n) == (attack, question, figure, n)
            }
            one = next(iter(of.values()))
            shared = [of[name] for name in variants if name in of]
            if not shared:
                continue
            apart = len({each.chance for each in shared}) > 1, len({each.ceiling for each in shared}) > 1
            cells = [_cell(of.get(name), chance=apart[0], ceiling=apart[1]) for name in variants]
            rows.append(
                Row(
                    label(one), cells, "" if apart[0] else number(shared[0], shared[0].chance, fine=True),
                    "" if apart[1] else number(shared[0], shared[0].ceiling),
                )
            )  # fmt: skip
        if rows:
            blocks.append(Block(HEADS[attack], rows))
    return Table(variants, [name == OURS for name in variants], blocks)


def _is(figure: str, name: str) -> bool:
    """Whether a figure is ``name``, or one of its kind (``tar_at_far`` of 0.01)."""
    return figure == name or (name in ("tar_at_far", "cosine", "psnr") and figure.startswith(f"{name}_"))


def _order(key: tuple[str, str, int | None], figures: tuple[str, ...]) -> tuple[Any, ...]:
    question, figure, n = key
    at = next(place for place, name in enumerate(figures) if _is(figure, name))
    questions = ("same_image", "same_identity", "with_sources")
    return (questions.index(question) if question in questions else -1, at, n or 0)
