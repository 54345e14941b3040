"""Training a recognizer: embeddings against class centres under a margin softmax (``losses.margin``)."""

from __future__ import annotations

from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.sharding import Mesh

from facemae_jax.losses.margin import margin_logits, softmax_loss, unit
from facemae_jax.mesh import pin_batch
from facemae_jax.models.scaling import to_unit
from facemae_jax.train.task import Task
from facemae_jax.types import Batch, Tree

CENTRE_STD = 0.01  # of fresh class centres; only their directions matter


class Margin(NamedTuple):
    """The combined margin: scale · (cos(m1·θ + m2) − m3)."""

    m1: float = 1.0
    m2: float = 0.0
    m3: float = 0.35
    scale: float = 32.0


def recognizer_task(
    network: nn.Module, *, identities: int, embedding: int, image_size: int, margin: Margin, mesh: Mesh
) -> Task:
    """The task. ``params`` hold ``network`` and ``centres_KE``; BatchNorm statistics are those of the whole global batch.

    Args:
        network: of ``models.recognizer.build``.
        identities: K classes; labels run from 0 to K − 1.
        embedding: E.
        image_size: pixels.
        margin: of the own class.
        mesh: activations stay split over its devices.
    """

    def init(key: jax.Array) -> dict[str, Tree]:
        body, head = jax.random.split(key)
        images = jnp.zeros((mesh.size, image_size, image_size, 3))
        variables = dict(network.init(body, images, train=False))
        centres_KE = CENTRE_STD * jax.random.normal(head, (identities, embedding))
        variables["params"] = {"network": variables["params"], "centres_KE": centres_KE}
        return variables

    def loss(params: Tree, extra: Tree, frozen: Tree, batch: Batch, keys: dict[str, jax.Array]):
        images_BHWC = pin_batch(to_unit(batch.images_BHWC), mesh)
        embeddings_BE, extra = network.apply(
            {"params": params["network"], **extra},
            images_BHWC,
            train=True,
            mutable=list(extra),
            rngs={"dropout": keys["dropout"]},
        )
        cosines_BK = unit(embeddings_BE) @ unit(params["centres_KE"]).T
        logits_BK = margin_logits(cosines_BK, batch.labels_B, **margin._asdict())
        value = softmax_loss(logits_BK, batch.labels_B).mean()
        accuracy = jnp.mean(jnp.argmax(cosines_BK, axis=1) == batch.labels_B)
        return value, ({"accuracy": accuracy}, extra)

    return Task(init=init, loss=loss, key_names=("dropout",))
