import base64
import copy
import functools
import io
import re
from html.parser import HTMLParser

import numpy as np
import pytest
from PIL import Image

from facemae_jax.audit.matching import matching
from facemae_jax.audit.retrieval_attack import retrieval_attack
from facemae_jax.metrics.verification import paired_fold_difference, verification
from facemae_jax.report import page, reading, results

PEOPLE, IMAGES = 10, 4
EVIL = '<img src=x onerror="alert(1)">'


def rows(noise, seed, labels):
    random = np.random.default_rng(seed)
    centres = np.random.default_rng(0).normal(size=(len(labels), 8))
    rows = centres[labels] + noise * random.normal(size=(len(labels), 8))
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def audit_of(labels, names=("teacher", "recognizer:original"), variants=("original", "mask", "reconstruction")):
    """What the stage writes, by the functions that the stage calls."""
    gallery = rows(0.5, 1, labels)
    truth = dict(sources_Q=np.arange(len(labels)), labels_G=labels)
    judges = []
    for number, name in enumerate(names):
        found = {}
        for step, variant in enumerate(variants):
            queries = gallery if variant == "original" else rows(0.5 + step, 10 + number + step, labels)
            found[variant] = dict(
                retrieval=retrieval_attack(queries, gallery, **truth), matching=matching(queries, gallery, **truth)
            )
        judges.append(
            dict(
                name=name,
                independent=bool(number),
                reason=f"reason {number}",
                ceiling=retrieval_attack(gallery, gallery, **truth),
            )
            | dict(kind="teacher", variants=found)
        )
    return dict(subset="unseen", queries=len(labels), gallery=len(labels), identities=PEOPLE, seed=0, judges=judges)


def verify_of(names=("original", "mask", "reconstruction")):
    random = np.random.default_rng(2)
    same, fold = np.tile([True, False], 100), np.repeat(np.arange(5), 40)
    found = [
        dict(name=name, kind="recognizer" if name != "teacher" else "teacher")
        | verification(same * 0.5 + random.normal(scale=0.3 + 0.1 * step, size=200), same, fold)
        for step, name in enumerate([*names, "teacher"])
    ]
    folds = {row["name"]: row["accuracy"]["folds"] for row in found}
    differences = {
        b: {n: paired_fold_difference(folds[n], folds[b]) for n in folds if n != b}
        for b in ("mask", "original")
        if b in folds
    }
    protocol = dict(pairs="generated", count=200, positive=100, folds=5, images=60, flip=True)
    return dict(protocol=protocol, rows=found, differences=differences)


LABELS = np.repeat(np.arange(PEOPLE), IMAGES)
AUDIT, VERIFY = audit_of(LABELS), verify_of()
PAINTED = np.random.default_rng(4).integers(0, 256, (5, 8, 8, 3), np.uint8)
MADE = dict(
    code="code abc123",
    facts=[("hardware", "8 × cpu"), ("versions", "jax 0.10.2")],
    stages=[dict(name="audit", seconds="1.5", commit="abc123")],
    settings=[("seed", "0")],
)


NAN = float("nan")
BASE = dict(
    name="toy run",
    verify=VERIFY,
    audit=AUDIT,
    reconstruction=dict(images=40, identities=10, visible_share=0.25, composition="full", people=1),
    images_nHWC=PAINTED,
    originals_nHWC=None,
    training={
        "train-mae": [
            dict(step=1, loss=2.0, pixel=NAN),
            dict(step=2, loss=NAN, pixel=1.0),
            dict(step=3, loss=1.0, pixel=0.5),
        ],
        "train-teacher": [],
    },
    made=MADE,
)
ALONE = audit_of(np.arange(PEOPLE * IMAGES), names=("teacher",))  # everybody has one image
OTHERS = audit_of(LABELS, names=("teacher",), variants=("mask", "original"))
CASES = {
    "base": {},
    "originals": dict(originals_nHWC=255 - PAINTED, reconstruction=BASE["reconstruction"] | dict(composition="paste")),
    "no verification": dict(verify=None),
    "alone": dict(audit=ALONE),
    "no reconstruction": dict(audit=OTHERS, verify=verify_of(("original", "mask"))),
}


@functools.cache  # drawing one page takes a second
def rendered(case):
    return page.render(**BASE | CASES[case])


class Reader(HTMLParser):
    """Elements, addresses, and the words of every table row."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.addresses, self.table_rows, self.cell = [], [], [], None
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        self.addresses += [
            value for name, value in attributes if name in ("src", "href", "xlink:href", "srcset", "data", "action")
        ]
        if tag == "tr":
            self.table_rows.append([])
        if tag in ("td", "th"):
            self.cell = ""

    def handle_data(self, data):
        if self.cell is not None:
            self.cell += data

    def handle_endtag(self, tag):
        if tag in ("td", "th"):
            self.table_rows[-1].append(self.cell)
            self.cell = None


def images_in(text):
    found = re.findall(r'src="data:image/png;base64,([^"]*)"', text)
    return [np.asarray(Image.open(io.BytesIO(base64.b64decode(data))).convert("RGB")) for data in found]


def test_the_page_needs_nothing_but_itself():
    text = rendered("base")
    reader = Reader(text)
    assert not {"script", "link", "iframe", "object", "embed", "base", "form"} & set(reader.tags)
    own = ("data:image/png;base64,", "data:text/csv;charset=utf-8;base64,", "#")
    assert all(address.startswith(own) for address in reader.addresses) and reader.addresses
    assert not re.search(r"url\((?!#)|@import|@font-face", text)
    # What is left of the web are names of XML vocabularies and of the program that drew, which nobody fetches.
    assert not re.sub(r'(xmlns(:\w+)?|rdf:resource)="[^"]*"|https://matplotlib.org/', "", text).count("http")


def test_the_table_tells_utility_and_leakage_of_every_variant():
    found = {row[0]: row[1:] for row in Reader(rendered("base")).table_rows}
    utility = {row["name"]: row["accuracy"] for row in VERIFY["rows"]}
    for variant in ("original", "mask", "reconstruction"):
        expected = [f"{100 * utility[variant]['mean']:.1f} ± {100 * utility[variant]['standard_error']:.1f}"]
        for judge in AUDIT["judges"]:
            for question in ("same_image", "same_identity"):
                rank = judge["variants"][variant]["retrieval"][question]
                expected.append(f"{100 * rank['rank']['1']:.1f} ± {100 * rank['standard_error']['rank_1']:.1f}")
        # The verification table has rows of the same names; this one has a cell per judge and question.
        assert expected in [row[1:] for row in Reader(rendered("base")).table_rows if row[0] == variant]
    assert found["blind guess"] == ["50.0", *["2.50", f"{100 * 3 / 39:.2f}"] * 2]


def test_the_verification_table_compares_with_mask():
    found = {row[0]: row[1:] for row in Reader(rendered("base")).table_rows}  # the later table wins
    row, difference = VERIFY["rows"][2], VERIFY["differences"]["mask"]["reconstruction"]
    expected = [
        f"{100 * row['accuracy']['mean']:.2f} ± {100 * row['accuracy']['standard_error']:.2f}",
        f"{100 * row['auc']:.2f}",
        f"{100 * row['eer']:.2f}",
        f"{100 * row['tar_at_far']['0.1']:.1f}",
        f"{100 * difference['mean']:+.1f} ± {100 * difference['standard_error']:.1f}",
        f"{100 * (VERIFY['rows'][0]['accuracy']['mean'] / row['accuracy']['mean'] - 1):+.1f}",
    ]
    assert found["reconstruction"] == expected
    assert found["mask"][-2] == "–" and found["original"][-1] == "–" and "teacher (teacher)" in found


def test_the_text_table_for_the_terminal():
    lines = results.table(VERIFY, AUDIT).splitlines()
    assert lines[1].split() == "variant utility teacher: image / identity recognizer:original: image / identity".split()
    assert [line.split()[0] for line in lines[3:]] == ["original", "mask", "reconstruction"]
    assert len({len(line) for line in lines[1:]}) == 1
    assert all("±" in line and line.count("/") == 2 for line in lines[3:]) and "100.0 /" in lines[3]
    bare = results.table(None, AUDIT).splitlines()
    assert all(line.split()[1] == "–" for line in bare[3:])


def test_what_was_made_is_shown():
    text = rendered("base")
    for words in ("8 × cpu", "jax 0.10.2", "abc123", "train-mae", "40 faces of 10 people", "saw 25 %", "toy run"):
        assert words in text
    assert "Not independent of the teacher; reason 0" in text and ">: Independent of the teacher; reason 1" in text
    assert "every published pixel is painted" in text and "train-teacher" not in text  # nothing was logged by it


def test_originals_are_there_only_when_given():
    (grid,) = images_in(rendered("base"))
    np.testing.assert_array_equal(grid[:, 10:18], PAINTED[1])
    assert "shows original faces" not in rendered("base")
    text = rendered("originals")
    grid, real = images_in(text)
    np.testing.assert_array_equal(real[:, 10:18], 255 - PAINTED[1])
    np.testing.assert_array_equal(grid[:, 10:18], PAINTED[1])
    assert "This page shows original faces" in text
    assert "those visible patches are real pixels" in text and "every published pixel" not in text


def test_names_are_escaped():
    audit, verify = copy.deepcopy(OTHERS), copy.deepcopy(VERIFY)
    audit["judges"][0] |= dict(name=EVIL, reason=EVIL)
    verify["rows"][3]["name"] = EVIL
    made = dict(
        facts=[(EVIL, EVIL)], settings=[(EVIL, EVIL)], code=EVIL, stages=[dict(name=EVIL, seconds="1", commit=EVIL)]
    )
    text = page.render(
        **BASE | dict(name=EVIL, audit=audit, verify=verify, made=made, training={EVIL: [dict(step=1, loss=1.0)]})
    )
    assert "<img src=x" not in text and text.count("&lt;img src=x") >= 12
    assert Reader(text).tags.count("img") == 1


def test_without_verification():
    text = rendered("no verification")
    assert "Utility was not measured" in text and 'id="verification"' not in text and "upper left corner" not in text
    assert {("mask", "–"), ("blind guess", "–")} <= {tuple(row[:2]) for row in Reader(text).table_rows}


def test_when_nobody_has_a_second_image():
    assert ALONE["judges"][0]["variants"]["mask"]["retrieval"]["same_identity"] is None
    text = rendered("alone")
    assert "Nobody among the originals has a second image" in text
    assert "own source left out, teacher" not in text and "Utility and leakage, same identity" not in text
    (leak,) = [line for line in reading.answer(VERIFY, ALONE) if "attacker teacher" in line]
    assert leak.endswith("originals (blind guess 2.50 %).")
    assert [row[3] for row in Reader(text).table_rows if len(row) == 4] == [
        "–"
    ] * 4  # three variants and the blind guess


def test_without_reconstructions_among_the_variants():
    text = rendered("no reconstruction")
    assert "Matching the variant mask with its own sources" in text and "mask and own source" in text
    assert "reconstruction and own source" not in text
    told = "Utility was not measured: no recognizer was trained on the reconstructions and verified."
    assert reading.answer(None, OTHERS)[0] == told and len(reading.answer(None, OTHERS)) == 2


@pytest.mark.parametrize("case", CASES)
def test_no_number_is_missing_from_the_page(case):
    words = re.sub(r"base64,[^\"]*", "", rendered(case))
    assert not re.search(r"\b(nan|NaN|-?inf|None|Undefined)\b", words)


def test_the_same_figures_give_the_same_bytes():
    first = rendered("alone")
    rendered.cache_clear()
    assert rendered("alone") == first


def test_faces_of_several_people_are_said_to_be():
    told = "painted from patches of 3 people in equal shares"
    mixed = page.render(**BASE | dict(reconstruction=BASE["reconstruction"] | dict(people=3)))
    assert told in mixed and "people in equal shares" not in rendered("base")
