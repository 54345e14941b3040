"""A world for the tests of an audit's further attacks: faces, an MAE without training, its reconstruction, a judge of colours.

As a program (`attackers_help.py HOST:PORT,COUNT,NUMBER WORLD OUT`) it is one of several processes that audit that world.
"""

import json
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from facemae_jax import processes
from facemae_jax.chain import settings as files
from facemae_jax.chain.fingerprint import view
from facemae_jax.checkpoint import save_model
from facemae_jax.data.face_set import FaceSetWriter
from facemae_jax.data.images import encode_png
from facemae_jax.data.synthetic import render
from facemae_jax.models.frozen import Frozen
from facemae_jax.models.mae import Mae, MaeConfig
from facemae_jax.stages import audit, judges, reconstruct, teachers
from facemae_jax.stages.inputs import SHARED, Input, Inputs
from facemae_jax.types import Record

SIZE, PATCH, VISIBLE, PEOPLE, IMAGES, LENGTH = 32, 8, 4, 24, 4, 12
MAE = MaeConfig(SIZE, PATCH, VISIBLE, 32, 1, 2, 16, 1, 2)


def toy_frozen(source, **_):
    """Random projections of the colours of an image's quarters."""
    weights = np.random.default_rng(0).normal(size=(8 * 8 * 3, LENGTH)).astype(np.float32)

    def apply(params, images_BHWC):
        small = images_BHWC.reshape(len(images_BHWC), 8, 4, 8, 4, 3).mean(axis=(2, 4))
        return small.reshape(len(small), -1) @ params["w"]

    return Frozen({"w": weights}, apply, SIZE, LENGTH, f"digest of {source}", "toy")


def settings(**changes):
    config = files.load("configs/base.py")
    config.data.image_size = SIZE
    config.mae.update(patch=PATCH, visible=VISIBLE)
    config.reconstruct.update(batch=1, shard_records=20, encoding="png")
    config.audit.update(dict(judges=("teacher",), variants=("original", "blur", "reconstruction"), batch=16))
    config.audit.update(dict(trained_on=("blur", "reconstruction"), attack_images=40, attack_steps=3, attack_batch=8))
    config.audit.update(dict(membership_masks=2) | changes)
    return config


def build(path):
    """Imported faces, an MAE, and a reconstruction of the unseen people."""
    names = [f"Person_{number}" for number in range(PEOPLE)]
    records = [
        Record(encode_png(render(n, image, seed=0, size=SIZE)), n, f"{names[n]}/{image}")
        for n in range(PEOPLE)
        for image in range(IMAGES)
    ]
    writer = FaceSetWriter(
        path / "import" / "faces" / "1.0.0", name="faces", image_size=SIZE, encoding="png", identity_names=names
    )
    writer.write_shard(0, records)
    writer.finish(len(records))
    variables = jax.jit(Mae(MAE).init)(
        jax.random.key(0), jnp.zeros((1, SIZE, SIZE, 3)), jnp.arange(VISIBLE, dtype=jnp.int32)[None]
    )
    variables["params"]["decoder_pred"]["kernel"] *= 3.0  # a fresh decoder paints grey in grey
    save_model(path / "mae" / "model", variables, MAE.to_dict() | dict(kind="mae", norm_pix=False))
    given = dict(
        faces=Input(path / "import", SHARED), mae=Input(path / "mae"), secret=Input(path / "secret", "private/secret")
    )
    (path / "reconstruct").mkdir()
    reconstruct.run(view(settings(), reconstruct, ""), Inputs(given, path), path / "reconstruct", "")
    return path


def given_of(world, config):
    """What the audit of a config reads in this world."""
    places = dict(
        faces=Input(world / "import", SHARED), seen=Input(world / "import", SHARED), unseen=Input(world / "import", SHARED),
        mae=Input(world / "mae"), reconstruct=Input(world / "reconstruct"), teacher=Input(world / "teacher"),
    )  # fmt: skip
    return {name: places[name] for name in audit.reads(config, "")}


def audited(world, out, **changes):
    """Run the stage."""
    config = settings(**changes)
    out.mkdir(exist_ok=True)
    with pytest.MonkeyPatch.context() as patch:
        for module in (judges, teachers):
            patch.setattr(module, "load_frozen", toy_frozen)
        audit.run(view(config, audit, ""), Inputs(given_of(world, config), out.parent), out, "")


def run(world, out, **changes):
    """Run the stage; gives ``audit.json``."""
    audited(world, out, **changes)
    return json.loads((out / "audit.json").read_text())


if __name__ == "__main__":
    how, *folders = sys.argv[1:]
    processes.join(how)
    jax.config.update("jax_disable_most_optimizations", jax.process_count() == 1)  # as conftest has it
    audited(*map(Path, folders))
