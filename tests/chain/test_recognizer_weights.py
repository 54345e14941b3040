"""import-weights and export-weights with recognizers, as a user calls them."""

import pathlib
import sys

import jax
import numpy as np
import pytest

sys.path.extend(str(pathlib.Path(__file__).resolve().parents[1] / at) for at in ("models", "models/weights", "stages"))

from iresnet_help import close, golden, golden_images, small_iresnet
from onnx_help import rewritten
from recognizer_help import by_onnxruntime
from training_help import write_faces

from facemae_jax.chain import weights_command as command
from facemae_jax.checkpoint import load_model
from facemae_jax.models.frozen import load_frozen
from facemae_jax.models.weights.safetensors_file import read_safetensors, write_safetensors
from facemae_jax.stages.training import warm_start
from facemae_jax.types import FacemaeError


@pytest.fixture(scope="module", autouse=True)
def small():
    with small_iresnet():
        yield


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """A model directory from weights that PyTorch made, and the ONNX file made from it."""
    folder = tmp_path_factory.mktemp("weights")
    write_safetensors(folder / "backbone.safetensors", golden("weights"))
    command.serve("import-weights", (str(folder / "backbone.safetensors"),), {"out": str(folder / "model")})
    command.serve("export-weights", (str(folder / "model"),), {"to": "onnx", "out": str(folder / "model.onnx")})
    return folder / "model"


def unit(embeddings):
    return embeddings / np.linalg.norm(embeddings, axis=1, keepdims=True)


def test_teacher_and_judge_embed_as_pytorch_did(model):
    frozen = load_frozen(f"checkpoint:{model}")
    assert (frozen.name, frozen.image_size, frozen.embedding) == ("backbone", 32, 5)
    close(jax.jit(frozen.apply)(frozen.params, golden_images()), unit(golden("outputs")["embedding"]))


def test_training_begins_from_it(model):
    variables, description = load_model(model)
    assert (description["network"], description["taken_from"]) == ("iresnet18", "backbone.safetensors")
    network = jax.tree.map(np.zeros_like, variables["params"])
    fresh = {"params": {"network": network, "head": np.ones(2)}, "batch_stats": {}}
    warm = warm_start(str(model), "recognizer", "recognizer.optim.init_from")(fresh)
    jax.tree.map(np.testing.assert_array_equal, warm["params"]["network"], variables["params"])
    jax.tree.map(np.testing.assert_array_equal, warm["batch_stats"], variables["batch_stats"])
    np.testing.assert_array_equal(warm["params"]["head"], 1)


def test_out_again_under_arcface_torchs_names(model, tmp_path):
    command.serve("export-weights", (str(model),), {"to": "safetensors", "out": str(tmp_path / "b.safetensors")})
    found = read_safetensors(tmp_path / "b.safetensors")
    assert found.keys() == golden("weights").keys()
    for name, value in golden("weights").items():
        np.testing.assert_array_equal(found[name], value, name)


def test_onnx_out_and_in_again(model, tmp_path):
    file = model.with_suffix(".onnx")
    close(by_onnxruntime(file, golden_images()), golden("outputs")["embedding"])
    command.serve("import-weights", (str(file),), {"out": str(tmp_path / "back")})
    assert (tmp_path / "back" / "weights.sha256").read_text() == (model / "weights.sha256").read_text()


@pytest.mark.parametrize("with_faces", [False, True])
def test_folded_statistics_are_measured_on_the_faces_and_that_is_said(model, tmp_path, capsys, with_faces):
    file = rewritten(model.with_suffix(".onnx"), tmp_path / "folded.onnx", fold=True)
    options = {"out": str(tmp_path / "out")}
    if with_faces:
        write_faces(tmp_path, people=4, images=8, size=32)
        options["faces"] = str(tmp_path / "faces")
    command.serve("import-weights", (str(file),), options)
    said = capsys.readouterr().out
    measured = f"32 faces of {tmp_path / 'faces'}" if with_faces else "128 synthetic faces"
    assert (
        f"15 batch normalisations are folded in the file; mean and variance for training were measured on {measured}"
        in said
    )
    statistics = load_model(tmp_path / "out")[0]["batch_stats"]
    assert (statistics["bn1"]["var"] != 1).all() and (statistics["layer4_0"]["bn3"]["var"] != 1).all()
    frozen = load_frozen(f"checkpoint:{tmp_path / 'out'}")
    close(jax.jit(frozen.apply)(frozen.params, golden_images()), unit(golden("outputs")["embedding"]))


def test_wrong_places_are_refused(model, tmp_path):
    with pytest.raises(FacemaeError, match="there already"):
        command.serve("export-weights", (str(model),), {"to": "onnx", "out": str(model.with_suffix(".onnx"))})
    with pytest.raises(FacemaeError, match="no such folder"):
        command.serve("export-weights", (str(model),), {"to": "safetensors", "out": str(tmp_path / "not" / "b")})
    with pytest.raises(FacemaeError, match="holds an iresnet18, not a network=iresnet50"):
        command.serve(
            "import-weights", (str(model.with_suffix(".onnx")),), {"out": str(tmp_path / "m"), "network": "iresnet50"}
        )
    write_safetensors(tmp_path / "other.safetensors", {"weight": np.zeros(3, np.float32)})
    with pytest.raises(FacemaeError, match="none of the known kinds"):
        command.serve("import-weights", (str(tmp_path / "other.safetensors"),), {"out": str(tmp_path / "m")})
    file = rewritten(model.with_suffix(".onnx"), tmp_path / "folded.onnx", fold=True)
    write_faces(tmp_path, people=2, images=8, size=16)
    with pytest.raises(FacemaeError, match="images of 16 pixels, the recognizer reads 32"):
        command.serve("import-weights", (str(file),), {"out": str(tmp_path / "m"), "faces": str(tmp_path / "faces")})
    assert not (tmp_path / "m").exists()
