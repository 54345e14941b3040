"""Recognizers by name. What a network is made of is in its own file; how it is trained is in ``train``."""

from __future__ import annotations

import difflib
from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax.numpy as jnp

from facemae_jax.models.cpu_net import CpuNet
from facemae_jax.models.iresnet import IResNet
from facemae_jax.models.mobilefacenet import MobileFaceNet
from facemae_jax.models.vit_recognizer import SIZES, VitRecognizer
from facemae_jax.types import FacemaeError

NETWORKS: dict[str, Callable[..., nn.Module]] = {
    "cpu": CpuNet,
    **{f"iresnet{depth}": lambda depth=depth, **given: IResNet(depth, **given) for depth in (18, 34, 50, 100)},
    "mobilefacenet": MobileFaceNet,
    **{f"vit_{size}": lambda size=size, **given: VitRecognizer(size, **given) for size in SIZES},
}


def build(network: str, embedding: int, dtype: str = "float32", dropout: float = 0.0) -> nn.Module:
    """A network whose ``__call__(images_BHWC in −1…1, train)`` gives raw ``embeddings_BE``.

    Args:
        network: one of :data:`NETWORKS`.
        embedding: length E.
        dtype: of the computation; parameters and statistics are float32.
        dropout: before the last layer.

    Raises:
        FacemaeError: for an unknown name, with the choices.
    """
    if network not in NETWORKS:
        near = difflib.get_close_matches(network, NETWORKS, n=1)
        raise FacemaeError(
            f"{network}: no such recognizer{f' (did you mean {near[0]}?)' if near else ''}; choose one of {', '.join(NETWORKS)}."
        )
    kind: Any = jnp.dtype(dtype)
    return NETWORKS[network](embedding=embedding, dtype=kind, dropout=dropout)


def described(network: str, embedding: int, dtype: str, dropout: float, image_size: int) -> dict[str, Any]:
    """What ``model.json`` says of a recognizer; :func:`from_description` builds it again."""
    return dict(
        kind="recognizer", network=network, embedding=embedding, dtype=dtype, dropout=dropout, image_size=image_size
    )


def from_description(description: dict[str, Any]) -> nn.Module:
    """The network that ``model.json`` describes."""
    return build(description["network"], description["embedding"], description["dtype"], description["dropout"])
