import jax.numpy as jnp
import numpy as np
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper, shape_inference

from facemae_jax.models.onnx_graph import run_graph
from facemae_jax.models.onnx_ops import OPERATORS
from facemae_jax.models.onnx_read import read_graph
from facemae_jax.models.onnx_value import Value
from facemae_jax.types import FacemaeError

IMAGE = "x"  # N×3×8×8
node = helper.make_node


def array(*shape, seed=0, low=-1.0):
    return np.random.default_rng(seed).uniform(low, 1, shape).astype(np.float32)


def images(count=2, size=8):
    return array(count, 3, size, size, seed=9)


def both(path, nodes, constants, data, opset=17):
    """The output of a graph, by our operators and by onnxruntime."""
    model = helper.make_model(
        helper.make_graph(
            nodes,
            "test",
            [helper.make_tensor_value_info(IMAGE, TensorProto.FLOAT, ["n", 3, *data.shape[2:]])],
            [helper.make_tensor_value_info(nodes[-1].output[0], TensorProto.FLOAT, None)],
            [numpy_helper.from_array(value, name) for name, value in constants.items()],
        ),
        opset_imports=[helper.make_opsetid("", opset)],
        ir_version=8,
    )
    path.write_bytes(shape_inference.infer_shapes(model).SerializeToString())  # the output gets its shape
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    graph = read_graph(path)
    return run_graph(graph, graph.weights, data), session.run(None, {IMAGE: data})[0]


# Each case: the operators it is about, its nodes, its constants. Wide stays N×6×8×8, so that channels-last values meet them too.
WIDE = node("Conv", [IMAGE, "wide"], ["w"], pads=[1, 1, 1, 1])
CONSTANTS = {"wide": array(6, 3, 3, 3, seed=1)}


def conv(kernel, bias=False, source=IMAGE, **attributes):
    constants = {"k": array(*kernel, seed=2)} | ({"b": array(kernel[0], seed=3)} if bias else {})
    return [node("Conv", [source, *constants], ["y"], **attributes)], constants


def with_wide(case):
    nodes, constants = case
    return [WIDE, *nodes], CONSTANTS | constants


def pool(kind, source="w", **attributes):
    return [WIDE, node(kind, [source], ["y"], **attributes)], CONSTANTS


def norm(source="w", count=6, **attributes):
    names = {"s": array(count, seed=4), "c": array(count, seed=5), "m": array(count, seed=6)}
    names["v"] = array(count, seed=7, low=0.1)
    return [WIDE, node("BatchNormalization", [source, *names], ["y"], **attributes)], CONSTANTS | names


def elementwise(kind, first, second, shape=None, low=0.2):
    constants = {} if shape is None else {"c": array(*shape, seed=8, low=low)}
    return [WIDE, node(kind, [first, second], ["y"])], CONSTANTS | constants


def bend(shape, source="w"):
    return [WIDE, node("PRelu", [source, "slope"], ["y"])], CONSTANTS | {"slope": array(*shape, seed=8)}


def matrix(transposed=False, c=None, **attributes):
    constants = {"m": array(*((5, 192) if transposed else (192, 5)), seed=2)}
    if c is not None:
        constants["c"] = array(*c, seed=3)
    return [node("Flatten", [IMAGE], ["f"]), node("Gemm", ["f", *constants], ["y"], **attributes)], constants


def shaped(*shape, source="w"):
    return [WIDE, node("Reshape", [source, "shape"], ["y"])], CONSTANTS | {"shape": np.array(shape, np.int64)}


CASES = {
    "Conv plain": conv((4, 3, 3, 3)),
    "Conv bias, pads": conv((4, 3, 3, 3), True, pads=[1, 1, 1, 1]),
    "Conv uneven pads": conv((4, 3, 3, 3), pads=[0, 1, 2, 3]),
    "Conv strides": conv((4, 3, 3, 3), pads=[1, 1, 1, 1], strides=[2, 3]),
    "Conv dilations": conv((4, 3, 3, 3), dilations=[2, 1], pads=[2, 0, 1, 1]),
    "Conv oblong kernel": conv((4, 3, 1, 5), pads=[0, 2, 0, 2]),
    "Conv groups": with_wide(conv((4, 3, 3, 3), True, "w", group=2, pads=[1, 1, 1, 1])),
    "Conv groups of one channel, several outputs each": with_wide(conv((12, 1, 3, 3), False, "w", group=6)),
    "Conv depthwise": with_wide(conv((6, 1, 3, 3), True, "w", group=6, pads=[1, 1, 1, 1])),
    "Conv depthwise strides": with_wide(conv((6, 1, 3, 3), False, "w", group=6, pads=[1, 1, 1, 1], strides=[2, 2])),
    "Conv depthwise dilations": with_wide(conv((6, 1, 3, 2), False, "w", group=6, pads=[0, 3, 2, 1], dilations=[2, 3])),
    "Conv depthwise over all": with_wide(conv((6, 1, 8, 8), True, "w", group=6)),
    "Conv one by one": conv((5, 3, 1, 1), True),
    "Conv one by one, strides": conv((5, 3, 1, 1), strides=[2, 3]),
    "Conv one by one, pads": conv((5, 3, 1, 1), True, pads=[1, 0, 0, 1]),
    "Conv one by one, groups": with_wide(conv((4, 3, 1, 1), False, "w", group=2)),
    "Conv SAME_UPPER": conv((4, 3, 4, 2), auto_pad="SAME_UPPER", strides=[2, 1]),
    "Conv SAME_LOWER": conv((4, 3, 4, 2), auto_pad="SAME_LOWER", strides=[2, 1]),
    "Conv SAME_UPPER, stride beyond the kernel": conv((4, 3, 1, 2), auto_pad="SAME_UPPER", strides=[3, 3]),
    "Conv VALID": conv((4, 3, 3, 3), auto_pad="VALID", strides=[2, 2]),
    "BatchNormalization of the image": norm(IMAGE, 3),
    "BatchNormalization after a Conv": norm(epsilon=0.1),
    "BatchNormalization of vectors": (
        [*matrix()[0][:1], node("Gemm", ["f", "g"], ["v2"]), node("BatchNormalization", ["v2", "s", "c", "m", "v"], ["y"])],
        {"g": array(192, 6, seed=2)} | {k: v for k, v in norm()[1].items() if k in "scmv"},
    ),
    "PRelu one slope": bend((1,)),
    "PRelu per channel": bend((6, 1, 1)),
    "PRelu per channel, of the image": bend((3, 1, 1), IMAGE),
    "PRelu per channel, with a batch axis": bend((1, 6, 1, 1)),
    "PRelu per column": bend((8,)),
    "PRelu per row and column": bend((1, 8, 8)),
    "PRelu of everything": bend((6, 8, 8)),
    "PRelu of vectors": (
        [*matrix()[0], node("PRelu", ["y", "slope"], ["z"])], matrix()[1] | {"slope": array(5, seed=8)},
    ),
    "Add two wide": elementwise("Add", "w", "w"),
    "Add per channel": elementwise("Add", "w", "c", (1, 6, 1, 1)),
    "Add per channel, no batch axis": elementwise("Add", "c", "w", (6, 1, 1)),
    "Sub from the image": elementwise("Sub", IMAGE, "c", (1,)),
    "Sub from a constant": elementwise("Sub", "c", IMAGE, (1, 3, 1, 1)),
    "Mul per column": elementwise("Mul", "w", "c", (8,)),
    "Mul with a number": elementwise("Mul", "w", "c", ()),
    "Mul images of two layouts": (
        [node("Conv", [IMAGE, "same"], ["w"]), node("Mul", ["w", IMAGE], ["y"])], {"same": array(3, 3, 1, 1)},
    ),
    "Div by a constant": elementwise("Div", "w", "c", (6, 8, 8)),
    "Div of a constant": (
        [node("Sigmoid", [IMAGE], ["p"]), node("Div", ["c", "p"], ["y"])], {"c": array(1, 3, 1, 8)},
    ),
    "Mul attention over channels": (
        [WIDE, node("GlobalAveragePool", ["w"], ["g"]), node("Sigmoid", ["g"], ["p"]), node("Mul", ["w", "p"], ["y"])],
        CONSTANTS,
    ),
    "Relu": pool("Relu"),
    "Sigmoid of the image": pool("Sigmoid", IMAGE),
    "Identity": pool("Identity"),
    "Dropout": pool("Dropout"),
    "Dropout with its ratio as an input": (
        [WIDE, node("Dropout", ["w", "ratio"], ["y"])], CONSTANTS | {"ratio": np.array(0.5, np.float32)},
    ),
    "Erf": pool("Erf"),
    "LayerNormalization": (
        [WIDE, node("LayerNormalization", ["w", "s", "b"], ["y"], epsilon=1e-3)], CONSTANTS | {"s": array(8), "b": array(8, seed=1)},
    ),
    "LayerNormalization without bias, over two axes": (
        [WIDE, node("LayerNormalization", ["w", "s"], ["y"], axis=2)], CONSTANTS | {"s": array(8, 8)},
    ),
    "Softmax": pool("Softmax", axis=-1),
    "Softmax of vectors": ([*matrix()[0], node("Softmax", ["y"], ["z"])], matrix()[1]),
    "Flatten": pool("Flatten"),
    "Flatten all": pool("Flatten", axis=0),
    "Flatten from the third": pool("Flatten", axis=2),
    "Flatten from the end": pool("Flatten", axis=-1),
    "Gemm": matrix(),
    "Gemm transB": matrix(True, transB=1),
    "Gemm with bias": matrix(c=(5,)),
    "Gemm alpha, beta": matrix(c=(2, 5), alpha=0.5, beta=-2.0),
    "Gemm one number": matrix(c=(1,), beta=3.0),
    "Gemm transA": (
        [*matrix()[0][:1], node("Transpose", ["f"], ["t"]), node("Gemm", ["t", "m"], ["y"], transA=1)], matrix()[1],
    ),
    "MatMul": ([*matrix()[0][:1], node("MatMul", ["f", "m"], ["y"])], matrix()[1]),
    "MatMul over the last axis": ([WIDE, node("MatMul", ["w", "m"], ["y"])], CONSTANTS | {"m": array(8, 5)}),
    "MatMul of two": ([WIDE, node("Transpose", ["w"], ["t"], perm=[0, 1, 3, 2]), node("MatMul", ["w", "t"], ["y"])], CONSTANTS),
    "Reshape -1": shaped(2, -1),
    "Reshape 0": shaped(0, 0, 64),
    "Reshape 0 and -1": shaped(0, -1),
    "Reshape the image": shaped(-1, 3, 4, 16, source=IMAGE),
    "Transpose": pool("Transpose", perm=[0, 2, 3, 1]),
    "Transpose backwards": pool("Transpose", IMAGE),
    "Concat channels": ([WIDE, node("Concat", ["w", "w"], ["y"], axis=1)], CONSTANTS),
    "Concat channels of two layouts": ([WIDE, node("Concat", [IMAGE, "w"], ["y"], axis=-3)], CONSTANTS),
    "Concat channels counted from the end": ([WIDE, node("Concat", ["w", "w"], ["y"], axis=-3)], CONSTANTS),
    "Concat rows": ([WIDE, node("Concat", ["w", "w"], ["y"], axis=2)], CONSTANTS),
    "Concat columns": ([WIDE, node("Concat", ["w", "w"], ["y"], axis=-1)], CONSTANTS),
    "Concat with a constant": ([node("Concat", [IMAGE, "c"], ["y"], axis=1)], {"c": array(2, 1, 8, 8)}),
    "GlobalAveragePool": pool("GlobalAveragePool"),
    "GlobalAveragePool of the image": pool("GlobalAveragePool", IMAGE),
    "MaxPool": pool("MaxPool", kernel_shape=[2, 2], strides=[2, 2]),
    "MaxPool pads, no strides": pool("MaxPool", kernel_shape=[3, 2], pads=[1, 0, 1, 1]),
    "MaxPool dilations, pads": pool("MaxPool", kernel_shape=[2, 2], dilations=[3, 2], pads=[1, 1, 1, 1], strides=[1, 2]),
    "MaxPool dilations": pool("MaxPool", kernel_shape=[2, 3], dilations=[3, 2]),
    "MaxPool SAME_UPPER": pool("MaxPool", kernel_shape=[3, 3], strides=[2, 2], auto_pad="SAME_UPPER"),
    "MaxPool SAME_LOWER": pool("MaxPool", kernel_shape=[3, 3], strides=[2, 2], auto_pad="SAME_LOWER"),
    "AveragePool": pool("AveragePool", kernel_shape=[2, 3], strides=[2, 1]),
    "AveragePool pads": pool("AveragePool", kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1]),
    "AveragePool pads counted": pool("AveragePool", kernel_shape=[3, 3], pads=[1, 0, 1, 2], count_include_pad=1),
    "AveragePool VALID": pool("AveragePool", kernel_shape=[3, 3], strides=[2, 2], auto_pad="VALID"),
    "AveragePool SAME_UPPER": pool("AveragePool", IMAGE, kernel_shape=[2, 2], auto_pad="SAME_UPPER"),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_same_as_onnxruntime(tmp_path, case):
    nodes, constants = CASES[case]
    assert case.split()[0] in {n.op_type for n in nodes}
    found, expected = both(tmp_path / "m.onnx", nodes, constants, images())
    assert found.shape == expected.shape
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-6 * np.abs(expected).max())


def test_every_operator_has_a_case():
    assert {n.op_type for nodes, _ in CASES.values() for n in nodes} == set(OPERATORS)
    assert {case.split()[0] for case in CASES} == set(OPERATORS)


def test_softmax_over_another_axis_is_refused(tmp_path):
    for given in ({}, {"axis": 1}):  # without an axis, the opset decides
        with pytest.raises(FacemaeError, match="only the last axis"):
            both(tmp_path / "m.onnx", [WIDE, node("Softmax", ["w"], ["y"], **given)], CONSTANTS, images())


def test_slope_as_wide_as_the_image_is_of_columns_and_not_of_channels(tmp_path):
    """Eight channels of 8×8: only the shape of the slope tells which axis is meant."""
    wide = {"wide": array(8, 3, 3, 3, seed=1)}
    for shape in ((8,), (1, 8, 1), (8, 1, 1), (1, 1, 1, 8)):
        nodes = [WIDE, node("PRelu", ["w", "slope"], ["y"])]
        found, expected = both(tmp_path / "m.onnx", nodes, wide | {"slope": array(*shape, seed=8)}, images())
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-6 * np.abs(expected).max(), err_msg=str(shape))


def test_slope_vector_that_fits_only_the_channels_is_of_channels(tmp_path):
    """As exports from before opset 7 mean it; onnxruntime refuses such files."""
    vector, column = (array(6, seed=8).reshape(shape) for shape in ((6,), (6, 1, 1)))
    data = Value(jnp.asarray(array(2, 6, 8, 8)))
    found = OPERATORS["PRelu"]([data, Value(vector)], {}).array
    np.testing.assert_array_equal(found, OPERATORS["PRelu"]([data, Value(column)], {}).array)


@pytest.mark.parametrize(
    ("shape", "expected"),
    [
        ((1, 192), (4, 192)),
        ((2, 192), (4, 192)),
        ((2, 3, -1), (2, 3, 128)),
        ((2, 3, 128), (2, 3, 128)),
        ((3, -1), (3, 256)),
    ],
)
def test_a_batch_fixed_at_export_is_set_free(shape, expected):
    data = Value(jnp.zeros((4, 3, 8, 8)))
    assert OPERATORS["Reshape"]([data, Value(np.array(shape))], {}).array.shape == expected
