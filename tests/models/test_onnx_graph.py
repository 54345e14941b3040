import zipfile

import jax
import jax.numpy as jnp
import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from facemae_jax.data.images import decode
from facemae_jax.models.onnx_graph import read_onnx
from facemae_jax.types import FacemaeError

node = helper.make_node


def array(*shape, seed=0, low=-1.0):
    return np.random.default_rng(seed).uniform(low, 1, shape).astype(np.float32)


def save(path, nodes, constants, image=("n", 3, 16, 16), output=("n", 5)):
    graph = helper.make_graph(
        nodes,
        "test",
        [helper.make_tensor_value_info("data", TensorProto.FLOAT, image)],
        [helper.make_tensor_value_info(nodes[-1].output[0], TensorProto.FLOAT, output)],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    return path


def norm(source, output, count, constants):
    names = {f"{output}_{part}": array(count, seed=i, low=0.2) for i, part in enumerate(("s", "c", "m", "v"))}
    constants |= names
    return node("BatchNormalization", [source, *names], [output])


def recognizer():
    """A small face recognizer with what such files have in them: normalisation inside, depthwise parts, a residual."""
    constants = {
        "mean": np.array(127.5, np.float32), "scale": np.array(0.0078125, np.float32),
        "k1": array(6, 3, 3, 3), "slope1": array(6, 1, 1, low=0), "k2": array(6, 1, 3, 3, seed=1), "k3": array(6, 6, 1, 1, seed=2),
        "k4": array(6, 1, 8, 8, seed=3), "slope2": array(6, 1, 1, low=0, seed=4), "fc": array(5, 6, seed=5), "bias": array(5, seed=6),
    }  # fmt: skip
    nodes = [
        node("Sub", ["data", "mean"], ["centred"]),
        node("Mul", ["centred", "scale"], ["small"]),
        node("Conv", ["small", "k1"], ["c1"], strides=[2, 2], pads=[1, 1, 1, 1]),
        norm("c1", "n1", 6, constants),
        node("PRelu", ["n1", "slope1"], ["p1"]),
        node("Conv", ["p1", "k2"], ["c2"], group=6, pads=[1, 1, 1, 1]),
        norm("c2", "n2", 6, constants),
        node("PRelu", ["n2", "slope2"], ["p2"]),
        node("Conv", ["p2", "k3"], ["c3"]),
        node("Add", ["c3", "p1"], ["r"]),
        node("Conv", ["r", "k4"], ["g"], group=6),
        node("Flatten", ["g"], ["f"]),
        node("Gemm", ["f", "fc", "bias"], ["e"], transB=1),
        norm("e", "embedding", 5, constants),
    ]
    return nodes, constants


def pictures(count=2, size=16, seed=9):
    return np.random.default_rng(seed).uniform(0, 255, (count, 3, size, size)).astype(np.float32)


def reference(path, data):
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    return session.run(None, {session.get_inputs()[0].name: data})[0]


def assert_same(found, expected):
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-6 * np.abs(expected).max())


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    return save(tmp_path_factory.mktemp("onnx") / "m.onnx", *recognizer())


def test_a_whole_recognizer_is_as_in_onnxruntime(path):
    model = read_onnx(path)
    assert (model.input_size, model.embedding) == (16, 5)
    assert {value.dtype for value in model.params.values()} == {np.dtype("float32")}
    for count in (1, 3):  # the batch is free
        assert_same(jax.jit(model.apply)(model.params, pictures(count)), reference(path, pictures(count)))


def test_weights_are_an_argument(path):
    model = read_onnx(str(path))
    bias = {name: value + 1 if name == "embedding_c" else value for name, value in model.params.items()}
    apply = jax.jit(model.apply)
    np.testing.assert_allclose(apply(bias, pictures()), apply(model.params, pictures()) + 1, rtol=1e-5, atol=1e-5)


def test_gradient_of_the_image_agrees_with_differences(path):
    model = read_onnx(path)
    target = array(5, seed=7).astype(np.float64)
    with jax.enable_x64(True):  # in float64, so that differences say something
        params = {name: value.astype(np.float64) for name, value in model.params.items()}
        loss = jax.jit(lambda x: (model.apply(params, x) @ target).sum())
        x = pictures().astype(np.float64)
        gradient = np.asarray(jax.jit(jax.grad(loss))(x))
        assert gradient.dtype == np.float64 and gradient.any(axis=(1, 2, 3)).all()
        for seed in range(4):
            way = np.random.default_rng(seed).normal(size=x.shape)
            slope = (loss(x + 1e-4 * way) - loss(x - 1e-4 * way)) / 2e-4  # of 255
            np.testing.assert_allclose(slope, (gradient * way).sum(), rtol=1e-5)


@pytest.mark.parametrize(
    "middle",
    [
        node("MaxPool", ["w"], ["y"], kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1]),
        node("MaxPool", ["w"], ["y"], kernel_shape=[2, 2], dilations=[3, 2]),
        node("AveragePool", ["w"], ["y"], kernel_shape=[3, 2], pads=[1, 0, 1, 1]),
        node("PRelu", ["w", "slope"], ["y"]),
        node("Sigmoid", ["w"], ["y"]),
    ],
    ids=lambda n: f"{n.op_type} {len(n.attribute)}",
)
def test_gradient_through_windows_and_bends(tmp_path, middle):
    nodes = [node("Conv", ["data", "k"], ["w"]), middle, node("Flatten", ["y"], ["f"])]
    constants = {"k": array(4, 3, 3, 3), "slope": array(4, 1, 1, low=0.0)}
    model = read_onnx(save(tmp_path / "m.onnx", nodes, constants, ("n", 3, 8, 8)))
    target = array(model.embedding, seed=2).astype(np.float64)
    with jax.enable_x64(True):
        params = {name: value.astype(np.float64) for name, value in model.params.items()}
        loss = jax.jit(lambda x: (model.apply(params, x) @ target).sum())
        x, way = pictures(size=8).astype(np.float64), array(2, 3, 8, 8, seed=4).astype(np.float64)
        slope = (jax.jit(jax.grad(loss))(x) * way).sum()
        np.testing.assert_allclose((loss(x + 1e-5 * way) - loss(x - 1e-5 * way)) / 2e-5, slope, rtol=1e-5)


def test_open_image_size(tmp_path):
    """Pooling makes such a model work on any size; it is looked at with 112 pixels once."""
    nodes = [
        node("Conv", ["data", "k"], ["w"]),
        node("GlobalAveragePool", ["w"], ["g"]),
        node("Flatten", ["g"], ["f"]),
    ]
    path = save(tmp_path / "m.onnx", nodes, {"k": array(5, 3, 3, 3)}, ("n", 3, "h", "w"))
    model = read_onnx(path)
    assert model.input_size is None and model.embedding == 5
    for size in (9, 12):
        assert_same(jax.jit(model.apply)(model.params, pictures(size=size)), reference(path, pictures(size=size)))


def test_batch_of_one_at_export_is_set_free(tmp_path):
    nodes = [node("Reshape", ["data", "shape"], ["r"]), node("MatMul", ["r", "m"], ["e"])]
    constants = {"shape": np.array([1, 192]), "m": array(192, 5)}
    path = save(tmp_path / "m.onnx", nodes, constants, (1, 3, 8, 8), (1, 5))
    model = read_onnx(path)
    alone = [reference(path, pictures(3, 8)[at : at + 1])[0] for at in range(3)]
    assert_same(jax.jit(model.apply)(model.params, pictures(3, 8)), np.stack(alone))


def test_what_gives_no_vector_per_image_is_refused(tmp_path):
    path = save(tmp_path / "m.onnx", [node("Relu", ["data"], ["e"])], {}, output=("n", 3, 16, 16))
    with pytest.raises(FacemaeError, match=r"m\.onnx: for two images the output has the shape \(2, 3, 16, 16\)"):
        read_onnx(path)
    path = save(tmp_path / "m.onnx", [node("Flatten", ["data"], ["e"], axis=0)], {}, output=(1, "n"))
    with pytest.raises(FacemaeError, match=r"\(1, 1536\), expected one vector for each"):
        read_onnx(path)


def test_graph_that_does_not_fit_its_image_is_told_in_a_sentence(tmp_path):
    """An open size, but weights for 16×16 only: 112 is tried, and the way out is named."""
    nodes = [node("Flatten", ["data"], ["f"]), node("MatMul", ["f", "m"], ["e"])]
    path = save(tmp_path / "m.onnx", nodes, {"m": array(768, 5)}, ("n", 3, "h", "w"))
    with pytest.raises(FacemaeError, match=r"m\.onnx cannot be computed on two images of 112×112.*fixed image size"):
        read_onnx(path)


@pytest.mark.parametrize("kind", ["MaxPool", "AveragePool"])
def test_ceil_mode_is_refused_and_not_ignored(tmp_path, kind):
    nodes = [
        node(kind, ["data"], ["p"], kernel_shape=[3, 3], strides=[2, 2], ceil_mode=1),
        node("Flatten", ["p"], ["e"]),
    ]
    path = save(tmp_path / "m.onnx", nodes, {}, output=("n", "m"))
    with pytest.raises(FacemaeError, match=rf"m\.onnx: {kind} with ceil_mode=1 is not supported"):
        read_onnx(path)


@pytest.mark.faces
def test_the_supplied_teacher_on_real_faces(faces_folder):
    path, archive = faces_folder / "mobilefacenet_arcface.onnx", faces_folder / "celeba112.zip"
    if not (path.is_file() and archive.is_file()):
        pytest.skip("real faces: the folder that FACEMAE_FACES names lacks mobilefacenet_arcface.onnx or celeba112.zip")
    with zipfile.ZipFile(archive) as file:
        names = sorted(name for name in file.namelist() if name.endswith(".webp"))[::2000][:8]
        crops = np.stack([decode(file.read(name), name, 10**6) for name in names])
    assert crops.shape == (8, 112, 112, 3)
    data = crops.transpose(0, 3, 1, 2).astype(np.float32)  # RGB, 0…255
    model = read_onnx(path)
    assert (model.input_size, model.embedding) == (112, 128)
    found = np.asarray(jax.jit(model.apply)(model.params, jnp.asarray(data)))
    expected = reference(path, data)
    assert np.abs(found - expected).max() <= 1e-4 * np.abs(expected).max()
