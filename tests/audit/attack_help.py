"""Faces of people who do not exist as face sets, and a judge that tells them apart. For the tests of attackers that train."""

import functools

import jax.numpy as jnp
import numpy as np

from facemae_jax.data.face_set import FaceSetWriter, open_face_set
from facemae_jax.data.images import encode_png
from facemae_jax.data.synthetic import render
from facemae_jax.models.frozen import Frozen, unit
from facemae_jax.types import Record

SIZE, EMBEDDING = 32, 48


@functools.cache
def rendered(people, images, seed):
    """``images_nHWC`` and labels, in order of people."""
    shots = [render(who, number, seed=seed, size=SIZE) for who in range(people) for number in range(images)]
    return np.stack(shots), np.repeat(np.arange(people), images)


def write_set(folder, images_nHWC, labels_n):
    """A face set of given images."""
    writer = FaceSetWriter(folder / "1.0.0", name="faces", image_size=images_nHWC.shape[1], encoding="png")
    records = (
        Record(encode_png(image), int(label), f"{label}/{number}")
        for number, (image, label) in enumerate(zip(images_nHWC, labels_n, strict=True))
    )
    writer.write_shard(0, records)
    writer.finish(len(images_nHWC))
    return open_face_set(folder)


def judge(grid=8):
    """A bent random layer on the steps between neighbours of a grid: knows nothing of people, but finds an image again."""
    random = np.random.default_rng(3)
    length = 2 * grid * (grid - 1) * 3
    params = {
        "params": {
            "w": (3 * random.normal(size=(length, EMBEDDING)) / grid).astype(np.float32),
            "b": np.zeros(EMBEDDING, np.float32),
        },
        "statistics": {"scale": np.ones(1, np.float32)},
    }

    def apply(params, images_BHWC):
        b, side = len(images_BHWC), SIZE // grid
        small = images_BHWC.reshape(b, grid, side, grid, side, 3).mean(axis=(2, 4)) * params["statistics"]["scale"][0]
        down, right = small[:, 1:] - small[:, :-1], small[:, :, 1:] - small[:, :, :-1]
        steps = jnp.concatenate([down.reshape(b, -1), right.reshape(b, -1)], axis=1)
        return unit(jnp.tanh(steps @ params["params"]["w"] + params["params"]["b"][None]))

    return Frozen(params, apply, SIZE, EMBEDDING, "digest", "bent")
