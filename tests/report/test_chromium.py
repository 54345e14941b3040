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
from sweep_help import RATIO, crowd, group

from facemae_jax.report import compare_page, compared, page, sweep_page
from facemae_jax.report.leakages import OVERALL

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
  const overlaps = (a, b) => Math.min(a.right, b.right) - Math.max(a.left, b.left) > 1 && Math.min(a.bottom, b.bottom) - Math.max(a.top, b.top) > 1;
  const clashes = svg => { const words = [...svg.querySelectorAll("text")].filter(text => box(text).width > 0);
    return words.flatMap((one, at) => words.slice(0, at).filter(other => overlaps(box(one), box(other)))
      .map(other => one.textContent + " / " + other.textContent)); };
  const visible = all("svg").filter(svg => svg.checkVisibility());
  // Every choice in turn: which panels are shown, and whether they are drawn.
  const choose = box => { box.click(); return all(".panel, .unmeasured").filter(part => part.checkVisibility()); };
  const shown = all("input[name=leak]").flatMap(leak => all("input[name=judge]").map(judge => { leak.click(); const parts = choose(judge);
    return [parts.length, parts.every(part => part.className === "unmeasured" || drawn(part.querySelector("svg"))), parts[0].id,
      parts.flatMap(part => [...part.querySelectorAll("svg")]).flatMap(clashes)]; }));
  const first = [all("input[name=leak]")[0], all("input[name=judge]")[0]].filter(Boolean);
  first.forEach(box => box.click());
  const wide = all("body *").filter(element => !element.closest(".scroll, svg, .skip") && box(element).right > innerWidth + 1);
  const skip = document.querySelector(".skip"), before = box(skip).right;
  skip.focus();
  const stops = all("a[href], summary, [tabindex='0'], input");
  const steps = stops.filter(element => { element.focus(); return document.activeElement === element; });
  skip.focus();
  const seen = { errors, width: innerWidth, scroll: document.scrollingElement.scrollWidth, charts: visible.length, shown,
    clashes: visible.filter(svg => svg.closest("figure") && svg.innerHTML.includes("leakage")).flatMap(clashes),
    drawn: visible.filter(drawn).length, lines: Math.min(...visible.map(inside)), pictures: all("img").map(image => image.naturalWidth),
    wide: wide.map(element => element.tagName), tables: all(".scroll").map(element => [element.scrollWidth, element.clientWidth]),
    skip: [before, box(skip).left], steps: steps.length, reachable: stops.length,
    ring: getComputedStyle(skip).outlineStyle,
    letters: Math.min(...visible.flatMap(svg => [...svg.querySelectorAll("text")]).map(text => box(text).height)) };
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
    if kind == "sweep":
        groups = crowd()
        only = group("reconstruction", {RATIO: 0.1}, 0.8, 0.2, "teacher", linkage_same_identity_d_sys=0.3)
        return sweep_page.render(
            title=f"Sweep of {long}", fields=[RATIO], along=RATIO, groups=[*groups, only], notes=["all"], csv="a\n1\n",
            made=[("grid", f"{RATIO}=0.35,0.4")],
        )  # fmt: skip
    if kind == "sweeps":
        settings = [one for one in crowd() if one["judge"] != OVERALL]
        worst = [one for one in crowd() if one["judge"] == OVERALL]
        one = dict(settings=settings, worst=worst, points=[dict(state="complete")], along=RATIO)
        return compare_page.render([compared.sweep_of(name, one) for name in ("one", long)])
    return compare_page.render(
        [compared.run_of(name, verify(), audit(), [("code", "abc")]) for name in ("one", long, "three")]
    )


@pytest.mark.parametrize("width", [1200, 390])
@pytest.mark.parametrize("kind", ["report", "compare", "sweep", "sweeps"])
def test_a_page_is_drawn_without_complaint_and_fits(tmp_path, kind, width):
    seen, console = look(tmp_path, text_of(kind), width)
    assert seen["errors"] == [] and console == []
    assert seen["width"] == width and seen["scroll"] <= width and seen["wide"] == []
    charts = 1 if kind == "sweep" else text_of(kind).count("<svg ")
    assert seen["drawn"] == seen["charts"] == charts and seen["lines"] >= 3 and (charts >= 4 or kind == "sweep")
    assert seen["clashes"] == []  # no label covers another
    assert seen["pictures"] == ([8 * 114 - 2] if kind == "report" else [])
    assert seen["letters"] >= 7  # pixels of the smallest letters in a figure
    # A keyboard reaches all links and every table, and the way past the head is hidden until it does.
    assert (
        seen["steps"] == seen["reachable"] >= 3 and seen["skip"][0] < 0 <= seen["skip"][1] and seen["ring"] == "solid"
    )
    if width == 390:
        assert any(inner > outer for inner, outer in seen["tables"])  # what is too wide scrolls inside


def test_each_choice_of_a_sweep_shows_one_curve_or_says_that_there_is_none(tmp_path):
    seen, _ = look(tmp_path, text_of("sweep"), 390)
    numbers = [(leak, judge) for leak in range(4) for judge in range(3)]
    assert [count for count, *_ in seen["shown"]] == [1] * len(numbers) and all(drawn for _, drawn, *_ in seen["shown"])
    expected = [f"panel{leak}-{judge}" if leak < 3 or judge == 1 else "" for leak, judge in numbers]
    assert [name for _, _, name, _ in seen["shown"]] == expected  # D_sys was measured by the first judge alone
    assert [clashes for *_, clashes in seen["shown"]] == [[]] * len(numbers)


def test_the_probe_sees_what_is_wrong(tmp_path):
    """The checks above can fail: a broken picture, a fetch, a wide block, an empty drawing."""
    bad = (
        '<!doctype html><html><head></head><body><a class="skip" href="#x">x</a><img src="data:image/png;base64,AAAA"><img src="http://127.0.0.1:9/x.png">'
        '<div style="width:1500px">wide</div><svg width="0" height="0"><text>t</text></svg>'
        '<figure><svg width="300" height="90"><desc>leakage</desc><text x="9" y="40">one</text><text x="15" y="42">two</text></svg>'
        "</figure><script>undefined_name()</script></body></html>"
    )
    seen, console = look(tmp_path, bad, 390)
    kinds = {error.split(":")[0] for error in seen["errors"]}
    assert kinds == {"error", "fetch"} and any("undefined_name" in error for error in seen["errors"]) and console
    assert seen["wide"] == ["DIV"] and seen["scroll"] >= 1500 and (seen["charts"], seen["drawn"]) == (2, 1)
    assert seen["clashes"] == ["two / one"]


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
