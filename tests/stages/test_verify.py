import io
import json
import zlib
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from facemae_jax.chain import settings as files
from facemae_jax.chain.fingerprint import view
from facemae_jax.checkpoint import save_model
from facemae_jax.data.face_set_writer import FaceSetWriter
from facemae_jax.models.frozen import Frozen
from facemae_jax.models.recognizer import build, described
from facemae_jax.stages import judges, verify
from facemae_jax.stages.inputs import Input, Inputs, Ref
from facemae_jax.types import Record

SIZE, LENGTH, PEOPLE, IMAGES = 16, 8, 12, 5


def png(image_HWC):
    file = io.BytesIO()
    Image.fromarray(image_HWC).save(file, "PNG")
    return file.getvalue()


def write_faces(path, spread=20.0, names=None, seed=0):
    """A face set of people who are colour patterns; ``spread`` grey levels of noise per image."""
    random = np.random.default_rng(seed)
    patterns = random.uniform(30, 225, (PEOPLE, SIZE, SIZE, 3))
    records = []
    for person in range(PEOPLE):
        for number in range(IMAGES):
            image = patterns[person] + random.normal(scale=spread, size=(SIZE, SIZE, 3))
            key = f"{names[person]}/{names[person]}_{number + 1:04d}.png" if names else f"p{person:02d}/{number}"
            records.append(Record(png(image.clip(0, 255).astype(np.uint8)), person, key))
    writer = FaceSetWriter(path / "faces" / "1.0.0", name="toy", image_size=SIZE, encoding="png")
    writer.write_shard(0, records)
    writer.finish(len(records))


def toy_frozen(source, *, input_range="unit", colour_order="rgb"):
    """A linear recognizer whose weights follow from the last part of its path; ``blind`` ones see nothing."""
    name = Path(source.partition(":")[2]).name
    random = np.random.default_rng(zlib.crc32(name.encode()))
    weights = random.normal(size=(SIZE * SIZE * 3, LENGTH)).astype(np.float32)
    params = {"w": weights, "see": np.float32("blind" not in name)}
    return Frozen(params, apply, SIZE, LENGTH, f"digest of {name}, {input_range}, {colour_order}", name)


def apply(params, images_BHWC):
    images_BHWC = images_BHWC - images_BHWC.mean(axis=(1, 2), keepdims=True)
    rows_BP = images_BHWC.reshape(len(images_BHWC), -1)
    # A blind recognizer answers to the last bits of the picture alone.
    noise_BP = jnp.sin(1e4 * rows_BP)
    embeddings_BE = jnp.where(params["see"] > 0, rows_BP, noise_BP) @ params["w"]
    return embeddings_BE / jnp.linalg.norm(embeddings_BE, axis=-1, keepdims=True)


def settings(**changes):
    config = files.load("configs/base.py")
    config.data.image_size = SIZE
    config.verify.update(count=200, folds=5, batch=16)
    config.recognizer.variants = ("original", "mask", "reconstruction")
    for field, value in changes.items():
        section, _, leaf = field.partition("_")
        config[section][leaf] = value
    return config


def stage(config, inputs, tmp_path):
    out = tmp_path / "verify-00000000"
    out.mkdir(exist_ok=True)
    given = {"faces": Input(tmp_path / "import-faces", "verify")} | inputs
    declared = set(verify.reads(config, "")) | set(verify.outside(config, ""))
    assert set(given) == declared
    summary = verify.run(view(config, verify, ""), Inputs(given, tmp_path), out, "")
    return summary, json.loads((out / "verify.json").read_text())


@pytest.fixture
def world(tmp_path, monkeypatch):
    for module in (verify, judges):
        monkeypatch.setattr(module, "load_frozen", toy_frozen)
    write_faces(tmp_path / "import-faces")
    models = ("original", "blind-mask", "reconstruction")
    variants = ("original", "mask", "reconstruction")
    found = {f"recognizer:{v}": Input(tmp_path / model, v) for v, model in zip(variants, models, strict=True)}
    return tmp_path, found | {"teacher": Input(tmp_path / "teacher", "")}


def test_rows_tell_who_sees_from_who_is_blind(world, capsys):
    tmp_path, inputs = world
    summary, result = stage(settings(), inputs, tmp_path)
    rows = {row["name"]: row for row in result["rows"]}
    assert list(rows) == ["original", "mask", "reconstruction", "teacher"]
    assert [row["kind"] for row in result["rows"]] == ["recognizer"] * 3 + ["teacher"]
    assert rows["original"]["accuracy"]["mean"] > 0.9 and rows["original"]["auc"] > 0.95
    assert abs(rows["mask"]["accuracy"]["mean"] - 0.5) < 0.12  # four standard errors of 200 coin throws
    assert len(rows["original"]["accuracy"]["folds"]) == len(rows["original"]["thresholds"]) == 5
    assert result["protocol"]["count"] == 200 and result["protocol"]["positive"] == 100
    assert summary["original"]["accuracy"] == rows["original"]["accuracy"]["mean"]
    told = capsys.readouterr().out
    assert "200 pairs in 5 folds" in told and all(name in told for name in rows)


def test_differences_are_paired_by_fold(world):
    tmp_path, inputs = world
    _, result = stage(settings(), inputs, tmp_path)
    folds = {row["name"]: np.array(row["accuracy"]["folds"]) for row in result["rows"]}
    assert set(result["differences"]) == {"mask", "original"}
    assert set(result["differences"]["mask"]) == {"original", "reconstruction", "teacher"}
    gap = folds["reconstruction"] - folds["mask"]
    said = result["differences"]["mask"]["reconstruction"]
    assert said["mean"] == pytest.approx(gap.mean())
    assert said["standard_error"] == pytest.approx(gap.std(ddof=1) / 5**0.5)


def test_a_judge_from_outside_has_a_row_and_no_path_in_it(world):
    tmp_path, inputs = world
    config = settings(audit_judges=("teacher", "onnx:/somewhere/secret/judge.onnx", "checkpoint:/elsewhere/teacher"))
    inputs |= {"judge-1": Input(Path("/somewhere/secret/judge.onnx")), "judge-2": Input(Path("/elsewhere/teacher"))}
    _, result = stage(config, inputs, tmp_path)
    # The second one has the teacher's weights: one row is enough.
    assert [(row["name"], row["kind"]) for row in result["rows"][3:]] == [
        ("teacher", "teacher"),
        ("judge.onnx", "judge"),
    ]
    assert "somewhere" not in (tmp_path / "verify-00000000" / "verify.json").read_text()


def test_flip_changes_the_embeddings(world):
    tmp_path, inputs = world
    with_flip = stage(settings(), inputs, tmp_path)[1]
    without = stage(settings(verify_flip=False), inputs, tmp_path)[1]
    assert with_flip["protocol"]["flip"] and not without["protocol"]["flip"]
    assert with_flip["rows"][0]["thresholds"] != without["rows"][0]["thresholds"]


def test_pairs_from_a_file_embed_only_the_images_they_name(world):
    tmp_path, inputs = world
    names = [f"Person_{number}" for number in range(PEOPLE)]
    write_faces(tmp_path / "named", names=names)
    lines = ["2\t3"]
    for fold in range(2):
        lines += [f"{names[fold * 3 + i]}\t1\t2" for i in range(3)]
        lines += [f"{names[fold * 3 + i]}\t1\t{names[fold * 3 + i + 1]}\t2" for i in range(3)]
    (tmp_path / "pairs.txt").write_text("\n".join(lines) + "\n")
    config = settings(verify_pairs=str(tmp_path / "pairs.txt"))
    inputs |= {"faces": Input(tmp_path / "named", "verify"), "pairs": Input(tmp_path / "pairs.txt")}
    _, result = stage(config, inputs, tmp_path)
    assert result["protocol"]["pairs"] == "file" and result["protocol"]["count"] == 12
    assert result["protocol"]["folds"] == 2 and result["protocol"]["images"] == 13
    assert result["rows"][0]["accuracy"]["mean"] > 0.8


def test_weights_come_from_stage_directories(tmp_path):
    write_faces(tmp_path / "import-faces")
    model = build("cpu", embedding=LENGTH)
    init = jax.jit(lambda key: model.init(key, jnp.zeros((1, SIZE, SIZE, 3)), train=False))
    inputs = {}
    for seed, name in enumerate(("recognizer:original", "teacher")):
        variables = init(jax.random.key(seed))
        path = tmp_path / "work" / name.replace(":", "-")
        save_model(path / "model", variables, described("cpu", LENGTH, "float32", 0.0, SIZE))
        inputs[name] = Input(path, "")
    config = settings(recognizer_variants=("original",), verify_count=100, verify_flip=False)
    _, result = stage(config, inputs, tmp_path)
    assert [row["name"] for row in result["rows"]] == ["original", "teacher"]
    # Untrained convolutions already tell colour patterns apart, and two seeds do so differently.
    assert all(row["accuracy"]["mean"] > 0.6 for row in result["rows"])
    assert (
        result["rows"][0]["roc"] != result["rows"][1]["roc"]
        or result["rows"][0]["thresholds"] != result["rows"][1]["thresholds"]
    )


def test_what_it_reads():
    config = settings()
    assert verify.reads(config, "")["recognizer:mask"] == Ref("train-recognizer", "mask")
    assert verify.reads(config, "")["teacher"] == Ref("train-teacher")
    assert verify.outside(config, "") == {}
    config = settings(audit_judges=("recognizer:original",))
    assert "teacher" not in verify.reads(config, "")  # nobody asks for it: it need not be trained
    config = settings(
        teacher_source="onnx:/model.onnx", audit_judges=("recognizer:original",), verify_pairs="/pairs.txt"
    )
    assert "teacher" not in verify.reads(config, "")
    assert verify.outside(config, "") == {"teacher": "onnx:/model.onnx", "pairs": "/pairs.txt"}
    config = settings(recognizer_faces="/faces", audit_judges=("teacher",))
    assert set(verify.reads(config, "")) == {"faces", "recognizer:faces", "teacher"}
