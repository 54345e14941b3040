"""The plane of leakage and utility: what is drawn, what is joined, and that every label can be read."""

import random
import re
import xml.etree.ElementTree as ElementTree

import pytest

from facemae_jax.report.figures import GUIDE, LOOKS, OTHERS
from facemae_jax.report.plane import Guide, Point, Series, looks_of, trade_off_curve, width

SVG = "{http://www.w3.org/2000/svg}"


def texts(svg):
    """What a reader sees in words; fails where the SVG is no well-formed XML."""
    return ["".join(element.itertext()) for element in ElementTree.fromstring(svg).iter(f"{SVG}text")]


def strokes(svg):
    return re.findall(r"stroke: (#[0-9a-f]{6})", svg)


def trade_off(points, **more):
    """Every point a series of its own, as a report has it."""
    return trade_off_curve([Series(point.label, [point], joined=False) for point in points], legend=False, **more)


def test_trade_off_shows_every_variant_once():
    points = [Point("original", 50.0, 90.0, 1.0, 0.5), Point("reconstruction", 5.0, 80.0), Point("other", 20.0, 70.0)]
    svg = trade_off(points, x="leakage", y="utility")
    for label in ("original", "reconstruction", "other", "leakage", "utility"):
        assert texts(svg).count(label) == 1
    assert LOOKS["reconstruction"][0] in strokes(svg) and OTHERS[0][0] in strokes(svg)
    assert "nan" not in svg.lower()


def test_errors_are_drawn_in_both_directions():
    points = [Point("mask", 50.0, 50.0, leakage, utility) for leakage in (0.0, 10.0) for utility in (0.0, 10.0)]
    assert len({trade_off([point], x="x", y="y") for point in points}) == 4


def test_guides_are_drawn_and_named():
    points = [Point("mask", 50.0, 50.0)]
    svg = trade_off(
        points, x="x", y="y", guides=[Guide("blind guess", 2.0, 50.0), Guide("ceiling", 80.0), Guide("none")]
    )
    assert texts(svg).count("blind guess") == 2 and texts(svg).count("ceiling") == 1 and "none" not in texts(svg)
    assert strokes(svg).count(GUIDE) == 3 and GUIDE not in strokes(trade_off(points, x="x", y="y"))


def test_a_series_without_points_keeps_its_colour():
    one = [Point("mask", 1.0, 2.0)]
    alone, second = ([Series("run b", one)], [Series("run a", []), Series("run b", one)])
    drawn = trade_off_curve(second, x="x", y="y")
    assert "run a" not in texts(drawn) and OTHERS[1][0] in strokes(drawn)
    assert OTHERS[0][0] in strokes(trade_off_curve(alone, x="x", y="y"))


def test_the_same_numbers_give_the_same_bytes():
    first = trade_off([Point("mask", 1.0, 2.0)], x="x", y="y")
    trade_off([Point("blur", 3.0, 2.0)], x="u", y="v")  # what was drawn before does not matter
    assert trade_off([Point("mask", 1.0, 2.0)], x="x", y="y") == first and "dc:date" not in first


@pytest.mark.parametrize("name", ["<script>alert(1)</script>", 'a"b&c', r"$\frac$ broken", "$x$", "--> <b>"])
def test_names_are_text_and_nothing_else(name):
    """Neither markup nor a formula: a judge is called after its file."""
    svg = trade_off_curve([Series(name, [Point(name, 1.0, 2.0)])], x=name, y=name)
    assert texts(svg).count(name) == 4 and "<script" not in svg and "<b>" not in svg


def labels_of(svg):
    """Label → its box in the drawing, y downwards: words in the middle of their place."""
    found = {}
    for element in ElementTree.fromstring(svg).iter(f"{SVG}text"):
        style, words = element.get("style", ""), "".join(element.itertext())
        at = re.match(r"(?:translate\(|rotate\(.*?, )?(-?[\d.]+)[ ,]+(-?[\d.]+)", element.get("transform", ""))
        x, y = (float(element.get("x")), float(element.get("y"))) if element.get("x") else map(float, at.groups())
        if "font: 8px" in style or "8px" in style:
            half = width(words) / 2
            found.setdefault(words, []).append((x - half, y - 7, x + half, y + 1))
    return found


def clashes(svg, names):
    boxes = [box for name in names for box in labels_of(svg)[name]]
    return [
        (a, b) for at, a in enumerate(boxes) for b in boxes[:at]
        if a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]
    ]  # fmt: skip


def scattered(count, words, spread):
    draw = random.Random(0)
    points = [
        Point(f"{words}{number}", 50 + draw.gauss(0, spread), 80 + draw.gauss(0, spread), 1, 1)
        for number in range(count)
    ]
    return [Series("a", points[: count // 2]), Series("b", points[count // 2 :])]


def test_labels_of_a_crowd_do_not_cover_each_other():
    svg = trade_off_curve(scattered(24, "0.", 5), x="x", y="y")
    names = [f"0.{number}" for number in range(24)]
    assert set(names) <= set(texts(svg)) and clashes(svg, names) == []


def test_where_words_find_no_room_points_are_numbered_and_a_key_says_which_is_which():
    svg = trade_off_curve(scattered(40, "a setting with quite a long name ", 5), x="x", y="y")
    numbers = [str(number) for number in range(1, 41)]
    said = texts(svg)
    assert set(numbers) <= set(said) and clashes(svg, numbers) == []
    key = " ".join(text for text in said if "setting" in text)
    assert (
        re.search(r"\b1 a setting with quite a long name 0;", key) and "40 a setting with quite a long name 39" in key
    )
    assert any(text.startswith("a:") for text in said) and any(text.startswith("b:") for text in said)
    assert all(width(text) <= 352 for text in said)
    usual = trade_off_curve(scattered(4, "0.", 5), x="x", y="y")
    high = [float(re.search(r'height="([\d.]+)pt"', drawn)[1]) for drawn in (usual, svg)]
    assert high[1] > high[0] + 100  # the axes keep their size


def test_no_tick_stands_at_a_rate_that_cannot_be():
    svg = trade_off_curve([Series("mask", [Point("x", 1, 99, 12, 12), Point("y", 99, 1, 12, 12)])], x="u", y="v")
    numbers = [float(text.replace("\u2212", "-")) for text in texts(svg) if re.fullmatch(r"[\u2212\d.]+", text)]
    assert min(numbers) == 0 and max(numbers) == 100


def test_series_keep_their_looks_apart_and_may_be_given_one():
    points = [Point("0.5", 10, 80, 1, 1), Point("0.9", 5, 70)]
    drawn = trade_off_curve([Series("reconstruction a", points), Series("reconstruction b", points)], x="x", y="y")
    assert LOOKS["reconstruction"][0] in strokes(drawn) and OTHERS[0][0] in strokes(drawn)
    given = trade_off_curve([Series("reconstruction", points, look=("#123456", "o", "-"))], x="x", y="y")
    assert "#123456" in strokes(given) and LOOKS["reconstruction"][0] not in strokes(given)
    many = [Series(f"name {number}", points) for number in range(9)]
    assert len(set(looks_of(many))) == 9


def test_only_joined_series_have_a_line():
    points = [Point("$0.5", 10, 80, 1, 1), Point("0.9", 5, 70)]
    alone = trade_off_curve([Series("mask", points, joined=False)], x="x", y="y")
    assert alone != trade_off_curve([Series("mask", points)], x="x", y="y")
    assert "<svg" in trade_off_curve([], x="x", y="y")
