"""What the backward pass keeps, on programs whose answer is known."""

import jax
import jax.numpy as jnp
import pytest

from facemae_jax.mesh import batch_sharding, replicated, shardings_for
from facemae_jax.plan.jobs import paper_mesh
from facemae_jax.plan.kept import Kept, kept

B, D = 16, 8
MESH = paper_mesh(4, 2)


def batch(rows=B):
    return jax.ShapeDtypeStruct((rows, D), jnp.float32, sharding=batch_sharding(MESH))


def params(layers=2, min_size=1000):
    shapes = [jax.ShapeDtypeStruct((D, D), jnp.float32) for _ in range(layers)]
    where = shardings_for(shapes, MESH, min_size=min_size)
    return [jax.ShapeDtypeStruct(s.shape, s.dtype, sharding=w) for s, w in zip(shapes, where, strict=True)]


def count(loss, weights, x=None):
    return kept(lambda p, extra, frozen, x, keys: (loss(p, x), None), weights, {}, (), batch() if x is None else x, {})


def test_two_layers_keep_what_the_products_read_and_give():
    def loss(p, x):
        return jnp.sum(jnp.tanh(jnp.tanh(x @ p[0]) @ p[1]))

    # tanh(x p0), which the second product reads, and that product's result; tanh needs no more of x p0, and x is given
    assert count(loss, params()) == Kept(activations=2 * B * D * 4, copies=0)


def test_element_wise_work_is_computed_again():
    def loss(p, x):
        y = x @ p[0]
        for _ in range(5):
            y = jnp.sin(y) * jnp.cos(y)
        return jnp.sum(y)

    assert count(loss, params(1)) == Kept(activations=B * D * 4, copies=0)


def test_products_in_bfloat16_keep_half_and_copy_the_parameters():
    def loss(p, x):
        y = jnp.tanh(x.astype(jnp.bfloat16) @ p[0].astype(jnp.bfloat16))
        return jnp.sum((y @ p[1].astype(jnp.bfloat16)).astype(jnp.float32) ** 2)

    # x, the tanh, the second result; the second matrix, since nobody asks for the gradient of x
    assert count(loss, params()) == Kept(activations=3 * B * D * 2, copies=D * D * 2)


def test_split_parameters_are_gathered_for_the_products():
    found = count(lambda p, x: jnp.sum(jnp.tanh(x @ p[0]) @ p[1]), params(min_size=1))
    assert found.copies == 2 * D * D * 4
    assert count(lambda p, x: jnp.sum(jnp.tanh(x @ p[0]) @ p[1]), params()).copies == 0


@pytest.mark.parametrize(("remat", "layers"), [(False, 3), (True, 3), (True, 6)])
def test_loops_over_layers(remat, layers):
    stacked = jax.ShapeDtypeStruct((layers, D, D), jnp.float32, sharding=replicated(MESH))

    def layer(x, w):
        return jnp.sin(jnp.sin(x @ w)), None

    def loss(p, x):
        return jnp.sum(jax.lax.scan(jax.checkpoint(layer) if remat else layer, x, p[0])[0])

    found = count(loss, [stacked])
    # with remat the input of each layer; without it also two cosines
    assert found.activations == layers * B * D * 4 * (1 if remat else 3)


def test_it_grows_with_the_batch_alone():
    def loss(p, x):
        return jnp.sum(jnp.tanh(x.astype(jnp.bfloat16) @ p[0].astype(jnp.bfloat16)))

    one, two = count(loss, params(1)), count(loss, params(1), batch(2 * B))
    assert two.activations == 2 * one.activations and two.copies == one.copies
