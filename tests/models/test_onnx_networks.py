import jax
import numpy as np
import onnx
import pytest
from recognizer_help import EMBEDDING, NETWORKS, SIZE, by_onnxruntime, computed, made, pictures, small_networks

from facemae_jax.models.onnx_graph import read_onnx
from facemae_jax.models.onnx_networks import write_onnx
from facemae_jax.types import FacemaeError


@pytest.fixture(scope="module", params=NETWORKS)
def written(request, tmp_path_factory):
    """(file, images, what our network makes of them)."""
    path = tmp_path_factory.mktemp("onnx") / f"{request.param}.onnx"
    with small_networks():
        variables, description = made(request.param)
        write_onnx(path, variables, description)
        return path, pictures(3), computed(variables, description, pictures(3))


def close(found, expected):
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-4 * np.abs(expected).max())


def test_onnxruntime_gives_the_same_embedding_for_any_batch(written):
    path, images, expected = written
    assert expected.shape == (3, EMBEDDING) and expected.std() > 0.1
    close(by_onnxruntime(path, images), expected)
    close(by_onnxruntime(path, images[1:2]), expected[1:2])


def test_our_own_reader_gives_the_same_embedding(written):
    path, images, expected = written
    model = read_onnx(path)
    assert (model.input_size, model.embedding) == (SIZE, EMBEDDING)
    close(jax.jit(model.apply)(model.params, images.transpose(0, 3, 1, 2)), expected)


def test_file_says_what_it_reads_and_gives(written):
    model = onnx.load(written[0])
    said = {prop.key: prop.value for prop in model.metadata_props}
    assert said["input_mean"] == said["input_std"] == "127.5" and said["colour_order"] == "RGB"
    assert said["network"] == written[0].stem and said["embedding_normalised"] == "no"
    (data,), (output,) = model.graph.input, model.graph.output
    dims = [dim.dim_param or dim.dim_value for dim in data.type.tensor_type.shape.dim]
    assert (data.name, dims, output.name) == ("data", ["N", 3, SIZE, SIZE], "embedding")
    assert [opset.version for opset in model.opset_import] == [17]
    # InsightFace's reader takes such names in the beginning for a normalisation inside the file.
    assert not any(node.name.startswith(("Sub", "_minus", "Mul", "_mul")) for node in model.graph.node[:8])


def test_only_recognizers_are_written_and_only_into_a_folder(tmp_path):
    with pytest.raises(FacemaeError, match="only recognizers become ONNX files; this model is a mae"):
        write_onnx(tmp_path / "m.onnx", {}, dict(kind="mae"))
    with small_networks():
        variables, description = made("cpu")
    with pytest.raises(FacemaeError, match="no such folder"):
        write_onnx(tmp_path / "not" / "m.onnx", variables, description)
    assert not list(tmp_path.iterdir())
