"""Every figure of an audit as one flat list: which attack, on what, by whom, how high, between which bounds.

The tables, the CSV files and the sentences of a report are made from this list, so that they cannot disagree. The layout that comes in
is that of ``audit.json``; an attack that was not run is not in the list.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

from facemae_jax.report.results import QUESTIONS

# Attack → what somebody does, in the order of the tables.
ATTACKS = {
    "retrieval": "search the originals with a protected image",
    "reverse": "search the protected images with an original",
    "matching": "hold one original against one protected image",
    "fusion": "fuse n protected images of a person, then search the originals",
    "aware": "learn from (protected, original) pairs of other people, then search the originals",
    "inversion": "paint the original back by a trained network, then search the originals",
    "linkage": "link two releases of the same people",
    "copy": "compare pixels with the originals",
    "membership": "tell which images the MAE was trained on",
}


class Measure(NamedTuple):
    """One figure. Shares of 1, except where the unit says otherwise."""

    judge: str  # empty for attacks without a recognizer
    independent: bool | None  # of the teacher
    variant: str  # empty where the attack is on the MAE
    attack: str  # of ATTACKS; set = none, but what the images are worth as a set
    question: str  # same_image | same_identity | with_sources | patches | training | people
    figure: str
    value: float
    low: float | None = None  # interval over people
    high: float | None = None
    error: float | None = None  # one standard error
    chance: float | None = None  # of a blind guess
    ceiling: float | None = None  # of the originals in place of the protected images, or the best there is
    n: int | None = None  # images fused
    unit: str = "share"  # share | index (0 … 1) | cosine | dB


def measures(audit: dict[str, Any]) -> list[Measure]:
    """All figures of ``audit.json``, attack by attack within each judge and variant, then those without a judge."""
    found: list[Measure] = []
    for judge in audit["judges"]:
        original = judge["variants"].get("original", {})
        for variant, attacked in judge["variants"].items():
            where = (judge["name"], judge["independent"], variant)
            found += _searched(where, "retrieval", attacked["retrieval"], judge["ceiling"])
            if "reverse" in attacked:
                found += _searched(where, "reverse", attacked["reverse"], original.get("reverse"))
            found += _matched(where, "matching", attacked["matching"])
            found += _fused(where, attacked.get("fusion", {}).get("points", []))
            for attack in ("aware", "inversion"):
                if attack in attacked:
                    found += _searched(where, attack, attacked[attack]["retrieval"], judge["ceiling"])
                    found += _matched(where, attack, attacked[attack]["matching"])
            if "inversion" in attacked:
                noise = attacked["inversion"]["psnr"]
                found += [
                    Measure(*where, "inversion", "same_image", f"psnr_{what}", noise[what], unit="dB")
                    for what in ("input", "inverted")
                ]
            if "linkage" in attacked:
                found += _linked(where, attacked["linkage"])
            found += _worth(where, attacked.get("set"), original.get("set"))
    found += [one for variant, pixels in audit.get("pixels", {}).items() for one in _copied(variant, pixels)]
    if "membership" in audit:
        found += _members(audit["membership"])
    found += [
        Measure(
            "", None, variant, "set", "people", "diversity", apart["ratio"], *_bounds(apart.get("interval", {}).get("ratio")), ceiling=1.0,
            unit="index",
        )
        for variant, apart in audit.get("set", {}).items()
        if apart and apart["ratio"] is not None
    ]  # fmt: skip
    return found


def pick(
    found: list[Measure], *, judge: str, variant: str, attack: str, question: str, figure: str, n: int | None = None
) -> Measure | None:
    """The one figure asked for, or None where it was not measured."""
    asked = (judge, variant, attack, question, figure, n)
    return next(
        (one for one in found if (one.judge, one.variant, one.attack, one.question, one.figure, one.n) == asked), None
    )


Where = tuple[str, bool, str]


def _bounds(interval: list[float] | None) -> tuple[float | None, float | None]:
    return (interval[0], interval[1]) if interval else (None, None)


def _searched(where: Where, attack: str, found: dict[str, Any], top: dict[str, Any] | None) -> Iterator[Measure]:
    for question in QUESTIONS:
        figures, best = found[question], (top or {}).get(question)
        if not figures:
            continue
        errors, intervals = figures.get("standard_error", {}), figures.get("interval", {})
        for at in figures["rank"]:
            yield Measure(
                *where, attack, question, f"rank_{at}", figures["rank"][at],
                *_bounds(intervals.get("rank", {}).get(at)), errors.get(f"rank_{at}"),
                figures["chance"]["rank"][at], best["rank"][at] if best else None,
            )  # fmt: skip
        yield Measure(
            *where, attack, question, "map", figures["map"], *_bounds(intervals.get("map")), errors.get("map"),
            figures["chance"]["map"], best["map"] if best else None,
        )  # fmt: skip


def _matched(where: Where, attack: str, found: dict[str, Any]) -> Iterator[Measure]:
    question = "same_image"
    intervals = found.get("interval", {})
    for far, tar in found["tar_at_far"].items():
        bounds = _bounds(intervals.get("tar_at_far", {}).get(far))
        yield Measure(*where, attack, question, f"tar_at_far_{far}", tar, *bounds, chance=float(far), ceiling=1.0)
    yield Measure(
        *where, attack, question, "eer", found["eer"], *_bounds(intervals.get("eer")), chance=0.5, ceiling=0.0
    )
    yield Measure(
        *where, attack, question, "auc", found["auc"], *_bounds(intervals.get("auc")), chance=0.5, ceiling=1.0
    )
    for kind in ("mated", "non_mated"):
        yield Measure(*where, attack, question, f"cosine_{kind}", found[kind]["mean"], unit="cosine")


def _worth(where: Where, found: dict[str, Any] | None, top: dict[str, Any] | None) -> Iterator[Measure]:
    for figure in ("uniqueness", "consistency"):
        if found and found[figure] is not None:
            yield Measure(
                *where, "set", "people", figure, found[figure], *_bounds(found.get("interval", {}).get(figure)),
                ceiling=top[figure] if top else None,
            )  # fmt: skip


def _fused(where: Where, points: list[dict[str, Any]]) -> Iterator[Measure]:
    for point in points:
        for key, question in (("without_sources", "same_identity"), ("with_sources", "with_sources")):
            figures, n = point[key], point["n"]
            yield Measure(
                *where, "fusion", question, "rank_1", figures["rank"]["1"], *_bounds(figures["interval"]["rank"]["1"]),
                chance=figures["chance"]["rank"]["1"], ceiling=figures["ceiling"]["rank"]["1"], n=n,
            )  # fmt: skip
            one, gain = figures["one"], figures["gain"]
            yield Measure(
                *where, "fusion", question, "rank_1_of_one", one["rank"]["1"], *_bounds(one["interval"]["1"]), n=n
            )
            yield Measure(*where, "fusion", question, "gain", gain["1"], *_bounds(gain["interval"]), chance=0.0, n=n)


def _linked(where: Where, found: dict[str, Any]) -> Iterator[Measure]:
    for question in QUESTIONS:
        if not found[question]:
            continue
        linked, top = found[question]["linkage"], found["ceiling"][question]
        for figure in ("d_sys", "maximal"):
            yield Measure(
                *where, "linkage", question, figure, linked[figure], *_bounds(linked.get("interval", {}).get(figure)),
                chance=linked["unlinked"][figure], ceiling=top["linkage"][figure] if top else None, unit="index",
            )  # fmt: skip
        searched = found[question]["search"]
        yield Measure(
            *where, "linkage", question, "rank_1", searched["rank"]["1"], *_bounds(searched["interval"]["rank"]["1"]),
            chance=searched["chance"]["rank"]["1"], ceiling=top["search"]["rank"]["1"] if top else None,
        )  # fmt: skip


def _copied(variant: str, found: dict[str, Any]) -> Iterator[Measure]:
    visible, nearest = found["visible"], found["nearest"]
    yield Measure(
        "", None, variant, "copy", "patches", "visible", visible["mean"], *_bounds(visible["interval"]),
        chance=visible["chance"]["mean"], ceiling=visible["ceiling"],
    )  # fmt: skip
    yield Measure(
        "", None, variant, "copy", "patches", "excess", visible["excess"]["mean"],
        *_bounds(visible["excess"]["interval"]), chance=0.0,
    )  # fmt: skip
    yield Measure(
        "", None, variant, "copy", "same_image", "nearest_pixel_rank_1", nearest["rank"]["1"],
        *_bounds(nearest["interval"]["rank"]["1"]), chance=nearest["chance"]["rank"]["1"],
        ceiling=nearest["ceiling"]["rank"]["1"],
    )  # fmt: skip


def _members(found: dict[str, Any]) -> Iterator[Measure]:
    yield Measure(
        "", None, "", "membership", "training", "auc", found["auc"], *_bounds(found["interval"]), chance=0.5, ceiling=1.0
    )  # fmt: skip
    for fpr, tpr in found["tpr_at_fpr"].items():
        yield Measure(
            "", None, "", "membership", "training", f"tpr_at_fpr_{fpr}", tpr, *_bounds(found["tpr_interval"][fpr]),
            chance=found["chance"]["tpr_at_fpr"][fpr], ceiling=1.0,
        )  # fmt: skip
