"""Plans of whole configs."""

import pytest
from plan_help import PEOPLE

from facemae_jax.plan import make
from facemae_jax.plan.jobs import Faces
from facemae_jax.plan.machine import Collective
from facemae_jax.plan.make import make_plan
from facemae_jax.plan.program import Program
from facemae_jax.types import FacemaeError

FACES = Faces(4 * PEOPLE, 1600)
LEAK = Collective("gather of everything", "all-gather", ("data", "fsdp"), 2**30)


def test_every_training_is_planned_without_compiling(tiny, eight):
    plan = make_plan(tiny, "tiny", eight, FACES, asked="none")
    assert [one.counts.name for one in plan.estimates] == ["teacher", "mae", "recognizer"]
    assert plan.programs == (None,) * 3 and "nothing was compiled" in plan.source
    assert [one.counts.identities for one in plan.estimates] == [40, 40, 40]
    assert all(one.counts.mesh == (8, 1) and one.fits and one.days > 0 for one in plan.estimates)
    assert [a.utilisation for a in plan.assumed] == [0.2, 0.3, 0.2]


def test_the_mesh_of_the_config_and_a_share_of_the_peak(tiny, eight):
    tiny.mesh.fsdp = 2
    plan = make_plan(tiny, "tiny", eight, FACES, asked="none", utilisation=0.5)
    assert {one.counts.mesh for one in plan.estimates} == {(4, 2)}
    assert {a.utilisation for a in plan.assumed} == {0.5}
    tiny.mesh.fsdp = 3
    with pytest.raises(FacemaeError, match="mesh.fsdp=3 does not fit eight with 8"):
        make_plan(tiny, "tiny", eight, FACES, asked="none")


def test_a_virtual_program_adds_what_nobody_planned(tiny, eight, monkeypatch):
    alone = make_plan(tiny, "tiny", eight, FACES, wanted=["recognizer"], asked="virtual")
    (program,), (news,) = alone.programs, alone.news
    assert program.peak > 0 and news == () and alone.source.startswith("compiled for 8 virtual CPU devices")
    assert [one.counts.name for one in alone.estimates] == ["recognizer"]
    assert alone.estimates[0].needed == alone.estimates[0].counts.memory.total  # a CPU's temporaries decide nothing
    monkeypatch.setattr(make, "compile_job", lambda job: program._replace(collectives=(*program.collectives, LEAK)))
    leaky = make_plan(tiny, "tiny", eight, FACES, wanted=["recognizer"], asked="virtual")
    assert leaky.news == ((LEAK._replace(largest=2**30),),)
    assert leaky.estimates[0].network_seconds > alone.estimates[0].network_seconds + 1


@pytest.mark.parametrize("failure", ["", "no room"])
def test_a_program_for_the_real_slice_replaces_the_plan(tiny, eight, monkeypatch, failure):
    small = Collective("op", "all-reduce", ("data", "fsdp"), 100)
    program = Program(0, 0, 0, (), failure) if failure else Program(700, 70, 7, (small, small._replace(what="other")))
    monkeypatch.setattr(make, "choose_source", lambda machine, asked: "topology")
    monkeypatch.setattr(make, "devices_for", lambda machine, source: (make.jax.devices(), "for the slice"))
    monkeypatch.setattr(make, "compile_job", lambda job: program)
    found = make_plan(tiny, "tiny", eight, FACES, wanted=["recognizer"])
    (estimate,) = found.estimates
    if failure:
        assert not estimate.fits and estimate.arithmetic == "the compiler finds no room: no room"
        # the arithmetic finds room, the compiler does not: less than now
        assert "recognizer.optim.batch ≤ 15; recognizer.optim.accumulate=2" in found.advice[0]
    else:
        assert estimate.fits and estimate.needed == 777 and not found.advice
        assert estimate.counts.collectives == (Collective("compiled", "all-reduce", ("data", "fsdp"), 200, 1, 100),)
