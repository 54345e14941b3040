import pathlib
import sys
from types import SimpleNamespace

import numpy as np
import pytest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "models" / "weights"))

from mae_help import VISIBLE_BV, as_pixels, authors_names, golden, images, normalised, ours, write_folder
from pth_help import dumped, row_file, tensor, zip_file

from facemae_jax import __main__ as door
from facemae_jax.chain import command_line
from facemae_jax.chain import weights_command as command
from facemae_jax.checkpoint import load_model
from facemae_jax.mesh import make_mesh
from facemae_jax.models.mae import MaeConfig, mae_config
from facemae_jax.models.weights.mae_published import shapes_of
from facemae_jax.models.weights.safetensors_file import read_safetensors, write_safetensors
from facemae_jax.stages.training import warm_start
from facemae_jax.types import FacemaeError

TINY = {"image-size": "16", "heads": "2,2"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Hugging Face's."""
    return write_folder(tmp_path_factory.mktemp("hf"), golden()[0], write_safetensors)


@pytest.fixture(scope="module")
def model(folder):
    """A model directory made from it."""
    command.serve("import-weights", (str(folder),), {"out": str(folder / "model"), "image-size": "16"})
    return folder / "model"


def pth(path, arrays, container=zip_file):
    """As the authors publish it: {"model": …}."""
    held = {str(number): np.float32(array).tobytes() for number, array in enumerate(arrays.values())}
    named = {
        name: tensor(
            str(number), array.size, 0, array.shape, tuple(stride // array.itemsize for stride in array.strides)
        )
        for number, (name, array) in enumerate((name, np.ascontiguousarray(array)) for name, array in arrays.items())
    }
    return container(path, dumped({"model": named}), held)


def encoder_only():
    return {name: a for name, a in authors_names(golden()[0]).items() if "decoder" not in name and name != "mask_token"}


def test_an_imported_mae_paints_what_transformers_painted(model):
    variables, description = load_model(model)
    assert (description["kind"], description["norm_pix"], description["untrained"]) == ("mae", False, "")
    assert description["taken_from"] == "model.safetensors"
    pixels, _ = ours(variables["params"], MaeConfig.from_dict(description), images(), VISIBLE_BV)
    np.testing.assert_allclose(normalised(pixels), as_pixels(golden()[1]["logits"], 4), rtol=1e-4, atol=1e-4)


def test_what_is_exported_comes_back_as_it_was(model, tmp_path):
    command.serve("export-weights", (str(model),), {"to": "hf", "out": str(tmp_path / "out")})
    assert sorted(path.name for path in tmp_path.glob("*/*")) == [
        "config.json",
        "model.safetensors",
        "preprocessor_config.json",
    ]
    assert any("decoder_layers.0" in name for name in read_safetensors(tmp_path / "out" / "model.safetensors"))
    command.serve("import-weights", (str(tmp_path / "out"),), {"out": str(tmp_path / "back"), "image-size": "16"})
    assert (tmp_path / "back" / "weights.sha256").read_text() == (model / "weights.sha256").read_text()
    with pytest.raises(FacemaeError, match="there already"):
        command.serve("export-weights", (str(model),), {"to": "hf", "out": str(tmp_path / "out")})


@pytest.mark.parametrize("container", [zip_file, row_file])
def test_the_authors_encoder_begins_a_training_with_the_fields_that_are_told(tmp_path, capsys, container):
    file = pth(tmp_path / "mae_pretrain.pth", encoder_only(), container)
    out = str(tmp_path / "out")
    command.serve("import-weights", (str(file),), TINY | {"out": out, "image-size": "8", "decoder": "8,1,2"})
    said = capsys.readouterr().out
    assert "16/4 → 8/2 (the same grid, patch kernels resized)" in said and "decoder: this one is untrained" in said
    assert "mae.source" not in said
    told = dict(word.removeprefix("--config.").split("=") for word in said.split() if word.startswith("--config."))
    assert told.pop("mae.optim.init_from") == out and told.pop("data.image_size") == "8"
    fields = {name.removeprefix("mae."): value if value == "custom" else int(value) for name, value in told.items()}
    switches = dict(
        visible=0, mask_ratio=0.75, dtype="float32", remat=False, scan=False, remat_keep="nothing", mask_focus=0.0
    )
    fresh = shapes_of(mae_config(SimpleNamespace(**switches, **fields), 8))
    assert load_model(pathlib.Path(out))[1]["untrained"] == "decoder"
    begun = warm_start(out, "mae", "mae.optim.init_from")({"params": fresh})
    np.testing.assert_allclose(
        begun["params"]["encoder"]["block_1"]["fc1"]["bias"], encoder_only()["blocks.1.mlp.fc1.bias"]
    )


def test_normalised_patches_are_told_and_not_painted(folder, tmp_path, capsys):
    from facemae_jax.export.painter import Painter

    file = pth(tmp_path / "x.pth", authors_names(golden()[0]))
    with pytest.raises(FacemaeError, match="--norm-pix=no or"):
        command.serve("import-weights", (str(file),), TINY | {"out": str(tmp_path / "out")})
    assert not (tmp_path / "out").exists()
    command.serve("import-weights", (str(file),), TINY | {"out": str(tmp_path / "out"), "norm-pix": "yes"})
    said = capsys.readouterr().out
    assert "cannot be published" in said and "init_from" in said and "mae.source" not in said
    with pytest.raises(FacemaeError, match="norm_pix_loss"):
        Painter(tmp_path / "out", visible=4, mesh=make_mesh(8, 1), batch_per_device=1)
    command.serve(
        "import-weights", (str(folder),), {"out": str(tmp_path / "hf"), "image-size": "16", "norm-pix": "yes"}
    )
    assert load_model(tmp_path / "hf")[1]["norm_pix"] is True


@pytest.mark.parametrize(
    ("flags", "match"),
    [
        ({"norm-pix": "maybe"}, "--norm-pix=maybe"),
        ({"heads": "2"}, "--heads=2: write 2 whole numbers with commas"),
        ({"decoder": "8,x,2"}, "--decoder=8,x,2: write 3"),
        ({"image-size": "-16"}, "--image-size=-16: write one whole number, such as 112"),
        ({"image-size": "18", "patch": "4"}, "--image-size=18"),
        ({"out": ""}, "--out is missing"),
    ],
)
def test_wrong_flags_are_told(folder, tmp_path, flags, match):
    with pytest.raises(FacemaeError, match=match):
        command.serve("import-weights", (str(folder),), {"out": str(tmp_path / "out"), **flags})


def test_an_existing_model_is_left_alone(folder, tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    (out / "mine").write_text("")
    with pytest.raises(FacemaeError, match="there already"):
        command.serve("import-weights", (str(folder),), {"out": str(out), "image-size": "16"})
    assert [path.name for path in tmp_path.rglob("*")] == ["out", "mine"]


def test_wrong_places_and_forms_are_told(model, folder, tmp_path):
    def told(verb, place, **flags):
        with pytest.raises(FacemaeError) as error:
            command.serve(verb, place, {"out": str(tmp_path / "out"), **flags})
        return str(error.value)

    assert "takes one file, found 0" in told("import-weights", ())
    assert "takes one model, found 2" in told("export-weights", ("a", "b"), to="hf")
    assert "without model.safetensors or pytorch_model.bin" in told("import-weights", (str(tmp_path),))
    (tmp_path / "model.safetensors.index.json").write_text("{}")
    assert "in several parts" in told("import-weights", (str(tmp_path),))
    assert "did you mean hf?" in told("export-weights", (str(model),), to="hff")
    assert "--to is missing" in told("export-weights", (str(model),))
    assert "writes a recognizer" in told("export-weights", (str(model),), to="onnx")
    write_safetensors(tmp_path / "other.safetensors", {"a": np.zeros(3, np.float32)})
    assert "none of the known kinds" in told("import-weights", (str(tmp_path / "other.safetensors"),))
    write_safetensors(tmp_path / "alone.safetensors", golden()[0])
    assert "no config.json beside it" in told("import-weights", (str(tmp_path / "alone.safetensors"),))
    (tmp_path / "config.json").write_text("{")
    assert "is no JSON" in told("import-weights", (str(tmp_path / "alone.safetensors"),))


def test_the_help_names_every_flag_and_kind():
    for verb, kinds in (("import-weights", command.READERS), ("export-weights", command.WRITERS)):
        text = command.help_text(verb)
        assert command_line.OWN_FLAGS[verb] == command.FLAGS[verb]
        assert all(f"--{flag}" in text for flag in command.FLAGS[verb]) and all(f"  {kind} " in text for kind in kinds)


def test_the_door_knows_both_verbs(tmp_path, capsys):
    for verb, word in (("import-weights", "no such file"), ("export-weights", "no model in")):
        assert door.main([verb, "--help"]) == 0 and f"{verb}: {command.SUMMARY[verb]}" in capsys.readouterr().out
        flags = [f"--out={tmp_path}/x"] + (["--to=hf"] if verb == "export-weights" else [])
        assert door.main([verb, f"{tmp_path}/missing", *flags]) == 2
        assert word in capsys.readouterr().err
        assert door.main([verb, "--config=configs/demo.py", f"{tmp_path}/missing"]) == 2
        assert "takes neither a config nor a workdir" in capsys.readouterr().err


def test_a_folder_with_pytorchs_file_is_read_as_the_other(model, tmp_path):
    write_folder(tmp_path / "x", golden()[0], lambda path, arrays: pth(path.with_name("pytorch_model.bin"), arrays))
    command.serve("import-weights", (str(tmp_path / "x"),), {"out": str(tmp_path / "out"), "image-size": "16"})
    assert (tmp_path / "out" / "weights.sha256").read_text() == (model / "weights.sha256").read_text()
