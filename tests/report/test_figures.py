import base64
import io
import math
import re
import xml.etree.ElementTree as ElementTree

import numpy as np
import pytest
from PIL import Image

from facemae_jax.report.figures import LOOKS, Line, curves, described, image_grid, look

SVG = "{http://www.w3.org/2000/svg}"
LINES = [Line("original", [1, 10, 100], [0.2, 0.5, 1.0]), Line("mask", [1, 10, 100], [0.1, 0.3, 0.9])]


def texts(svg):
    """What a reader sees in words; fails where the SVG is no well-formed XML."""
    return ["".join(element.itertext()) for element in ElementTree.fromstring(svg).iter(f"{SVG}text")]


def strokes(svg):
    return re.findall(r"stroke: (#[0-9a-f]{6})", svg)


def test_curves_are_drawn_with_their_labels_and_axes():
    svg = curves(LINES, x="rank", y="share")
    assert svg.startswith('<svg role="img" ') and svg.rstrip().endswith("</svg>")
    assert {"rank", "share", "original", "mask"} <= set(texts(svg))
    assert LOOKS["original"][0] in strokes(svg) and LOOKS["mask"][0] in strokes(svg)


def test_scales():
    points = {name: curve(log) for name, log in (("even", {}), ("log", dict(log_x=True)))}
    # 1, 10, 100: the middle one stands at a tenth of an even axis and in the middle of a logarithmic one.
    assert points["even"] == pytest.approx(1 / 11, abs=0.01) and points["log"] == pytest.approx(1 / 2, abs=0.01)
    assert curves(LINES, x="x", y="y", log_y=True) != curves(LINES, x="x", y="y")
    assert "#bbbbbb" in strokes(curves(LINES, x="x", y="y", diagonal=True))
    assert "#bbbbbb" not in strokes(curves(LINES, x="x", y="y"))


def curve(scale):
    """Where the second of three points of the first line lies between the others."""
    svg = curves(LINES[:1], x="x", y="y", **scale)
    paths = [
        path for path in ElementTree.fromstring(svg).iter(f"{SVG}path") if LOOKS["original"][0] in path.get("style")
    ]
    drawn = next(path.get("d") for path in paths if path.get("d").count("L") == 2)  # the next one is in the legend
    left, middle, right = map(float, re.findall(r"[ML] ([\d.]+) ", drawn))
    return (middle - left) / (right - left)


def test_lines_without_points_are_left_out():
    svg = curves([*LINES, Line("noise", [], [])], x="x", y="y")
    assert "noise" not in texts(svg) and svg == curves(LINES, x="x", y="y")
    assert "x" in texts(curves([], x="x", y="y"))  # axes alone, without a complaint about the missing legend


def test_points_that_are_no_numbers_are_left_out():
    svg = curves([Line("loss", [1, 2, 3, 4], [1.0, math.nan, 2.0, math.inf])], x="step", y="loss", log_y=True)
    assert "loss" in texts(svg) and "nan" not in svg.lower() and not re.search(r"\binf", svg)


def test_the_same_numbers_give_the_same_bytes():
    """No date and no random name, so that a report can be compared with the one of yesterday."""
    first = curves(LINES, x="x", y="y")
    image_grid(np.zeros((1, 4, 4, 3), np.uint8), columns=1)  # what was drawn before does not matter
    curves(LINES[::-1], x="u", y="v")
    assert curves(LINES, x="x", y="y") == first and "dc:date" not in first


@pytest.mark.parametrize("name", ["<script>alert(1)</script>", 'a"b&c', r"$\frac$ broken", "$x$", "--> <b>"])
def test_names_are_text_and_nothing_else(name):
    """Neither markup nor a formula: a judge is called after its file."""
    svg = curves([Line(name, [1, 2], [1, 2])], x=name, y=name)
    assert texts(svg).count(name) == 3
    assert "<script" not in svg and "<b>" not in svg


def test_nothing_is_loaded_from_elsewhere():
    svg = curves(LINES, x="x", y="y")
    references = [value for element in ElementTree.fromstring(svg).iter() for value in element.attrib.values()]
    assert all(value.startswith("#") for value in re.findall(r'href="([^"]*)"', svg))
    assert not any("url(" in value and "url(#" not in value for value in references)
    assert "@import" not in svg and "<image" not in svg


def test_looks_differ_in_colour_marker_and_dash():
    known = [look(name, 0) for name in LOOKS]
    assert len({colour for colour, _, _ in known}) == len({marker for _, marker, _ in known}) == len(known)
    assert look("reconstruction and own source", 3) == LOOKS["reconstruction"]  # the variant begins the label
    assert len({look("judge", position) for position in range(4)}) == 4 and look("judge", 5) == look("judge", 1)


def pixels(address):
    head, _, data = address.partition(",")
    assert head == "data:image/png;base64"
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(data))).convert("RGB"))


def test_image_grid_holds_the_images_pixel_by_pixel():
    images = np.random.default_rng(0).integers(0, 256, (5, 4, 6, 3), np.uint8)
    sheet = pixels(image_grid(images, columns=3, gap=2))
    assert sheet.shape == (4 + 2 + 4, 6 + 2 + 6 + 2 + 6, 3)
    for position, image in enumerate(images):
        top, left = (position // 3) * 6, (position % 3) * 8
        np.testing.assert_array_equal(sheet[top : top + 4, left : left + 6], image)
    assert (sheet[4:6] == 255).all() and (sheet[:, 6:8] == 255).all()
    assert (sheet[6:, 16:] == 255).all()  # the sixth place is empty
    np.testing.assert_array_equal(pixels(image_grid(images[:1], columns=1)), images[0])


def test_strengths_of_a_kind_share_its_colour_and_differ_in_dash():
    svg = curves([Line(f"blur@{n}", [1, 2], [n, n]) for n in (1, 2, 4)], x="x", y="y")
    styles = {
        path.get("style")
        for path in ElementTree.fromstring(svg).iter(f"{SVG}path")
        if LOOKS["blur"][0] in path.get("style", "")
    }
    assert len(styles) == 3 and look("blur@2", 7) == LOOKS["blur"] == look("blur@2, aware attacker", 1)


def test_bands_and_whole_numbers():
    line = Line("mask", [1, 2, 4], [0.1, 0.2, 0.3])
    plain = curves([line], x="n", y="y", log_x=True, whole_x=True)
    assert {"1", "2", "4"} <= set(texts(plain)) and "3" not in texts(plain)
    band = curves([line._replace(low=[0.0] * 3, high=[0.5] * 3)], x="n", y="y", log_x=True, whole_x=True)
    assert "opacity: 0.13" in band and "opacity: 0.13" not in plain


def test_a_drawing_is_described_inside():
    svg = described(curves(LINES, x="x", y="y"), "Title <1>", 'What "it" & all says')
    root = ElementTree.fromstring(svg)
    assert [child.tag for child in root][:2] == [f"{SVG}title", f"{SVG}desc"]
    assert root[0].text == "Title <1>" and root[1].text == 'What "it" & all says' and root.get("role") == "img"
