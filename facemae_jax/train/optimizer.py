"""Optimizer and schedule from the fields of an ``optim`` section."""

from __future__ import annotations

import math
from typing import Any

import jax
import optax

from facemae_jax.types import FacemaeError, Tree

NO_DECAY = ("bias", "scale", "slope", "token", "position")


def total_steps(optim: Any, images: int) -> int:
    """ceil(epochs · images / batch), at least 1; a binary hair above a whole number (1.1 · 100 / 10) is no step more."""
    return max(1, math.ceil(round(optim.epochs * images / optim.batch, 6)))


def schedule(optim: Any, steps: int) -> optax.Schedule:
    """Linear from 0 over the first ``warmup`` share of the steps, then a cosine to ``final_learning_rate``."""
    warm = round(optim.warmup * steps)
    return optax.warmup_cosine_decay_schedule(
        init_value=0.0 if warm else optim.learning_rate,
        peak_value=optim.learning_rate,
        warmup_steps=warm,
        decay_steps=max(steps, warm + 1),
        end_value=optim.final_learning_rate,
    )


def decayed(params: Tree) -> Tree:
    """True for the leaves that weight decay applies to: matrices and kernels, no biases, norms, slopes, tokens."""

    def choose(path: Any, leaf: Any) -> bool:
        name = jax.tree_util.keystr(path[-1:], simple=True)
        return leaf.ndim >= 2 and not any(word in name for word in NO_DECAY)

    return jax.tree.map_with_path(choose, params)


def make_optimizer(optim: Any, steps: int) -> optax.GradientTransformation:
    """Clip, then AdamW (decoupled decay) or SGD with momentum (decay added to the gradient, as recognizer recipes do).

    Args:
        optim: fields optimizer, learning_rate, final_learning_rate, warmup, weight_decay, betas, momentum, clip.
        steps: of the whole run, for the schedule.

    Raises:
        FacemaeError: for an unknown optimizer, with the choices.
    """
    rate = schedule(optim, steps)
    clip = optax.clip_by_global_norm(optim.clip) if optim.clip else optax.identity()
    if optim.optimizer == "adamw":
        b1, b2 = optim.betas
        return optax.chain(clip, optax.adamw(rate, b1=b1, b2=b2, weight_decay=optim.weight_decay, mask=decayed))
    if optim.optimizer == "sgd":
        decay = optax.add_decayed_weights(optim.weight_decay, mask=decayed)
        return optax.chain(clip, decay, optax.sgd(rate, momentum=optim.momentum or None))
    raise FacemaeError(f"optim.optimizer={optim.optimizer}: choose adamw or sgd.")
