import jax
import jax.numpy as jnp
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from facemae_jax.checkpoint import save_model
from facemae_jax.models.frozen import load_frozen, resized, unit
from facemae_jax.models.recognizer import build, described
from facemae_jax.types import FacemaeError

SIZE = 16


def save_means(path, size=SIZE, scale=1.0):
    """A recognizer whose raw embedding is the mean of each colour: what it was fed can be read off."""
    kernel = numpy_helper.from_array(scale * np.eye(3, dtype=np.float32)[:, :, None, None], "kernel")
    nodes = [
        helper.make_node("Conv", ["x", "kernel"], ["a"]),
        helper.make_node("GlobalAveragePool", ["a"], ["b"]),
        helper.make_node("Flatten", ["b"], ["y"]),
    ]
    image = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 3, size, size])
    output = helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 3])
    graph = helper.make_graph(nodes, "means", [image], [output], [kernel])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8), path)
    return path


@pytest.fixture(scope="module")
def means(tmp_path_factory):
    return save_means(tmp_path_factory.mktemp("onnx") / "means.onnx")


def plain(red, green, blue, size=SIZE):
    """One image of one colour, each number in −1…1."""
    return np.tile(np.array([red, green, blue], np.float32), (1, size, size, 1))


def embed(model, images_BHWC):
    return np.asarray(jax.jit(model.apply)(model.params, images_BHWC))


@pytest.mark.parametrize(
    ("input_range", "fed"), [("unit", [1, -1, 0.2]), ("zero_one", [1, 0, 0.6]), ("bytes", [255, 0, 153])]
)
def test_input_ranges(means, input_range, fed):
    model = load_frozen(f"onnx:{means}", input_range=input_range)
    np.testing.assert_allclose(embed(model, plain(1, -1, 0.2))[0], fed / np.linalg.norm(fed), atol=1e-6)


@pytest.mark.parametrize(("colour_order", "expected"), [("rgb", [1, 0, 0]), ("bgr", [0, 0, 1])])
def test_a_red_image(means, colour_order, expected):
    model = load_frozen(f"onnx:{means}", input_range="zero_one", colour_order=colour_order)
    np.testing.assert_allclose(embed(model, plain(1, -1, -1)), [expected], atol=1e-6)


def test_what_it_says_of_itself(means):
    model = load_frozen(f"onnx:{means}")
    assert (model.image_size, model.embedding, model.name) == (SIZE, 3, "means")
    assert len(model.digest) == 64


def test_digest_is_of_the_content_and_of_how_images_are_fed(means, tmp_path):
    def digest(path, **how):
        return load_frozen(f"onnx:{path}", **how).digest

    copy = tmp_path / "other.onnx"
    copy.write_bytes(means.read_bytes())
    assert digest(copy) == digest(means)
    found = [digest(means), digest(means, input_range="zero_one"), digest(means, input_range="bytes")]
    found += [digest(means, colour_order="bgr"), digest(save_means(copy, scale=2.0))]
    assert len(set(found)) == 5


def test_other_sizes_are_resized_inside(means):
    model = load_frozen(f"onnx:{means}")
    images = np.random.default_rng(0).uniform(-1, 1, (2, 40, 40, 3)).astype(np.float32)
    shrunk = jax.image.resize(images, (2, SIZE, SIZE, 3), "bilinear", antialias=True)
    np.testing.assert_allclose(embed(model, images), embed(model, shrunk), atol=1e-6)
    np.testing.assert_allclose(embed(model, plain(1, -1, 0.2, size=8)), embed(model, plain(1, -1, 0.2)), atol=1e-6)


def test_shrinking_averages_and_a_fitting_image_is_left_alone():
    checkers = (np.indices((24, 24)).sum(0) % 2)[None, :, :, None].repeat(3, -1)
    small = resized(jnp.asarray(checkers, jnp.float32), 8)
    assert small.shape == (1, 8, 8, 3) and np.abs(small - 0.5).max() < 0.15  # without antialiasing: 0 or 1
    image = plain(0, 0, 0)
    assert resized(image, SIZE) is image and resized(image, None) is image


def test_unit_rows_and_a_zero_row_with_finite_gradient():
    value, back = jax.vjp(unit, jnp.array([[3.0, 4.0], [0.0, 0.0]], jnp.bfloat16))
    np.testing.assert_allclose(value, [[0.6, 0.8], [0, 0]], rtol=1e-5)
    assert value.dtype == jnp.float32 and np.isfinite(np.asarray(back(value)[0], np.float32)).all()


DESCRIPTION = described("cpu", 8, "float32", 0.3, SIZE)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    """A stage directory with a recognizer in it, and its variables."""
    directory = tmp_path_factory.mktemp("train-teacher-0123abcd")
    network, random = build("cpu", 8), np.random.default_rng(1)
    shapes = jax.eval_shape(lambda key: network.init(key, pictures(), train=False), jax.random.key(0))

    def fill(path, leaf):
        low = 0.5 if path[-1].key == "var" else -0.5
        return random.uniform(low, low + 1, leaf.shape).astype(np.float32)

    variables = jax.tree.map_with_path(fill, shapes)
    save_model(directory / "model", variables, DESCRIPTION)
    return directory, variables


def pictures(seed=0):
    return np.random.default_rng(seed).uniform(-1, 1, (3, SIZE, SIZE, 3)).astype(np.float32)


def test_checkpoint_in_evaluation_mode(checkpoint):
    directory, variables = checkpoint
    model = load_frozen(f"checkpoint:{directory}")
    assert (model.image_size, model.embedding, model.name) == (SIZE, 8, "cpu")
    raw = jax.jit(lambda v, x: build("cpu", 8).apply(v, x, train=False))(variables, pictures())
    found = embed(model, pictures())
    np.testing.assert_allclose(found, raw / np.linalg.norm(raw, axis=1, keepdims=True), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1, rtol=1e-5)
    assert found.dtype == np.float32


def test_digest_of_a_checkpoint_is_of_its_weights(checkpoint, tmp_path):
    directory, variables = checkpoint
    save_model(tmp_path / "same", variables, DESCRIPTION)
    save_model(tmp_path / "other", jax.tree.map(lambda leaf: leaf + 1, variables), DESCRIPTION)
    first, same, other = (load_frozen(f"checkpoint:{p}") for p in (directory, tmp_path / "same", tmp_path / "other"))
    assert first.digest == same.digest != other.digest
    save_model(tmp_path / "named", variables, DESCRIPTION | {"name": "teacher of the paper"})
    assert load_frozen(f"checkpoint:{tmp_path / 'named'}").name == "teacher of the paper"


@pytest.mark.parametrize("kind", ["onnx", "checkpoint"])
def test_gradients_flow_to_the_images(means, checkpoint, kind):
    model = load_frozen(f"onnx:{means}" if kind == "onnx" else f"checkpoint:{checkpoint[0]}")
    target = np.linspace(-1, 1, model.embedding, dtype=np.float32)
    images = jnp.asarray(pictures())
    loss = jax.jit(lambda x: (model.apply(model.params, x) @ target).sum())
    gradient = np.asarray(jax.jit(jax.grad(loss))(images))
    assert gradient.shape == images.shape and np.isfinite(gradient).all() and gradient.any(axis=(1, 2, 3)).all()
    step = 1e-2 * gradient / np.linalg.norm(gradient)
    np.testing.assert_allclose(loss(images + step) - loss(images - step), 2e-2 * np.linalg.norm(gradient), rtol=0.02)


def test_checkpoint_of_another_kind_is_refused(tmp_path):
    save_model(tmp_path / "mae", {"params": {"a": np.zeros(2, np.float32)}}, {"kind": "mae"})
    with pytest.raises(FacemaeError, match="holds a mae, not a recognizer: name a train-teacher or train-recognizer"):
        load_frozen(f"checkpoint:{tmp_path / 'mae'}")


@pytest.mark.parametrize(
    ("source", "how", "words"),
    [
        ("torch:x.pth", {}, "torch:x.pth: a frozen recognizer is named onnx:PATH or checkpoint:PATH"),
        ("means.onnx", {}, "is named onnx:PATH or checkpoint:PATH"),
        ("onnx:absent.onnx", {}, "absent.onnx: no such file"),
        ("checkpoint:absent", {}, "no model in"),
        ("onnx:{means}", dict(input_range="0-1"), "input_range=0-1"),
        ("onnx:{means}", dict(colour_order="grb"), "colour_order=grb"),
    ],
)
def test_what_cannot_be_loaded_is_said(means, source, how, words):
    with pytest.raises(FacemaeError) as error:
        load_frozen(source.format(means=means), **how)
    assert words in str(error.value)
