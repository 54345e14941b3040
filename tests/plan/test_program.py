"""Compiled steps: for eight virtual devices here; for TPU slices where libtpu is installed."""

import importlib.util

import jax
import pytest
from plan_help import PEOPLE, SIZE

from facemae_jax.mesh import make_mesh
from facemae_jax.plan import program as programs
from facemae_jax.plan.count import count
from facemae_jax.plan.jobs import Faces, job_of, paper_mesh
from facemae_jax.plan.memory import tree_bytes
from facemae_jax.plan.program import Program, choose_source, compile_job, devices_for
from facemae_jax.plan.traffic import unplanned
from facemae_jax.types import FacemaeError

FACES = Faces(PEOPLE, 400)
LIBTPU = importlib.util.find_spec("libtpu") is not None


@pytest.mark.parametrize(
    ("name", "sizes"), [("recognizer", (8, 1)), pytest.param("mae", (4, 2), marks=pytest.mark.slow)]
)
def test_a_compiled_step_holds_what_the_paper_says(tiny, name, sizes):
    tiny.mae.update(dict(width=64, heads=2))
    counts = count(job_of(tiny, name, FACES, paper_mesh(*sizes)))
    real = job_of(tiny, name, FACES, make_mesh(*sizes))
    program = compile_job(real)
    memory = counts.memory
    state = memory.weights + memory.optimizer + memory.centres + memory.centres_optimizer + tree_bytes(real.state.step)
    read = (
        counts.batch // 8 * (SIZE * SIZE * 3 + (4 if name == "recognizer" else 0))
    )  # images, and labels where they are used
    assert program.arguments == state + memory.frozen + read
    assert program.temporaries > 0
    assert program.results < 1024  # metrics; the state goes where it was
    assert program.peak == program.arguments + program.temporaries + program.results
    assert unplanned(program.collectives, counts.collectives, at_least=4096) == []
    assert {one.kind for one in program.collectives} >= {"all-gather", "all-reduce"}


def test_the_source_follows_from_machine_and_wish(eight, monkeypatch):
    slice_ = eight._replace(platform="tpu", topology="v5e:2x4")
    monkeypatch.setattr(programs.importlib.util, "find_spec", lambda name: None)
    assert choose_source(slice_) == choose_source(eight) == "virtual"
    with pytest.raises(FacemaeError, match="--program=topology needs libtpu"):
        choose_source(slice_, "topology")
    monkeypatch.setattr(programs.importlib.util, "find_spec", lambda name: object())
    assert choose_source(slice_) == choose_source(slice_, "topology") == "topology"
    assert choose_source(slice_, "virtual") == "virtual" and choose_source(eight, "none") == "none"
    with pytest.raises(FacemaeError, match="is for TPUs, and eight is none"):
        choose_source(eight, "topology")
    with pytest.raises(FacemaeError, match="--program=virtul: did you mean virtual"):
        choose_source(eight, "virtul")


def test_virtual_devices_are_as_many_as_the_machine_has(eight):
    devices, said = devices_for(eight, "virtual")
    assert len(devices) == 8 and said.startswith(f"compiled for 8 virtual CPU devices by jax {jax.__version__}; ")
    with pytest.raises(FacemaeError, match="16 virtual devices are needed, but this process has 8"):
        devices_for(eight._replace(devices=16), "virtual")


def test_a_compiler_that_finds_no_room_is_quoted(tiny, monkeypatch):
    class Lowered:
        def lower(self, *arguments):
            return self

        def compile(self):
            raise jax.errors.JaxRuntimeError(
                f"{self.code}: Ran out of memory in memory space hbm. Used 20.1G of 15.75G hbm.\nmore"
            )

    monkeypatch.setattr(programs, "step_program", lambda job: Lowered())
    job = job_of(tiny, "recognizer", FACES, paper_mesh(8, 1))
    Lowered.code = "RESOURCE_EXHAUSTED"
    found = compile_job(job)
    assert found == Program(0, 0, 0, (), found.failure) and "Used 20.1G of 15.75G hbm" in found.failure
    Lowered.code = "INTERNAL"
    with pytest.raises(jax.errors.JaxRuntimeError):
        compile_job(job)
