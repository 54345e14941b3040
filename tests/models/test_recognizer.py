import json

import jax
import jax.numpy as jnp
import pytest

from facemae_jax.models.cpu_net import CpuNet
from facemae_jax.models.iresnet import IResNet
from facemae_jax.models.mobilefacenet import MobileFaceNet
from facemae_jax.models.recognizer import NETWORKS, build, described, from_description
from facemae_jax.models.vit_recognizer import VitRecognizer
from facemae_jax.types import FacemaeError


def test_names():
    residual = ["iresnet18", "iresnet34", "iresnet50", "iresnet100"]
    assert list(NETWORKS) == ["cpu", *residual, "mobilefacenet", "vit_tiny", "vit_small", "vit_base"]
    assert build("cpu", 64) == CpuNet(64, jnp.dtype("float32"))
    for depth in (18, 34, 50, 100):
        found = build(f"iresnet{depth}", 512, "bfloat16", 0.4)
        assert found == IResNet(depth, 512, jnp.dtype("bfloat16"), 0.4)
    assert build("mobilefacenet", 256, "bfloat16", 0.4) == MobileFaceNet(256, jnp.dtype("bfloat16"), 0.4)
    for size in ("tiny", "small", "base"):
        assert build(f"vit_{size}", 256, "bfloat16", 0.4) == VitRecognizer(size, 256, jnp.dtype("bfloat16"), 0.4)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("iresnet-50", "iresnet-50: no such recognizer (did you mean iresnet50?)"),
        ("resnet18", "(did you mean iresnet18?)"),
        ("cp", "(did you mean cpu?)"),
        ("vit_t", "(did you mean vit_tiny?)"),
        (
            "vgg",
            "vgg: no such recognizer; choose one of cpu, iresnet18, iresnet34, iresnet50, iresnet100, mobilefacenet, vit_tiny",
        ),
    ],
)
def test_unknown_name_and_the_nearest(name, words):
    with pytest.raises(FacemaeError) as error:
        build(name, 64)
    assert words in str(error.value)


@pytest.mark.parametrize("network", ["cpu", "iresnet18", "mobilefacenet", "vit_tiny"])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_embeddings_and_parameters_are_float32(network, dtype):
    model, images = build(network, 24, dtype), jnp.zeros((2, 32, 32, 3))
    variables = jax.eval_shape(lambda key: model.init(key, images, train=False), jax.random.key(0))
    assert set(variables) == {"params", "batch_stats"}
    assert {leaf.dtype for leaf in jax.tree.leaves(variables)} == {jnp.dtype("float32")}
    for train in (False, True):
        found, after = jax.eval_shape(
            lambda v, t=train: model.apply(v, images, train=t, mutable=["batch_stats"]), variables
        )
        assert found.shape == (2, 24) and found.dtype == jnp.float32
        assert {leaf.dtype for leaf in jax.tree.leaves(after)} == {jnp.dtype("float32")}


@pytest.mark.parametrize("given", [("cpu", 64, "bfloat16", 0.25), ("iresnet50", 512, "float32", 0.0)])
def test_description_round_trip(given):
    description = json.loads(json.dumps(described(*given, image_size=112)))
    assert description["kind"] == "recognizer" and description["image_size"] == 112
    assert from_description(description) == build(*given)
    assert from_description(description | {"network": "iresnet18", "embedding": 7}).embedding == 7
