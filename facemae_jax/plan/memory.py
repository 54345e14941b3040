"""Bytes per device, part by part, from shapes and shardings alone. What a compiler really takes is in ``plan.program``."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import jax

from facemae_jax.plan.jobs import Job, batch_shapes, frozen_shapes, loss_arguments
from facemae_jax.plan.kept import kept
from facemae_jax.train.recognizer_task import CENTRES
from facemae_jax.types import Tree


class Memory(NamedTuple):
    """Bytes on one device."""

    weights: int  # of the network, and its running statistics
    optimizer: int  # what it remembers of them
    gradients: int  # of them; twice under accumulation
    centres: int  # class centres, all rows of this device
    centres_optimizer: int  # what the optimizer remembers of them
    centres_gradients: int  # of the rows that a step trains, likewise; with sampling also copies of these rows
    frozen: int  # a teacher, whole
    batch: int  # images as they come, uint8
    copies: int  # of parameters: gathered over fsdp, in the dtype of the products
    activations: int  # what the backward pass keeps of the images that pass at once

    @property
    def total(self) -> int:
        """All of it."""
        return sum(self)

    @property
    def fixed(self) -> int:
        """What does not depend on the batch."""
        return self.total - self.batch - self.activations


def memory_of(job: Job) -> Memory:
    """What one device holds at the fullest moment of a step."""
    params, optimizer = _split(job.state.params), _split(job.state.opt_state)
    trained, *arguments = loss_arguments(job)
    sampled = sum(map(_size, _split(trained)[1])) // job.mesh.size  # the rows of centres that a step trains
    copies = 1 if job.accumulate == 1 else 2
    extra = 0
    if job.task.select is not None:
        momenta = sum(map(shard_bytes, optimizer[1])) // max(1, sum(map(shard_bytes, params[1])))
        extra = sampled * (1 + momenta)
    saved = kept(job.task.loss, trained, *arguments)
    return Memory(
        weights=sum(map(shard_bytes, params[0])) + tree_bytes(job.state.extra),
        optimizer=sum(map(shard_bytes, optimizer[0])),
        gradients=copies * sum(map(shard_bytes, params[0])),
        centres=sum(map(shard_bytes, params[1])),
        centres_optimizer=sum(map(shard_bytes, optimizer[1])),
        centres_gradients=copies * sampled + extra,
        frozen=tree_bytes(frozen_shapes(job)),
        batch=tree_bytes(batch_shapes(job, job.batch)),
        copies=saved.copies,
        activations=saved.activations // job.mesh.size,
    )


def shard_bytes(leaf: Any) -> int:
    """Bytes of one device's part of an abstract array."""
    return math.prod(leaf.sharding.shard_shape(leaf.shape)) * leaf.dtype.itemsize


def tree_bytes(tree: Tree) -> int:
    """Bytes of one device's part of all arrays."""
    return sum(map(shard_bytes, jax.tree.leaves(tree)))


def _size(leaf: Any) -> int:
    return math.prod(leaf.shape) * leaf.dtype.itemsize


def _split(tree: Tree) -> tuple[list[Any], list[Any]]:
    """Leaves that are no class centres, and those that are (or remember them)."""
    sides: tuple[list[Any], list[Any]] = ([], [])
    for path, leaf in jax.tree.leaves_with_path(tree):
        sides[jax.tree_util.keystr(path, simple=True, separator="/").endswith(CENTRES)].append(leaf)
    return sides
