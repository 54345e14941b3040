"""The page in a real browser: nothing complains, everything is drawn, it fits a phone, and it prints.

A page under test carries a script that writes what it sees into an attribute of the document, which Chromium then dumps: no driver is
needed. The phone is a frame of 390 pixels, because a window of a headless browser is never narrower than 500.
"""

import functools
import html
import json
import os
import re
import shutil
import subprocess

import pytest
from report_help import MADE, audit, given, painted, verify

from facemae_jax.report import compare_page, page

pytestmark = pytest.mark.slow
NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--enable-logging=stderr", "--virtual-time-budget=4000",
)  # fmt: skip
PROBE = """<script>
const errors = [];
const collect = kind => event => errors.push(
  kind + ": " + (event.message || event.blockedURI || event.target && event.target.outerHTML || event.reason));
addEventListener("error", collect("error"), true);
addEventListener("unhandledrejection", collect("rejection"));
document.addEventListener("securitypolicyviolation", collect("fetch"));
addEventListener("load", () => {
  const box = element => element.getBoundingClientRect();
  const all = selector => [...document.querySelectorAll(selector)];
  const drawn = element => box(element).width > 100 && box(element).height > 60;
  const inside = element => { const outer = box(element), inner = [...element.querySelectorAll("path")].map(box);
    return inner.filter(path => path.width > 0 && path.right > outer.left && path.left < outer.right).length; };
  const wide = all("body *").filter(element => !element.closest(".scroll, svg, .skip") && box(element).right > innerWidth + 1);
  const skip = document.querySelector(".skip"), before = box(skip).right;
  skip.focus();
  const steps = all("a[href], summary, [tabindex='0']").filter(element => { element.focus(); return document.activeElement === element; });
  skip.focus();
  const seen = { errors, width: innerWidth, scroll: document.scrollingElement.scrollWidth, charts: all("svg").length,
    drawn: all("svg").filter(drawn).length, lines: Math.min(...all("svg").map(inside)), pictures: all("img").map(image => image.naturalWidth),
    wide: wide.map(element => element.tagName), tables: all(".scroll").map(element => [element.scrollWidth, element.clientWidth]),
    skip: [before, box(skip).left], steps: steps.length, reachable: all("a[href], summary, [tabindex='0']").length,
    ring: getComputedStyle(skip).outlineStyle, letters: Math.min(...all("svg text").map(text => box(text).height)) };
  (parent === window ? document : parent.document).documentElement.dataset.seen = JSON.stringify(seen);
});
</script>"""
RULES = "default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'unsafe-inline'"
POLICY = f'<meta http-equiv="Content-Security-Policy" content="{RULES}">'


@functools.cache
def browser():
    named = os.environ.get("CHROMIUM", "")
    found = named or next((path for name in NAMES if (path := shutil.which(name))), "")
    if not found:
        pytest.skip(f"no browser: install chromium, or name one in CHROMIUM (looked for {', '.join(NAMES)})")
    return found


def chromium(folder, *flags):
    """Run the browser once; gives back what it wrote and what its console said."""
    command = [browser(), *FLAGS, f"--user-data-dir={folder / 'profile'}", *flags]
    done = subprocess.run(command, capture_output=True, text=True, timeout=180)
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout, [line for line in done.stderr.splitlines() if ":CONSOLE" in line]


def look(folder, text, width):
    """What the page's own script saw at a width, and the console."""
    probed = text.replace("<head>", f"<head>{POLICY}{PROBE}", 1)
    if width < 500:
        frame = f'<iframe style="border:0;width:{width}px;height:800px" srcdoc="{html.escape(probed, quote=True)}"></iframe>'
        probed = f'<!doctype html><html><body style="margin:0">{frame}</body></html>'
    file = folder / f"page{width}.html"
    file.write_text(probed, encoding="utf-8")
    dumped, console = chromium(folder, "--window-size=1200,900", "--dump-dom", f"file://{file}")
    seen = re.search(r'<html[^>]*data-seen="([^"]*)"', dumped)
    assert seen, dumped[:500]
    return json.loads(html.unescape(seen[1])), console


@functools.cache
def text_of(kind):
    if kind == "report":
        return page.render(**given(images_nHWC=painted(24, 112)))
    long = "a judge with quite a long name that somebody called after a file"
    return compare_page.render(
        [compare_page.run_of(name, verify(), audit(), [("code", "abc")]) for name in ("one", long, "three")]
    )


@pytest.mark.parametrize("width", [1200, 390])
@pytest.mark.parametrize("kind", ["report", "compare"])
def test_a_page_is_drawn_without_complaint_and_fits(tmp_path, kind, width):
    seen, console = look(tmp_path, text_of(kind), width)
    assert seen["errors"] == [] and console == []
    assert seen["width"] == width and seen["scroll"] <= width and seen["wide"] == []
    assert seen["drawn"] == seen["charts"] == text_of(kind).count("<svg ") >= 4 and seen["lines"] >= 3
    assert seen["pictures"] == ([8 * 114 - 2] if kind == "report" else [])
    assert seen["letters"] >= 7  # pixels of the smallest letters in a figure
    # A keyboard reaches all links and every table, and the way past the head is hidden until it does.
    assert (
        seen["steps"] == seen["reachable"] >= 3 and seen["skip"][0] < 0 <= seen["skip"][1] and seen["ring"] == "solid"
    )
    if width == 390:
        assert any(inner > outer for inner, outer in seen["tables"])  # what is too wide scrolls inside


def test_the_probe_sees_what_is_wrong(tmp_path):
    """The checks above can fail: a broken picture, a fetch, a wide block, an empty drawing."""
    bad = (
        '<!doctype html><html><head></head><body><a class="skip" href="#x">x</a><img src="data:image/png;base64,AAAA"><img src="http://127.0.0.1:9/x.png">'
        '<div style="width:1500px">wide</div><svg width="0" height="0"><text>t</text></svg><script>undefined_name()</script></body></html>'
    )
    seen, console = look(tmp_path, bad, 390)
    kinds = {error.split(":")[0] for error in seen["errors"]}
    assert kinds == {"error", "fetch"} and any("undefined_name" in error for error in seen["errors"]) and console
    assert seen["wide"] == ["DIV"] and seen["scroll"] >= 1500 and (seen["charts"], seen["drawn"]) == (1, 0)


def pages(folder, text):
    """How many pages the browser prints."""
    file = folder / "page.html"
    file.write_text(text, encoding="utf-8")
    chromium(folder, "--no-pdf-header-footer", f"--print-to-pdf={folder / 'page.pdf'}", f"file://{file}")
    data = (folder / "page.pdf").read_bytes()
    assert data.startswith(b"%PDF") and len(data) > 50_000
    return len(re.findall(rb"/Type\s*/Page\b(?!s)", data))


def test_print_has_several_pages_and_opens_what_is_folded(tmp_path):
    short = pages(tmp_path, text_of("report"))
    many = MADE | dict(settings=[(f"field.{number}", "value") for number in range(300)])
    assert 3 < short < short + 4 < pages(tmp_path, page.render(**given(images_nHWC=painted(24, 112), made=many)))
