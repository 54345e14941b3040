"""What a step should exchange, and what is found that it should not."""

import jax
import jax.numpy as jnp
import pytest
from jax.sharding import NamedSharding
from jax.sharding import PartitionSpec as P
from plan_help import BATCH, EMBEDDING, PEOPLE, WEIGHTS

from facemae_jax.mesh import AXES, make_mesh
from facemae_jax.plan.hlo import collectives
from facemae_jax.plan.jobs import Faces, job_of, paper_mesh, step_arguments, step_program
from facemae_jax.plan.machine import Collective
from facemae_jax.plan.traffic import planned, unplanned

FACES = Faces(PEOPLE, 400)


def plan_of(config, name, *sizes):
    job = job_of(config, name, FACES, paper_mesh(*sizes))
    return {(one.what, one.axes): one for one in planned(job, step_program(job).trace(*step_arguments(job)).jaxpr)}


def test_a_recognizer_gathers_embeddings_and_sums_gradients(tiny):
    plan = plan_of(tiny, "recognizer", 8, 1)
    gathered = plan["written all-gather", AXES]
    # embeddings, and of each image its label and m3, an int32 and a float32
    assert gathered.axes == AXES and gathered.size == BATCH * EMBEDDING * 4 + 2 * BATCH * 4
    assert plan["written reduce-scatter", AXES].size == BATCH * EMBEDDING * 4
    assert plan["gradients of whole parameters", AXES] == Collective(
        "gradients of whole parameters", "all-reduce", AXES, WEIGHTS * 4, 1, 48 * EMBEDDING * 4
    )
    # neither centres nor logits move
    assert max(one.size for one in plan.values()) == WEIGHTS * 4
    assert not any("split" in what or "parameters," in what for what, _ in plan)


def test_accumulation_sums_gradients_of_each_part(tiny):
    tiny.recognizer.optim.accumulate = 2
    plan = plan_of(tiny, "recognizer", 8, 1)
    assert plan["gradients of whole parameters", AXES].times == 2
    assert plan["written all-gather", AXES].times == 2


def test_split_parameters_travel_along_fsdp(tiny):
    tiny.mae.update(dict(width=64, heads=2))
    split = 2 * 64 * 256 * 4
    plan = plan_of(tiny, "mae", 4, 2)
    assert plan["parameters, forwards and backwards", ("fsdp",)][1:] == ("all-gather", ("fsdp",), split, 2, split // 2)
    assert plan["gradients of split parameters", ("fsdp",)][1:] == ("all-reduce", ("fsdp",), split, 1, split // 2)
    assert plan["gradients of split parameters", ("data",)][1:] == ("all-reduce", ("data",), split // 2, 1, split // 4)
    tiny.mae.dtype = "bfloat16"  # half of the bytes
    plan = plan_of(tiny, "mae", 1, 8)
    assert plan["parameters, forwards and backwards", ("fsdp",)][3:] == (split // 2, 2, split // 2)
    assert plan["gradients of split parameters", ("fsdp",)].size == split // 2
    assert ("gradients of split parameters", ("data",)) not in plan


def test_one_device_exchanges_nothing(tiny):
    assert {one.what for one in plan_of(tiny, "recognizer", 1, 1).values() if one.kind != "all-gather"} <= {
        "written all-reduce", "written reduce-scatter"
    }  # fmt: skip


@pytest.mark.parametrize(
    ("kind", "axes", "size", "known"),
    [
        ("all-gather", ("fsdp",), 1000, True),
        ("all-gather", ("fsdp",), 1001, False),
        ("all-gather", ("data",), 1000, False),
        ("all-to-all", ("fsdp",), 500, False),
        ("all-reduce", ("data",), 2000, True),
        ("reduce-scatter", AXES, 2000, True),
        ("all-reduce", AXES, 2001, False),
        ("all-to-all", AXES, 90, True),  # too small to matter
    ],
)
def test_news_are_found(kind, axes, size, known):
    expected = [Collective("w", "all-gather", ("fsdp",), 9000, 1, 1000), Collective("g", "all-reduce", AXES, 2000)]
    found = Collective("found", kind, axes, size)
    assert unplanned([found], expected, at_least=100) == ([] if known else [found])


def test_a_step_that_gathers_its_centres_is_found(tiny):
    """What the rule is for: a full gather that nobody planned."""
    mesh = make_mesh(8, 1)
    rows = jax.ShapeDtypeStruct((8192, 64), jnp.float32, sharding=NamedSharding(mesh, P(AXES)))
    leaky = jax.jit(lambda x: jax.lax.with_sharding_constraint(jnp.tanh(x), NamedSharding(mesh, P())))
    found = collectives(leaky.lower(rows).compile().as_text(), (8, 1))
    assert [one.size for one in unplanned(found, plan_of(tiny, "recognizer", 8, 1).values())] == [8192 * 64 * 4]
