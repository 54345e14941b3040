"""Training a recognizer: embeddings against class centres under a margin softmax, centres spread over all devices."""

from __future__ import annotations

from functools import partial
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.sharding import Mesh

from facemae_jax.losses.margin import Number, adaface_margins, norm_statistics
from facemae_jax.losses.sharded_softmax import padded_classes, put_rows, sample_rows, sharded_margin_loss, take_rows
from facemae_jax.mesh import pin_batch
from facemae_jax.models.scaling import to_unit
from facemae_jax.train.task import Selection, Task
from facemae_jax.types import Batch, FacemaeError, Tree

CENTRES = "centres_KE"
CENTRE_STD = 0.01  # of fresh class centres; only their directions matter
KINDS = ("combined", "adaface")
HEAD = "head"  # the collection of a margin's running statistics; no part of the network


class Margin(NamedTuple):
    """The margin of the own class: scale · (cos(m1·θ + m2) − m3), or AdaFace, which sets m2 and m3 by the embedding's norm."""

    kind: str = "combined"
    m1: float = 1.0
    m2: float = 0.0
    m3: float = 0.35
    scale: float = 32.0
    m: float = 0.4  # of AdaFace
    h: float = 0.333  # of AdaFace


class Head(NamedTuple):
    """How class centres are held and trained."""

    sample: float = 1.0  # share of each device's centres that a step trains
    dtype: str = "float32"  # of centres, their momentum and their product with embeddings


WHOLE = Head()  # all centres, float32


def recognizer_task(
    network: nn.Module,
    *,
    identities: int,
    embedding: int,
    image_size: int,
    margin: Margin,
    mesh: Mesh,
    head: Head = WHOLE,
) -> Task:
    """The task. ``params`` hold ``network`` and ``centres_KE``; BatchNorm statistics are those of the whole global batch.

    ``centres_KE`` are padded with zero rows to a multiple of the devices; these rows stay zero. With ``head.sample`` < 1 a step
    trains the own classes of its batch and a random share of the others, and reports accuracy among these.

    Args:
        network: of ``models.recognizer.build``.
        identities: K classes; labels run from 0 to K − 1.
        embedding: E.
        image_size: pixels.
        margin: of the own class.
        mesh: activations and centres are split over its devices.
        head: of the centres.

    Raises:
        FacemaeError: an unknown kind of margin, or a share that is none.
    """
    if margin.kind not in KINDS:
        raise FacemaeError(f"margin.kind={margin.kind}: choose one of {', '.join(KINDS)}.")
    if not 0.0 < head.sample <= 1.0:
        raise FacemaeError(f"head.sample={head.sample}: give a share of class centres above 0 and at most 1.")
    rows = padded_classes(identities, mesh.size)
    sampling = head.sample < 1.0
    dtype: Any = jnp.dtype(head.dtype)

    def init(key: jax.Array) -> dict[str, Tree]:
        body, centre_key = jax.random.split(key)
        images = jnp.zeros((mesh.size, image_size, image_size, 3))
        variables = dict(network.init(body, images, train=False))
        # Numbers of a row depend on the row alone, so that the padding, and with it the mesh, changes no centre.
        keys_K = jax.vmap(partial(jax.random.fold_in, centre_key))(jnp.arange(rows))
        centres_KE = CENTRE_STD * jax.vmap(lambda k: jax.random.normal(k, (embedding,)))(keys_K)
        centres_KE = jnp.where(jnp.arange(rows)[:, None] < identities, centres_KE, 0.0)
        variables["params"] = {"network": variables["params"], CENTRES: centres_KE.astype(dtype)}
        if margin.kind == "adaface":
            variables[HEAD] = {"mean": jnp.asarray(20.0), "std": jnp.asarray(100.0)}  # AdaFace's own beginning
        return variables

    def loss(params: Tree, extra: Tree, frozen: Tree, batch: Batch, keys: dict[str, jax.Array]):
        images_BHWC = pin_batch(to_unit(batch.images_BHWC), mesh)
        collections = {name: value for name, value in extra.items() if name != HEAD}
        embeddings_BE, updated = network.apply(
            {"params": params["network"], **collections},
            images_BHWC,
            train=True,
            mutable=list(collections),
            rngs={"dropout": keys["dropout"]},
        )
        m2: Number = margin.m2
        m3: Number = margin.m3
        metrics: dict[str, jax.Array] = {}
        if margin.kind == "adaface":
            norms_B = jnp.linalg.norm(embeddings_BE, axis=1)
            mean, std = norm_statistics(norms_B, extra[HEAD]["mean"], extra[HEAD]["std"])
            m2, m3 = adaface_margins(norms_B, mean, std, m=margin.m, h=margin.h)
            updated = {**updated, HEAD: {"mean": mean, "std": std}}
            metrics = {"norm": norms_B.mean()}
        output = sharded_margin_loss(
            embeddings_BE, params[CENTRES], batch.labels_B, identities=identities, mesh=mesh, rows_S=keys.get("rows"),
            m1=1.0 if margin.kind == "adaface" else margin.m1, m2=m2, m3=m3, scale=margin.scale, dtype=dtype,
        )  # fmt: skip
        return output.loss_B.mean(), (metrics | {"accuracy": output.right_B.mean()}, updated)

    def select(batch: Batch, keys: dict[str, jax.Array]) -> Selection:
        rows_S = sample_rows(keys["negatives"], batch.labels_B, identities=identities, rate=head.sample, mesh=mesh)
        return Selection(
            rows_S, lambda path: path.endswith(CENTRES), partial(take_rows, mesh=mesh), partial(put_rows, mesh=mesh)
        )

    return Task(
        init=init,
        loss=loss,
        key_names=("dropout", "negatives") if sampling else ("dropout",),
        select=select if sampling else None,
    )
