"""What the three training stages share: from a face set and a task to a finished run. Which task is each stage's own business."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
from jax.sharding import Mesh

from facemae_jax import mesh as meshes
from facemae_jax.checkpoint import load_model
from facemae_jax.data.face_set import FaceSet, check_image_size
from facemae_jax.data.pipeline import Augment, train_batches
from facemae_jax.logs import read_metrics
from facemae_jax.train.loop import Phase, train
from facemae_jax.train.optimizer import make_optimizer, total_steps
from facemae_jax.train.shared_phase import SharedPhase
from facemae_jax.train.step import TrainState, abstract_state, init_state, make_train_step
from facemae_jax.train.task import Task
from facemae_jax.types import FacemaeError, Tree

# Fields of an optim section that change no result.
CADENCE = ("log_every", "save_every", "keep_latest", "keep_best")


class Common(NamedTuple):
    """A first share of the steps that runs of other settings have in common, what it follows from besides seed, schedule and faces, and where
    its end is kept.
    """

    share: float
    parts: Any  # JSON-able
    folder: Path


class Fitted(NamedTuple):
    """A finished run."""

    state: TrainState
    summary: dict[str, Any]


def fit(
    *,
    config: Any,
    section: Any,
    faces: FaceSet,
    tasks: Sequence[tuple[float, Task]],
    mesh: Mesh,
    out: Path,
    label: str,
    transform: Callable[..., Any] | None = None,
    warm: Callable[[Tree], Tree] | None = None,
    common: Common | None = None,
) -> Fitted:
    """Train the tasks one after another on one state.

    Args:
        config: with ``seed`` and ``data.threads``.
        section: with ``optim`` and ``augment``.
        faces: to train on.
        tasks: (share of the steps at which it ends, task); all have the same parameters.
        mesh: of the run.
        out: stage directory.
        label: of the progress bar.
        transform: image and key → image, before augmentation.
        warm: fresh variables {"params", …} → variables to begin with.
        common: the first steps that other runs share; None = this run stands alone.

    Raises:
        FacemaeError: a batch larger than the faces, or faces of another image size.
    """
    optim = section.optim
    if optim.batch > len(faces):
        raise FacemaeError(
            f"{label}: optim.batch={optim.batch} is more than the {len(faces)} images to train on: choose a smaller batch, or import more faces."
        )
    steps = total_steps(optim, len(faces))
    optimizer = make_optimizer(optim, steps)
    phases = [
        Phase(
            round(share * steps),
            make_train_step(task, optimizer, mesh=mesh, seed=config.seed, accumulate=optim.accumulate),
        )
        for share, task in tasks
    ]
    first = tasks[-1][1]

    def fresh() -> TrainState:
        state = init_state(first, optimizer, mesh=mesh, seed=config.seed)
        if warm is None:
            return state
        variables = warm({"params": state.params, **state.extra})
        where = jax.tree.map(lambda leaf: leaf.sharding, (state.params, state.extra))
        params, extra = jax.device_put((variables.pop("params"), variables), where)
        return state.replace(params=params, extra=extra)

    def batches(start_step: int):
        return train_batches(
            faces, batch=optim.batch, seed=config.seed, start_step=start_step, transform=transform,
            augment=Augment(flip=section.augment.flip, crop=section.augment.crop), threads=config.data.threads,
            host=jax.process_index(), hosts=jax.process_count(),
        )  # fmt: skip

    began = time.monotonic()
    state = train(
        phases=phases,
        state=fresh,
        target=abstract_state(first, optimizer, mesh=mesh),
        batches=batches,
        steps=steps,
        mesh=mesh,
        out=out,
        optim=optim,
        fingerprint=fingerprint(out),
        label=label,
        shared=_shared(common, config, optim, steps, faces),
    )
    lines = read_metrics(out)
    summary = dict(
        images=len(faces), identities=faces.identities, steps=steps, seconds=round(time.monotonic() - began, 1)
    )
    return Fitted(state, summary | {"last": lines[-1] if lines else {}})


def _shared(common: Common | None, config: Any, optim: Any, steps: int, faces: FaceSet) -> SharedPhase | None:
    until = 0 if common is None else round(common.share * steps)
    if common is None or not 0 < until < steps:
        return None
    schedule = {name: value for name, value in optim.to_dict().items() if name not in (*CADENCE, "init_from")}
    return SharedPhase(common.folder, [common.parts, config.seed, schedule, steps, faces.digest], until)


def mesh_of(config: Any) -> Mesh:
    """The mesh that ``mesh.data`` and ``mesh.fsdp`` ask for."""
    return meshes.make_mesh(config.mesh.data, config.mesh.fsdp)


def fingerprint(out: Path) -> str:
    """Of the stage directory: written into it by the chain, and into every checkpoint."""
    file = out / "fingerprint"
    return file.read_text() if file.is_file() else out.name


def faces_of_size(faces: FaceSet, config: Any) -> FaceSet:
    """``faces``, after checking that their images are ``data.image_size`` wide."""
    check_image_size(faces, config.data.image_size)
    return faces


def warm_start(place: str, kind: str, field: str) -> Callable[[Tree], Tree] | None:
    """Weights that begin a run, from a stage or model directory; None for scratch.

    Raises:
        FacemaeError: (when called) if the directory holds another kind of model, or other shapes.
    """
    if not place:
        return None

    def warm(variables: Tree) -> Tree:
        given, description = load_model(Path(place).expanduser())
        if description.get("kind") != kind:
            raise FacemaeError(f"{field}={place} holds a {description.get('kind')}, expected a {kind}.")
        mine = dict(variables)
        network = mine["params"].get("network") if kind == "recognizer" else mine["params"]
        mine_is: Any = jax.tree.structure(network)
        same = mine_is == jax.tree.structure(given["params"]) and all(
            a.shape == b.shape for a, b in zip(jax.tree.leaves(network), jax.tree.leaves(given["params"]), strict=True)
        )
        if not same:
            raise FacemaeError(
                f"{field}={place} has other layers or sizes than this config asks for: give the sizes of its model.json."
            )
        rest = {name: value for name, value in given.items() if name != "params"}
        params = {**mine["params"], "network": given["params"]} if kind == "recognizer" else given["params"]
        return {**mine, **rest, "params": params}

    return warm
