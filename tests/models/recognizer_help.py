"""Recognizers of every kind, very small, with weights that hide no mistake behind a 0 or 1."""

import functools
from collections.abc import Iterator
from contextlib import contextmanager

import jax
import jax.numpy as jnp
import numpy as np
import onnxruntime
import pytest

from facemae_jax.models import iresnet, mobilefacenet, vit_recognizer
from facemae_jax.models.recognizer import described, from_description
from facemae_jax.models.vit import VitSize

SIZE, EMBEDDING = 32, 6
NETWORKS = ("cpu", "iresnet18", "mobilefacenet", "vit_tiny")


@contextmanager
def small_networks() -> Iterator[None]:
    """Inside, the networks have few and narrow layers."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(iresnet, "WIDTHS", (4, 4, 6, 8))
        patch.setattr(iresnet, "DEPTHS", {18: (1, 2, 1, 1), 34: (1, 1, 1, 1)})
        patch.setattr(mobilefacenet, "STEM", 4)
        patch.setattr(mobilefacenet, "LAST", 10)
        patch.setattr(mobilefacenet, "BOTTLENECKS", ((2, 4, 2, 2), (2, 6, 1, 2), (2, 7, 1, 1), (2, 8, 1, 2)))
        patch.setitem(vit_recognizer.SIZES, "tiny", VitSize(16, 2, 2))
        yield


def made(network: str, seed: int = 0, size: int = SIZE):
    """(variables, description)."""
    description, random = described(network, EMBEDDING, "float32", 0.0, size), np.random.default_rng(seed)
    model = from_description(description)
    shapes = jax.eval_shape(lambda key: model.init(key, jnp.zeros((1, size, size, 3)), train=False), jax.random.key(0))

    def fill(path, leaf):
        name = path[-1].key
        if name in ("var", "scale"):
            return random.uniform(0.5, 2, leaf.shape).astype(np.float32)
        spread = np.prod(leaf.shape[:-1]) ** -0.5 if name == "kernel" else 0.3
        return random.normal(0, spread, leaf.shape).astype(np.float32)

    return jax.tree.map_with_path(fill, shapes), description


def pictures(count=2, size=SIZE, seed=9):
    """In −1…1."""
    return np.random.default_rng(seed).uniform(-1, 1, (count, size, size, 3)).astype(np.float32)


def computed(variables, description, images_BHWC):
    """By our network, in evaluation."""
    return np.asarray(_program(tuple(description.items()))(variables, images_BHWC))


@functools.cache
def _program(items):
    model = from_description(dict(items))
    return jax.jit(lambda v, x: model.apply(v, x, train=False))


def by_onnxruntime(path, images_BHWC):
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    return session.run(None, {session.get_inputs()[0].name: images_BHWC.transpose(0, 3, 1, 2)})[0]
