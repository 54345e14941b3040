import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from facemae_jax.losses.margin import adaface_margins, margin_loss, softmax_loss
from facemae_jax.losses.sharded_softmax import (
    padded_classes,
    put_rows,
    sample_rows,
    sample_size,
    sharded_margin_loss,
    take_rows,
)  # fmt: skip
from facemae_jax.mesh import make_mesh
from facemae_jax.types import FacemaeError

BATCH, WIDTH = 16, 12
MARGINS = {
    "softmax": dict(scale=16.0),
    "cosface": dict(m3=0.35, scale=32.0),
    "arcface": dict(m2=0.5, scale=64.0),
    "sphereface": dict(m1=1.35, scale=16.0),
    "combined": dict(m1=0.9, m2=0.4, m3=0.15, scale=32.0),
    "adaface": dict(scale=64.0),
}


@functools.cache
def mesh_of(devices):
    return make_mesh(-1, 1, jax.devices()[:devices]) if devices != "4x2" else make_mesh(4, 2)


def given(identities, seed=0):
    random = np.random.default_rng(seed)
    embeddings = random.normal(size=(BATCH, WIDTH)).astype(np.float32) * random.uniform(0.5, 8, (BATCH, 1)).astype("f")
    centres = random.normal(size=(identities, WIDTH)).astype(np.float32)
    embeddings[0] = 3 * centres[5]  # cosines of 1 and −1 are among them
    embeddings[1] = -2 * centres[6]
    labels = random.integers(0, identities, BATCH).astype(np.int32)
    labels[:2] = 5, 6
    return embeddings, centres, labels


def with_margin(name, embeddings):
    if name != "adaface":
        return MARGINS[name]
    m2, m3 = adaface_margins(jnp.linalg.norm(embeddings, axis=1), jnp.asarray(10.0), jnp.asarray(5.0), m=0.4)
    return dict(MARGINS[name], m2=m2, m3=m3)


@functools.cache
def dense(name, identities):
    """Loss per image and gradients of the mean, by the loss that knows no devices."""
    embeddings, centres, labels = given(identities)

    def mean(e, c):
        losses = margin_loss(e, c, labels, **with_margin(name, jax.lax.stop_gradient(e)))
        return losses.mean(), losses

    (_, losses), gradients = jax.jit(jax.value_and_grad(mean, argnums=(0, 1), has_aux=True))(embeddings, centres)
    return np.asarray(losses), *map(np.asarray, gradients)


def padded(centres, mesh):
    rows = padded_classes(len(centres), mesh.size)
    return np.concatenate([centres, np.zeros((rows - len(centres), WIDTH), np.float32)])


@pytest.mark.parametrize("devices", [1, 2, 8, "4x2"])
@pytest.mark.parametrize(
    ("name", "identities"), [("combined", 24), *((name, 29) for name in MARGINS)]
)  # 29 does not divide
def test_sharded_equals_dense(name, identities, devices):
    mesh = mesh_of(devices)
    embeddings, centres, labels = given(identities)

    def mean(e, c, rows):
        part = c if rows is None else take_rows(c, rows, mesh=mesh)
        margin = with_margin(name, jax.lax.stop_gradient(e))
        output = sharded_margin_loss(e, part, labels, identities=identities, mesh=mesh, rows_S=rows, **margin)
        return output.loss_B.mean(), output

    @jax.jit
    def both(e, c, key):
        everything = sample_rows(key, jnp.asarray(labels), identities=identities, rate=1.0, mesh=mesh)
        return [jax.value_and_grad(mean, argnums=(0, 1), has_aux=True)(e, c, rows) for rows in (None, everything)]

    losses, to_embeddings, to_centres = dense(name, identities)
    for (_, output), gradients in both(embeddings, padded(centres, mesh), jax.random.key(0)):
        np.testing.assert_allclose(output.loss_B, losses, rtol=1e-6, atol=1e-6)
        np.testing.assert_allclose(gradients[0], to_embeddings, atol=1e-5 * np.abs(to_embeddings).max())
        np.testing.assert_allclose(gradients[1][:identities], to_centres, atol=1e-5 * np.abs(to_centres).max())
        assert not np.asarray(gradients[1][identities:]).any()  # padding stays zero
        units = [x / np.linalg.norm(x, axis=1, keepdims=True) for x in (embeddings, centres)]
        np.testing.assert_array_equal(output.right_B, (units[0] @ units[1].T).argmax(axis=1) == labels)
        assert 0 < np.sum(output.right_B) < BATCH


def test_only_embeddings_travel():
    """Nothing of the size of the centres or of the logits is communicated, forward or backward."""
    mesh, identities = mesh_of(8), 8000
    embeddings, _, labels = given(24)

    def mean(e, c):
        return sharded_margin_loss(e, c, labels, identities=identities, mesh=mesh, m3=0.3, scale=16.0).loss_B.mean()

    split = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec(("data", "fsdp")))
    program = jax.jit(jax.grad(mean, argnums=(0, 1)), in_shardings=(split, split), out_shardings=(split, split))
    text = program.lower(embeddings, jax.ShapeDtypeStruct((identities, WIDTH), jnp.float32)).compile().as_text()
    moved = [
        line
        for line in text.splitlines()
        if any(f" {name}(" in line or f" {name}-start(" in line for name in COLLECTIVES)
    ]
    assert any("all-gather" in line for line in moved)
    assert all(max(_elements(line)) <= BATCH * WIDTH for line in moved), moved


COLLECTIVES = ("all-gather", "all-reduce", "reduce-scatter", "all-to-all", "collective-permute")


def _elements(line):
    import re

    shapes = re.findall(r"[fsu]\d+\[([\d,]*)\]", line.split("metadata")[0])
    return [int(np.prod([int(x) for x in shape.split(",") if x])) for shape in shapes]


@pytest.mark.parametrize("devices", [1, 8, "4x2"])
def test_own_classes_are_always_sampled_and_the_rest_by_chance(devices):
    mesh, identities, rate = mesh_of(devices), 5000, 0.1
    local = padded_classes(identities, mesh.size) // mesh.size
    labels = jnp.asarray(np.random.default_rng(0).integers(0, identities, BATCH), jnp.int32)
    sample = jax.jit(lambda key, labels: sample_rows(key, labels, identities=identities, rate=rate, mesh=mesh))
    rows = np.asarray(sample(jax.random.key(0), labels)).reshape(mesh.size, -1)
    assert rows.shape[1] == sample_size(identities, mesh.size, rate, BATCH) == {1: 512, 8: 128}[mesh.size]
    assert (np.diff(rows, axis=1) > 0).all() and rows.min() >= 0 and rows.max() < local
    classes = (rows + np.arange(mesh.size)[:, None] * local).ravel()
    assert set(np.asarray(labels).tolist()) <= set(classes.tolist())
    assert classes.max() < identities
    again = np.asarray(sample(jax.random.key(0), labels)).reshape(mesh.size, -1)
    np.testing.assert_array_equal(again, rows)
    other = np.asarray(sample(jax.random.key(1), labels)).reshape(mesh.size, -1)
    shared = np.mean([len(set(a) & set(b)) / len(a) for a, b in zip(rows, other, strict=True)])
    assert shared < 0.4  # by chance about the rate of sampling


def sampled_classes(labels, identities, keys, rate=0.1):
    """The classes that each key samples, over eight devices."""
    mesh = mesh_of(8)
    local = padded_classes(identities, mesh.size) // mesh.size
    sample = jax.jit(lambda key: sample_rows(key, labels, identities=identities, rate=rate, mesh=mesh))
    rows = [np.asarray(sample(jax.random.key(key))).reshape(mesh.size, -1) for key in range(keys)]
    return [set((part + np.arange(mesh.size)[:, None] * local).ravel().tolist()) for part in rows]


def test_only_own_classes_are_in_every_sample():
    labels = jnp.asarray(np.random.default_rng(1).integers(0, 5000, BATCH), jnp.int32)
    # A device samples a fifth of its rows here: a row is there twenty times by chance once in 10^14.
    assert set.intersection(*sampled_classes(labels, 5000, keys=20)) == set(labels.tolist())


def test_each_device_draws_its_own():
    (classes,) = sampled_classes(jnp.zeros(BATCH, jnp.int32), 5000, keys=1)
    rows = [
        tuple(sorted(c % 625 for c in classes if c // 625 == device)) for device in range(1, 8)
    ]  # without own classes
    assert len(set(rows)) == 7


def test_padding_is_sampled_last():
    identities = 8 * 200 - 7  # the last device holds 193 classes, of which 128 are sampled
    labels = jnp.zeros(BATCH, jnp.int32)
    assert all(max(classes) < identities for classes in sampled_classes(labels, identities, keys=3))


def test_a_class_of_the_batch_is_taken_from_the_device_that_holds_it():
    mesh = mesh_of(8)
    labels = jnp.full((BATCH,), 4321, jnp.int32)
    rows = sample_rows(jax.random.key(3), labels, identities=5000, rate=0.01, mesh=mesh)
    rows = np.asarray(rows).reshape(8, -1)
    device, row = divmod(4321, 625)
    assert row in rows[device]


@pytest.mark.parametrize(
    ("identities", "devices", "rate", "batch", "expected"),
    [
        (2_000_000, 8, 0.1, 4096, 25_088),  # ⌈25,000⌉ in tiles of 128
        (2_000_000, 256, 0.1, 8192, 7_813),  # all of 7,812.5: the batch alone would ask for more
        (80_000, 8, 0.1, 4096, 4_096),  # the batch is more than the share
        (100, 8, 0.1, 4, 13),
        (10_000, 8, 1.0, 64, 1_250),
    ],
)
def test_sample_sizes_by_hand(identities, devices, rate, batch, expected):
    assert sample_size(identities, devices, rate, batch) == expected


@pytest.mark.parametrize("rate", [0.0, -0.1, 1.5])
def test_a_share_that_is_none_is_refused(rate):
    with pytest.raises(FacemaeError, match="share of class centres"):
        sample_size(100, 8, rate, 4)


def test_rows_go_out_and_come_back():
    mesh = mesh_of(8)
    whole = np.random.default_rng(0).normal(size=(64, WIDTH)).astype(np.float32)
    rows = jnp.asarray(np.tile([1, 4], 8), jnp.int32)
    part = take_rows(whole, rows, mesh=mesh)
    places = (np.arange(8)[:, None] * 8 + np.array([1, 4])).ravel()
    np.testing.assert_array_equal(part, whole[places])
    expected = whole.copy()
    expected[places] = 7.0
    np.testing.assert_array_equal(put_rows(whole, jnp.full((16, WIDTH), 7.0), rows, mesh=mesh), expected)


def test_sampled_loss_is_that_of_the_sampled_classes_alone():
    mesh, identities = mesh_of(8), 5000
    embeddings, centres, labels = given(identities)

    @jax.jit
    def sampled(key):
        rows = sample_rows(key, jnp.asarray(labels), identities=identities, rate=0.1, mesh=mesh)
        part = take_rows(centres, rows, mesh=mesh)
        output = sharded_margin_loss(embeddings, part, labels, identities=identities, mesh=mesh, rows_S=rows, m3=0.2)
        return rows, output

    rows, output = sampled(jax.random.key(0))
    classes = (np.asarray(rows).reshape(8, -1) + np.arange(8)[:, None] * 625).ravel()
    places = np.searchsorted(classes, labels)
    expected = margin_loss(embeddings, centres[classes], places, m3=0.2, scale=64.0)
    np.testing.assert_allclose(output.loss_B, expected, rtol=1e-5)


def test_bfloat16_centres_are_near_and_unpadded_centres_are_refused():
    mesh = mesh_of(8)
    embeddings, centres, labels = given(24)

    @jax.jit
    def both(centres):
        given = dict(identities=24, mesh=mesh, scale=8.0)
        near = sharded_margin_loss(embeddings, centres.astype("bfloat16"), labels, dtype="bfloat16", **given)
        return near.loss_B, sharded_margin_loss(embeddings, centres, labels, **given).loss_B

    near, exact = both(centres)
    assert near.dtype == jnp.float32 and not np.array_equal(near, exact)
    np.testing.assert_allclose(near, exact, atol=0.1)
    with pytest.raises(ValueError, match="padded_classes"):
        sharded_margin_loss(embeddings, centres[:23], labels, identities=23, mesh=mesh)


def test_products_are_of_rounded_numbers_and_sums_of_whole_ones():
    embeddings, centres, labels = given(24)

    @jax.jit
    def both(embeddings, centres):
        def rounded(x):
            return (x / jnp.linalg.norm(x, axis=1, keepdims=True)).astype("bfloat16").astype(jnp.float32)

        half = centres.astype("bfloat16")
        found = sharded_margin_loss(embeddings, half, labels, identities=24, mesh=mesh_of(8), dtype="bfloat16")
        with jax.default_matmul_precision("highest"):
            cosines = rounded(embeddings) @ rounded(half.astype(jnp.float32)).T
        return found.loss_B, softmax_loss(64.0 * cosines, labels)

    np.testing.assert_allclose(*both(embeddings, centres), rtol=1e-4, atol=1e-3)


def test_padding_is_nobodys_nearest_class():
    """Both embeddings look away from all three classes; the five rows of padding have a cosine of 0, which is nearer."""
    centres = np.zeros((8, WIDTH), np.float32)
    centres[:3, :3] = np.eye(3)
    embeddings = np.tile(-np.array([3.0, 2.0, 1.0] + [0.0] * 9, np.float32), (8, 1))
    labels = np.array([2, 0] * 4, np.int32)
    right = jax.jit(lambda e, c: sharded_margin_loss(e, c, labels, identities=3, mesh=mesh_of(8)).right_B)
    np.testing.assert_array_equal(right(embeddings, centres), labels == 2)
