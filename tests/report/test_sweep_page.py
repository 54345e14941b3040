"""The page of a sweep: what is drawn and said, from means made by hand."""

import base64
import re
from html.parser import HTMLParser

import pytest

from facemae_jax.report import sweep_page
from facemae_jax.report.figures import Point, Series, trade_off_curve

EVIL = '<img src=x onerror="alert(1)">'


def group(variant, setting, utility, leak, judge="teacher", std=0.01):
    def figure(mean):
        return None if mean is None else {"mean": mean, "std": std, "n": 2}

    asked = dict.fromkeys(sweep_page.QUESTIONS, figure(leak))
    return {
        "setting": setting,
        "variant": variant,
        "judge": judge,
        "independent": judge != "teacher",
        "n": 2,
        "utility": figure(utility),
    } | asked


def ratios(judge="teacher"):
    return [
        group("original", None, 0.9, 0.8, judge),
        group("blur@4", None, 0.85, 0.6, judge),
        group("blur@2", None, 0.88, 0.7, judge),
        group("mask", None, 0.7, 0.05, judge),
        group("reconstruction", {"mae.mask_ratio": 0.9}, 0.78, 0.2, judge),
        group("reconstruction", {"mae.mask_ratio": 0.5}, 0.86, 0.5, judge),
    ]


def page(groups=None, **changes):
    given = dict(
        title="Sweep of demo", fields=["mae.mask_ratio"],
        along="mae.mask_ratio", groups=ratios() + ratios("recognizer:original") if groups is None else groups,
        cells=[["mae.mask_ratio", "trained on"], ["any", "mask"], ["0.5", "reconstruction"]], notes=["2 of 2"], csv="a,b\n1,2\n",
        made=[("code", "abc")],
    )  # fmt: skip
    return sweep_page.render(**(given | changes))


def test_series_run_along_the_numbers_that_were_swept():
    found = {s.label: s for s in sweep_page.series(ratios(), "mae.mask_ratio", "same_identity_rank_1")}
    assert list(found) == ["original", "blur, by strength", "mask", "reconstruction"]
    assert [p.label for p in found["reconstruction"].points] == ["0.5", "0.9"] and found["reconstruction"].joined
    assert found["reconstruction"].points[0] == Point("0.5", 50.0, 86.0, 1.0, 1.0)
    assert [p.label for p in found["blur, by strength"].points] == ["2", "4"] and found["blur, by strength"].joined
    assert not found["mask"].joined


def test_one_series_per_value_of_the_other_fields_and_none_without_numbers():
    groups = [
        group("reconstruction", {"irm.kind": kind, "mae.mask_ratio": ratio}, 0.8, ratio)
        for kind in ("cosine", "euclidean") for ratio in (0.5, 0.9)
    ]  # fmt: skip
    found = sweep_page.series(groups, "mae.mask_ratio", "same_image_rank_1")
    assert [s.label for s in found] == ["reconstruction irm.kind=cosine", "reconstruction irm.kind=euclidean"]
    words = [group("reconstruction", {"irm.kind": kind}, 0.8, 0.1) for kind in ("cosine", "euclidean")]
    (one,) = sweep_page.series(words, None, "same_image_rank_1")
    assert [p.label for p in one.points] == ["cosine", "euclidean"] and not one.joined
    assert (
        sweep_page.series([group("mask", None, None, 0.1), group("mask", None, 0.1, None)], None, "same_image_rank_1")
        == []
    )


def test_the_reading_says_where_the_reconstruction_stands():
    said = sweep_page.reading(ratios())
    assert "most useful reconstruction is mae.mask_ratio = 0.5, right in 86.0 ± 1.0 %" in said[0]
    assert "most private is mae.mask_ratio = 0.9" in said[0]
    by = {sentence.split(" (")[0]: sentence for sentence in said[1:]}
    assert "at least as useful and no more leaky with mae.mask_ratio = 0.5." in by["Against blur@4"]
    assert "one buys the one with the other" in by["Against mask"] and "Against original" not in by
    better = sweep_page.reading([group("noise", None, 0.95, 0.1), *ratios()[-2:]])
    assert "noise is at least as useful and no more leaky than every setting" in better[1]
    assert sweep_page.reading([group("mask", None, 0.9, 0.1)]) == []


def test_the_page_is_whole_and_self_contained():
    text = page()
    assert text.count("<svg") == 4 and text.count('aria-label="Utility (up') == 4
    assert "This attacker is not independent" in text and "This attacker is independent" in text
    assert not re.search(r'(?:src|href)="(?!data:|#)', text) and "<script" not in text
    data = re.search(r'href="data:text/csv;base64,([^"]+)" download', text)
    assert base64.b64decode(data[1]) == b"a,b\n1,2\n"
    assert '<tr class="ours"><td>0.5</td>' in text and "<tr><td>any</td>" in text
    HTMLParser().feed(text)


def test_without_a_complete_point_the_page_says_so():
    text = page(groups=[], cells=[])
    assert "No point is complete yet." in text and "<svg" not in text


def test_words_of_others_stay_words():
    text = page(groups=ratios(EVIL), notes=[EVIL], title=EVIL)
    assert EVIL not in text and "&lt;img" in text


def test_a_curve_keeps_series_apart_and_formulas_words():
    points = [Point("$0.5", 10, 80, 1, 1), Point("0.9", 5, 70)]
    drawn = trade_off_curve([Series("reconstruction a$", points), Series("reconstruction b", points)], x="$x", y="y")
    assert drawn.count("#0067b1") and drawn.count("#c4473a") and "reconstruction a$" in drawn and "$0.5" in drawn
    alone = trade_off_curve([Series("mask", points, joined=False)], x="x", y="y")
    assert alone != trade_off_curve([Series("mask", points)], x="x", y="y")
    assert "<svg" in trade_off_curve([], x="x", y="y")
    assert trade_off_curve([Series("mask", points)], x="x", y="y") == trade_off_curve(
        [Series("mask", points)], x="x", y="y"
    )


@pytest.mark.parametrize("std", [None, 0.02])
def test_one_seed_has_no_bars(std):
    (one,) = sweep_page.series([group("mask", None, 0.7, 0.1, std=std)], None, "same_image_rank_1")
    assert one.points[0].utility_error == pytest.approx(100 * (std or 0))
