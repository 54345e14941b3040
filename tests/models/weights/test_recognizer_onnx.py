import pathlib
import sys

import jax
import numpy as np
import pytest
from onnx import helper
from onnx_help import rewritten

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))  # tests/models

from recognizer_help import by_onnxruntime, computed, made, pictures, small_networks

from facemae_jax.models.onnx_networks import write_onnx
from facemae_jax.models.weights.recognizer_onnx import expect_same, from_onnx
from facemae_jax.types import FacemaeError

node = helper.make_node


@pytest.fixture(scope="module", autouse=True)
def small():
    with small_networks():
        yield


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """network → (its file, variables, description)."""
    folder = tmp_path_factory.mktemp("onnx")
    result = {}
    for network in ("iresnet18", "mobilefacenet", "cpu"):
        variables, description = made(network)
        write_onnx(folder / f"{network}.onnx", variables, description)
        result[network] = folder / f"{network}.onnx", variables, description
    return result


@pytest.mark.parametrize("network", ["iresnet18", "mobilefacenet"])
def test_written_and_read_again_is_bit_for_bit(files, network):
    path, variables, description = files[network]
    found = from_onnx(path)
    assert (found.description, found.folded) == (description, ())
    assert jax.tree.structure(found.variables) == jax.tree.structure(variables)
    jax.tree.map(np.testing.assert_array_equal, found.variables, variables)


@pytest.mark.parametrize(("network", "folded"), [("iresnet18", 1 + 2 * 5 + 4), ("mobilefacenet", 2 + 3 * 5 + 2)])
def test_folded_file_gives_the_same_embedding(files, tmp_path, network, folded):
    path = rewritten(files[network][0], tmp_path / "folded.onnx", fold=True)
    found = from_onnx(path)
    assert found.description == files[network][2] and len(found.folded) == folded
    expected = by_onnxruntime(path, pictures())
    np.testing.assert_allclose(
        computed(found.variables, found.description, pictures()), expected, rtol=0, atol=1e-5 * np.abs(expected).max()
    )


def test_only_what_was_folded_is_told(files, tmp_path):
    found = from_onnx(rewritten(files["iresnet18"][0], tmp_path / "folded.onnx", fold=True))
    assert found.folded[:5] == ("bn1", "layer1_0/bn2", "layer1_0/bn3", "layer1_0/downsample_bn", "layer2_0/bn2")
    known = files["iresnet18"][1]["batch_stats"]["layer2_1"]["bn1"]
    jax.tree.map(np.testing.assert_array_equal, found.variables["batch_stats"]["layer2_1"]["bn1"], known)


def normalised(mean, factor):
    def change(nodes, arrays):
        arrays.update(mean=np.float32(mean), factor=np.float32(factor))
        nodes[0].input[0] = "scaled"
        nodes[:0] = [node("Sub", ["data", "mean"], ["centred"]), node("Mul", ["centred", "factor"], ["scaled"])]

    return change


def test_normalisation_inside_the_file_goes_into_the_first_convolution(files, tmp_path):
    images = pictures()
    for mean, factor, shown in ((127.5, 1 / 128, (images + 1) * 127.5), (0.5, 2.1, (images + 1) / 2)):
        path = rewritten(files["iresnet18"][0], tmp_path / "inside.onnx", normalised(mean, factor))
        found = from_onnx(path)
        expected = by_onnxruntime(path, shown)
        np.testing.assert_allclose(
            computed(found.variables, found.description, images), expected, rtol=0, atol=1e-5 * np.abs(expected).max()
        )


def epsilon(value):
    def change(nodes, arrays):
        for n in nodes:
            for attribute in n.attribute:
                if attribute.name == "epsilon":
                    attribute.f = value

    return change


def dense_as_matmul(nodes, arrays):
    at = next(i for i, n in enumerate(nodes) if n.op_type == "Gemm")
    kernel, bias = nodes[at].input[1:]
    arrays[kernel] = np.ascontiguousarray(arrays[kernel].T)
    nodes[at : at + 1] = [
        node("MatMul", [nodes[at].input[0], kernel], ["product"]), node("Add", [bias, "product"], list(nodes[at].output))
    ]  # fmt: skip


def shared_weights(nodes, arrays):
    """As newer exports share equal arrays; and a Dropout on the way."""
    slope = nodes[2].input[1]
    nodes[2].input[1] = "slope again"
    last = next(i for i, n in enumerate(nodes) if n.op_type == "Flatten")
    nodes[last].input[0], before = "dropped", nodes[last].input[0]
    nodes.insert(last, node("Dropout", [before], ["dropped"]))
    nodes.insert(0, node("Identity", [slope], ["slope again"]))
    nodes[0], nodes[1] = nodes[1], nodes[0]


def scaled_output(nodes, arrays):
    arrays[nodes[-1].input[1]] = np.array([0.5, 2, -1, 1, 3, 0.1], np.float32)


def biased(nodes, arrays):
    """A convolution with a bias, and the normalisation still behind it."""
    arrays["more"] = np.array([0.3, -0.2, 0.1, 1], np.float32)
    nodes[0].input.append("more")


@pytest.mark.parametrize(
    "change", [biased, epsilon(2e-5), epsilon(1e-1), dense_as_matmul, shared_weights, scaled_output]
)
def test_other_ways_to_write_the_same_network(files, tmp_path, change):
    path = rewritten(files["iresnet18"][0], tmp_path / "other.onnx", change)
    found, expected = from_onnx(path), by_onnxruntime(path, pictures())
    np.testing.assert_allclose(
        computed(found.variables, found.description, pictures()), expected, rtol=0, atol=1e-5 * np.abs(expected).max()
    )


def test_a_bias_that_our_mobilefacenet_does_not_have_goes_into_the_last_mean(files, tmp_path):
    def change(nodes, arrays):
        arrays["bias"] = np.linspace(-1, 1, 6, dtype=np.float32)
        next(n for n in nodes if n.op_type == "Gemm").input.append("bias")

    path = rewritten(files["mobilefacenet"][0], tmp_path / "biased.onnx", change)
    found, expected = from_onnx(path), by_onnxruntime(path, pictures())
    np.testing.assert_allclose(
        computed(found.variables, found.description, pictures()), expected, rtol=0, atol=1e-5 * np.abs(expected).max()
    )


def replaced(kind, number, **changes):
    """The ``number``-th node of a kind with other attributes."""

    def change(nodes, arrays):
        at = [i for i, n in enumerate(nodes) if n.op_type == kind][number]
        old = nodes[at]
        given = {a.name: helper.get_attribute_value(a) for a in old.attribute} | changes
        nodes[at] = node(kind, list(old.input), list(old.output), **given)

    return change


def another_sum(nodes, arrays):
    add = [n for n in nodes if n.op_type == "Add"][1]
    add.input[1] = "layer1_0.sum"  # past its projection


def one_more(nodes, arrays):
    nodes.append(node("Sigmoid", [nodes[-1].output[0]], ["more"]))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (replaced("Conv", 3, strides=[2, 2], pads=[2, 2, 2, 2]), "has strides"),
        (another_sum, "adds layer2_0.bn3, layer1_0.sum, expected layer2_0.bn3 and layer2_0.downsample.1"),
        (one_more, "more comes behind"),
        (normalised(100, 0.01), "under which middle grey is not 0"),
        (normalised(0, 0.01), "under which middle grey is not 0"),
        (replaced("Gemm", 0, alpha=2.0), "is scaled or transposed"),
    ],
)
def test_what_our_network_cannot_mean_is_refused(files, tmp_path, change, words):
    path = rewritten(files["iresnet18"][0], tmp_path / "other.onnx", change)
    with pytest.raises(FacemaeError, match=words) as caught:
        from_onnx(path)
    assert "is not an IResNet or a MobileFaceNet" in str(caught.value) and "onnx:FILE" in str(caught.value)


def test_other_networks_are_refused(files, monkeypatch):
    with pytest.raises(FacemaeError, match="cpu.onnx is not"):
        from_onnx(files["cpu"][0])
    with pytest.raises(FacemaeError, match="holds an iresnet18, not a network=iresnet34"):
        from_onnx(files["iresnet18"][0], "iresnet34")
    with pytest.raises(FacemaeError, match="looks like a mobilefacenet, not a network=iresnet18"):
        from_onnx(files["mobilefacenet"][0], "iresnet18")
    from facemae_jax.models import iresnet, mobilefacenet

    monkeypatch.setattr(iresnet, "DEPTHS", {18: (2, 2, 2, 2)})
    with pytest.raises(FacemaeError, match=r"its stages have \(1, 2, 1, 1\) units, known are iresnet18 \(2, 2, 2, 2\)"):
        from_onnx(files["iresnet18"][0])
    monkeypatch.setattr(mobilefacenet, "BOTTLENECKS", ((2, 4, 1, 2), *mobilefacenet.BOTTLENECKS[1:]))
    with pytest.raises(FacemaeError, match="is not the MobileFaceNet of Chen"):
        from_onnx(files["mobilefacenet"][0])


def test_other_widths_are_refused(files, monkeypatch):
    from facemae_jax.models import iresnet

    monkeypatch.setattr(iresnet, "WIDTHS", (4, 4, 6, 9))
    with pytest.raises(
        FacemaeError, match=r"batch_stats/bn2/mean would have the shape \(8,\), our iresnet18 has \(9,\)"
    ):
        from_onnx(files["iresnet18"][0])


def test_another_embedding_than_the_files_is_noticed(files, tmp_path):
    """Also where the normalisation of images is inside the file."""
    path = rewritten(files["iresnet18"][0], tmp_path / "inside.onnx", normalised(127.5, 1 / 128))
    found = from_onnx(path)
    assert expect_same(path, found) < 1e-5
    found.variables["params"]["layer3_0"]["prelu"]["slope"][:] += 0.1
    with pytest.raises(FacemaeError, match="our iresnet18 gives another embedding than the file"):
        expect_same(path, found)
