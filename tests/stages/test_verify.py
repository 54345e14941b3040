from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from verify_help import LENGTH, PEOPLE, SIZE, make_world, settings, stage, write_faces

from facemae_jax.checkpoint import save_model
from facemae_jax.models.recognizer import build, described
from facemae_jax.stages import verify
from facemae_jax.stages.inputs import Input, Ref


@pytest.fixture
def world(tmp_path, monkeypatch):
    return make_world(tmp_path, monkeypatch)


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
