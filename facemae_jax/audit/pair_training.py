"""What attackers share who train on pairs: (protected image, its original) of seen people, in batches, through the one loop.

Whoever knows the method makes such pairs with the public model from any faces at hand; the people who are attacked afterwards
are others. What is learned from the pairs is the business of ``aware_attack`` and ``inversion_attack``.
"""

from __future__ import annotations

import dataclasses
import hashlib
import itertools
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.sharding import Mesh

from facemae_jax.data.face_set import FaceSet
from facemae_jax.data.pipeline import Augment, Transform, eval_batches, train_batches
from facemae_jax.mesh import check_batch, replicated
from facemae_jax.train.loop import Phase, train
from facemae_jax.train.optimizer import make_optimizer
from facemae_jax.train.step import TrainState, abstract_state, init_state, make_train_step
from facemae_jax.train.task import Task
from facemae_jax.types import Array, FacemaeError, Tree


@dataclasses.dataclass(frozen=True)
class AttackOptim:
    """The budget of an attacker's training, and the fields that optimizer and loop read besides."""

    steps: int = 400
    batch: int = 64  # pairs per step, over all devices
    learning_rate: float = 2e-3  # at its highest
    warmup: float = 0.1  # share of the steps
    final_learning_rate: float = 0.0
    optimizer: str = "adamw"
    weight_decay: float = 0.05
    betas: tuple[float, float] = (0.9, 0.99)
    momentum: float = 0.9  # of sgd
    clip: float = 1.0
    log_every: int = 50
    save_every: int = 1_000_000  # the loop saves the last step in any case
    keep_latest: int = 1
    keep_best: int = 0


class Pairs(NamedTuple):
    """A batch of pairs; None where a task does not ask for it. Row by row mirrored or not, both images alike."""

    images_BHWC: Array  # uint8, protected; the step counts rows by this name. Without pixels B×0×0×3
    originals_BHWC: Array | None  # uint8
    positions_B: Array  # int32, of the pair
    arrays: dict[str, Array]  # more of each pair, such as its embeddings, by name


class PairSource(NamedTuple):
    """Where pairs come from: record i of ``protected`` was made from record i of ``originals``."""

    protected: FaceSet
    originals: FaceSet | None = None  # None: the task asks for no pixels of the originals
    transform: Transform | None = None  # what protects a record of ``protected``; None: it is protected already
    arrays: Mapping[str, np.ndarray] = {}  # name → n rows
    flip: bool = True  # mirror half of the pairs
    pixels: bool = True  # False: the task asks for ``arrays`` alone, and no image is read

    def batches(self, *, batch: int, seed: int, start_step: int, threads: int) -> Iterator[Any]:
        """This process's part of batches without end; row r of step s follows from (seed, s, r), in both images alike.

        Raises:
            FacemaeError: parts of the pairs that differ in number, or what ``train_batches`` refuses.
        """
        self.check()
        if not self.pixels:
            yield from self._only_arrays(batch, seed, start_step)
            return
        same: dict[str, Any] = dict(
            batch=batch, seed=seed, start_step=start_step, augment=Augment(flip=self.flip), threads=threads,
            host=jax.process_index(), hosts=jax.process_count(),
        )  # fmt: skip
        protected = train_batches(self.protected, transform=self.transform, **same)
        # Order and mirroring depend on the seed and on the number of records alone, so two chains run in step.
        originals = None if self.originals is None else train_batches(self.originals, **same)
        for left in protected:
            right_BHWC = None if originals is None else next(originals).images_BHWC
            rows = {name: array[left.positions_B] for name, array in self.arrays.items()}
            yield Pairs(left.images_BHWC, right_BHWC, left.positions_B, rows)

    def _only_arrays(self, batch: int, seed: int, start_step: int) -> Iterator[Pairs]:
        count, rows = len(self.protected), batch // jax.process_count()
        order_n, shuffled = np.arange(count), -1
        for step in itertools.count(start_step):
            positions_B = np.zeros(rows, np.int32)
            for row in range(rows):  # counted over all hosts, so that their number changes nothing
                number = step * batch + jax.process_index() * rows + row
                if number // count != shuffled:
                    shuffled = number // count
                    order_n = np.random.default_rng([seed, shuffled]).permutation(count)
                positions_B[row] = order_n[number % count]
            chosen = {name: array[positions_B] for name, array in self.arrays.items()}
            yield Pairs(np.zeros((rows, 0, 0, 3), np.uint8), None, positions_B, chosen)

    def in_order(self, *, batch: int, threads: int) -> Iterator[tuple[Any, np.ndarray]]:
        """This process's part of every pair once, as they are, with ``valid_B``; the last batch is padded as in ``eval_batches``."""
        self.check()
        same: dict[str, Any] = dict(
            batch=batch, threads=threads, host=jax.process_index(), hosts=jax.process_count()
        )  # fmt: skip
        protected = eval_batches(self.protected, transform=self.transform, **same)
        originals = None if self.originals is None else eval_batches(self.originals, **same)
        for left in protected:
            right_BHWC = None if originals is None else next(originals).images_BHWC
            rows = {name: array[left.positions_B] for name, array in self.arrays.items()}
            yield Pairs(left.images_BHWC, right_BHWC, left.positions_B, rows), left.valid_B

    def subset(self, positions_n: np.ndarray) -> PairSource:
        """The pairs at ``positions_n``, in that order."""
        return self._replace(
            protected=self.protected.subset(positions_n),
            originals=None if self.originals is None else self.originals.subset(positions_n),
            arrays={name: array[positions_n] for name, array in self.arrays.items()},
        )

    def digest(self) -> str:
        """sha256 (hex) of all that these pairs are."""
        originals = "" if self.originals is None else self.originals.digest
        found = hashlib.sha256(
            repr((self.protected.digest, originals, repr(self.transform), self.flip, self.pixels)).encode()
        )
        for name, array in sorted(self.arrays.items()):
            found.update(name.encode() + np.ascontiguousarray(array).tobytes())
        return found.hexdigest()

    def check(self) -> None:
        """Refuse pairs whose parts differ in number.

        Raises:
            FacemaeError: with all numbers.
        """
        sizes = {"protected images": len(self.protected)} | {name: len(array) for name, array in self.arrays.items()}
        if self.originals is not None:
            sizes["originals"] = len(self.originals)
        if len(set(sizes.values())) > 1:
            told = ", ".join(f"{count} {name}" for name, count in sizes.items())
            raise FacemaeError(f"an attacker trains on pairs, but there are {told}: give record i of each for pair i.")


def fit_pairs(
    task: Task, source: PairSource, *, optim: AttackOptim, seed: int, mesh: Mesh, threads: int, out: Path, label: str
) -> TrainState:
    """Train an attacker.

    Args:
        task: its loss reads :class:`Pairs`.
        source: of the pairs.
        optim: the budget.
        seed: of weights, order and mirroring.
        mesh: batches are split over it.
        threads: that decode.
        out: folder for checkpoint and metrics, the same for all processes; a killed attack goes on from there. Private: an
            attacker's weights undo protection.
        label: of the progress bar.

    Raises:
        FacemaeError: a batch that does not divide over the devices, pairs that do not fit, a loss that is no number.
    """
    check_batch(mesh, optim.batch, "audit.attack_batch")
    optimizer = make_optimizer(optim, optim.steps)
    asked = (label, seed, optim, source.digest())
    return train(
        phases=[Phase(optim.steps, make_train_step(task, optimizer, mesh=mesh, seed=seed))],
        state=lambda: init_state(task, optimizer, mesh=mesh, seed=seed),
        target=abstract_state(task, optimizer, mesh=mesh),
        batches=lambda start_step: source.batches(batch=optim.batch, seed=seed, start_step=start_step, threads=threads),
        steps=optim.steps,
        mesh=mesh,
        out=out,
        optim=optim,
        fingerprint=hashlib.sha256(repr(asked).encode()).hexdigest(),
        label=label,
    )


def to_host(tree: Tree, mesh: Mesh) -> Tree:
    """The same arrays whole, as numpy, on every process; all of them call."""
    return jax.tree.map(np.asarray, jax.jit(lambda x: x, out_shardings=replicated(mesh))(tree))
