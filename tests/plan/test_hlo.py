"""Exchanges read from the text of compiled programs."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import NamedSharding
from jax.sharding import PartitionSpec as P

from facemae_jax.mesh import AXES, make_mesh
from facemae_jax.plan.hlo import collectives, group_axes
from facemae_jax.plan.machine import Collective

TEXT = """\
HloModule jit_step, is_scheduled=true

%add (x: f32[], y: f32[]) -> f32[] {
  %x = f32[] parameter(0)
  ROOT %sum = f32[] add(%x, %y)
}

%body (p: (s32[], f32[64,4])) -> (s32[], f32[64,4]) {
  %gathered = bf16[64,4]{1,0} all-gather(%part), channel_id=1, replica_groups=[4,2]<=[8], dimensions={0}, metadata={op_name="layer"}
  %moved = f32[32]{0} collective-permute(%part), channel_id=2, source_target_pairs={{0,2},{2,4},{4,6},{6,0}}
}

ENTRY %main (a: f32[8,4]) -> f32[8,4] {
  %looped = (s32[], f32[64,4]) while(%start), condition=%test, body=%body, backend_config={"known_trip_count":{"n":"12"}}
  %both = (f32[10]{0}, f32[3,3,2]{2,1,0}) all-reduce(%g, %h), channel_id=3, replica_groups=[1,8]<=[8], to_apply=%add
  %scattered = f32[5,4]{1,0} reduce-scatter(%k), channel_id=4, replica_groups={{0,2,4,6},{1,3,5,7}}, dimensions={0}, to_apply=%add
  %begun = ((f32[8,4]{1,0}), (f32[64,4]{1,0:T(8,128)})) all-gather-start(%a), channel_id=5, replica_groups={}, dimensions={0}
  ROOT %done = f32[64,4]{1,0} all-gather-done(%begun)
}
"""


def test_kinds_axes_sizes_and_loops():
    assert collectives(TEXT, (4, 2)) == [
        Collective("layer", "all-gather", ("fsdp",), 64 * 4 * 2, 12),
        Collective("moved", "collective-permute", ("data",), 32 * 4, 12),
        Collective("both", "all-reduce", AXES, 40),
        Collective("both", "all-reduce", AXES, 72),
        Collective("scattered", "reduce-scatter", ("data",), 5 * 4 * 4 * 4),
        Collective("begun", "all-gather", AXES, 64 * 4 * 4),
    ]


def test_loops_without_a_known_count_run_as_often_as_their_condition_says():
    """Programs for TPUs: the counter starts at 0 and is compared with the number of layers."""
    condition = """\
%test (q: (s32[], f32[64,4])) -> pred[] {
  %layers = s32[]{:T(128)} constant(12)
  %counter = s32[]{:T(128)} get-tuple-element(%q), index=0
  ROOT %lt = pred[]{:T(512)} compare(%counter, %layers), direction=LT
}

"""
    told = ', backend_config={"known_trip_count":{"n":"12"}}'
    assert told in TEXT
    assert collectives(TEXT.replace(told, "").replace("%body (", condition + "%body ("), (4, 2)) == collectives(
        TEXT, (4, 2)
    )
    other = condition.replace("direction=LT", "direction=NE")  # no such loop: nothing is known
    assert {one.times for one in collectives(TEXT.replace(told, "").replace("%body (", other + "%body ("), (4, 2))} == {
        1
    }


def test_an_exchange_that_a_tpu_spreads_over_several_fusions_counts_once():
    line = (
        "  %g = bf16[64,4]{1,0:T(8,128)(2,1)} all-gather(%p), channel_id=9, replica_groups=[4,2]<=[8], dimensions={0}\n"
    )
    text = "".join(
        f"%{name} (p: bf16[32,4]) -> bf16[64,4] {{\n{line}  ROOT %c = (bf16[64,4]) custom-call(%g){end}\n}}\n"
        for name, end in (
            ("fused_computation.1", ', custom_call_target="AsyncCollectiveStart"'),
            ("async_collective_fusion.2", ""),
            ("fused_computation.3", ', custom_call_target="AsyncCollectiveDone"'),
        )
    )
    assert collectives(text, (4, 2)) == [Collective("g", "all-gather", ("fsdp",), 64 * 4 * 2)]


@pytest.mark.parametrize(
    ("groups", "axes"),
    [
        ("replica_groups={{0,1},{2,3},{4,5},{6,7}}", ("fsdp",)),
        ("replica_groups=[4,2]<=[8]", ("fsdp",)),
        ("replica_groups=[2,4]<=[4,2]T(1,0)", ("data",)),
        ("replica_groups={{0,2,4,6},{1,3,5,7}}", ("data",)),
        ("replica_groups=[1,8]<=[8]", AXES),
        ("replica_groups={}", AXES),
        ("replica_groups=mesh['axis_0'=1,'axis_1'=2,'axis_2'=4], device_ids=([4,2]T(1,0)) {'axis_1'}", ("fsdp",)),
        ("replica_groups=mesh['axis_0'=1,'axis_1'=2,'axis_2'=4], device_ids=([4,2]T(1,0)) {'axis_2'}", ("data",)),
        ("replica_groups=mesh['axis_0'=8,'axis_1'=1] {'axis_0'}", AXES),
        ("replica_groups=mesh['axis_0'=4,'axis_1'=2] {'axis_0','axis_1'}", AXES),
        ("replica_groups=mesh['axis_0'=8] {'axis_0':(4)2}", ("fsdp",)),
        ("replica_groups=mesh['axis_0'=8] {'axis_0':(1)4}", ("data",)),
        ("replica_groups=[8,1]<=[8]", ()),
    ],
)
def test_groups_are_axes(groups, axes):
    assert group_axes(f"all-reduce(%x), {groups}, use_global_device_ids=true", (4, 2)) == axes


def test_a_real_program_on_eight_devices():
    mesh = make_mesh(4, 2)

    def split(spec, *shape):
        return jax.ShapeDtypeStruct(shape, jnp.float32, sharding=NamedSharding(mesh, spec))

    @jax.jit
    def program(x, w):
        y = x @ jax.lax.with_sharding_constraint(w, NamedSharding(mesh, P()))
        return jax.lax.with_sharding_constraint(y.sum(axis=0), NamedSharding(mesh, P()))

    text = program.lower(split(P(AXES), 16, 32), split(P(None, "fsdp"), 32, 64)).compile().as_text()
    found = {(one.kind, one.axes, one.size) for one in collectives(text, (4, 2))}
    assert ("all-gather", ("fsdp",), 32 * 64 * 4) in found
    assert any(kind == "all-reduce" and size == 64 * 4 for kind, _, size in found)
    assert np.prod(mesh.devices.shape) == 8
