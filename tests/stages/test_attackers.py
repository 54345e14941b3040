"""Every attack through the stage: a real MAE without training, real (small) networks of the attackers, a judge of colours."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from training_help import compiled_quickly

from facemae_jax.chain import settings as files
from facemae_jax.chain.fingerprint import view
from facemae_jax.checkpoint import save_model
from facemae_jax.data.face_set import FaceSetWriter, open_face_set
from facemae_jax.data.images import encode_png
from facemae_jax.data.synthetic import render
from facemae_jax.export.painted_set import Form, attackers_plan, write_painted
from facemae_jax.export.painter import Painter
from facemae_jax.mesh import make_mesh
from facemae_jax.models.frozen import Frozen
from facemae_jax.models.mae import Mae, MaeConfig
from facemae_jax.stages import attacks, audit, judges, reconstruct
from facemae_jax.stages.inputs import SHARED, Input, Inputs
from facemae_jax.types import Record

SIZE, PATCH, VISIBLE, PEOPLE, IMAGES, LENGTH = 32, 8, 4, 24, 4, 12
MAE = MaeConfig(SIZE, PATCH, VISIBLE, 32, 1, 2, 16, 1, 2)


def toy_frozen(source, **_):
    """Random projections of the colours of an image's quarters."""
    weights = np.random.default_rng(0).normal(size=(8 * 8 * 3, LENGTH)).astype(np.float32)

    def apply(params, images_BHWC):
        small = images_BHWC.reshape(len(images_BHWC), 8, 4, 8, 4, 3).mean(axis=(2, 4))
        return small.reshape(len(small), -1) @ params["w"]

    return Frozen({"w": weights}, apply, SIZE, LENGTH, f"digest of {source}", "toy")


def settings(**changes):
    config = files.load("configs/base.py")
    config.data.image_size = SIZE
    config.mae.update(patch=PATCH, visible=VISIBLE)
    config.reconstruct.update(batch=1, shard_records=20, encoding="png")
    config.audit.update(dict(judges=("teacher",), variants=("original", "blur", "reconstruction"), batch=16))
    config.audit.update(dict(trained_on=("blur", "reconstruction"), attack_images=40, attack_steps=3, attack_batch=8))
    config.audit.update(dict(membership_masks=2) | changes)
    return config


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """Imported faces, an MAE, and a reconstruction of the unseen people."""
    path = tmp_path_factory.mktemp("world")
    names = [f"Person_{number}" for number in range(PEOPLE)]
    records = [
        Record(encode_png(render(n, image, seed=0, size=SIZE)), n, f"{names[n]}/{image}")
        for n in range(PEOPLE)
        for image in range(IMAGES)
    ]
    writer = FaceSetWriter(
        path / "import" / "faces" / "1.0.0", name="faces", image_size=SIZE, encoding="png", identity_names=names
    )
    writer.write_shard(0, records)
    writer.finish(len(records))
    variables = jax.jit(Mae(MAE).init)(
        jax.random.key(0), jnp.zeros((1, SIZE, SIZE, 3)), jnp.arange(VISIBLE, dtype=jnp.int32)[None]
    )
    variables["params"]["decoder_pred"]["kernel"] *= 3.0  # a fresh decoder paints grey in grey
    save_model(path / "mae" / "model", variables, MAE.to_dict() | dict(kind="mae", norm_pix=False))
    given = dict(
        faces=Input(path / "import", SHARED), mae=Input(path / "mae"), secret=Input(path / "secret", "private/secret")
    )
    (path / "reconstruct").mkdir()
    with compiled_quickly():
        reconstruct.run(view(settings(), reconstruct, ""), Inputs(given, path), path / "reconstruct", "")
    return path


def run(world, out, **changes):
    config = settings(**changes)
    places = dict(
        faces=Input(world / "import", SHARED), seen=Input(world / "import", SHARED), unseen=Input(world / "import", SHARED),
        mae=Input(world / "mae"), reconstruct=Input(world / "reconstruct"), teacher=Input(world / "teacher"),
    )  # fmt: skip
    given = {name: places[name] for name in audit.reads(config, "")}
    out.mkdir(exist_ok=True)
    with pytest.MonkeyPatch.context() as patch, compiled_quickly():
        patch.setattr(judges, "load_frozen", toy_frozen)
        audit.run(view(config, audit, ""), Inputs(given, out.parent), out, "")
    return json.loads((out / "audit.json").read_text())


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
    assert set(judge["variants"]["original"]) == {"retrieval", "reverse", "matching"}
    common = {"retrieval", "reverse", "matching", "fusion", "aware", "inversion"}
    assert set(judge["variants"]["blur"]) == common
    assert set(judge["variants"]["reconstruction"]) == common | {"linkage"}
    assert set(result["pixels"]) == {"blur", "reconstruction"}
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
    assert set(result["judges"][0]["variants"]["blur"]) == {"retrieval", "reverse", "matching", "fusion"}


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
        with compiled_quickly():
            write_painted(attackers_plan(faces, name), painter, form, version, name="painted", label="paint")
        painted = open_face_set(tmp_path / place)
        assert painted.keys() == faces.keys()
        seen[place] = [record.image for record in painted]
    assert seen["a"] == seen["c"]
    assert all(left != right for left, right in zip(seen["a"], seen["b"], strict=True))
