"""The leakage budget of ``publish``: images painted again."""

import jax
import numpy as np
import pytest
from budget_help import (
    JUDGES,
    budget,
    first_painted,
    look,
    made,
    rank_1,
    records,
    settings,
    told,
    version,
)

from facemae_jax.chain.fingerprint import view
from facemae_jax.data.face_set import open_face_set
from facemae_jax.data.images import decode_record
from facemae_jax.export.release import mask_seeds, release_key
from facemae_jax.stages import publish, reconstruct
from facemae_jax.stages.inputs import SHARED, Input, Inputs
from facemae_jax.stages.publish_repaint import Repainter, round_key
from facemae_jax.types import FacemaeError


@pytest.fixture(scope="module")
def world(toy_release):
    return toy_release


RESAMPLE = dict(publish__on_excess="resample", publish__resample_rounds=8)


@pytest.fixture(scope="module")
def resampled(world):
    return made(world, publish, "resampled", **budget(limit=0.3), **RESAMPLE)


def test_resample_changes_the_worst_images_alone(world, resampled):
    new, old, found = records(resampled), first_painted(world), told(resampled)
    assert list(new) == list(old) and all(new[key].label == old[key].label for key in old)
    other = {key for key in old if new[key].image != old[key].image}
    assert len(other) == found["painted_again"]["images"] and 0 < len(other) < 40
    for row in found["figures"]:
        assert row["value"] == pytest.approx(rank_1(world, new, row["judge"])) and row["interval"][1] <= 0.3
        assert row["before"]["value"] == pytest.approx(rank_1(world, old, row["judge"]))
    # Only images that some judge had found were touched, and they are found less clearly than before.
    before, after = ({judge: look(world, faces, judge) for judge in JUDGES} for faces in (old, new))
    for place, key in enumerate(old):
        if key in other:
            assert any(before[judge][0][place] for judge in JUDGES)
            assert max(after[judge][1][place] for judge in JUDGES) < max(before[judge][1][place] for judge in JUDGES)
    card = (version(resampled) / "card.md").read_text()
    rounds = found["painted_again"]["rounds"]
    assert f"Painted again under other masks: {len(other)} of 48 images, in {rounds} rounds." in card and rounds > 1
    assert "measured before that" in card and "the choice itself leaks" in card
    assert not (resampled / "repainted").exists()


def test_resampled_twice_the_bytes_are_the_same(world, resampled):
    def content(out):
        return {
            str(file.relative_to(out)): file.read_bytes() for file in (out / "release").rglob("*") if file.is_file()
        }

    assert content(made(world, publish, "resampled-2", **budget(limit=0.3), **RESAMPLE)) == content(resampled)
    other = settings(**budget(limit=0.3), **RESAMPLE, reconstruct__release_id="release-2")
    given = {name: Input(world / name) for name in (*JUDGES, "mae", "secret")}
    given |= {
        "faces": Input(world / "import", SHARED),
        "reconstruct": Input(world / "reconstruct-0"),
        "audit": Input(world / "audit-0"),
    }
    (world / "resampled-3").mkdir()
    publish.run(view(other, publish, ""), Inputs(given, world), world / "resampled-3", "")
    assert records(world / "resampled-3") != records(resampled)  # the masks follow from the release


def test_every_round_has_masks_of_its_own():
    """Of a release key, a source key and the round, and of nothing else; none is the first mask."""
    keys, first = ["a.png", "b.png"], mask_seeds(b"key", ["a.png", "b.png"])
    seeds = [
        first,
        *(mask_seeds(round_key(b"key", turn), keys) for turn in (1, 2, 3)),
        mask_seeds(round_key(b"yek", 1), keys),
    ]
    assert len({row.tobytes() for part in seeds for row in part}) == 10
    assert (mask_seeds(round_key(b"key", 2), keys) == seeds[2]).all()


def test_one_process_looks_at_images(world, monkeypatch):
    monkeypatch.setattr(jax, "process_count", lambda: 2)
    with pytest.raises(FacemaeError, match="run has 2: .*`python -m facemae_jax publish` with one process"):
        made(world, publish, "two", **budget(limit=0.3), **RESAMPLE)


def test_a_mixed_face_is_painted_again_from_the_same_images(world):
    """Whose images are behind a face stays as it was, only the mask is another one."""
    mixed = dict(reconstruct__people=2, reconstruct__composition="full")
    made(world, reconstruct, "reconstruct-again", **mixed)
    config = settings(**mixed)
    given = {"faces": Input(world / "import", SHARED), "mae": Input(world / "mae"), "secret": Input(world / "secret")}
    painted = open_face_set(world / "reconstruct-again" / "faces")
    repainter = Repainter(config, Inputs(given, world), painted, world / "again")
    inside = np.load(world / "reconstruct-again" / "private.npz")
    places = np.array([5, 0, 9])
    faces = repainter.paint(1, inside["source_positions_n"][places], places)
    assert faces.keys() == [painted.keys()[place] for place in places]
    originals = open_face_set(world / "import" / "faces")
    images = np.stack([decode_record(record.image) for record in originals])
    keys = [originals.keys()[position] for position in inside["source_positions_n"][places]]
    key = release_key((world / "secret").read_bytes(), "release-1")
    expected = repainter.painter(images[inside["contributors_nM"][places]], mask_seeds(round_key(key, 1), keys))
    for record, image_HWC in zip(faces, expected, strict=True):
        np.testing.assert_array_equal(decode_record(record.image), image_HWC)
