"""Over its leakage budget an export leaves no folder, whatever was tried, and says which judge, figure and budget; other releases stay."""

import json

import pytest
from budget_help import JUDGES, budget, first_painted, made, rank_1, version

from facemae_jax.stages import audit, publish, reconstruct
from facemae_jax.types import FacemaeError


@pytest.fixture(scope="module")
def world(toy_release):
    """With a second reconstruction, of which nearly everything is real, and with a release that was within its budget."""
    made(toy_release, reconstruct, "reconstruct-1", mae__visible=15)
    made(toy_release, audit, "audit-1", painted="reconstruct-1", mae__visible=15)
    made(toy_release, publish, "older", **budget(limit=0.9))
    return toy_release


def content(folder):
    return {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


REAL = dict(audited="audit-1", painted="reconstruct-1", mae__visible=15)
WAYS = {
    "refuse": (dict(limit=0.1), dict()),
    "drop": (dict(limit=0.1), dict(publish__on_excess="drop", **REAL)),
    "resample": (dict(limit=0.02), dict(publish__on_excess="resample", publish__resample_rounds=2)),
}


@pytest.mark.parametrize(
    ("way", "figure"),
    [
        (way, figure)
        for way in WAYS
        for figure in ("same_image", "same_identity")
        if (way, figure) != ("drop", "same_identity")
    ],
)  # without its images that are found another is not, so that dropping nearly always helps there
def test_no_folder_and_the_message_says_why(world, way, figure):
    limit, changes = WAYS[way]
    name = f"{way}-{figure}"
    version(world / name).mkdir(parents=True)
    (version(world / name) / "dataset_info.json").write_text("{}")  # left by an attempt that was killed
    before = content(world / "older")
    assert any(path.name == "card.md" for path in before)
    with pytest.raises(FacemaeError, match="nothing is published") as error:
        made(world, publish, name, **budget(figure=figure, **limit), **changes)
    assert list((world / name).iterdir()) == []
    assert content(world / "older") == before
    measured = json.loads((world / changes.get("audited", "audit-0") / "audit.json").read_text())
    named = 0
    for judge in measured["judges"]:
        found = judge["variants"]["reconstruction"]["retrieval"][figure]
        low, high = found["interval"]["rank"]["1"]
        said = f"{100 * found['rank']['1']:.1f} % (95 % interval {100 * low:.1f} to {100 * high:.1f} %)"
        named += f"judge {judge['name']}: " in str(error.value) and said in str(error.value)
    assert named == len(JUDGES) or (way == "resample" and named > 0)
    for words in (
        f"{figure} rank-1 rate of single images",
        f"publish.budget.limit = {100 * limit['limit']:.1f} %",
        "mae.mask_ratio",
    ):
        assert words in str(error.value), words


def test_what_was_tried_is_told(world):
    told = {}
    for way, (limit, changes) in WAYS.items():
        with pytest.raises(FacemaeError) as error:
            made(world, publish, f"told-{way}", **budget(**limit), **changes)
        told[way] = str(error.value)
    assert 'publish.on_excess="drop" or "resample"' in told["refuse"]
    assert "images of fewer than two people would stay" in told["drop"]
    share = 100 * rank_1(world, first_painted(world), "teacher")
    for words in ("images again in 2 rounds", f"teacher came from {share:.1f} %", "publish.resample_rounds"):
        assert words in told["resample"], words


def test_the_figures_are_those_of_a_search_by_hand(world):
    measured = json.loads((world / "audit-0" / "audit.json").read_text())
    for judge in measured["judges"]:
        for figure in ("same_image", "same_identity"):
            share = judge["variants"]["reconstruction"]["retrieval"][figure]["rank"]["1"]
            assert share == pytest.approx(rank_1(world, first_painted(world), judge["name"], figure))
