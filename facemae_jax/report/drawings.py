"""Which figure of a report shows what: numbers of a run in, drawings with their titles and captions out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from markupsafe import Markup

from facemae_jax.report import attack_reading, figures, plane, reading, results
from facemae_jax.report.figures import Line
from facemae_jax.report.measured import Measure
from facemae_jax.report.plane import Guide, Point, Series
from facemae_jax.report.results import QUESTIONS


class Drawing(NamedTuple):
    """One figure of a page."""

    svg: Markup
    caption: str  # how to read it
    reading: str = ""  # what it says


def trade_offs(verify: dict[str, Any] | None, judge: dict[str, Any]) -> list[Drawing]:
    """Utility against leakage to one judge, one figure for each question that was asked."""
    drawn = []
    for question, words in QUESTIONS.items():
        series = trade_off_series(verify, judge, question)
        if not series:
            continue
        top, guess = results.ceiling(judge, question), results.chance(judge, question)
        guides = [
            Guide("blind guess", leakage=_hundred(guess), utility=_hundred(results.utility_chance(verify))),
            Guide("originals as queries", leakage=_hundred(top)),
        ]
        svg = plane.trade_off_curve(
            series, x=f"leakage to {judge['name']}: {words}, rank 1 (%)", y="utility (%)", guides=guides, legend=False
        )
        caption = (
            f"Utility (up) against leakage to {judge['name']} (right: queries that {reading.FOUND[question]}). The upper left corner is best; "
            "bars are one standard error. Strengths of one distortion are joined."
        )
        drawn.append(
            _drawing(
                svg,
                f"Utility and leakage, {words}, {judge['name']}",
                caption,
                reading.trade_off(verify, judge, question),
            )
        )
    return drawn


def trade_off_series(verify: dict[str, Any] | None, judge: dict[str, Any], question: str) -> list[Series]:
    """Variants with both figures, strengths of a kind in order (by leakage where one is unknown); trained attackers that found more beside."""
    utility = results.utility_rows(verify)
    both = [
        name for name in judge["variants"] if name in utility and results.leakage(judge, name, question)[0] is not None
    ]
    series, extra = [], []
    for kind, names in results.families(both).items():
        points = []
        for name in names:
            accuracy, (leak, error) = utility[name]["accuracy"], results.leakage(judge, name, question)
            points.append(_point(name, leak or 0.0, error or 0.0, accuracy))
            for attack in reading.TRAINED:
                more = judge["variants"][name].get(attack, {}).get("retrieval", {}).get(question)
                if more and more["rank"]["1"] > (leak or 0.0):
                    point = _point(f"{name}, {attack}", more["rank"]["1"], more["standard_error"]["rank_1"], accuracy)
                    extra.append(Series(f"{name}, {attack} attacker", [point], joined=False))
        if not all("@" in name for name in names):  # a strength that its name does not tell
            points.sort(key=lambda point: point.leakage)
        series.append(Series(kind, points, joined=len(points) > 1))
    return series + extra


def retrieval(judge: dict[str, Any], question: str) -> Drawing | None:
    """Found among the first k; None where the question cannot be asked."""
    lines = [
        Line(name, figures_["cmc"]["rank"], figures_["cmc"]["rate"])
        for name, found in judge["variants"].items()
        if (figures_ := found["retrieval"][question])
    ]
    if not lines:
        return None
    some = next(iter(judge["variants"].values()))["retrieval"][question]
    ranks = [int(k) for k in some["chance"]["rank"]]
    lines.append(Line("blind guess", ranks, list(some["chance"]["rank"].values()), guide=True))
    words = "the same identity, own source left out" if question == "same_identity" else "the same image"
    caption = f"Retrieval of {words}: share of queries that find it among the first k originals. Lower is more private."
    svg = figures.curves(lines, x="k", y="share found among the first k", log_x=True)
    return _drawing(svg, f"Retrieval of {words}, {judge['name']}", caption, reading.retrieval(judge, question))


def scores(judge: dict[str, Any]) -> Drawing:
    """The two hills of cosines of one variant."""
    shown = reading.shown_variant(judge)
    bars = judge["variants"][shown]["matching"]["histogram"]
    middles = [(a + b) / 2 for a, b in zip(bars["edges"], bars["edges"][1:], strict=False)]
    lines = [
        Line(f"{shown} and own source", middles, bars["mated"]),
        Line("and other people", middles, bars["non_mated"]),
    ]
    caption = (
        f"Matching the variant {shown} with its own sources: cosine to the own source and to other people's images. The further apart the two "
        "hills, the easier the match."
    )
    return _drawing(
        figures.curves(lines, x="cosine", y="share of scores"),
        f"Embedding histogram, {judge['name']}",
        caption,
        reading.matching(judge),
    )


def fusion(found: Sequence[Measure], judge: str) -> Drawing | None:
    """People found with n images fused; None where no variant has two points."""
    rows = [
        one for one in found
        if (one.judge, one.attack, one.figure, one.question) == (judge, "fusion", "rank_1", "same_identity") and one.n
    ]  # fmt: skip
    lines = []
    for variant in dict.fromkeys(one.variant for one in rows):
        mine = [one for one in rows if one.variant == variant]
        low, high = [one.low or 0.0 for one in mine], [one.high or 0.0 for one in mine]
        lines.append(Line(variant, [one.n or 0 for one in mine], [one.value for one in mine], low, high))
    if not any(len(line.x) > 1 for line in lines):
        return None
    mine = [one for one in rows if one.variant == lines[0].label]
    for label, values in (
        ("originals fused", [one.ceiling for one in mine]),
        ("blind guess", [one.chance for one in mine]),
    ):
        lines.append(Line(label, lines[0].x, [value or 0.0 for value in values], guide=True))
    caption = (
        "Fusion: share of people found in another original when n protected images of one person are averaged (sources left out). Bands: "
        "intervals over people; each n has its own people, those with enough images."
    )
    svg = figures.curves(lines, x="n images of a person", y="share found first", log_x=True, whole_x=True)
    return _drawing(svg, f"Fusion of n images, {judge}", caption, attack_reading.fusion(found, judge))


def membership(audit: dict[str, Any]) -> Drawing | None:
    """ROC of the attack on training images; None when it was not run."""
    if not (found := audit.get("membership")):
        return None
    line = Line("membership", found["roc"]["far"], found["roc"]["tar"])
    svg = figures.curves([line], x="false positives", y="true positives", diagonal=True)
    caption = "Membership: images of training recognized as such (up) against others taken for such (right). On the diagonal, nothing is told apart."
    return _drawing(svg, "Membership inference", caption, attack_reading.membership(audit))


def roc(verify: dict[str, Any]) -> Drawing:
    """ROC of verification, one curve per recognizer."""
    lines = []
    for row in verify["rows"]:
        shown = [(far, tar) for far, tar in zip(row["roc"]["far"], row["roc"]["tar"], strict=True) if far > 0]
        lines.append(Line(row["name"], [far for far, _ in shown], [tar for _, tar in shown]))
    caption = (
        "Share of pairs of one person that are accepted (up) against share of pairs of two people that are accepted (right, logarithmic). "
        "Higher is more useful."
    )
    svg = figures.curves(lines, x="false accept rate", y="true accept rate", log_x=True)
    return _drawing(svg, "ROC of verification", caption, reading.verification(verify))


def training(run: str, lines: list[dict[str, Any]]) -> Drawing:
    """Losses over steps."""
    parts = [key for key in ("loss", "pixel", "irm", "feature", "unlink") if any(key in line for line in lines)]
    drawn = [
        Line(part, [line["step"] for line in lines if part in line], [line[part] for line in lines if part in line])
        for part in parts
    ]
    return _drawing(
        figures.curves(drawn, x="step", y="loss", log_y=True), f"Training of {run}", run, reading.training(lines)
    )


def _drawing(svg: str, title: str, caption: str, read: str = "") -> Drawing:
    return Drawing(Markup(figures.described(svg, title, f"{caption} {read}".strip())), caption, read)


def _point(label: str, leak: float, error: float, accuracy: dict[str, Any]) -> Point:
    return Point(label, 100 * leak, 100 * accuracy["mean"], 100 * error, 100 * accuracy["standard_error"])


def _hundred(value: float | None) -> float | None:
    return None if value is None else 100 * value
