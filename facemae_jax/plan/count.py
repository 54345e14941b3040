"""A training, counted: from a traced train step to :class:`plan.estimate.Counts`."""

from __future__ import annotations

from facemae_jax.plan.estimate import Counts
from facemae_jax.plan.jobs import Job, parameters, step_arguments, step_program
from facemae_jax.plan.memory import memory_of
from facemae_jax.plan.trace import flops
from facemae_jax.plan.traffic import planned
from facemae_jax.train.recognizer_task import CENTRES


def count(job: Job) -> Counts:
    """Trace the step of a job, on a mesh of real devices or of none, and count."""
    traced = step_program(job).trace(*step_arguments(job))
    every = parameters(job.state.params)
    embedding = job.state.params[CENTRES].shape[1] if job.kind == "recognizer" else 0
    padded = parameters(job.state.params[CENTRES]) if job.kind == "recognizer" else 0
    return Counts(
        name=job.name,
        identities=job.faces.identities,
        images=job.faces.images,
        batch=job.batch,
        accumulate=job.accumulate,
        steps=job.steps,
        dtype=job.dtype,
        mesh=(job.mesh.shape["data"], job.mesh.shape["fsdp"]),
        parameters=every - padded,
        centres=job.faces.identities * embedding,
        flops=flops(traced.jaxpr),
        memory=memory_of(job),
        collectives=tuple(planned(job, traced.jaxpr)),
    )
