"""A plan, made: every training of a config counted, compiled where that is asked for, and estimated."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Sequence
from typing import Any

import jax

from facemae_jax import mesh as meshes
from facemae_jax.plan.count import count
from facemae_jax.plan.estimate import Counts, Estimate, estimate
from facemae_jax.plan.jobs import Faces, faces_of, job_of, names, paper_mesh
from facemae_jax.plan.machine import UTILISATION, Assumptions, Collective, Machine, mesh_sizes
from facemae_jax.plan.program import Program, choose_source, compile_job, devices_for
from facemae_jax.plan.table import Plan
from facemae_jax.plan.traffic import joined, unplanned


def make_plan(
    config: Any,
    spec: str,
    machine: Machine,
    faces: Faces,
    *,
    wanted: Sequence[str] = (),
    asked: str = "auto",
    utilisation: float | None = None,
    say: Callable[[str], None] = lambda line: None,
) -> Plan:
    """The plan of the trainings of a config.

    Args:
        config: checked.
        spec: how it was named.
        machine: to plan for.
        faces: in the whole face set.
        wanted: trainings; none = all that the config makes.
        asked: ``--program``.
        utilisation: of the peak; None = the kind's own.
        say: gets a line before each compilation.
    """
    source = choose_source(machine, asked)
    sizes = mesh_sizes(machine, config.mesh.data, config.mesh.fsdp)
    said, mesh = "arithmetic on shapes, shardings and the traced step; nothing was compiled", paper_mesh(*sizes)
    with contextlib.suppress(RuntimeError):  # in a process that uses its devices already
        jax.config.update("jax_platforms", "cpu")
        if source == "virtual":
            jax.config.update("jax_num_cpu_devices", machine.devices)
    real = None
    if source != "none":
        devices, said = devices_for(machine, source)
        real = meshes.make_mesh(*sizes, devices)
    counted = faces_of(config, *faces)
    estimates: list[Estimate] = []
    programs: list[Program | None] = []
    assumed: list[Assumptions] = []
    advice: list[str] = []
    news: list[tuple[Collective, ...]] = []
    for name in wanted or names(config):
        job = job_of(config, name, counted[name], mesh)
        counts, program = count(job), None
        if real is not None:
            say(f"plan: compiling {name} …")
            program = compile_job(job_of(config, name, counted[name], real))
            news.append(tuple(joined(unplanned(program.collectives, counts.collectives))))
            counts = _with_program(counts, program, news[-1], source)
        assumed.append(Assumptions(utilisation or UTILISATION[job.kind]))
        estimates.append(estimate(counts, machine, assumed[-1]))
        programs.append(program)
        if not estimates[-1].fits:
            advice.append(_advice(config, name, estimates[-1]))
    return Plan(spec, machine, tuple(assumed), said, tuple(estimates), tuple(programs), tuple(news), tuple(advice))


def _with_program(counts: Counts, program: Program, news: tuple[Collective, ...], source: str) -> Counts:
    """Counts with what a compiled program knows better: for the real slice everything, for virtual devices what nobody planned."""
    if source != "topology":
        return counts._replace(collectives=counts.collectives + news)
    if program.failure:
        return counts._replace(refused=program.failure)
    found = joined(one._replace(what="compiled") for one in program.collectives)
    return counts._replace(
        compiled=program.peak, collectives=tuple(sorted(found, key=lambda one: -one.size * one.times))
    )


def _advice(config: Any, name: str, found: Estimate) -> str:
    """What would make a training fit, by the same arithmetic."""
    counts, ways = found.counts, []
    limit = min(found.largest_batch, counts.batch - 1)  # a compiler may find no room where the arithmetic does
    if limit:
        ways.append(f"{name}.optim.batch ≤ {limit:,}")
        micro = [counts.batch // n for n in range(2, counts.batch) if counts.batch % (n * math.prod(counts.mesh)) == 0]
        pieces = next((counts.batch // images for images in micro if images <= limit), 0)
        if pieces:
            graph = " (relations then span a micro-batch)" if name == "mae" else ""
            ways.append(f"{name}.optim.accumulate={pieces}{graph}")
    else:
        ways.append("more devices, or mesh.fsdp above 1 to split parameters")
    if name == "mae" and not config.mae.remat:
        ways.append("mae.remat=True, which computes each layer again in the backward pass")
    if name != "mae" and config[name].head.sample == 1.0:
        ways.append(f"{name}.head.sample=0.1, which trains a tenth of the class centres in a step")
    return f"{name}: would fit with one of these or several: {'; '.join(ways)}."
