"""Every file behind a link of the page is CSV with the page's own numbers."""

import base64
import csv
import functools
import html
import io
import re

from report_help import audit, given, verify

from facemae_jax.report import downloads, page
from facemae_jax.report.measured import Measure, measures

EVIL = '=HYPERLINK("x")'


@functools.cache
def files(**changes):
    """Name → rows, as somebody saves them from the page."""
    text = page.render(**given(**changes))
    found = re.findall(r'<a href="data:text/csv;charset=utf-8;base64,([^"]+)" download="([^"]+)">', text)
    return {html.unescape(name): rows(base64.b64decode(data).decode("utf-8-sig")) for data, name in found}


def rows(text):
    return list(csv.DictReader(io.StringIO(text)))


def test_the_page_offers_every_file():
    assert list(files()) == [
        "utility.csv", "leakage.csv", "attacks.csv", "fusion.csv", "retrieval_curve.csv", "roc.csv", "score_histograms.csv",
        "training.csv",
    ]  # fmt: skip
    assert all(files().values())


def test_utility_and_leakage():
    by_name = {row["name"]: row for row in files()["utility.csv"]}
    for row in verify()["rows"]:
        assert float(by_name[row["name"]]["accuracy"]) == row["accuracy"]["mean"]
        assert float(by_name[row["name"]]["eer"]) == row["eer"] and by_name[row["name"]]["chance"] == "0.5"
    judge = audit()["judges"][1]
    (leak,) = [row for row in files()["leakage.csv"] if (row["variant"], row["judge"]) == ("mask", judge["name"])]
    assert float(leak["same_identity_rank_1"]) == judge["variants"]["mask"]["retrieval"]["same_identity"]["rank"]["1"]
    assert float(leak["same_identity_ceiling"]) == judge["ceiling"]["same_identity"]["rank"]["1"]
    assert (
        leak["independent_of_teacher"] == "True" and float(leak["utility"]) == verify()["rows"][1]["accuracy"]["mean"]
    )


def test_attacks_hold_the_whole_list():
    found, saved = measures(audit()), files()["attacks.csv"]
    assert len(saved) == len(found)
    for one, row in zip(found, saved, strict=True):
        assert float(row["value"]) == one.value and row["figure"] == one.figure and row["variant"] == one.variant
        assert row["low"] == ("" if one.low is None else repr(one.low))
    assert list(saved[0]) == ["judge", "independent_of_teacher", *Measure._fields[2:]]


def test_curves():
    points = audit()["judges"][0]["variants"]["mask"]["fusion"]["points"]
    fused = [
        row for row in files()["fusion.csv"]
        if (row["judge"], row["variant"], row["sources_in_gallery"]) == ("teacher", "mask", "False")
    ]  # fmt: skip
    assert [int(row["n"]) for row in fused] == [point["n"] for point in points] and len(points) > 1
    assert [float(row["rank_1"]) for row in fused] == [point["without_sources"]["rank"]["1"] for point in points]
    roc = files()["roc.csv"]
    assert {row["curve"] for row in roc} == {"verification", "matching", "membership"}
    drawn = [float(row["true_accepts"]) for row in roc if (row["curve"], row["variant"]) == ("verification", "mask")]
    assert drawn == verify()["rows"][1]["roc"]["tar"]
    bars = [row for row in files()["score_histograms.csv"] if (row["judge"], row["variant"]) == ("teacher", "mask")]
    assert [float(row["share_of_own_source"]) for row in bars] == audit()["judges"][0]["variants"]["mask"]["matching"][
        "histogram"
    ]["mated"]
    found = [
        row for row in files()["retrieval_curve.csv"] if row["variant"] == "mask" and row["question"] == "same_image"
    ]
    assert (
        float(found[0]["share_found_among_first_k"])
        == audit()["judges"][0]["variants"]["mask"]["retrieval"]["same_image"]["rank"]["1"]
    )
    assert {row["question"] for row in files()["retrieval_curve.csv"]} == {"same_image", "same_identity"}
    assert len(files()["training.csv"]) == 2 * 19


def test_what_was_not_measured_has_no_file():
    names = [one.file for one in downloads.downloads(None, audit(attacks=()), measures(audit(attacks=())), {})]
    assert names == ["leakage.csv", "attacks.csv", "retrieval_curve.csv", "roc.csv", "score_histograms.csv"]


def test_a_name_is_no_formula_and_no_second_cell():
    text = downloads.lines(["a", "b"], [[EVIL, 'x,"y"\nz'], [-1.5, None]])
    first, second = list(csv.reader(io.StringIO(text)))[1:]
    assert first == ["'" + EVIL, 'x,"y"\nz'] and second == ["-1.5", ""]
    logged = [dict(step=1, loss=float("nan"), pixel=2.0, note="x")]
    saved = downloads.downloads(None, audit(attacks=()), [], dict(mae=logged))[-1]
    assert saved.file == "training.csv"
    assert rows(base64.b64decode(saved.address.split(",")[1]).decode("utf-8-sig")) == [
        dict(run="mae", step="1", quantity="pixel", value="2.0")
    ]
