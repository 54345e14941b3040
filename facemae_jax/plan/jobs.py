"""The trainings that a config asks for, as abstract programs: shapes and shardings without arrays, on a mesh without devices.

A config knows its faces only by name, so the numbers of identities and images come from the caller.
"""

from __future__ import annotations

import inspect
import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AbstractMesh, AxisType

from facemae_jax import mesh as meshes
from facemae_jax.keys import keys_for
from facemae_jax.losses.shift import Shift
from facemae_jax.models import recognizer
from facemae_jax.models.frozen import Frozen, frozen_network, load_frozen
from facemae_jax.models.mae import Mae, mae_config
from facemae_jax.stages.inputs import one_source
from facemae_jax.train.mae_task import Guide, MaeLoss, mae_task
from facemae_jax.train.optimizer import make_optimizer, total_steps
from facemae_jax.train.recognizer_task import Head, Margin, recognizer_task
from facemae_jax.train.step import TrainState, abstract_state, make_train_step
from facemae_jax.train.task import Task
from facemae_jax.types import Batch, FacemaeError, Tree


class Faces(NamedTuple):
    """How many there are to train on."""

    identities: int
    images: int


class Job(NamedTuple):
    """One training, ready to be counted, or compiled for the devices of its mesh."""

    name: str  # teacher | mae | recognizer
    kind: str  # recognizer | mae
    task: Task  # frozen parameters are abstract
    optimizer: Any
    state: TrainState  # ShapeDtypeStructs with shardings
    mesh: Any
    faces: Faces
    batch: int  # images per step
    accumulate: int
    steps: int
    image_size: int  # pixels
    dtype: str
    seed: int

    @property
    def micro(self) -> int:
        """Images that pass at once."""
        return self.batch // self.accumulate


def paper_mesh(data: int, fsdp: int) -> AbstractMesh:
    """A mesh of no devices."""
    return AbstractMesh((data, fsdp), meshes.AXES, axis_types=(AxisType.Auto,) * 2)


def faces_of(config: Any, identities: int, images: int) -> dict[str, Faces]:
    """What each training of the config sees of that many people and images; a split by identity is taken as exact.

    Args:
        config: ``data.seen_share``, ``data.seen``, ``data.unseen``, ``reconstruct.subset``, ``recognizer.faces``.
        identities: of the whole face set; of each of them where seen and unseen faces are two sets.
        images: of the same.
    """
    shares = {"seen": 1.0, "unseen": 1.0, "all": 1.0}
    if one_source(config):
        shares |= {"seen": config.data.seen_share, "unseen": 1.0 - config.data.seen_share}
    own = 1.0 if config.recognizer.faces else shares[config.reconstruct.subset]
    parts = {"teacher": shares["seen"], "mae": shares["seen"], "recognizer": own}
    return {
        name: Faces(max(1, round(identities * share)), max(1, round(images * share))) for name, share in parts.items()
    }


def names(config: Any) -> list[str]:
    """The trainings: those whose ``source`` is train, and the recognizer, once for all variants."""
    found = [name for name in ("teacher", "mae") if config[name].source == "train"]
    return found + (["recognizer"] if config.recognizer.faces or config.recognizer.variants else [])


def job_of(config: Any, name: str, faces: Faces, mesh: Any) -> Job:
    """One training on a mesh, of real devices or of none.

    Args:
        config: checked by ``chain.rules.check``.
        name: teacher | mae | recognizer.
        faces: to train on.
        mesh: of :func:`paper_mesh`, or of ``mesh.make_mesh``.

    Raises:
        FacemaeError: a batch that does not divide over the mesh, or is larger than the faces.
    """
    section = config[name]
    optim = section.optim
    if optim.batch % optim.accumulate:
        raise FacemaeError(
            f"{name}.optim.accumulate={optim.accumulate} does not divide {name}.optim.batch={optim.batch}."
        )
    micro = optim.batch // optim.accumulate
    meshes.check_batch(mesh, micro, f"{name}.optim.batch" + (" / accumulate" if optim.accumulate > 1 else ""))
    if optim.batch > faces.images:
        raise FacemaeError(f"{name}.optim.batch={optim.batch} is more than the {faces.images} images to train on.")
    task = _mae(config, mesh, micro) if name == "mae" else _recognizer(config, section, faces.identities, mesh)
    steps = total_steps(optim, faces.images)
    optimizer = make_optimizer(optim, steps)
    return Job(
        name=name, kind="mae" if name == "mae" else "recognizer", task=task, optimizer=optimizer,
        state=abstract_state(task, optimizer, mesh=mesh), mesh=mesh, faces=faces, batch=optim.batch,
        accumulate=optim.accumulate, steps=steps, image_size=config.data.image_size, dtype=section.dtype, seed=config.seed,
    )  # fmt: skip


def batch_shapes(job: Job, images: int) -> Batch:
    """What a step reads, abstract."""
    where = meshes.batch_sharding(job.mesh)

    def one(dtype: Any, *shape: int) -> jax.ShapeDtypeStruct:
        return jax.ShapeDtypeStruct((images, *shape), dtype, sharding=where)

    return Batch(one(jnp.uint8, job.image_size, job.image_size, 3), one(jnp.int32), one(jnp.int32), one(jnp.bool_))


def frozen_shapes(job: Job) -> Tree:
    """The parameters that a step only reads, abstract; a whole copy on every device."""
    where = meshes.replicated(job.mesh)
    return jax.tree.map(
        lambda x: jax.ShapeDtypeStruct(jnp.shape(x), jnp.result_type(x), sharding=where), job.task.frozen
    )


def loss_arguments(job: Job) -> tuple[Tree, Tree, Tree, Batch, dict[str, Any]]:
    """What the loss of one micro-batch is called with, abstract; of the centres only the sampled ones."""
    keys = jax.eval_shape(lambda: keys_for(job.seed, 0, job.task.key_names))
    params = job.state.params
    select = job.task.select
    if select is not None:

        def narrowed(batch: Batch, keys: dict[str, jax.Array], params: Tree) -> Any:
            selection = select(batch, keys)
            return selection.rows_S, selection.narrow(params)

        rows_S, params = jax.eval_shape(narrowed, batch_shapes(job, job.batch), keys, params)
        keys = keys | {"rows": rows_S}
    return params, job.state.extra, frozen_shapes(job), batch_shapes(job, job.micro), keys


def step_program(job: Job) -> Any:
    """The jitted train step of a job: ``program.trace(state, batch, frozen)`` and ``program.lower`` take abstract arguments."""
    step = make_train_step(
        job.task._replace(frozen=()), job.optimizer, mesh=job.mesh, seed=job.seed, accumulate=job.accumulate
    )
    return inspect.getclosurevars(step).nonlocals["compiled"]


def step_arguments(job: Job) -> tuple[TrainState, Batch, Tree]:
    """What the train step is called with, abstract."""
    return job.state, batch_shapes(job, job.batch), frozen_shapes(job)


def _recognizer(config: Any, section: Any, identities: int, mesh: Any) -> Task:
    return recognizer_task(
        recognizer.build(section.network, section.embedding, section.dtype, section.dropout),
        identities=identities,
        embedding=section.embedding,
        image_size=config.data.image_size,
        margin=Margin(**section.margin.to_dict()),
        mesh=mesh,
        head=Head(**section.head.to_dict()),
    )


def _mae(config: Any, mesh: Any, micro: int) -> Task:
    """The MAE with all terms of its loss: the dearer phase, where ``mae.relation_from`` makes two."""
    group = micro // mesh.size if config.irm.group == "device" else int(config.irm.group)
    mae = config.mae
    loss = MaeLoss(
        mae.pixel_weight, mae.irm_weight, mae.feature_weight, mae.unlink_weight, mae.unlink_margin,
        mae.shift_weight, config.irm.kind, group, config.irm.form, config.irm.chunk, mae.norm_pix_loss,
    )  # fmt: skip
    guides = _guides(config) if loss.needs_teacher else []
    return mae_task(Mae(mae_config(mae, config.data.image_size), mesh), loss, guides=guides, mesh=mesh)


def _guides(config: Any) -> list[Guide]:
    """The frozen recognizers, and shapes of how their spaces are moved."""
    teacher = config.teacher
    outside = [teacher.source] if teacher.source != "train" else []
    found = [_trained_teacher(config)] * (0 if outside else teacher.count)
    for source in (*outside, *teacher.more):
        found.append(load_frozen(source, input_range=teacher.input_range, colour_order=teacher.colour_order))

    def shift(length: int) -> Shift:
        return Shift(np.zeros(length, np.float32), np.zeros((length, length), np.float32))

    return [Guide(frozen, shift(frozen.embedding)) for frozen in found]


def _trained_teacher(config: Any) -> Frozen:
    """A recognizer that this config would train: shapes alone."""
    teacher = config.teacher
    size = config.data.image_size
    described = recognizer.described(teacher.network, teacher.embedding, teacher.dtype, teacher.dropout, size)
    network = recognizer.from_description(described)
    images = jax.ShapeDtypeStruct((1, size, size, 3), jnp.float32)
    variables = jax.eval_shape(lambda x: network.init(jax.random.key(0), x, train=False), images)
    return frozen_network(variables, described, digest="")


def parameters(tree: Tree) -> int:
    """How many numbers a tree holds."""
    return sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(tree))
