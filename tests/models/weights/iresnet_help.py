"""A very small IResNet: weights under arcface_torch's names and outputs, both from PyTorch (``torch_iresnet.py`` makes them)."""

import pathlib
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import pytest

from facemae_jax.models import iresnet

GOLDEN = pathlib.Path(__file__).parent / "golden" / "iresnet.npz"


@contextmanager
def small_iresnet() -> Iterator[None]:
    """Inside, iresnet18 is the golden one."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(iresnet, "WIDTHS", (4, 4, 6, 8))
        patch.setattr(iresnet, "DEPTHS", {18: (1, 2, 1, 1), 34: (1, 2, 2, 1)})
        yield


def golden(part: str) -> dict[str, np.ndarray]:
    """``weights`` or ``outputs`` by name."""
    with np.load(GOLDEN) as arrays:
        return {name.removeprefix(f"{part}/"): arrays[name] for name in arrays.files if name.startswith(f"{part}/")}


def golden_images() -> np.ndarray:
    with np.load(GOLDEN) as arrays:
        return arrays["images"]


def close(found, expected, part=1e-4):
    """To a share of the largest number."""
    np.testing.assert_allclose(found, expected, rtol=0, atol=part * np.abs(expected).max())
