import jax
import numpy as np
import pytest
from iresnet_help import close, golden, golden_images, small_iresnet

from facemae_jax.models.recognizer import from_description
from facemae_jax.models.weights.recognizer_arcface_torch import from_arcface_torch, to_arcface_torch
from facemae_jax.types import FacemaeError


@pytest.fixture(scope="module", autouse=True)
def small():
    with small_iresnet():
        yield


def run(imported, images):
    network = from_description(imported.description)

    def evaluate(variables, images):
        return network.apply(variables, images, train=False, capture_intermediates=True)

    embeddings, kept = jax.jit(evaluate)(imported.variables, images)
    return np.asarray(embeddings), {
        name: value["__call__"][0] for name, value in kept["intermediates"].items() if "__call__" in value
    }


@pytest.fixture(scope="module")
def computed():
    return run(from_arcface_torch(golden("weights"), "backbone.pth"), golden_images())


@pytest.mark.parametrize("part", ["conv1", "layer1_0", "layer2_0", "layer2_1", "layer3_0", "layer4_0", "bn2"])
def test_every_block_gives_what_pytorch_gave(computed, part):
    close(computed[1][part], golden("outputs")[part])


def test_embedding_is_pytorchs(computed):
    close(computed[0], golden("outputs")["embedding"])


def test_description_follows_from_the_names():
    description = from_arcface_torch(golden("weights"), "backbone.pth", "iresnet18").description
    assert description == dict(
        kind="recognizer", network="iresnet18", embedding=5, dtype="float32", dropout=0.0, image_size=32
    )


def test_out_and_in_again_is_bit_for_bit():
    weights = golden("weights")
    imported = from_arcface_torch(weights, "backbone.pth")
    found = to_arcface_torch(imported.variables, imported.description)
    assert found.keys() == weights.keys()
    for name, value in weights.items():
        assert (found[name].dtype, found[name].shape) == (value.dtype, value.shape), name
        np.testing.assert_array_equal(found[name], value, name)


def test_scale_behind_the_embedding_is_kept():
    """arcface_torch holds it at 1; others do not, and a negative one turns its number round."""
    weights = golden("weights")
    scale = np.array([0.5, 2, -1, 1, 3], np.float32)
    embedding, _ = run(from_arcface_torch(weights | {"features.weight": scale}, "backbone.pth"), golden_images())
    bias = weights["features.bias"][None]
    close(embedding, (golden("outputs")["embedding"] - bias) * scale[None] + bias)


def test_half_precision_becomes_float32():
    halves = {name: value.astype(np.float16) if value.ndim else value for name, value in golden("weights").items()}
    imported = from_arcface_torch(halves, "backbone.pth")
    assert {leaf.dtype for leaf in jax.tree.leaves(imported.variables)} == {np.dtype("float32")}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda w: w.pop("layer2.1.prelu.weight"), "backbone.pth has no layer2.1.prelu.weight, which an iresnet18"),
        (lambda w: w.update({"layer2.0.se.weight": np.zeros(3)}), "holds what no iresnet18 has: layer2.0.se.weight"),
        (lambda w: w.update({"layer3.1.bn1.weight": np.zeros(6)}), "has no layer3.1.bn1.bias, which an iresnet34"),
        (
            lambda w: w.update({"layer3.7.bn1.weight": np.zeros(6), "layer3.8.bn1.weight": np.zeros(6)}),
            r"have \(1, 2, 3, 1\) units",
        ),
        (lambda w: w.update({"bn1.bias": np.zeros(7)}), r"bn1.bias has the shape \(7,\), an iresnet18 has \(4,\)"),
        (lambda w: w.update({"fc.weight": np.zeros((5, 24))}), "reads 24 numbers, 8 for each place"),
        (lambda w: w.pop("fc.weight"), "fc.weight is not made for square images"),
    ],
)
def test_other_weights_are_refused(change, words):
    weights = golden("weights")
    change(weights)
    with pytest.raises(FacemaeError, match=words):
        from_arcface_torch(weights, "backbone.pth")


def test_another_network_than_named_is_refused():
    with pytest.raises(FacemaeError, match="holds an iresnet18, not a network=iresnet34"):
        from_arcface_torch(golden("weights"), "backbone.pth", "iresnet34")


def test_networks_that_arcface_torch_does_not_have_are_not_written():
    with pytest.raises(FacemaeError, match="network=cpu has no names in arcface_torch"):
        to_arcface_torch({}, dict(kind="recognizer", network="cpu"))
