import io
import json
import zlib
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from facemae_jax.chain import settings as files
from facemae_jax.chain.fingerprint import view
from facemae_jax.data.face_set_writer import FaceSetWriter
from facemae_jax.models.frozen import Frozen
from facemae_jax.stages import audit, judges, teachers
from facemae_jax.stages.inputs import SHARED, Input, Inputs, Ref, pick_faces
from facemae_jax.types import Record

SIZE, LENGTH, PEOPLE, IMAGES = 16, 12, 20, 4


def png(image_HWC):
    file = io.BytesIO()
    Image.fromarray(image_HWC).save(file, "PNG")
    return file.getvalue()


def write_faces(path, images, labels, keys):
    writer = FaceSetWriter(path / "faces" / "1.0.0", name="toy", image_size=SIZE, encoding="png")
    writer.write_shard(0, [Record(png(i), int(n), k) for i, n, k in zip(images, labels, keys, strict=True)])
    writer.finish(len(images))


def toy_frozen(source, *, input_range="unit", colour_order="rgb"):
    """A linear recognizer whose weights follow from the last part of its path."""
    name = Path(source.partition(":")[2]).name
    random = np.random.default_rng(zlib.crc32(name.encode()))
    weights = random.normal(size=(SIZE * SIZE * 3, LENGTH)).astype(np.float32)
    return Frozen({"w": weights}, apply, SIZE, LENGTH, f"digest of {name}, {input_range}", name)


def apply(params, images_BHWC):
    embeddings_BE = images_BHWC.reshape(len(images_BHWC), -1) @ params["w"]
    return embeddings_BE / jnp.linalg.norm(embeddings_BE, axis=-1, keepdims=True)


def settings(**changes):
    config = files.load("configs/base.py")
    config.data.image_size = SIZE
    config.audit.update(judges=("teacher", "recognizer:original"), max_queries=1000, max_gallery=1000, batch=16)
    config.audit.variants, config.audit.attacks = ("original", "blur", "reconstruction"), ()
    config.distort.noise = 5.0
    config.mae.patch = 4
    for field, value in changes.items():
        section, _, leaf = field.partition("_")
        config[section][leaf] = value
    return config


@pytest.fixture
def world(tmp_path, monkeypatch):
    """Originals of people who are colour patterns, and a reconstruction whose pictures the test gives."""
    for module in (judges, teachers):
        monkeypatch.setattr(module, "load_frozen", toy_frozen)
    random = np.random.default_rng(0)
    patterns = random.uniform(30, 225, (PEOPLE, SIZE, SIZE, 3))
    labels = np.repeat(np.arange(PEOPLE), IMAGES)
    noise = random.normal(scale=25, size=(len(labels), SIZE, SIZE, 3))
    images = (patterns[labels] + noise).clip(0, 255).astype(np.uint8)
    write_faces(tmp_path / "import", images, labels, [f"p{n:02d}/{i}" for i, n in enumerate(labels)])

    def run(config, paint, **places):
        originals = pick_faces(config, Input(tmp_path / "import", SHARED), config.reconstruct.subset)
        kept = np.array([int(key.split("/")[1]) for key in originals.keys()])
        order = np.random.default_rng(9).permutation(len(kept))  # a release has an order and labels of its own
        recon = tmp_path / f"reconstruct-{len(list(tmp_path.iterdir()))}"
        write_faces(
            recon, paint(images[kept])[order], (7 * labels[kept][order] + 3) % PEOPLE, [f"{i:x}" for i in order]
        )
        np.savez(recon / "private.npz", source_positions_n=order, contributors_nM=order[:, None])
        given = {"faces": Input(tmp_path / "import", SHARED), "reconstruct": Input(recon)}
        given |= {name: Input(Path(f"/models/{name.replace(':', '-')}")) for name in places.pop("models", MODELS)}
        assert set(given) == set(audit.reads(config, "")) | set(audit.outside(config, ""))
        out = tmp_path / "audit-00000000"
        out.mkdir(exist_ok=True)
        summary = audit.run(view(config, audit, ""), Inputs(given, tmp_path), out, "")
        return summary, json.loads((out / "audit.json").read_text())

    return run


MODELS = ("teacher", "recognizer:original")


def rank_1(result, judge, variant, question):
    (found,) = [entry for entry in result["judges"] if entry["name"] == judge]
    return found["variants"][variant]["retrieval"][question]["rank"]["1"]


def test_reconstructions_that_are_copies_are_found_like_the_originals(world, capsys):
    summary, result = world(settings(), lambda images: images)
    assert result["queries"] == result["gallery"] == PEOPLE // 2 * IMAGES and result["identities"] == PEOPLE // 2
    for judge in ("teacher", "recognizer:original"):
        assert rank_1(result, judge, "reconstruction", "same_image") == 1.0
        for variant in ("original", "reconstruction"):
            assert rank_1(result, judge, variant, "same_identity") > 0.9
        entry = next(entry for entry in result["judges"] if entry["name"] == judge)
        assert entry["variants"]["original"]["retrieval"] == entry["ceiling"]
        assert entry["variants"]["reconstruction"]["retrieval"]["same_identity"] == entry["ceiling"]["same_identity"]
        assert entry["variants"]["reconstruction"]["matching"]["mated"]["mean"] == pytest.approx(1.0, abs=1e-4)
        assert summary[judge]["reconstruction"]["same_image_rank_1"] == 1.0
    told = capsys.readouterr().out
    assert "judge recognizer:original (independent of the teacher" in told and "chance" in told
    assert "ceiling" not in told  # it is the row of the originals


def test_the_set_is_measured_by_every_judge_with_its_own_threshold(world):
    """Everybody's images are those of one person: nobody is unique, all are consistent, and nothing differs within a person."""
    _, result = world(settings(), lambda images: np.repeat(images[:1], len(images), axis=0))
    cut = []
    for judge in result["judges"]:
        same, real = (judge["variants"][name]["set"] for name in ("reconstruction", "original"))
        assert (same["uniqueness"], same["consistency"], same["classes"]) == (0.0, 1.0, PEOPLE // 2)
        assert real["uniqueness"] > 0.7 and real["consistency"] > 0.9 and real["far"] == 0.01  # 40 · 36 pairs
        assert same["threshold"] == real["threshold"]
        cut.append(real["threshold"])
    assert cut[0] != cut[1]
    assert set(result["set"]) == {"blur", "reconstruction"}
    assert result["set"]["reconstruction"]["ratio"] == 0 < result["set"]["blur"]["ratio"]


def test_figures_have_intervals_over_people(world):
    _, result = world(settings(), lambda images: images)
    for judge in result["judges"]:
        assert judge["ceiling"]["same_identity"]["interval"]["map"]
        for found in judge["variants"].values():
            for direction in ("retrieval", "reverse"):
                image = found[direction]["same_image"]
                low, high = image["interval"]["rank"]["1"]
                assert low <= image["rank"]["1"] <= high and image["people"] == PEOPLE // 2
            assert set(found["matching"]["interval"]["tar_at_far"]) == {"0.1", "0.01"}


def test_queries_of_one_person_are_audited_without_intervals(world, capsys):
    _, result = world(settings(audit_max_queries=1, audit_max_gallery=12), lambda images: images)
    found = result["judges"][0]["variants"]["reconstruction"]
    assert found["retrieval"]["same_image"]["people"] == 1 and found["matching"]["people"] == 1
    assert "interval" not in found["retrieval"]["same_image"] and "interval" not in found["matching"]
    assert found["set"] is None and result["set"]["reconstruction"] is None  # 11 pairs of strangers, one image
    assert "reconstruction" in capsys.readouterr().out


def test_reconstructions_that_have_nothing_of_the_originals_are_found_by_chance(world):
    random = np.random.default_rng(3)
    _, result = world(settings(), lambda images: random.integers(0, 256, images.shape, dtype=np.uint8))
    for judge in ("teacher", "recognizer:original"):
        assert rank_1(result, judge, "reconstruction", "same_image") < 0.2  # chance 1/40, and four standard errors
        assert rank_1(result, judge, "original", "same_image") == 1.0


def test_independence_is_said_of_every_judge(world):
    _, result = world(settings(), lambda images: images)
    by_name = {entry["name"]: entry for entry in result["judges"]}
    assert by_name["teacher"]["independent"] is False
    assert by_name["recognizer:original"]["independent"] is True
    # The inputs "judge-0" and "teacher" are files of those names, and so of other weights.
    config = settings(audit_judges=("onnx:/models/judge-0",), teacher_source="onnx:/models/teacher")
    _, result = world(config, lambda images: images, models=("judge-0", "teacher"))
    assert result["judges"][0]["independent"] is True and "differ from the teacher's" in result["judges"][0]["reason"]
    config.mae.irm_weight = 0.0
    _, result = world(config, lambda images: images, models=("judge-0", "teacher"))
    assert "pixels alone" in result["judges"][0]["reason"]


def test_a_teacher_alone_is_warned_about(world, capsys):
    world(settings(audit_judges=("teacher",)), lambda images: images, models=("teacher",))
    assert "no judge of this audit is independent" in capsys.readouterr().err


def test_queries_and_gallery_are_bounded_and_hold_every_source(world):
    _, result = world(settings(audit_max_queries=5, audit_max_gallery=12), lambda images: images)
    assert result["queries"] == 5 and result["gallery"] == 12
    assert rank_1(result, "teacher", "reconstruction", "same_image") == 1.0
    searched = result["judges"][0]["variants"]["blur"]["retrieval"]
    kept = (searched["same_identity"] or {"queries": 0})["queries"]
    assert kept + searched["without_another_image"] == 5


def test_no_path_and_no_key_in_the_result(world, tmp_path):
    config = settings(audit_judges=("checkpoint:/models/judge-0", "recognizer:original"))
    world(config, lambda images: images, models=("judge-0", "recognizer:original", "teacher"))
    text = (tmp_path / "audit-00000000" / "audit.json").read_text()
    assert "/models" not in text and "p00" not in text and str(tmp_path) not in text
    assert '"judge-0"' in text


def test_an_audit_without_reconstruction_measures_distortions_alone(tmp_path, world, capsys):
    config = settings(audit_variants=("mask", "noise"))
    assert set(audit.reads(config, "")) == {"faces", "teacher", "recognizer:original"}
    given = {"faces": Input(tmp_path / "import", SHARED)} | {n: Input(Path("/m") / n) for n in MODELS}
    summary = audit.run(view(config, audit, ""), Inputs(given, tmp_path), tmp_path, "")
    result = json.loads((tmp_path / "audit.json").read_text())
    assert list(result["judges"][0]["variants"]) == ["mask", "noise"] and result["judges"][0]["ceiling"]
    assert summary["teacher"]["noise"]["same_image_rank_1"] < 1
    assert "ceiling" in capsys.readouterr().out


def test_the_same_seed_chooses_the_same_and_larger_numbers_add_to_it():
    sources_n = np.random.default_rng(0).permutation(100)
    small = audit.choose(sources_n, 100, queries=10, gallery=30, seed=4)
    again = audit.choose(sources_n[::-1], 100, queries=10, gallery=30, seed=4)
    large = audit.choose(sources_n, 100, queries=20, gallery=1000, seed=4)
    np.testing.assert_array_equal(small.queries_Q, again.queries_Q)
    np.testing.assert_array_equal(small.gallery_G, again.gallery_G)
    assert set(small.queries_Q) < set(large.queries_Q) and set(small.gallery_G) < set(large.gallery_G)
    assert len(large.gallery_G) == 100
    np.testing.assert_array_equal(small.gallery_G[small.sources_Q], small.queries_Q)
    other = audit.choose(sources_n, 100, queries=10, gallery=30, seed=5)
    assert set(other.queries_Q) != set(small.queries_Q)
    partly = audit.choose(np.arange(50, 100), 100, queries=1000, gallery=70, seed=4)
    assert set(partly.queries_Q) == set(range(50, 100)) and len(partly.gallery_G) == 70


def test_what_it_reads():
    config = settings()
    assert audit.reads(config, "")["faces"] == Ref("import-faces", "faces")
    assert audit.reads(config, "")["reconstruct"] == Ref("reconstruct")
    # An outside judge is compared with the teacher that shaped the images; without such a teacher there is nothing to compare.
    config = settings(audit_judges=("onnx:/j.onnx",))
    assert "teacher" in audit.reads(config, "")
    config.mae.irm_weight = 0.0
    assert "teacher" not in audit.reads(config, "")
    config = settings(audit_judges=("onnx:/j.onnx",), mae_source="checkpoint:/mae")
    assert set(audit.reads(config, "")) == {"faces", "reconstruct"}
    config = settings(audit_judges=("recognizer:original",), data_unseen="/elsewhere")
    assert audit.reads(config, "")["faces"] == Ref("import-faces", "unseen")
