"""The leakage budget of ``publish``: refused, or images left out."""

import json

import pytest
from budget_help import (
    JUDGES,
    PEOPLE,
    budget,
    first_painted,
    made,
    rank_1,
    records,
    settings,
    told,
    version,
)

from facemae_jax.data.face_set import open_face_set
from facemae_jax.export.budget import Budget
from facemae_jax.stages import audit, judges, publish, publish_search, reconstruct
from facemae_jax.stages.inputs import SHARED, Input, Inputs, Ref
from facemae_jax.types import FacemaeError


@pytest.fixture(scope="module")
def world(toy_release):
    return toy_release


def test_without_a_budget_nothing_is_asked_of_anybody(world, monkeypatch):
    monkeypatch.setattr(judges, "load_judge", lambda *_: pytest.fail("a judge was loaded"))
    out = made(world, publish, "no-budget")
    assert records(out) == first_painted(world) and told(out) is None
    assert "Leakage budget" not in (version(out) / "card.md").read_text()
    config = settings()
    assert set(publish.reads(config, "")) == {"reconstruct", "audit", "mae", "faces"}
    assert publish.outside(config, "") == {"secret": "private/secret"}


def test_judges_are_read_where_images_must_be_looked_at():
    single = settings(
        **budget(limit=0.2), publish__on_excess="drop", audit__judges=("recognizer:original", "onnx:/j.onnx")
    )
    assert publish.reads(single, "")["recognizer:original"] == Ref("train-recognizer", "original")
    assert publish.outside(single, "") == {"secret": "private/secret", "judge-1": "onnx:/j.onnx"}
    for budgeted in (
        budget(limit=0.2),
        budget(limit=0.2, images=4, figure="same_identity"),
    ):  # figures of the audit are enough
        refusing = settings(**budgeted, audit__judges=("teacher", "onnx:/j.onnx"))
        assert publish.outside(refusing, "") == {"secret": "private/secret"}
        assert set(publish.reads(refusing, "")) == {"reconstruct", "audit", "mae", "faces"}


def test_the_upper_end_of_the_audits_interval_is_compared(world, monkeypatch):
    """The share itself is within this budget."""
    monkeypatch.setattr(judges, "load_judge", lambda *_: pytest.fail("a judge was loaded"))
    shares = [rank_1(world, first_painted(world), judge) for judge in JUDGES]
    with pytest.raises(FacemaeError, match="nothing is published"):
        made(world, publish, "above", **budget(limit=max(shares) + 0.02))
    out = made(world, publish, "within", **budget(limit=0.9))
    assert records(out) == first_painted(world)
    found = told(out)
    assert [row["judge"] for row in found["figures"]] == list(JUDGES)
    for row, judge in zip(
        found["figures"], json.loads((world / "audit-0" / "audit.json").read_text())["judges"], strict=True
    ):
        measured = judge["variants"]["reconstruction"]["retrieval"]["same_image"]
        assert (row["value"], row["interval"]) == (measured["rank"]["1"], measured["interval"]["rank"]["1"])
    for row, share in zip(found["figures"], shares, strict=True):
        assert row["value"] == pytest.approx(share) and row["interval"][0] < share < row["interval"][1] <= 0.9
    assert found["left_out"] is None and found["painted_again"] is None
    assert "Leakage budget: same_image rank-1 rate of single images" in (version(out) / "card.md").read_text()


def test_figures_that_the_audit_does_not_have(world):
    def changed(name, **figures):
        measured = json.loads((world / "audit-0" / "audit.json").read_text())
        measured["judges"][1]["variants"]["reconstruction"]["retrieval"] |= figures
        (world / name).mkdir()
        (world / name / "audit.json").write_text(json.dumps(measured))

    changed("audit-alone", same_identity=None)
    with pytest.raises(FacemaeError, match="nobody among the audited originals has two images.*choose same_image"):
        made(world, publish, "alone", "audit-alone", **budget(limit=0.9, figure="same_identity"))
    changed("audit-one", same_image={"rank": {"1": 0.1}, "people": 1})
    with pytest.raises(FacemaeError, match="same_image of judge recognizer:original rests on one person"):
        made(world, publish, "one", "audit-one", **budget(limit=0.9))


def test_one_judge_by_name(world):
    teacher, other = (rank_1(world, first_painted(world), judge) for judge in JUDGES)
    assert teacher > other
    out = made(world, publish, "first", **budget(limit=0.9))
    high = {row["judge"]: row["interval"][1] for row in told(out)["figures"]}
    limit = (high["teacher"] + high["recognizer:original"]) / 2
    out = made(world, publish, "named", **budget(limit=limit, judge="recognizer:original"))
    assert [row["judge"] for row in told(out)["figures"]] == ["recognizer:original"]
    with pytest.raises(FacemaeError, match="judge teacher: ") as error:
        made(world, publish, "both", **budget(limit=limit))
    assert "recognizer:original:" not in str(error.value)
    with pytest.raises(FacemaeError, match="no such judge; choose one of teacher, recognizer:original"):
        made(world, publish, "unknown", **budget(limit=limit, judge="techer"))


@pytest.mark.parametrize("figure", ["same_image", "same_identity"])
def test_drop_keeps_within_budget_and_counts(world, figure):
    out = made(world, publish, f"dropped-{figure}", **budget(limit=0.2, figure=figure), publish__on_excess="drop")
    kept, whole, found = records(out), first_painted(world), told(out)
    assert kept.items() < whole.items()  # with the same labels and bytes
    for row in found["figures"]:
        assert row["value"] == pytest.approx(rank_1(world, kept, row["judge"], figure)) and row["interval"][1] <= 0.2
        assert row["before"]["value"] == pytest.approx(rank_1(world, whole, row["judge"], figure))
    assert max(row["before"]["interval"][1] for row in found["figures"]) > 0.2
    left = len(whole) - len(kept)
    lost = PEOPLE - len({record.label for record in kept.values()})
    assert found["left_out"] == dict(images=left, of=48, people=lost) and 0 < left < 48
    card = (version(out) / "card.md").read_text()
    assert f"Left out: {left} of 48 images over budget; {lost} people lost all." in card
    assert f"{len(kept)} images of {PEOPLE - lost} people" in card
    again = made(world, publish, f"dropped-{figure}-2", **budget(limit=0.2, figure=figure), publish__on_excess="drop")
    assert records(again) == kept


def test_people_who_lost_all_are_counted(world):
    out = made(world, publish, "strict", **budget(limit=0.0), publish__on_excess="drop")
    kept = records(out)
    assert all(rank_1(world, kept, judge) == 0 for judge in JUDGES)
    lost = PEOPLE - len({record.label for record in kept.values()})
    assert told(out)["left_out"]["people"] == lost > 0
    assert json.loads((version(out) / "metadata.json").read_text())["identities"] == PEOPLE - lost


@pytest.mark.parametrize("way", ["drop", "resample"])
def test_choosing_images_needs_an_audit_of_all(world, way):
    some = dict(audit__max_queries=20, audit__max_gallery=30)
    made(world, audit, "audit-some", **some)
    with pytest.raises(
        FacemaeError, match="all 48 images, this one looked at 20: set --config.audit.max_queries=48"
    ) as error:
        made(world, publish, f"some-{way}", "audit-some", **budget(limit=0.1), publish__on_excess=way, **some)
    assert "audit.max_gallery=48" in str(error.value)
    with pytest.raises(FacemaeError, match="over the leakage budget"):
        made(world, publish, "some-refuse", "audit-some", **budget(limit=0.1), **some)


def test_fused_images_are_compared_on_the_curve_of_the_audit(world, monkeypatch):
    monkeypatch.setattr(judges, "load_judge", lambda *_: pytest.fail("a judge was loaded"))
    measured = json.loads((world / "audit-0" / "audit.json").read_text())

    def fused(**points):
        for judge, rates in points.items():
            curve = [
                dict(n=n, without_sources=dict(rank={"1": rate}, interval=dict(rank={"1": [rate - 0.1, rate + 0.1]})))
                for n, rate in rates.items()
            ]
            variants = next(j for j in measured["judges"] if j["name"].startswith(judge))["variants"]
            variants["reconstruction"]["fusion"] = dict(points=curve)
        (world / "audit-fused").mkdir(exist_ok=True)
        (world / "audit-fused" / "audit.json").write_text(json.dumps(measured))

    fused(teacher={1: 0.2, 4: 0.55}, recognizer={1: 0.2, 4: 0.3})
    four = dict(images=4, figure="same_identity")
    with pytest.raises(FacemaeError) as error:
        made(world, publish, "fused", "audit-fused", **budget(limit=0.6, **four))
    assert (
        "same_identity rank-1 rate of 4 images of a person fused, judge teacher: 55.0 % (95 % interval 45.0 to 65.0 %)"
        in str(error.value)
    )
    assert "recognizer" not in str(error.value) and not (world / "fused" / "release").exists()
    out = made(world, publish, "fused-within", "audit-fused", **budget(limit=0.7, **four))
    assert told(out)["images"] == 4 and told(out)["figures"][1]["interval"] == pytest.approx([0.2, 0.4])
    with pytest.raises(FacemaeError, match="images=3: for judge teacher the audit has only n = 1, 4"):
        made(world, publish, "fused-3", "audit-fused", **budget(limit=0.7, images=3, figure="same_identity"))
    with pytest.raises(FacemaeError, match="the audit has no fusion attack"):
        made(world, publish, "not-fused", **budget(limit=0.7, **four))


def test_of_mixed_faces_the_images_that_are_found_are_those_of_the_audit(world):
    """Single images and the audit's shares agree where two people are behind every face."""
    mixed = dict(reconstruct__people=2, reconstruct__composition="full")
    made(world, reconstruct, "reconstruct-2", **mixed)
    made(world, audit, "audit-2", painted="reconstruct-2", **mixed)
    measured = json.loads((world / "audit-2" / "audit.json").read_text())["judges"]
    config, painted = settings(**mixed), open_face_set(world / "reconstruct-2" / "faces")
    given = {name: Input(world / name) for name in JUDGES}
    given |= {"faces": Input(world / "import", SHARED), "reconstruct": Input(world / "reconstruct-2")}
    inputs = Inputs(given, world)
    for figure in ("same_image", "same_identity"):
        asked = Budget("", figure, 1, 0.5)
        search = publish_search.open_search(config, inputs, painted, [0, 1], list(JUDGES), asked)
        assert search.others is not None and search.others.images_QC.shape == (len(search.sources_A), 1)
        found_JA, _ = publish_search.look(config, inputs, search, painted.subset(search.places_A), asked)
        rates = [judge["variants"]["reconstruction"]["retrieval"][figure]["rank"]["1"] for judge in measured]
        assert found_JA.mean(axis=1).tolist() == pytest.approx(rates, abs=1e-9)
