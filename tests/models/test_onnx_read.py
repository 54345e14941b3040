import jax
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from facemae_jax.models.onnx_graph import run_graph
from facemae_jax.models.onnx_ops import OPERATORS
from facemae_jax.models.onnx_read import read_graph
from facemae_jax.types import FacemaeError

node = helper.make_node


def array(*shape, seed=0, low=-1.0):
    return np.random.default_rng(seed).uniform(low, 1, shape).astype(np.float32)


def value_info(name, shape):
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)


def save(path, nodes, constants=None, *, inputs=(("x", ("n", 3, 8, 8)),), outputs=None, domains=()):
    """A file with these nodes; by default its one output is the last node's, of four axes."""
    graph = helper.make_graph(
        nodes,
        "test",
        [value_info(name, shape) for name, shape in inputs],
        [value_info(name, [None] * 4) for name in outputs or nodes[-1].output[:1]],
        [numpy_helper.from_array(value, name) for name, value in (constants or {}).items()],
    )
    opsets = [helper.make_opsetid("", 17), *(helper.make_opsetid(domain, 1) for domain in domains)]
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=8), path)
    return path


def test_what_a_file_holds(tmp_path):
    nodes = [
        node("Conv", ["x", "k"], ["a"], pads=[1, 1, 1, 1], auto_pad="NOTSET"),
        node("Reshape", ["a", "shape"], ["y"]),
    ]
    constants = {"k": array(4, 3, 3, 3), "shape": np.array([0, 4, 8, 8]), "unread": array(5)}
    graph = read_graph(save(tmp_path / "m.onnx", nodes, constants))
    assert (graph.image, graph.embedding, graph.input_size) == ("x", "y", 8)
    assert [(n.kind, n.inputs, n.output) for n in graph.nodes] == [
        ("Conv", ("x", "k"), "a"),
        ("Reshape", ("a", "shape"), "y"),
    ]
    assert list(graph.nodes[0].attributes["pads"]) == [1, 1, 1, 1] and graph.nodes[0].attributes["auto_pad"] == "NOTSET"
    assert set(graph.weights) == {"k"}  # what no node reads is not carried along
    np.testing.assert_array_equal(graph.weights["k"], constants["k"])
    np.testing.assert_array_equal(graph.constants["shape"], [0, 4, 8, 8])


@pytest.mark.parametrize(
    ("shape", "size"), [(("n", 3, 8, 8), 8), ((1, 3, 112, 112), 112), (("n", 3, "h", "w"), None), ([None] * 4, None)]
)
def test_size_of_the_image(tmp_path, shape, size):
    path = save(tmp_path / "m.onnx", [node("Relu", ["x"], ["y"])], inputs=[("x", shape)])
    assert read_graph(path).input_size == size


def test_every_kind_of_constant(tmp_path):
    tensor = numpy_helper.from_array(array(1, 3, 1, 1))
    nodes = [
        node("Constant", [], ["t"], value=tensor),
        node("Constant", [], ["f"], value_float=0.5),
        node("Constant", [], ["fs"], value_floats=[1.0, 2.0]),
        node("Constant", [], ["i"], value_int=3),
        node("Constant", [], ["is"], value_ints=[0, -1]),
        node("Mul", ["x", "t"], ["a"]),
        node("Mul", ["a", "f"], ["b"]),
        node("Mul", ["b", "fs"], ["c"]),
        node("Reshape", ["c", "is"], ["y"]),
    ]
    graph = read_graph(save(tmp_path / "m.onnx", nodes, inputs=[("x", ("n", 3, 2, 2))]))
    assert [n.kind for n in graph.nodes] == ["Mul"] * 3 + ["Reshape"]
    np.testing.assert_array_equal(graph.weights["t"], array(1, 3, 1, 1))
    assert graph.weights["f"] == 0.5 and graph.weights["fs"].tolist() == [1, 2]
    assert graph.constants["i"] == 3 and graph.constants["is"].tolist() == [0, -1]


@pytest.mark.parametrize("dtype", [np.float16, np.float64])
def test_weights_become_float32(tmp_path, dtype):
    # Checked by hand: onnx's own check does not look at the types of two inputs.
    path = save(tmp_path / "m.onnx", [node("Mul", ["x", "c"], ["y"])], {"c": array(1, 3, 1, 1).astype(dtype)})
    weights = read_graph(path).weights
    assert weights["c"].dtype == np.float32
    np.testing.assert_allclose(weights["c"], array(1, 3, 1, 1), rtol=1e-3)


def test_weights_listed_as_inputs_are_no_images(tmp_path):
    """As files before IR version 4 do it."""
    inputs = [("c", (1, 3, 1, 1)), ("x", ("n", 3, 8, 8))]
    graph = read_graph(
        save(tmp_path / "m.onnx", [node("Mul", ["x", "c"], ["y"])], {"c": array(1, 3, 1, 1)}, inputs=inputs)
    )
    assert graph.image == "x" and set(graph.weights) == {"c"}


def normed(bias=True, kernel="k", **attributes):
    """Conv and BatchNormalization with their numbers."""
    constants = {"k": array(4, 3, 3, 3), "s": array(4, seed=1), "c": array(4, seed=2), "m": array(4, seed=3)}
    constants |= {"v": array(4, seed=4, low=0.1)} | ({"b": array(4, seed=5)} if bias else {})
    nodes = [
        node("Conv", ["x", kernel, *(["b"] if bias else [])], ["a"], strides=[2, 2], pads=[1, 0, 0, 1]),
        node("BatchNormalization", ["a", "s", "c", "m", "v"], ["y"], **attributes),
    ]
    return nodes, constants


def computed(graph, data):
    return jax.jit(lambda weights: run_graph(graph, weights, data))(graph.weights)


def unfolded(path, monkeypatch):
    """The same file, read without folding."""
    monkeypatch.setattr("facemae_jax.models.onnx_read.fold_norms", lambda graph: graph)
    return read_graph(path)


@pytest.mark.parametrize("given", [dict(), dict(bias=False), dict(epsilon=0.5)], ids=str)
def test_folded_norm_gives_the_same_numbers(tmp_path, monkeypatch, given):
    path = save(tmp_path / "m.onnx", *normed(**given))
    graph = read_graph(path)
    assert [n.kind for n in graph.nodes] == ["Conv"]
    assert not {"k", "s", "c", "m", "v", "b"} & set(graph.weights)
    plain = unfolded(path, monkeypatch)
    assert [n.kind for n in plain.nodes] == ["Conv", "BatchNormalization"]
    data = array(2, 3, 8, 8, seed=9)
    np.testing.assert_allclose(computed(graph, data), computed(plain, data), rtol=1e-5, atol=1e-5)


def test_norm_is_folded_only_where_nothing_else_reads_the_convolution(tmp_path):
    nodes, constants = normed()
    added = save(tmp_path / "a.onnx", [*nodes, node("Add", ["a", "y"], ["z"])], constants)
    assert [n.kind for n in read_graph(added).nodes] == ["Conv", "BatchNormalization", "Add"]
    wanted = save(tmp_path / "b.onnx", nodes, constants, outputs=["a"])  # the convolution is what the file gives
    assert "a" in [n.output for n in read_graph(wanted).nodes]
    twice = [*nodes, node("BatchNormalization", ["y", "s", "c", "m", "v"], ["z"])]
    assert [n.kind for n in read_graph(save(tmp_path / "c.onnx", twice, constants)).nodes] == [
        "Conv",
        "BatchNormalization",
    ]


@pytest.mark.parametrize("shared", ["k", "b", "s", "v"])
def test_numbers_shared_through_another_node_stay_apart(tmp_path, monkeypatch, shared):
    """Exporters share equal tensors through an Identity; their values are not in the list of weights."""
    nodes, constants = normed()
    constants["kept"] = constants.pop(shared)
    path = save(tmp_path / "m.onnx", [node("Identity", ["kept"], [shared]), *nodes], constants)
    graph = read_graph(path)
    assert [n.kind for n in graph.nodes] == ["Identity", "Conv", "BatchNormalization"]
    data = array(2, 3, 8, 8, seed=9)
    same = save(tmp_path / "same.onnx", *normed())
    np.testing.assert_allclose(computed(graph, data), computed(read_graph(same), data), rtol=1e-5, atol=1e-5)


def refused(path):
    with pytest.raises(FacemaeError) as error:
        read_graph(path)
    assert str(path) in str(error.value)
    return str(error.value)


def test_missing_file(tmp_path):
    assert "no such file" in refused(tmp_path / "absent.onnx")
    assert "no such file" in refused(tmp_path)  # a folder is none


@pytest.mark.parametrize("content", [b"", b"these are words, not a model", None], ids=["empty", "words", "cut off"])
def test_what_is_no_model(tmp_path, content):
    path = save(tmp_path / "m.onnx", *normed())
    path.write_bytes(path.read_bytes()[:-40] if content is None else content)
    assert "is not a readable ONNX model" in refused(path)


def test_unknown_operators_are_named(tmp_path):
    words = refused(save(tmp_path / "a.onnx", [node("Tanh", ["x"], ["y"], name="bend7")]))
    assert "operator Tanh of node bend7 is not supported" in words and ", ".join(sorted(OPERATORS)) in words
    foreign = node("Relu", ["x"], ["y"], domain="com.example")
    words = refused(save(tmp_path / "b.onnx", [foreign], domains=["com.example"]))
    assert "operator com.example.Relu of node y is not supported" in words
    assert "Swoosh" in refused(save(tmp_path / "c.onnx", [node("Swoosh", ["x"], ["y"])]))


def test_more_than_one_image_or_output(tmp_path):
    two = [("x", ("n", 3, 8, 8)), ("z", ("n", 3, 8, 8))]
    words = refused(save(tmp_path / "a.onnx", [node("Add", ["x", "z"], ["y"])], inputs=two))
    assert "has one input and one output; this model has 2 and 1" in words
    nodes = [node("Relu", ["x"], ["y"]), node("Sigmoid", ["x"], ["z"])]
    assert "this model has 1 and 2" in refused(save(tmp_path / "b.onnx", nodes, outputs=["y", "z"]))


@pytest.mark.parametrize("shape", [("n", 8, 8, 3), ("n", 1, 8, 8), ("n", 3, 8, 16), ("n", 3, 8)])
def test_inputs_that_are_no_square_colour_images(tmp_path, shape):
    words = refused(save(tmp_path / "m.onnx", [node("Relu", ["x"], ["y"])], inputs=[("x", shape)]))
    assert "the input x has the shape" in words and "expected images N×3×S×S" in words
