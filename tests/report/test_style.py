"""Colours and marks of the pages for people who see little, print in grey, or use no mouse."""

import functools
import re
from html.parser import HTMLParser

import pytest
from report_help import given
from sweep_help import RATIO, ratios

from facemae_jax.report import compare_page, compared, figures, page, sweep_page
from facemae_jax.report.leakages import OVERALL

STYLE = str(page.style())
COLOURS = dict(re.findall(r"--([a-z]+): (#[0-9a-f]{6});", STYLE))


def luminance(colour):
    """Relative luminance (WCAG 2)."""
    parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one, other):
    light, dark = sorted((luminance(one), luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def test_contrast_is_computed_right():
    assert contrast("#000000", "#ffffff") == pytest.approx(21) and contrast("#777777", "#ffffff") == pytest.approx(
        4.48, abs=0.01
    )


@pytest.mark.parametrize("text", ["ink", "soft", "blue"])
@pytest.mark.parametrize("ground", ["paper", "tint", "blush"])
def test_text_stands_out(text, ground):
    assert contrast(COLOURS[text], COLOURS[ground]) >= 4.5


def test_no_colour_is_set_but_by_name():
    rules = STYLE[STYLE.index("}") :]
    assert not re.search(r"#[0-9a-fA-F]{3,8}\b", rules)
    assert set(re.findall(r"(?<![-\w])color: var\(--([a-z]+)\)", rules)) <= {"ink", "soft", "blue"}
    assert set(re.findall(r"background: var\(--([a-z]+)\)", rules)) <= {"paper", "tint", "blush"}


def test_lines_and_words_of_figures_stand_out():
    for colour, *_ in [*figures.LOOKS.values(), *figures.OTHERS, (figures.GUIDE,)]:
        assert contrast(colour, "#ffffff") >= 3
    words = [style for style in re.findall(r'<text style="([^"]*)"', rendered())]
    assert len(words) > 100
    for style in words:
        colour = re.search(r"fill: (#[0-9a-f]{6})", style)
        assert contrast(colour[1] if colour else "#000000", "#ffffff") >= 4.5


@functools.cache
def rendered():
    return page.render(**given())


@functools.cache
def side_by_side():
    everything = given()
    runs = [compared.run_of(name, everything["verify"], everything["audit"], []) for name in ("a", "b")]
    return compare_page.render(runs)


@functools.cache
def swept():
    return sweep_page.render(
        title="x",
        fields=[RATIO],
        along=RATIO,
        groups=[*ratios(), *ratios(OVERALL)],
        notes=[],
        csv="a",
        made=[("a", "b")],
    )


class Reader(HTMLParser):
    def __init__(self, text):
        super().__init__()
        self.elements = []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))

    def all(self, tag):
        return [attributes for name, attributes in self.elements if name == tag]


@pytest.mark.parametrize("text", [rendered, side_by_side, swept])
def test_every_head_has_its_scope_and_every_drawing_its_words(text):
    reader = Reader(text())
    assert all("scope" in head for head in reader.all("th")) and reader.all("th")
    drawings = reader.all("svg")
    assert drawings and all(drawing.get("role") == "img" for drawing in drawings)
    assert len(re.findall(r"<svg[^>]*>\s*<title>[^<]+</title>\s*<desc>[^<]+</desc>", text())) == len(drawings)
    assert all(image.get("alt") for image in reader.all("img")) and reader.all("html") == [dict(lang="en")]
    assert len(reader.all("main")) == len(reader.all("h1")) == 1


@pytest.mark.parametrize("text", [rendered, side_by_side, swept])
def test_the_keyboard_reaches_everything(text):
    reader = Reader(text())
    first = next(attributes for tag, attributes in reader.elements if tag == "a")
    names = {attributes["id"] for _, attributes in reader.elements if "id" in attributes}
    assert first["class"] == "skip" and first["href"].removeprefix("#") in names
    assert all(link["href"][1:] in names for link in reader.all("a") if link["href"].startswith("#"))
    scrolled = [attributes for _, attributes in reader.elements if attributes.get("class") == "scroll"]
    assert len(scrolled) == len(reader.all("table"))
    assert all(box["tabindex"] == "0" and box["role"] == "region" and box["aria-label"] for box in scrolled)
    assert ":focus-visible { outline: 3px solid var(--blue)" in STYLE and "outline: none" not in STYLE
    assert re.search(r"\.skip:focus \{ left: \.5rem", STYLE)


def test_every_choice_has_its_words():
    labels = re.findall(r"<label><input [^>]*id=\"(\w+)\"[^>]*> [^<]+</label>", swept())
    choices = [box["id"] for box in Reader(swept()).all("input")]
    assert labels == choices and len(choices) == 3 + 2 and swept().count("<legend>") == swept().count("<fieldset") == 2
