import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tiny_tasks import EMBEDDING, PEOPLE, ROWS, SIZE, Network, faces, mesh_of, recognizer

from facemae_jax.keys import keys_for
from facemae_jax.losses.margin import margin_loss
from facemae_jax.mesh import put_batch
from facemae_jax.models.scaling import to_unit
from facemae_jax.train.recognizer_task import CENTRE_STD

MARGIN = dict(m1=1.0, m2=0.3, m3=0.1, scale=8.0)  # as tiny_tasks gives it


@functools.cache
def variables():
    return jax.jit(recognizer(mesh_of("8x1")).init)(jax.random.key(1))


def split():
    extra = dict(variables())
    return extra.pop("params"), extra


def value(task, seed=0, step=0, batch=None):
    """(loss, metrics, new extra) on all devices."""
    params, extra = split()
    keys = keys_for(seed, step, task.key_names)
    batch = put_batch(mesh_of("8x1"), faces() if batch is None else batch)
    loss, (metrics, extra) = jax.jit(task.loss)(params, extra, (), batch, keys)
    return loss, metrics, extra


def test_centres_stand_beside_the_network():
    params, extra = split()
    assert set(params) == {"network", "centres_KE"} and set(extra) == {"batch_stats"}
    assert params["centres_KE"].shape == (PEOPLE, EMBEDDING)
    assert float(params["centres_KE"].std()) == pytest.approx(CENTRE_STD, rel=0.2)
    assert float(jnp.abs(params["centres_KE"].mean())) < CENTRE_STD / 4
    again = jax.jit(recognizer(mesh_of("8x1")).init)(jax.random.key(2))["params"]
    assert not np.allclose(again["centres_KE"], params["centres_KE"])
    assert not np.allclose(again["network"]["fc"]["kernel"], params["network"]["fc"]["kernel"])


def test_the_loss_is_the_margin_softmax_of_embeddings_in_training_mode():
    loss, metrics, _ = value(recognizer(mesh_of("8x1")))
    params, extra = split()
    batch = faces()

    @jax.jit
    def by_hand(images):
        variables = {"params": params["network"], **extra}
        embeddings, _ = Network().apply(variables, to_unit(images), train=True, mutable=["batch_stats"])
        return embeddings, margin_loss(embeddings, params["centres_KE"], batch.labels_B, **MARGIN)

    embeddings, expected = by_hand(batch.images_BHWC)
    assert float(loss) == pytest.approx(float(expected.mean()), rel=1e-5)
    # Accuracy is told without the margin, in which the own class would look worse than it is.
    cosines = np.asarray(embeddings) @ (
        np.asarray(params["centres_KE"]) / np.linalg.norm(params["centres_KE"], axis=1, keepdims=True)
    ).T  # fmt: skip
    assert float(metrics["accuracy"]) == pytest.approx(np.mean(cosines.argmax(axis=1) == batch.labels_B))
    assert 0 < float(metrics["accuracy"]) < 1


@pytest.mark.parametrize("change", [dict(m1=1.2), dict(m2=0.5), dict(m3=0.4), dict(scale=16.0)])
def test_every_number_of_the_margin_counts(change):
    loss, _, _ = value(recognizer(mesh_of("8x1")))
    harder, _, _ = value(recognizer(mesh_of("8x1"), **change))
    assert float(harder) > float(loss) + 0.01


def test_statistics_are_those_of_the_whole_batch():
    """Two images on each of eight devices: a device's own mean would be another one."""
    batch = faces()
    # Images of different brightness, sorted: so the devices' own variances are far below that of the batch.
    bright = np.sort(np.random.default_rng(0).integers(0, 256, ROWS, dtype=np.uint8))
    images = np.broadcast_to(bright[:, None, None, None], (ROWS, SIZE, SIZE, 3)).copy()
    _, _, extra = value(recognizer(mesh_of("8x1")), batch=batch._replace(images_BHWC=images))
    kernel = split()[0]["network"]["conv"]["kernel"]
    layer = jax.lax.conv_general_dilated(
        to_unit(images), kernel, (2, 2), [(1, 1), (1, 1)], dimension_numbers=("NHWC", "HWIO", "NHWC")
    )
    after = extra["batch_stats"]["bn"]  # momentum 0.9, from mean 0 and variance 1
    np.testing.assert_allclose(after["mean"], 0.1 * layer.mean(axis=(0, 1, 2)), atol=1e-6)
    np.testing.assert_allclose(after["var"], 0.9 + 0.1 * layer.var(axis=(0, 1, 2)), rtol=1e-4)


def test_dropout_follows_the_key_and_nothing_else_does():
    mesh = mesh_of("8x1")
    dropping = recognizer(mesh, dropout=0.5)
    losses = [float(value(dropping, seed, step)[0]) for seed, step in ((0, 0), (0, 0), (0, 1), (1, 0))]
    assert losses[0] == losses[1] and len(set(losses)) == 3
    plain = recognizer(mesh)
    assert float(value(plain, 0, 0)[0]) == float(value(plain, 1, 1)[0])
