"""Real faces through the door: what an ONNX recognizer of known strength must reach. Slow, and skipped where there are no faces."""

import json

import pytest

pytestmark = [pytest.mark.slow, pytest.mark.faces]


def test_the_onnx_judge_verifies_lfw_as_well_as_it_is_known_to(enter, faces_folder, tmp_path):
    # The smallest chain that verifies: one recognizer on a dozen invented people, the judge beside it.
    small = (
        "--config.data.image_size=112",
        "--config.mae.patch=16",
        "--config.synthetic.identities=8",
        "--config.verify.faces=",
    )
    assert enter("import-faces", tmp_path / "people", *small)[0] == 0
    people = next((tmp_path / "people").glob("import-faces/faces-*/faces"))
    settings = (
        *small[:3],
        f"--config.recognizer.faces={people}",
        f"--config.verify.faces={faces_folder / 'lfw112.zip'}",
        f"--config.verify.pairs={faces_folder / 'lfw_pairs.txt'}",
        "--config.verify.flip=False",
        "--config.verify.folds=10",
        "--config.verify.batch=64",
        f"--config.audit.judges=onnx:{faces_folder / 'mobilefacenet_arcface.onnx'}",
        "--config.audit.judge_input_range=bytes",
    )
    for verb in ("import-faces", "train-recognizer", "verify"):
        code, _, err = enter(verb, tmp_path / "w", *settings)
        assert code == 0, err
    found = json.loads(next((tmp_path / "w").glob("verify-*/verify.json")).read_text())
    judge = next(row for row in found["rows"] if row["kind"] == "judge")
    assert judge["name"] == "mobilefacenet_arcface" and judge["pairs"] == 6000
    assert abs(judge["accuracy"]["mean"] - 0.992) <= 0.002
