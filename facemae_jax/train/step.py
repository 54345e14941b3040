"""The train state, born sharded, and the train step: ``(state, batch) -> (state, metrics)``. No I/O, no clock."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import flax.struct
import jax
import jax.numpy as jnp
import optax
from jax.sharding import Mesh

from facemae_jax import mesh as meshes
from facemae_jax.keys import keys_for
from facemae_jax.train.task import Task
from facemae_jax.types import Batch, FacemaeError, Tree

Metrics = dict[str, jax.Array]
TrainStep = Callable[["TrainState", Batch], tuple["TrainState", Metrics]]
CPU_OPTIONS = {"xla_cpu_experimental_ynn_fusion_type": "LIBRARY_FUSION_TYPE_INDIVIDUAL_DOT"}


class TrainState(flax.struct.PyTreeNode):
    """All that a step changes. No key is among it: keys follow from seed, step and name."""

    step: jax.Array  # int32, steps done
    params: Tree
    extra: Tree  # other collections, such as batch_stats
    opt_state: Tree


def init_state(task: Task, optimizer: optax.GradientTransformation, *, mesh: Mesh, seed: int) -> TrainState:
    """A fresh state; each device makes only its part, so that a large model never lies whole on one.

    Args:
        task: says how variables begin.
        optimizer: its state follows the shardings of the parameters.
        mesh: of ``mesh.make_mesh``.
        seed: of the run.
    """
    shardings = state_shardings(task, optimizer, mesh=mesh)
    return jax.jit(_birth(task, optimizer), static_argnums=0, out_shardings=shardings)(seed)


def abstract_state(task: Task, optimizer: optax.GradientTransformation, *, mesh: Mesh) -> TrainState:
    """Shapes, dtypes and shardings of the state, for restoring a checkpoint of any other mesh."""
    shapes = jax.eval_shape(lambda: _birth(task, optimizer)(0))
    shardings = meshes.shardings_for(shapes, mesh, task.rules)
    return jax.tree.map(lambda s, where: jax.ShapeDtypeStruct(s.shape, s.dtype, sharding=where), shapes, shardings)


def state_shardings(task: Task, optimizer: optax.GradientTransformation, *, mesh: Mesh) -> TrainState:
    """Where every leaf of the state lives."""
    return jax.tree.map(lambda leaf: leaf.sharding, abstract_state(task, optimizer, mesh=mesh))


def _birth(task: Task, optimizer: optax.GradientTransformation) -> Callable[[int], TrainState]:
    def init(seed: int) -> TrainState:
        variables = dict(task.init(keys_for(seed, 0, ("init",))["init"]))
        params = variables.pop("params")
        return TrainState(jnp.zeros((), jnp.int32), params, variables, optimizer.init(params))

    return init


@functools.cache
def compiler_options(backend: str) -> dict[str, str] | None:
    """Options of the compiled step. On CPUs XLA gives convolutions to YNNPACK, which is several times slower than its own
    code for the gradients of kernels; matrix products stay there. ``None`` elsewhere, and where XLA knows no such option."""
    if backend != "cpu":
        return None
    try:
        jax.jit(lambda x: x, compiler_options=CPU_OPTIONS).lower(jax.ShapeDtypeStruct((), jnp.float32)).compile()
    except jax.errors.JaxRuntimeError as error:
        if "option" not in str(error):
            raise
        return None  # another version of XLA: only speed is lost
    return CPU_OPTIONS


def make_train_step(
    task: Task, optimizer: optax.GradientTransformation, *, mesh: Mesh, seed: int, accumulate: int = 1
) -> TrainStep:
    """The compiled step. The given state is donated: use the returned one.

    Args:
        task: loss and keys.
        optimizer: as given to :func:`init_state`.
        mesh: batches come split over it (``mesh.put_batch``).
        seed: of the run; keys of a step are ``keys_for(seed, step, task.key_names)``.
        accumulate: micro-batches whose gradients are averaged; micro-batch m holds every ``accumulate``-th image from m on, so
            that each device keeps its own rows. A relation graph spans one micro-batch.

    Returns:
        ``step(state, batch) -> (state, metrics)``; metrics are scalars: ``loss``, the task's own, ``grad_norm``.

    Raises:
        FacemaeError: (at the first call) for a batch that does not divide.
    """
    shardings = state_shardings(task, optimizer, mesh=mesh)
    # Constants baked into a program are compiled with it and lie on every device twice: frozen weights are an argument.
    frozen = jax.device_put(task.frozen, meshes.replicated(mesh))

    def one(params: Tree, extra: Tree, frozen: Tree, batch: Batch, keys: dict[str, jax.Array]) -> Any:
        return jax.value_and_grad(task.loss, has_aux=True)(params, extra, frozen, batch, keys)

    def several(state: TrainState, frozen: Tree, batch: Batch, keys: dict[str, jax.Array]) -> Any:
        def cut(x: jax.Array) -> jax.Array:
            parts = x.reshape(len(x) // accumulate, accumulate, *x.shape[1:]).swapaxes(0, 1)
            where = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec(None, meshes.AXES))
            return jax.lax.with_sharding_constraint(parts, where)

        def add(carry: Any, part: tuple[jax.Array, Batch]) -> Any:
            number, micro = part
            extra, total = carry
            own = keys | {name: jax.random.fold_in(keys[name], number) for name in task.key_names}
            (loss, (metrics, extra)), grads = one(state.params, extra, frozen, micro, own)
            return (extra, jax.tree.map(jnp.add, total, grads)), metrics | {"loss": loss}

        zero = jax.tree.map(jnp.zeros_like, state.params)
        parts = (jnp.arange(accumulate), jax.tree.map(cut, batch))
        (extra, total), metrics = jax.lax.scan(add, (state.extra, zero), parts)
        return jax.tree.map(jnp.mean, metrics), extra, jax.tree.map(lambda g: g / accumulate, total)

    def step(state: TrainState, batch: Batch, frozen: Tree) -> tuple[TrainState, Metrics]:
        keys = keys_for(seed, state.step, task.key_names)
        selection = task.select(batch, keys) if task.select else None
        whole = state
        if selection is not None:
            keys = keys | {"rows": selection.rows_S}
            state = state.replace(params=selection.narrow(whole.params), opt_state=selection.narrow(whole.opt_state))
        if accumulate == 1:
            (loss, (metrics, extra)), grads = one(state.params, state.extra, frozen, batch, keys)
            metrics = metrics | {"loss": loss}
        else:
            metrics, extra, grads = several(state, frozen, batch, keys)
        updates, opt_state = optimizer.update(grads, state.opt_state, state.params)
        params = optax.apply_updates(state.params, updates)
        metrics = metrics | {"grad_norm": optax.global_norm(grads)}
        if selection is not None:
            params, opt_state = selection.widen(whole.params, params), selection.widen(whole.opt_state, opt_state)
        return TrainState(state.step + 1, params, extra, opt_state), metrics

    compiled = jax.jit(
        step,
        donate_argnums=0,
        out_shardings=(shardings, meshes.replicated(mesh)),
        compiler_options=compiler_options(jax.default_backend()),
    )

    def checked(state: TrainState, batch: Batch) -> tuple[TrainState, Metrics]:
        rows = len(batch.images_BHWC)
        if rows % (accumulate * mesh.size):
            raise FacemaeError(
                f"a batch of {rows} images does not divide into {accumulate} micro-batches over {mesh.size} devices: "
                f"choose a multiple of {accumulate * mesh.size} for optim.batch."
            )
        return compiled(state, batch, frozen)

    return checked
