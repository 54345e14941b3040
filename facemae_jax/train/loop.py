"""The training loop: one for all tasks, and the only place in training that reads clocks, signals and disks.

A run starts in one of four ways, the first that applies:

1. **shared part**: another run trained the same first steps, and this one is not beyond them (``train.shared_phase``).
2. **resume**: ``out/checkpoints`` holds a checkpoint of this run; state and step are restored, batches follow from the step.
3. **warm start**: the caller made the state from named weights (``optim.init_from``).
4. **scratch**: the caller made a fresh state.

The order inside a step is part of the promise that a killed and resumed run equals an unbroken one: dispatch step n, read the
metrics of the step before (so the device is never waited for), save when due, and only then ask for the next batch.
"""

from __future__ import annotations

import functools
import math
import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import FrameType
from typing import Any, NamedTuple

import jax
from jax.experimental import multihost_utils
from jax.sharding import Mesh

from facemae_jax import logs
from facemae_jax.checkpoint import Checkpoints
from facemae_jax.mesh import PADDED, put_batch
from facemae_jax.train.shared_phase import SharedPhase
from facemae_jax.train.step import TrainState, TrainStep
from facemae_jax.types import Batch, FacemaeError


class Phase(NamedTuple):
    """A train step and the step number at which it ends; phases follow each other and share one state."""

    until: int
    step: TrainStep


class Interrupted(Exception):
    """A signal asked the run to stop, and everything was saved; ``signal`` is its number."""

    def __init__(self, message: str, number: int):
        super().__init__(message)
        self.signal = number


class _Signals:
    """Notes the first SIGINT or SIGTERM; a second one acts as if we were not here.

    With several processes SIGTERM is JAX's: the one that gets it tells the others, and all stop after the same step.
    """

    def __init__(self) -> None:
        self.received: int | None = None
        self._before: dict[int, Any] = {}

    def __enter__(self) -> _Signals:
        if threading.current_thread() is threading.main_thread() and jax.process_count() == 1:
            for number in (signal.SIGINT, signal.SIGTERM):
                self._before[number] = signal.signal(number, self._note)
        return self

    def _note(self, number: int, frame: FrameType | None) -> None:
        self.received = number
        self._restore()

    def _restore(self) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def at(self, step: int) -> int | None:
        """The signal that stops the run after this step, the same on every process; all of them call, at every step."""
        if jax.process_count() > 1 and multihost_utils.reached_preemption_sync_point(step):
            self.received = signal.SIGTERM
        return self.received

    def __exit__(self, *_: object) -> None:
        self._restore()


def train(
    *,
    phases: Sequence[Phase],
    state: TrainState | Callable[[], TrainState],
    target: Any,
    batches: Callable[[int], Iterator[Batch]],
    steps: int,
    mesh: Mesh,
    out: Path,
    optim: Any,
    fingerprint: str,
    label: str,
    shared: SharedPhase | None = None,
) -> TrainState:
    """Train until step ``steps``.

    Args:
        phases: train steps by the step number they end at; the last ends at ``steps`` or later.
        state: the state to begin with when there is no checkpoint, or a function that makes it.
        target: shapes and shardings of the state (``step.abstract_state``), for restoring.
        batches: step → endless iterator of this process's part of each batch from that step on.
        steps: in all.
        mesh: batches are split over it.
        out: gets ``checkpoints/``, ``metrics.jsonl`` and TensorBoard events.
        optim: fields batch, log_every, save_every, keep_latest, keep_best.
        fingerprint: of the run; a checkpoint of another one is refused.
        label: of the progress bar.
        shared: a first part that other runs have in common with this one; None = nothing is kept or taken.

    Raises:
        FacemaeError: a non-finite loss (the last good checkpoint is kept), a checkpoint of another run.
        Interrupted: SIGINT or SIGTERM, after saving.
    """
    with Checkpoints(out / "checkpoints", keep_latest=optim.keep_latest, keep_best=optim.keep_best) as checkpoints:
        restored = checkpoints.restore(target, padded=PADDED)
        behind = shared is not None and (restored is None or restored[1] < shared.until)
        before = shared.restore(target, _machine(mesh)) if shared is not None and behind else None
        if before is not None:
            assert shared is not None
            state, done = before[0], shared.until
            logs.say(f"{label}: steps 1 to {done} are those of another run, and are taken from it")
        elif restored is not None:
            state, done, meta = restored
            _check_meta(meta, fingerprint, mesh, out)
        else:
            state, done = (state() if callable(state) else state), 0
        writer = logs.MetricWriter(out, done if before is None else 0)
        for values in [] if before is None else before[1]:
            writer.write(int(values["step"]), {name: value for name, value in values.items() if name != "step"})
        keep = (
            None
            if shared is None
            else (shared.until, functools.partial(shared.keep, machine=_machine(mesh), run=fingerprint, metrics=out))
        )
        try:
            with _Signals() as signals:
                return _run(
                    phases,
                    state,
                    batches,
                    done,
                    steps,
                    mesh,
                    optim,
                    fingerprint,
                    label,
                    checkpoints,
                    writer,
                    signals,
                    keep,
                )
        finally:
            writer.close()


def _run(phases, state, batches, done, steps, mesh, optim, fingerprint, label, checkpoints, writer, signals, keep):
    meta = _meta(fingerprint, mesh)
    pending: tuple[int, Any] | None = None
    good, loss = done, math.inf

    def settle() -> None:
        """Read the metrics of the step before; stop when its loss is no number."""
        nonlocal pending, good, loss
        if pending is None:
            return
        at, metrics = pending
        pending = None
        values = {name: float(value) for name, value in metrics.items()}
        loss = values["loss"]
        bad = [name for name in ("loss", *sorted(values)) if not math.isfinite(values[name])]
        if bad:
            latest = checkpoints.latest()
            kept = "no checkpoint was saved yet" if latest is None else f"the checkpoint of step {latest} is kept"
            raise FacemaeError(
                f"{label}: {bad[0]} became {values[bad[0]]} between steps {good + 1} and {at}: "
                f"lower optim.learning_rate, or set optim.clip; {kept}."
            )
        good = at
        bar.note(loss=loss)
        if at % optim.log_every == 0 or at == steps:
            writer.write(at, values)

    feed = batches(done)
    with logs.progress(steps * optim.batch, label, initial=done * optim.batch) as bar:
        while done < steps:
            batch = put_batch(mesh, next(feed))
            phase = next(phase for phase in phases if done < phase.until)
            state, metrics = phase.step(state, batch)
            done += 1
            bar.update(optim.batch)
            settle()
            stop = signals.at(done)  # read once: a signal that comes later is for the next step
            due = done % optim.save_every == 0 or done == steps or stop is not None
            if due or done % optim.log_every == 0:
                pending = (done, metrics)
            # Save before next(feed): what is saved is exactly the state after `done` batches.
            if due:
                settle()
                checkpoints.save(done, state, meta, loss)
            if keep is not None and done == keep[0]:
                pending = (done, metrics)
                settle()
                keep[1](state)
            if stop is not None and done < steps:
                checkpoints.wait()
                name = signal.Signals(stop).name
                raise Interrupted(
                    f"{label} got {name} and saved step {done} of {steps}; the same command goes on from there.", stop
                )
    return state


def _meta(fingerprint: str, mesh: Mesh) -> dict[str, Any]:
    return {"fingerprint": fingerprint} | _machine(mesh)


def _machine(mesh: Mesh) -> dict[str, Any]:
    """What results depend on in their last bits."""
    return dict(
        jax=jax.__version__,
        device=jax.devices()[0].device_kind,
        mesh=" × ".join(map(str, mesh.devices.shape)),  # sums over other devices round otherwise
        threads=len(os.sched_getaffinity(0)),
    )


def _check_meta(meta: dict[str, Any], fingerprint: str, mesh: Mesh, out: Path) -> None:
    if meta.get("fingerprint") != fingerprint:
        raise FacemaeError(
            f"{out / 'checkpoints'} belongs to another run: give this one another workdir, or delete that directory."
        )
    now = _meta(fingerprint, mesh)
    changed = [f"{name} {meta.get(name)} → {value}" for name, value in now.items() if meta.get(name) != value]
    if changed:
        logs.warn(
            f"{out.name} goes on under other conditions ({', '.join(changed)}): the result will not equal an unbroken run bit for bit."
        )
