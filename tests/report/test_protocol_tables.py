"""Utility on every protocol and within groups: the tables, their sentences, the page and the files."""

import copy
import csv
import functools
import io
import re

import numpy as np
import pytest
from report_help import audit, given, verify

from facemae_jax.metrics.gaps import gaps
from facemae_jax.report import downloads, page, protocol_tables
from facemae_jax.stages.verify_protocols import AVERAGED, NAMES, average


def rows(shift):
    """As of the main pairs, each accuracy lower by ``shift``."""
    found = copy.deepcopy(verify()["rows"])
    for row in found:
        row["accuracy"]["mean"] -= shift
    return found


def measured(names=AVERAGED):
    """``verify.json`` with these protocols, each one percent harder than the one before."""
    protocols = {}
    for place, name in enumerate(names):
        own = rows(0.01 * (place + 1))
        protocols[name] = dict(protocol=dict(folds=5), rows=own, gap_to_real=gaps(own))
    more = dict(average=average(protocols)) if set(AVERAGED) <= set(names) else {}
    return verify() | dict(protocols=protocols) | more


def with_templates():
    own = [dict(name=row["name"], kind=row["kind"], tar_at_far={"0.1": 0.9, "0.0001": 0.5}) for row in verify()["rows"]]
    del own[1]["tar_at_far"]["0.0001"]
    found = measured(("lfw",))
    found["protocols"]["ijbb"] = dict(protocol=dict(templates=24), rows=own, gap_to_real=gaps(own))
    return found


def with_groups(ours=(0.9, 0.7), real=(0.95, 0.9)):
    found = []
    for row in verify()["rows"]:
        own = dict(zip("ab", real if row["name"] == "original" else ours, strict=True))
        mean, std = np.mean(list(own.values())), np.std(list(own.values()))
        groups = {name: dict(accuracy=value, pairs=1200, positive=700) for name, value in own.items()}
        found.append(
            dict(
                name=row["name"],
                kind=row["kind"],
                groups=groups,
                mean=mean,
                std=std,
                trade_off=mean - std,
                pairs=2400,
                left_out=99,
            )
        )
    return verify() | dict(groups=found)


@functools.cache
def rendered():
    return page.render(
        **given(
            verify=with_templates() | dict(groups=with_groups()["groups"]), audit=audit(attacks=()) | dict(judges=[])
        )
    )


def test_only_the_main_pairs_make_no_table():
    assert protocol_tables.protocols(None) is None and protocol_tables.protocols(verify()) is None
    assert protocol_tables.groups(None) is None and protocol_tables.groups(verify()) is None


def test_a_row_per_recognizer_and_a_column_per_protocol():
    found = measured()
    table = protocol_tables.protocols(found)
    assert table["heads"] == ["main pairs", "LFW", "CFP-FP", "AgeDB-30", "CALFW", "CPLFW", "average of 5"]
    by_name = {row["name"]: row for row in table["rows"]}
    assert list(by_name) == [*(row["name"] for row in verify()["rows"][:-1]), "teacher (teacher)"]
    accuracy = {row["name"]: row["accuracy"] for row in verify()["rows"]}
    ours, real = accuracy["reconstruction"]["mean"], accuracy["original"]["mean"]
    assert by_name["reconstruction"]["ours"] and not by_name["mask"]["ours"]
    for place, cell in enumerate(by_name["reconstruction"]["cells"]):
        lower = 0.01 * place if place < 6 else 0.03
        assert float(cell["text"].split(" ± ")[0]) == pytest.approx(100 * (ours - lower), abs=0.051)
        assert cell["below"] == f"gap {100 * ((real - lower) / (ours - lower) - 1):+.1f}"
    assert {cell["below"] for cell in by_name["original"]["cells"] + by_name["teacher (teacher)"]["cells"]} == {""}


def test_the_sentence_is_on_the_average_where_there_is_one():
    (said,) = protocol_tables.protocols(measured())["readings"]
    ahead = measured()["average"]["gap_to_real"]
    assert (
        said.startswith("Average of 5: trained on reconstructions ")
        and f"Gap-to-Real {100 * ahead['reconstruction']:+.1f} %" in said
    )
    assert f"mask {100 * ahead['mask']:+.1f} %" in said
    said = protocol_tables.protocols(measured(("lfw", "csv")))["readings"]
    assert [text.split(":")[0] for text in said] == ["Main pairs", "LFW", "Own list"]


def test_templates_show_the_share_accepted():
    table = protocol_tables.protocols(with_templates())
    assert table["heads"][-1] == "IJB-B, TAR @ FAR 1e-4"
    cells = [row["cells"][-1] for row in table["rows"]]
    assert cells[0] == dict(text="50.0", below="") and cells[1] == dict(text="–", below="")
    assert cells[4] == dict(text="50.0", below="gap +0.0")


def test_groups_and_how_far_they_are_apart():
    table = protocol_tables.groups(with_groups())
    assert table["heads"] == ["a", "b"] and table["counts"] == ["1,200", "1,200"] and "99 others" in table["said"]
    assert table["rows"][0]["cells"] == ["95.00", "90.00", "92.50", "2.50", "90.00"]
    (said,) = table["readings"]
    assert "group a and least often in b, 20.0 points apart" in said and said.endswith("are 5.0 points apart.")
    (said,) = protocol_tables.groups(with_groups(ours=(0.8, 0.8)))["readings"]
    assert "equally often" in said


def test_every_protocol_has_a_name_to_show():
    assert set(protocol_tables.WORDS) == set(NAMES)


def test_the_page_shows_both_tables():
    text = rendered()
    assert "Utility on every protocol" in text and "Accuracy within groups of people" in text
    assert "IJB-B, TAR @ FAR 1e-4" in text and "<small>gap " in text and "1,200 pairs" in text
    words = re.sub(r"base64,[^\"]*", "", text)
    assert not re.search(r"\b(nan|NaN|None|Undefined)\b", words)
    assert {"protocols.csv", "groups.csv"} <= set(re.findall(r'download="([^"]+)"', text))


@pytest.mark.parametrize(("file", "count"), [("protocols.csv", 3), ("groups.csv", 2)])
def test_files_hold_the_same_numbers(file, count):
    source = with_templates() | dict(groups=with_groups()["groups"])
    text = {"protocols.csv": downloads._protocols, "groups.csv": downloads._groups}[file](source)
    found = list(csv.DictReader(io.StringIO(text)))
    assert len(found) == count * len(verify()["rows"])
    ours = [row for row in found if row["name"] == "reconstruction"]
    if file == "groups.csv":
        assert [row["accuracy"] for row in ours] == ["0.9", "0.7"] and float(ours[0]["trade_off"]) == pytest.approx(0.7)
    else:
        assert [row["protocol"] for row in ours] == ["main pairs", "LFW", "IJB-B, TAR @ FAR 1e-4"]
        assert [row["figure"] for row in ours] == ["accuracy", "accuracy", "tar_at_far_0.0001"]
        assert float(ours[0]["gap_to_real"]) == gaps(verify()["rows"])["reconstruction"] and ours[2]["value"] == "0.5"


def test_a_file_of_nothing_is_not_offered():
    assert downloads._protocols(verify()) is None
