r"""The aware attacker: a recognizer that learned from pairs of seen people what protection does to a face.

A judge that never saw a protected image underestimates what one gives away ("A False Sense of Privacy", arXiv 2304.01635). This
one is trained until its embedding ê of a protected image lies where the frozen judge puts the original, e, and away from other
originals. With :math:`S_{ij} = \hat e_i \cdot e_j / \tau` over a batch of B pairs

.. math:: L = -\tfrac{1}{2B} \sum_i \Big( \log\frac{\exp S_{ii}}{\sum_j \exp S_{ij}}
          + \log\frac{\exp S_{ii}}{\sum_j \exp S_{ji}} \Big) + w \cdot \tfrac{1}{B} \sum_i (1 - \hat e_i \cdot e_i) :

InfoNCE (van den Oord et al. 2018, arXiv 1807.03748) in both directions (Radford et al. 2021, arXiv 2103.00020, figure 3), plus
the distance to the own original. The gallery stays the frozen judge's, so the result goes into the ordinary retrieval and matching.

Part of the seen people is held out. The attacker looks there whether the training helped, and keeps to the plain judge where it
did not: so the attack is no weaker than the plain one but for what differs between those people and the attacked.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from facemae_jax.audit.pair_training import AttackOptim, PairSource, fit_pairs, to_host
from facemae_jax.checkpoint.integrity import digest_of
from facemae_jax.data.face_set import FaceSet
from facemae_jax.data.pipeline import Transform
from facemae_jax.data.split import split_identities
from facemae_jax.embed import embed
from facemae_jax.mesh import pin_batch
from facemae_jax.metrics.retrieval import retrieval
from facemae_jax.models.adapter import Adapter
from facemae_jax.models.frozen import Frozen, unit
from facemae_jax.models.scaling import to_unit
from facemae_jax.processes import from_first
from facemae_jax.search import rank_of
from facemae_jax.train.task import Task
from facemae_jax.types import FacemaeError, Tree

STARTS = ("tune", "adapt")
TEMPERATURE = 0.05  # τ
COSINE_WEIGHT = 1.0  # w
HELD_OUT = 0.1  # share of the seen people
PLAIN, AWARE = "plain", "aware"

# Protected images, what to do to them first, and the plain judge's embeddings of them → embeddings of norm 1.
Queries = Callable[[FaceSet, Transform | None, np.ndarray], np.ndarray]


class Aware(NamedTuple):
    """A trained attacker, or the plain judge where training did not help; ``summary`` is JSON-able."""

    queries: Queries
    summary: dict[str, Any]


def pair_loss(
    found_BE: jax.Array, target_BE: jax.Array, positions_B: jax.Array
) -> tuple[jax.Array, dict[str, jax.Array]]:
    """The loss of the module's docstring, over the whole global batch.

    Args:
        found_BE: ê, unit norm.
        target_BE: e, unit norm.
        positions_B: of the pairs; the same pair twice in a batch is no stranger to itself.

    Returns:
        scalar, and the metrics ``cosine`` (to the own original) and ``found`` (share of pairs whose original is the nearest).
    """
    scores_BB = found_BE @ target_BE.T / TEMPERATURE
    own_BB = jnp.eye(len(positions_B), dtype=bool)
    twin_BB = (positions_B[:, None] == positions_B[None, :]) & ~own_BB
    scores_BB = jnp.where(twin_BB, -1e9, scores_BB)
    # Not jnp.diagonal: of rows split over processes it becomes a conditional with collectives inside, which CPUs do not keep in step with others.
    own_B = jnp.where(own_BB, scores_BB, 0.0).sum(axis=1)
    rows_B, columns_B = jax.nn.logsumexp(scores_BB, axis=1), jax.nn.logsumexp(scores_BB, axis=0)
    cosine = jnp.einsum("be,be->b", found_BE, target_BE).mean()
    loss = 0.5 * (rows_B - own_B + columns_B - own_B).mean() + COSINE_WEIGHT * (1.0 - cosine)
    return loss, {"cosine": cosine, "found": (own_B >= scores_BB.max(axis=1)).mean()}


def tune_task(judge: Frozen, *, mesh: Mesh) -> Task:
    """All weights of the judge go on learning, from where they are; its normalisations keep the statistics they have.

    Batches are :class:`pair_training.Pairs` with images and ``targets_BE``.
    """
    learned, fixed = _parts(judge.params)

    def init(key: jax.Array) -> dict[str, Tree]:
        return {"params": jax.tree.map(jnp.asarray, learned)}

    def loss(params: Tree, extra: Tree, frozen: Tree, batch: Any, keys: dict[str, jax.Array]):
        images_BHWC = pin_batch(to_unit(batch.images_BHWC), mesh)
        found_BE = judge.apply(_joined(judge.params, params, frozen), images_BHWC)
        value, metrics = pair_loss(found_BE, batch.arrays["targets_BE"], batch.positions_B)
        return value, (metrics, extra)

    return Task(init=init, loss=loss, frozen=fixed)


def adapt_task(adapter: Adapter) -> Task:
    """The judge stays as it is, and a network behind it learns to correct its embeddings of protected images.

    Batches are :class:`pair_training.Pairs` with ``given_BE`` (the judge's embeddings of protected images) and ``targets_BE``.
    """

    def init(key: jax.Array) -> dict[str, Tree]:
        return dict(adapter.init(key, jnp.zeros((1, adapter.embedding))))

    def loss(params: Tree, extra: Tree, frozen: Tree, batch: Any, keys: dict[str, jax.Array]):
        raw_BE: Any = adapter.apply({"params": params}, batch.arrays["given_BE"], dropout=keys["dropout"])
        value, metrics = pair_loss(unit(raw_BE), batch.arrays["targets_BE"], batch.positions_B)
        return value, (metrics, extra)

    return Task(init=init, loss=loss, key_names=("dropout",))


def train_aware(
    judge: Frozen,
    source: PairSource,
    *,
    given_nE: np.ndarray,
    targets_nE: np.ndarray,
    start: str,
    optim: AttackOptim,
    seed: int,
    batch: int,
    mesh: Mesh,
    threads: int,
    out: Path,
    label: str,
) -> Aware:
    """Train on pairs of seen people.

    Args:
        judge: whose embeddings of originals will be searched.
        source: protected images of seen people; their originals are not read.
        given_nE: the judge's embeddings of these protected images.
        targets_nE: the judge's embeddings of their originals.
        start: tune = the judge's own weights learn; adapt = a small network behind the judge, for judges that are too slow to
            train, or no differentiable function.
        optim: the budget.
        seed: of the attack.
        batch: images embedded at once, over all devices.
        mesh: over which it trains and embeds.
        threads: that decode.
        out: private folder for its checkpoint.
        label: of the progress bar.

    Returns:
        ``queries(faces, transform, given_QE) -> queries_QE`` for protected images of others, and a summary: ``start``, ``pairs``
        and ``people`` trained on, ``steps``, ``held_out`` ({"queries", "plain": map, "aware": map, "chance": map}; None with fewer
        than five people), ``used``: aware | plain.

    Raises:
        FacemaeError: an unknown start, and what :func:`fit_pairs` refuses.
    """
    if start not in STARTS:
        raise FacemaeError(f"audit.aware_start={start}: choose one of {', '.join(STARTS)}.")
    source = source._replace(arrays={"given_BE": given_nE, "targets_BE": targets_nE})
    source.check()
    held_n = _held_out(source.protected.labels_n, seed)
    mine, apart = source.subset(np.flatnonzero(~held_n)), source.subset(np.flatnonzero(held_n))
    where: dict[str, Any] = dict(optim=optim, seed=seed, mesh=mesh, threads=threads, out=out, label=label)
    if start == "tune":
        state = fit_pairs(tune_task(judge, mesh=mesh), mine, **where)
        learned = to_host(state.params, mesh)
        tuned = judge._replace(
            params=_joined(judge.params, learned, _parts(judge.params)[1]),
            digest=f"{judge.digest} tuned to {digest_of(learned)}",
            name=f"{judge.name}, aware",
        )

        def aware(faces: FaceSet, transform: Transform | None, given_QE: np.ndarray) -> np.ndarray:
            return embed(tuned, faces, transform=transform, batch=batch, mesh=mesh, threads=threads, label=label)
    else:
        adapter = Adapter(targets_nE.shape[1])
        state = fit_pairs(adapt_task(adapter), mine._replace(pixels=False), **where)
        variables = {"params": to_host(state.params, mesh)}

        @jax.jit
        def adapted(given_QE: jax.Array) -> jax.Array:
            raw_QE: Any = adapter.apply(variables, given_QE)
            return unit(raw_QE)

        def aware(faces: FaceSet, transform: Transform | None, given_QE: np.ndarray) -> np.ndarray:
            return np.asarray(adapted(given_QE))

    summary: dict[str, Any] = dict(
        start=start, pairs=len(mine.protected), people=mine.protected.identities, steps=optim.steps, held_out=None,
        used=AWARE,
    )  # fmt: skip
    if held_n.any():
        plain_hE, targets_hE = apart.arrays["given_BE"], apart.arrays["targets_BE"]
        found = {PLAIN: plain_hE, AWARE: aware(apart.protected, apart.transform, plain_hE)}
        figures = {name: _search(queries_hE, targets_hE) for name, queries_hE in found.items()}
        summary["held_out"] = {"queries": len(plain_hE), "chance": figures[PLAIN]["chance"]["map"]} | {
            name: figure["map"] for name, figure in figures.items()
        }
        # Hosts of several kinds may differ in a last bit, and must not go different ways.
        if from_first(lambda: figures[AWARE]["map"] < figures[PLAIN]["map"]):
            return Aware(lambda faces, transform, given_QE: given_QE, summary | {"used": PLAIN})
    return Aware(aware, summary)


def _held_out(labels_n: np.ndarray, seed: int) -> np.ndarray:
    """Which pairs belong to people that are kept for the attacker's own trial."""
    people_K, person_n = np.unique(labels_n, return_inverse=True)
    return split_identities([str(label) for label in people_K.tolist()], HELD_OUT, seed)[person_n]


def _search(queries_hE: np.ndarray, targets_hE: np.ndarray) -> dict[str, Any]:
    """Figures of finding each query's own original among all of them."""
    ranks_h1 = rank_of(queries_hE, targets_hE, np.arange(len(targets_hE))[:, None])
    return retrieval(ranks_h1, np.full(len(targets_hE), len(targets_hE)))


def _parts(params: Tree) -> tuple[dict[str, Any], dict[str, Any]]:
    """(what learns, what stays) of a recognizer's weights, by path.

    Of our networks the collection ``params`` learns; elsewhere kernels and matrices, for a vector may be a variance, which must
    not turn negative.
    """
    named = {jax.tree_util.keystr(path, simple=True, separator="/"): leaf for path, leaf in _leaves(params)}
    ours = any(name.startswith("params/") for name in named)

    def learns(name: str, leaf: Any) -> bool:
        if ours:
            return name.startswith("params/")
        return np.ndim(leaf) >= 2 and jnp.issubdtype(leaf.dtype, jnp.floating)

    learned = {name: leaf for name, leaf in named.items() if learns(name, leaf)}
    return learned, {name: leaf for name, leaf in named.items() if name not in learned}


def _joined(like: Tree, learned: dict[str, Any], fixed: dict[str, Any]) -> Tree:
    """The weights in the structure that the recognizer reads."""
    both = {**learned, **fixed}
    names = [jax.tree_util.keystr(path, simple=True, separator="/") for path, _ in _leaves(like)]
    return jax.tree.unflatten(jax.tree.structure(like), [both[name] for name in names])


def _leaves(tree: Tree) -> list[tuple[Any, Any]]:
    return jax.tree_util.tree_flatten_with_path(tree)[0]
