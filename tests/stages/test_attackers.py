"""Every attack through the stage: a real MAE without training, real (small) networks of the attackers, a judge of colours."""

import jax
import numpy as np
import pytest
from attackers_help import SIZE, VISIBLE, build, given_of, run, settings, toy_frozen

from facemae_jax.audit.aware_attack import Aware
from facemae_jax.data.face_set import open_face_set
from facemae_jax.export.painted_set import Form, attackers_plan, write_painted
from facemae_jax.export.painter import Painter
from facemae_jax.mesh import make_mesh
from facemae_jax.stages import attackers, attacks, audit
from facemae_jax.stages.attack_faces import AttackFaces, Protected
from facemae_jax.stages.inputs import Inputs

PLAIN = {"retrieval", "reverse", "matching", "set"}


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    return build(tmp_path_factory.mktemp("world"))


@pytest.fixture(scope="module")
def done(world, tmp_path_factory):
    out = tmp_path_factory.mktemp("work") / "audit"
    return run(world, out), out


@pytest.mark.slow
def test_every_attack_reports(done):
    result, _ = done
    assert result["attacks"] == list(attacks.ATTACKS)
    (judge,) = result["judges"]
    assert set(judge["variants"]) == {"original", "blur", "reconstruction"}
    assert set(judge["variants"]["original"]) == PLAIN
    common = PLAIN | {"fusion", "aware", "inversion"}
    assert set(judge["variants"]["blur"]) == common
    assert set(judge["variants"]["reconstruction"]) == common | {"linkage"}
    assert set(result["pixels"]) == set(result["set"]) == {"blur", "reconstruction"}
    unseen = result["queries"]
    assert unseen == result["gallery"] > 30
    members = result["membership"]
    assert members["members"] == 40 and members["non_members"] == 40 and members["masks"] == 2
    low, high = members["interval"]
    assert low < 0.5 < high  # the MAE was never trained
    for variant in ("blur", "reconstruction"):
        aware = judge["variants"][variant]["aware"]
        assert aware["start"] == "adapt" and aware["steps"] == 3 and aware["pairs"] <= 40
        assert aware["retrieval"]["same_image"]["queries"] == unseen
        inverted = judge["variants"][variant]["inversion"]
        assert np.isfinite([inverted["psnr"]["input"], inverted["psnr"]["inverted"]]).all()
    points = judge["variants"]["blur"]["fusion"]["points"]
    assert [point["n"] for point in points] == [1, 2]


@pytest.mark.slow
def test_nothing_of_the_attackers_stays(done):
    _, out = done
    assert [path.name for path in out.iterdir()] == ["audit.json"]


@pytest.mark.slow
def test_the_same_audit_twice_says_the_same(world, done, tmp_path):
    again = run(world, tmp_path / "audit")
    assert again == done[0]


def test_only_what_is_asked_is_run(world, tmp_path):
    result = run(world, tmp_path / "audit", attacks=("fusion",), variants=("original", "blur"), trained_on=())
    assert "pixels" not in result and "membership" not in result
    assert set(result["judges"][0]["variants"]["blur"]) == PLAIN | {"fusion"}


def test_searching_the_release_with_originals_is_the_other_direction(world, tmp_path):
    result = run(world, tmp_path / "audit", attacks=())
    back = result["judges"][0]["variants"]["original"]["reverse"]
    assert back["same_image"]["rank"]["1"] == 1.0 and back["same_image"]["queries"] == result["queries"]
    one = result["judges"][0]["variants"]["reconstruction"]
    assert one["reverse"] != one["retrieval"]


@pytest.mark.parametrize(
    ("changes", "needed"),
    [
        (dict(attacks=()), set()),
        (dict(attacks=("copy", "fusion")), set()),
        (dict(attacks=("linkage",)), {"mae"}),
        (dict(attacks=("linkage",), variants=("original", "blur"), trained_on=("blur",)), set()),
        (dict(attacks=("membership",)), {"mae", "seen", "unseen"}),
        (dict(attacks=("aware",), trained_on=("blur",)), {"seen"}),
        (dict(attacks=("inversion",), trained_on=("reconstruction",)), {"seen", "mae"}),
        (dict(attacks=("inversion",), trained_on=()), set()),
    ],
)
def test_an_audit_reads_what_its_attacks_need(changes, needed):
    found = set(audit.reads(settings(**changes), "")) - {"faces", "reconstruct", "teacher"}
    assert found == needed


def test_attackers_choose_masks_without_the_secret(world, tmp_path):
    """Two names give two paintings of the same faces, in the faces' own order; the same name gives the same."""
    faces = open_face_set(world / "import" / "faces").subset(np.arange(6))
    painter = Painter(world / "mae", visible=VISIBLE, mesh=make_mesh(1, 1, jax.local_devices()[:1]), batch_per_device=4)
    form = Form(SIZE, "png", 95, 4)
    seen = {}
    for place, name in (("a", "one"), ("b", "two"), ("c", "one")):
        version = tmp_path / place / "1.0.0"
        write_painted(attackers_plan(faces, name, 1), painter, form, version, name="painted", label="paint")
        painted = open_face_set(tmp_path / place)
        assert painted.keys() == faces.keys()
        seen[place] = [record.image for record in painted]
    assert seen["a"] == seen["c"]
    assert all(left != right for left, right in zip(seen["a"], seen["b"], strict=True))


def test_originals_of_seen_people_are_embedded_once_per_judge(world, tmp_path, monkeypatch):
    seen = []

    def embed(frozen, faces, *, label, **_):
        seen.append(label)
        return np.zeros((len(faces), frozen.embedding), np.float32)

    def train_aware(frozen, source, *, given_nE, targets_nE, **_):
        assert len(given_nE) == len(targets_nE) == len(source.protected) == 40
        return Aware(lambda faces, transform, given_QE: given_QE, {"used": "plain"})

    monkeypatch.setattr(attackers, "embed", embed)
    monkeypatch.setattr(attackers, "train_aware", train_aware)
    config = settings(attacks=("aware",), variants=("blur", "mask"), trained_on=("blur", "mask"))
    gallery = open_face_set(world / "import" / "faces").subset(np.arange(20))
    protected = {name: Protected(gallery, None) for name in ("blur", "mask")}
    others = attackers.Attackers(
        config, Inputs(given_of(world, config), tmp_path), tmp_path, gallery, np.arange(20), protected, {}
    )
    rows = np.random.default_rng(0).normal(size=(20, 12)).astype(np.float32)
    for name in ("first", "second"):
        found = others.with_a_judge(toy_frozen(name), name, rows, {"blur": rows, "mask": rows})
        assert found["blur"]["aware"]["retrieval"]["same_image"]["queries"] == 20
    assert sorted(seen) == sorted(
        f"{judge}: seen people{variant}" for judge in ("first", "second") for variant in ("", ", blur", ", mask")
    )


def test_an_aware_attacker_learns_everybody_behind_an_image_and_an_inverter_the_own_source(world, tmp_path):
    config = settings(attacks=("aware",), variants=("reconstruction",), trained_on=("reconstruction",))
    config.reconstruct.people = 2
    gallery = open_face_set(world / "import" / "faces").subset(np.arange(4))
    protected = {"reconstruction": Protected(gallery, None)}
    faces = AttackFaces(config, Inputs(given_of(world, config), tmp_path), tmp_path, gallery, protected)
    pairs = faces.pairs("reconstruction")
    people, count = faces.sample("seen").relabelled(), len(faces.sample("seen"))
    assert len(pairs.seen.protected) == count and pairs.seen.originals.keys() == people.keys()
    everybody, people_n = pairs.everybody
    assert len(everybody.protected) == 2 * count == len(people_n)
    np.testing.assert_array_equal(people_n[::2], np.arange(count))  # the own source, then the other
    assert everybody.originals.keys() == [people.keys()[position] for position in people_n]
    assert everybody.protected.keys() == [key for key in pairs.seen.protected.keys() for _ in range(2)]
    other_of = {*zip(people.labels_n[people_n[::2]].tolist(), people.labels_n[people_n[1::2]].tolist(), strict=True)}
    assert len(other_of) == people.identities and all(own != other for own, other in other_of)
