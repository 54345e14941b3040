"""Several runs on one page: what is drawn, said and saved."""

import base64
import copy
import csv
import io
import re
from html.parser import HTMLParser

import pytest
from report_help import audit, verify

from facemae_jax.report import compare_page, compared, figures
from facemae_jax.report.leakages import OVERALL, worst
from facemae_jax.report.measured import measures

EVIL = '<img src=x onerror="alert(1)">'


def run(name="first", *, leak=None, facts=(("code", "abc"),), **changes):
    figures = copy.deepcopy(audit())
    if leak is not None:
        for judge in figures["judges"]:
            judge["variants"]["reconstruction"]["retrieval"]["same_identity"]["rank"]["1"] = leak
    return compared.run_of(name, verify(), figures | changes, list(facts))


def mean(value):
    return dict(mean=value, std=0.02, n=2)


def sweep(name="sweep of demo", variants=("reconstruction", "mask")):
    settings = [
        dict(
            setting={"mae.mask_ratio": ratio} if variant == "reconstruction" else None, variant=variant, judge="teacher",
            independent=False, utility=mean(0.5 + ratio / 10), same_image_rank_1=mean(0.3), same_identity_rank_1=mean(ratio / 4),
        )
        for variant in variants
        for ratio in ((0.5, 0.9) if variant == "reconstruction" else (0.5,))
    ]  # fmt: skip
    found = [
        dict(one, judge=OVERALL, worst=mean(one["same_identity_rank_1"]["mean"] + 0.25), attackers=mean(2.0))
        for one in settings
    ]
    points = [dict(state="complete"), dict(state="failed")]
    return compared.sweep_of(name, dict(settings=settings, worst=found, points=points, along="mae.mask_ratio"))


class Table(HTMLParser):
    def __init__(self, text):
        super().__init__()
        self.rows, self.cell = [], None
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.cell = ""

    def handle_data(self, data):
        if self.cell is not None:
            self.cell += data

    def handle_endtag(self, tag):
        if tag in ("td", "th"):
            self.rows[-1].append(self.cell)
            self.cell = None


def percent(value, error):
    return f"{100 * value:.1f} ± {100 * error:.1f}"


def test_the_table_has_a_row_per_variant_and_three_columns_per_run():
    rows = Table(compare_page.render([run(), run("second", leak=0.125), sweep()])).rows
    heads = ["trained on", "first", "second", "sweep of demo"]
    assert rows[0] == heads and rows[1] == ["utility", "identity"] * 3
    rows = rows[rows.index(heads, 1) :]  # after the worst over all judges
    assert rows[0] == heads and rows[1] == ["utility", "image", "identity"] * 3
    (mask,) = [row for row in rows[: rows.index(rows[0], 1)] if row[0] == "mask"]
    accuracy, figures = verify()["rows"][1]["accuracy"], audit()["judges"][0]["variants"]["mask"]["retrieval"]
    expected = [percent(accuracy["mean"], accuracy["standard_error"])]
    expected += [
        percent(figures[q]["rank"]["1"], figures[q]["standard_error"]["rank_1"])
        for q in ("same_image", "same_identity")
    ]
    assert mask[1:] == [*expected, *expected, "55.0 ± 2.0", "30.0 ± 2.0", "12.5 ± 2.0"]
    (ours,) = [row for row in rows[: rows.index(rows[0], 1)] if row[0] == "reconstruction"]
    assert ours[6].startswith("12.5 ±") and ours[3] != ours[6] and ours[7:] == ["–"] * 3
    other = audit()["judges"][1]["variants"]["mask"]["retrieval"]["same_identity"]
    told = percent(other["rank"]["1"], other["standard_error"]["rank_1"])
    assert told != mask[3] and [row[3] for row in rows[rows.index(rows[0], 1) :] if row[0] == "mask"] == [told]
    assert ["reconstruction, mae.mask_ratio=0.9", *["–"] * 6, "59.0 ± 2.0", "30.0 ± 2.0", "22.5 ± 2.0"] in rows


def test_the_worst_over_judges_stands_first():
    rows = Table(compare_page.render([run(), sweep()])).rows
    (ours,) = [row for row in rows[: rows.index(rows[0], 1)] if row[0] == "reconstruction"]
    most = worst(measures(audit()), "reconstruction")
    plain = [
        judge["variants"]["reconstruction"]["retrieval"]["same_identity"]["rank"]["1"] for judge in audit()["judges"]
    ]
    assert ours[2] == percent(most.value, most.error) and most.value > max(plain)
    assert ["reconstruction, mae.mask_ratio=0.9", "–", "–", "59.0 ± 2.0", "47.5 ± 2.0"] in rows
    said = compare_page.render([run(), sweep()])
    assert f"{compared.ATTACKERS}: {most.among} in first, 2 in sweep of demo" in said
    assert said.index("The strongest attacker over all judges</h2>") < said.index("Attacker: teacher</h2>")


def test_each_run_has_its_colour_on_every_figure():
    text = compare_page.render([run(), sweep()])
    drawn = re.findall(r"<svg.*?</svg>", text, re.S)
    assert len(drawn) == 5  # the worst, then two judges with two questions
    assert all("#c4473a" in figure for figure in drawn)
    assert ["#a87000" in figure for figure in drawn] == [True, True, True, False, False]  # the sweep has one judge
    drawn = re.findall(r"<svg.*?</svg>", compare_page.render([sweep(), run()]), re.S)
    assert all("#a87000" in figure for figure in drawn)
    assert ["#c4473a" in figure for figure in drawn] == [True, True, True, False, False]


def test_settings_of_a_sweep_and_strengths_of_a_run_are_joined():
    ours, mask = compare_page.run_series(sweep(), "teacher", "same_identity", 1)
    assert [point.label for point in ours.points] == ["0.5", "0.9"] and ours.joined and not mask.joined
    assert ours.points[1] == ("0.9", pytest.approx(22.5), pytest.approx(59.0), pytest.approx(2.0), pytest.approx(2.0))
    assert ours.label == "sweep of demo: reconstruction" and ours.look[0] == mask.look[0] == figures.OTHERS[1][0]
    assert ours.look[1] == figures.LOOKS["reconstruction"][1] != mask.look[1]
    (blur,) = [one for one in compare_page.run_series(run(), "teacher", "same_image", 0) if one.label == "first: blur"]
    assert [point.label for point in blur.points] == ["@2", "@4"] and blur.joined


def test_an_old_sweep_without_a_worst_is_shown_without_one():
    old = dict(setting=None, variant="reconstruction", judge="teacher", independent=False, utility=mean(0.5))
    old |= dict(same_image_rank_1=mean(0.1), same_identity_rank_1=mean(0.2))
    found = compared.sweep_of("old", dict(settings=[old], points=[dict(state="complete")]))
    text = compare_page.render([found, found._replace(name="other")])
    assert "strongest attacker" not in text and text.count("<svg") == 2


def test_what_was_not_measured_alike_is_told():
    assert compare_page.differences([run(), run("second")]) == []
    assert compare_page.differences([run(), run("second", queries=7)]) == [
        f"queries: {audit()['queries']} in first, 7 in second"
    ]
    said = compare_page.differences([run(), sweep()])
    assert "sweep of demo" in said[-1] and "not recorded" in said[-1] and len(said) == 2
    assert "Not measured alike" in compare_page.render([run(), sweep()])
    assert "Not measured alike" not in compare_page.render([run(), run("second")])


def test_the_reading_names_the_most_useful_and_the_least_found():
    (said,) = compare_page.reading([run(leak=0.5), sweep()], "teacher")
    assert "the least found is sweep of demo (mae.mask_ratio=0.5): right in 55.0 ± 2.0 % of pairs, 12.5 ± 2.0 %" in said
    (said,) = compare_page.reading([run(leak=0.01), sweep()], "teacher")
    assert "also the least found, first: right in" in said
    assert compare_page.reading([run()], "teacher") == []


def test_independence_may_differ_by_run():
    changed = copy.deepcopy(audit())
    changed["judges"][0]["independent"] = True
    second = compared.run_of("second", verify(), changed, [])
    text = compare_page.render([run(), second])
    assert "not independent of the teacher in first, independent in second." in text
    assert "This attacker is independent of the teacher." in text


def test_everything_can_be_saved():
    text = compare_page.render([run(), sweep()])
    data = re.search(r'href="data:text/csv;charset=utf-8;base64,([^"]+)" download="compare.csv"', text)
    rows = list(csv.DictReader(io.StringIO(base64.b64decode(data[1]).decode("utf-8-sig"))))
    assert len(rows) == 3 * 5 + 2 * 3 and {row["run"] for row in rows} == {"first", "sweep of demo"}
    (found,) = [row for row in rows if (row["setting"], row["judge"]) == ("mae.mask_ratio=0.9", "teacher")]
    assert (found["utility"], found["same_identity_rank_1_bar"], found["bars"]) == (
        "0.59",
        "0.02",
        "standard deviation over seeds",
    )


def test_words_of_others_stay_words_and_nothing_is_loaded():
    text = compare_page.render([run(EVIL, facts=[(EVIL, EVIL)]), run("b")])
    assert "<img" not in text and text.count("&lt;img") >= 5
    assert not re.search(r'(?:src|href)="(?!data:|#)', text) and "<script" not in text


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["demo", "casia"], ["demo", "casia"]),
        (["demo", "demo", "casia"], ["demo aa", "demo bb", "casia"]),
    ],
)
def test_names_are_made_distinct(names, expected):
    assert compare_page.distinct(names, ["aa", "bb", "cc"][: len(names)]) == expected
    assert compare_page.distinct(["demo", "demo"], ["aa", "aa"]) == ["demo aa (1)", "demo aa (2)"]


def test_without_verification_there_is_a_table_and_no_curve():
    bare = compared.run_of("bare", None, audit(), [])
    text = compare_page.render([bare, bare._replace(name="other")])
    assert "there is no curve" in text and "<svg" not in text and "mask" in text
