"""Against PyTorch itself: ``launch/test.sh -m peers``."""

import jax
import numpy as np
import pytest
from iresnet_help import GOLDEN, close

from facemae_jax.models import iresnet
from facemae_jax.models.recognizer import from_description
from facemae_jax.models.weights.pth_file import read_pth
from facemae_jax.models.weights.recognizer_arcface_torch import from_arcface_torch, to_arcface_torch
from facemae_jax.models.weights.recognizer_onnx import from_onnx
from facemae_jax.models.weights.safetensors_file import write_safetensors

pytestmark = pytest.mark.peers


@pytest.fixture(scope="module")
def peer(tmp_path_factory):
    """(PyTorch's IResNet-50 with random weights, its backbone.pth, images, what it makes of them block by block)."""
    import torch
    import torch_iresnet

    model = torch_iresnet.random_iresnet(widths=iresnet.WIDTHS, units=iresnet.DEPTHS[50], embedding=512, size=112)
    path = tmp_path_factory.mktemp("pth") / "backbone.pth"
    torch.save(model.state_dict(), path)
    images = torch_iresnet.images(2, 112)
    return model, path, images, torch_iresnet.outputs(model, images)


def computed(imported, images):
    network = from_description(imported.description)

    def evaluate(variables, images):
        return network.apply(variables, images, train=False, capture_intermediates=True)

    embeddings, kept = jax.jit(evaluate)(imported.variables, images)
    return {
        name: np.asarray(value["__call__"][0]) for name, value in kept["intermediates"].items() if "__call__" in value
    } | {"embedding": np.asarray(embeddings)}


def test_every_block_of_iresnet50_is_pytorchs(peer):
    _, path, images, expected = peer
    imported = from_arcface_torch(read_pth(path), str(path), "iresnet50")
    found = computed(imported, images)
    assert len(expected) == 3 + 24
    for name, value in expected.items():
        assert value.std() > 0.1, name
        close(found[name], value)


def test_pytorch_loads_what_we_write(peer, tmp_path):
    import torch
    import torch_iresnet
    from safetensors.torch import load_file

    model, path, images, expected = peer
    imported = from_arcface_torch(read_pth(path), str(path))
    write_safetensors(
        tmp_path / "b.safetensors", to_arcface_torch(imported.variables, imported.description), {"format": "pt"}
    )
    other = torch_iresnet.random_iresnet(1, widths=iresnet.WIDTHS, units=iresnet.DEPTHS[50], embedding=512, size=112)
    other.load_state_dict(load_file(tmp_path / "b.safetensors"))  # strict: every name, no other
    for name, value in model.state_dict().items():
        assert torch.equal(other.state_dict()[name], value), name
    close(torch_iresnet.outputs(other, images)["embedding"], expected["embedding"], 1e-6)


@pytest.mark.filterwarnings("ignore")  # its export warns of its own future
def test_pytorchs_own_onnx_export_becomes_trainable(peer, tmp_path):
    import torch

    model, _, images, expected = peer
    torch.onnx.export(
        model, torch.zeros(1, 3, 112, 112), tmp_path / "r50.onnx", input_names=["input.1"], dynamo=False,
        dynamic_axes={"input.1": {0: "N"}}, opset_version=13,
    )  # fmt: skip
    imported = from_onnx(tmp_path / "r50.onnx", "iresnet50")
    assert len(imported.folded) == 1 + 2 * 24 + 4
    close(computed(imported, images)["embedding"], expected["embedding"])


def test_golden_arrays_are_pytorchs():
    import torch_iresnet

    with np.load(GOLDEN) as arrays:
        small = torch_iresnet.random_iresnet(**torch_iresnet.SMALL)
        for name, value in small.state_dict().items():
            np.testing.assert_array_equal(arrays[f"weights/{name}"], value.numpy(), name)
        for name, value in torch_iresnet.outputs(small, arrays["images"]).items():
            close(arrays[f"outputs/{name}"], value, 1e-5)
