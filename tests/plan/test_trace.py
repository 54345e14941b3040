"""Multiplications and written exchanges of traced programs, counted by hand."""

import jax
import jax.numpy as jnp
import pytest
from jax.sharding import PartitionSpec as P

from facemae_jax.mesh import AXES
from facemae_jax.plan.jobs import paper_mesh
from facemae_jax.plan.machine import Collective
from facemae_jax.plan.trace import flops, written_collectives


def floats(*shape):
    return jax.ShapeDtypeStruct(shape, jnp.float32)


def counted(function, *arguments):
    return flops(jax.make_jaxpr(function)(*arguments))


def convolution(x, kernel, stride=1, groups=1):
    return jax.lax.conv_general_dilated(
        x, kernel, (stride, stride), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC"), feature_group_count=groups
    )


def test_a_product_and_its_gradient():
    a, b = floats(3, 4), floats(4, 5)
    assert counted(jnp.matmul, a, b) == 2 * 3 * 4 * 5
    assert counted(jax.value_and_grad(lambda a, b: (a @ b).sum(), (0, 1)), a, b) == 3 * 2 * 3 * 4 * 5


def test_convolutions():
    x, kernel = floats(2, 8, 8, 3), floats(3, 3, 3, 6)
    assert counted(convolution, x, kernel) == 2 * (2 * 8 * 8 * 6) * (3 * 3 * 3)
    assert counted(lambda x, k: convolution(x, k, stride=2), x, kernel) == 2 * (2 * 4 * 4 * 6) * (3 * 3 * 3)
    assert counted(lambda x, k: convolution(x, k, groups=3), x, floats(3, 3, 1, 6)) == 2 * (2 * 8 * 8 * 6) * (3 * 3)


@pytest.mark.parametrize(("stride", "groups"), [(1, 1), (2, 1), (1, 6)])
def test_each_gradient_of_a_convolution_costs_as_much_as_itself(stride, groups):
    x, kernel = floats(2, 8, 8, 6), floats(3, 3, 6 // groups, 6)

    def total(x, kernel):
        return (convolution(x, kernel, stride, groups) ** 2).sum()

    forward = counted(total, x, kernel)
    assert counted(jax.grad(total, 0), x, kernel) == 2 * forward
    assert counted(jax.grad(total, 1), x, kernel) == 2 * forward


def test_loops_calls_and_rematerialisation():
    a = floats(4, 4)
    assert counted(lambda a: jax.lax.scan(lambda c, _: (c @ c, None), a, length=7)[0], a) == 7 * 2 * 64
    assert counted(lambda a: jax.jit(jax.jit(jnp.matmul))(a, a), a) == 2 * 64
    assert counted(lambda a: jax.lax.cond(a[0, 0] > 0, lambda: a @ a @ a, lambda: a @ a), a) == 2 * 2 * 64

    def square(a):
        return jnp.sin(a @ a)

    plain = counted(jax.grad(lambda a: square(a).sum()), a)
    assert counted(jax.grad(lambda a: jax.checkpoint(square)(a).sum()), a) == plain + 2 * 64


def test_inside_a_shard_map_every_device_counts_and_exchanges_are_found():
    mesh = paper_mesh(4, 2)

    def local(x):
        whole = jax.lax.all_gather(x, AXES, tiled=True)  # 16 rows of 4
        return jax.lax.psum((x @ whole.T).sum(), "data")[None]

    mapped = jax.shard_map(local, mesh=mesh, in_specs=P(AXES), out_specs=P("fsdp"))
    jaxpr = jax.make_jaxpr(lambda x: jax.lax.scan(lambda c, _: (c, mapped(x)), 0, length=3))(floats(16, 4))
    assert flops(jaxpr) == 3 * 2 * 16 * 4 * 16
    assert written_collectives(jaxpr) == [
        Collective("written all-gather", "all-gather", AXES, 16 * 4 * 4, 3),
        Collective("written all-reduce", "all-reduce", ("data",), 4, 3),
    ]
