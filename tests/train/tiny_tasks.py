"""Tasks so small that a step compiles in seconds, yet with all that a real one has. For the tests of this folder."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from facemae_jax.mesh import make_mesh
from facemae_jax.models.frozen import Frozen, unit
from facemae_jax.models.iresnet import PRelu, batch_norm, conv
from facemae_jax.models.mae import MaeConfig, MaeOutput
from facemae_jax.models.masking import patchify, unpatchify
from facemae_jax.train.recognizer_task import Margin, recognizer_task
from facemae_jax.types import batch_of

SIZE, ROWS, PEOPLE, EMBEDDING = 16, 16, 24, 16
# The encoder's fc1 and fc2, like the recognizer's fc, have 2^14 elements: just enough to be split over fsdp.
MAE = MaeConfig(
    image_size=SIZE, patch=4, visible=4, width=64, depth=1, heads=2, decoder_width=16, decoder_depth=0, decoder_heads=2
)  # fmt: skip


def mesh_of(name):
    """A mesh by name: "1", "8x1" or "4x2"."""
    return make_mesh(1, 1, jax.devices()[:1]) if name == "1" else make_mesh(*map(int, name.split("x")))


def faces(rows=ROWS, seed=0):
    """A batch of noise with labels; numpy."""
    random = np.random.default_rng(seed)
    images = random.integers(0, 256, (rows, SIZE, SIZE, 3), dtype=np.uint8)
    return batch_of(images, random.integers(0, PEOPLE, rows))


def teacher():
    """A frozen recognizer of one bent layer."""
    weights = np.random.default_rng(1).normal(size=(SIZE * SIZE * 3, EMBEDDING)).astype(np.float32) / 10

    def apply(params, images_BHWC):
        return unit(jnp.tanh(images_BHWC.reshape(len(images_BHWC), -1) @ params["w"]))

    return Frozen({"w": weights}, apply, SIZE, EMBEDDING, "digest", "tiny")


class Painter(nn.Module):
    """Stands for the MAE where its layers do not matter: the mean of the visible patches paints every patch."""

    config: MaeConfig = MAE

    @nn.compact
    def __call__(self, images_BHWC, visible_BV):
        c = self.config
        seen_BVP = jnp.take_along_axis(patchify(images_BHWC, c.patch), visible_BV[:, :, None], axis=1)
        inner_B1D = nn.Dense(8, name="inner")(seen_BVP.mean(axis=1, keepdims=True))
        place_1ND = self.param("place", nn.initializers.normal(1.0), (1, c.patches, 8))
        painted_BNP = nn.Dense(c.patch**2 * 3, name="paint")(jnp.tanh(inner_B1D + place_1ND))
        return MaeOutput(unpatchify(painted_BNP, c.patch), inner_B1D)


class Network(nn.Module):
    """A recognizer with BatchNorm, PReLU and dropout."""

    dropout: float = 0.0

    @nn.compact
    def __call__(self, images_BHWC, train):
        x = conv(16, 3, 2, jnp.float32, "conv")(images_BHWC)
        x = PRelu(name="prelu")(batch_norm(train, jnp.float32, "bn")(x))
        x = nn.Dropout(self.dropout, deterministic=not train)(x)
        return nn.Dense(EMBEDDING, name="fc")(x.reshape(len(x), -1))


def recognizer(mesh, dropout=0.0, **margin):
    """The recognizer's task."""
    return recognizer_task(
        Network(dropout),
        identities=PEOPLE,
        embedding=EMBEDDING,
        image_size=SIZE,
        margin=Margin(**({"m2": 0.3, "m3": 0.1, "scale": 8.0} | margin)),
        mesh=mesh,
    )
