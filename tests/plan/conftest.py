"""Tiny trainings, and a machine with round numbers to plan them on."""

import pytest
from ml_collections import ConfigDict
from plan_help import BATCH, EMBEDDING, SIZE, OneLayer

from configs import base
from facemae_jax.models import recognizer
from facemae_jax.plan.machine import GIB, Machine


@pytest.fixture
def tiny(monkeypatch) -> ConfigDict:
    """A config of OneLayer recognizers and a small MAE; fields can be changed."""
    monkeypatch.setitem(recognizer.NETWORKS, "one", OneLayer)
    c = base.get_config()
    c.data.image_size = SIZE
    for part in (c.teacher, c.recognizer):
        part.update(dict(network="one", embedding=EMBEDDING))
        part.optim.update(dict(batch=BATCH, epochs=2.0))
    c.mae.update(
        dict(size="custom", width=8, depth=1, heads=2, decoder_width=8, decoder_depth=1, decoder_heads=2, patch=2)
    )
    c.mae.optim.update(dict(batch=BATCH, epochs=2.0))
    return c


@pytest.fixture
def eight() -> Machine:
    """Eight devices in two slices, with round numbers."""
    return Machine(
        name="eight", chip="a chip", platform="gpu", devices=8, hosts=2, slices=2, memory=GIB, bfloat16=200e9, float32=100e9,
        memory_rate=1e9, within=100e6, between=10e6, meshes={"recognizer": (8, 1), "mae": (4, 2)},
    )  # fmt: skip
