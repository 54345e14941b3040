"""A run of the loop without any model: a state that remembers every batch it saw. For the tests of this folder."""

import json

import jax
import jax.numpy as jnp
import numpy as np
from tiny_tasks import mesh_of

from facemae_jax.chain import settings
from facemae_jax.mesh import replicated
from facemae_jax.train.loop import Phase, train
from facemae_jax.train.step import TrainState
from facemae_jax.types import batch_of

MESH = "8x1"


def walk(rate):
    """A step whose state remembers every batch it saw, in order, and whose loss is the mean pixel; the state is donated."""

    def step(state, batch):
        pixel = batch.images_BHWC.astype(jnp.float32).mean()
        params = {"w": jnp.sin(state.params["w"] * 1.1 + rate * pixel)}
        return TrainState(state.step + 1, params, {}, ()), {"loss": pixel, "grad_norm": pixel * 2}

    return jax.jit(step, donate_argnums=0)


STEP = walk(0.1)


def fresh(mesh=None):
    state = TrainState(jnp.zeros((), jnp.int32), {"w": jnp.linspace(0.0, 1.0, 16)}, {}, ())
    return jax.device_put(state, replicated(mesh or mesh_of(MESH)))


def pixels(step):
    """The batch of a step: any value but that of another step."""
    random = np.random.default_rng(step)
    return batch_of(random.integers(0, 256, (8, 2, 2, 3), dtype=np.uint8))


def feed(start, at=None, do=None):
    """Batches from a step on; before it gives batch ``at`` it does ``do``."""
    step = start
    while True:
        if step == at:
            do()
        yield pixels(step)
        step += 1


def run(
    out, *, steps=11, batches=feed, fingerprint="ours", mesh_name=MESH, phases=None, state=None, shared=None, **cadence
):
    optim = settings.load("configs/base.py").mae.optim
    optim.update(dict(batch=8, log_every=3, save_every=5, keep_latest=10, keep_best=0) | cadence)
    mesh = mesh_of(mesh_name)
    target = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=x.sharding), fresh(mesh))
    return train(
        phases=phases or [Phase(steps, STEP)],
        state=state or (lambda: fresh(mesh)),
        target=target,
        batches=batches,
        steps=steps,
        mesh=mesh,
        out=out,
        optim=optim,
        fingerprint=fingerprint,
        label="walk",
        shared=shared,
    )


def weights(state):
    return np.asarray(state.params["w"])


def saved(out):
    return sorted(int(path.name) for path in (out / "checkpoints").iterdir() if path.name.isdigit())


def lines(out):
    return [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
