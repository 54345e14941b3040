"""The page of a sweep: what is drawn and said, from means made by hand."""

import base64
import functools
import re
from html.parser import HTMLParser

import pytest
from sweep_help import RATIO, group, ratios

from facemae_jax.report import sweep_page
from facemae_jax.report.leakages import OVERALL

EVIL = '<img src=x onerror="alert(1)">'


def page(groups=None, **changes):
    given = dict(
        title="Sweep of demo", fields=[RATIO], along=RATIO,
        groups=ratios() + ratios("recognizer:original") + ratios(OVERALL) if groups is None else groups,
        notes=["2 of 2"], csv="a,b\n1,2\n", made=[("code", "abc")],
    )  # fmt: skip
    return sweep_page.render(**(given | changes))


@functools.cache
def usual():
    return page()


def test_the_reading_says_where_the_reconstruction_stands():
    said = sweep_page.reading(ratios())
    assert "most useful reconstruction is mae.mask_ratio = 0.5, right in 86.0 ± 1.0 %" in said[0]
    assert "most private is mae.mask_ratio = 0.9" in said[0]
    assert said[1:] == [
        "Some setting is at least as useful and no more leaky than blur@4.",
        "Against blur@2, mask, one is bought with the other: no setting is both as useful and no more leaky.",
    ]
    better = sweep_page.reading([group("noise", None, 0.95, 0.1), *ratios()[-2:]])
    assert better[1:] == ["noise: at least as useful and no more leaky than every setting tried."]
    assert sweep_page.reading([group("mask", None, 0.9, 0.1)]) == []


def test_the_page_is_whole_and_self_contained():
    text = usual()
    assert text.count("<svg") == text.count('class="panel"') == 3 * 3
    assert "</strong> is not independent of the teacher" in text and "</strong> is independent of the teacher" in text
    assert not re.search(r'(?:src|href)="(?!data:|#)', text) and "<script" not in text
    data = re.search(r'href="data:text/csv;charset=utf-8;base64,([^"]+)" download', text)
    assert base64.b64decode(data[1]).decode("utf-8-sig") == "a,b\n1,2\n"
    assert '<tr class="ours"><th scope="row">reconstruction<small>mae.mask_ratio = 0.9</small></th><td>2</td>' in text
    assert '<tr><th scope="row">mask</th>' in text
    HTMLParser().feed(text)


def test_equal_leakage_stands_above_its_curve():
    text = usual()
    panel = text[text.index('id="panel0-0"') : text.index('id="panel0-1"')]
    told, drawn = panel.index("the best distortion reaches 74.0 ± 1.0 %"), panel.index("<svg")
    assert told < drawn and "People found by the strongest attacker with single images: worst over all judges" in panel


def test_each_choice_shows_its_panel_and_no_other():
    groups = [*ratios(), *ratios("other"), *ratios(OVERALL)]
    groups.append(group("reconstruction", {RATIO: 0.1}, 0.8, 0.2, "other", fusion_rank_1=0.3, fusion_n=8))
    text = page(groups)
    shown = re.search(r"\n(\.curves:has[^{]*) \{ display: block; \}\n(\.curves[^{]*) \{ display: none; \}", text)
    rules = re.findall(r"\.curves:has\(#leak(\d):checked\):has\(#judge(\d):checked\) #panel(\d)-(\d)", shown[1])
    assert len(rules) == 10 and all((a, b) == (c, d) for a, b, c, d in rules)
    assert {f"panel{a}-{b}" for a, b, *_ in rules} == set(re.findall(r'class="panel" id="(\w+-\d)"', text))
    assert ("3", "2", "3", "2") in rules  # fusion, by the other judge alone
    assert len(re.findall(r"\.unmeasured", shown[2])) == 10
    assert re.findall(r'id="(leak\d|judge\d)" checked', text) == ["leak0", "judge0"]
    assert len(re.findall('type="radio" name="leak"', text)) == 4 and text.count('name="judge"') == 3
    assert "> worst over all judges</label>" in text


def test_without_a_complete_point_the_page_says_so():
    text = page(groups=[])
    assert "No point is complete yet." in text and "<svg" not in text and "there is no curve" in text


def test_words_of_others_stay_words():
    text = page(groups=ratios(EVIL) + ratios(OVERALL), notes=[EVIL], title=EVIL)
    assert EVIL not in text and "&lt;img" in text


@pytest.mark.parametrize("groups", [[group("mask", None, None, 0.3)], [group("mask", None, 0.7, None)]])
def test_with_half_of_the_figures_there_is_a_table_and_no_curve(groups):
    text = page(groups=groups)
    assert "there is no curve" in text and '<th scope="row">mask</th>' in text
