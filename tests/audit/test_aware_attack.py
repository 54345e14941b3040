import json

import attack_help
import jax
import numpy as np
import pytest

from facemae_jax.audit import aware_attack as a
from facemae_jax.audit.pair_training import AttackOptim, PairSource
from facemae_jax.audit.retrieval_attack import retrieval_attack
from facemae_jax.embed import embed
from facemae_jax.types import FacemaeError

STEPS, BATCH = 100, 64
NOISE = np.random.default_rng(7).integers(0, 256, (attack_help.SIZE, attack_help.SIZE, 3), dtype=np.uint8)


LOSS = jax.jit(a.pair_loss)


class Scramble:
    """The same picture of noise laid over all images: little is lost, but all look alike."""

    def __call__(self, image_HWC, key):
        return image_HWC // 10 + 9 * (NOISE // 10)

    def __repr__(self):
        return "Scramble()"


def unit(rows):
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def attack(out, faces, mesh, start, transform=None, protected=None, **more):
    """The plain and the aware attacker's figures on unseen people, and the summary."""
    seen, unseen = faces
    given_seen, given_unseen = protected or faces
    judge = attack_help.judge()
    where = dict(batch=64, mesh=mesh, threads=0)
    targets_nE, gallery_GE = embed(judge, seen, **where), embed(judge, unseen, **where)
    given_nE = embed(judge, given_seen, transform=transform, **where)
    plain_QE = embed(judge, given_unseen, transform=transform, **where)
    aware = a.train_aware(
        judge,
        PairSource(given_seen, transform=transform, flip=False),
        given_nE=given_nE,
        targets_nE=targets_nE,
        start=start,
        optim=AttackOptim(**{"steps": STEPS, "batch": BATCH, "learning_rate": 3e-3} | more),
        seed=0,
        out=out,
        label="aware",
        **where,
    )
    queries_QE = aware.queries(given_unseen, transform, plain_QE)
    assert queries_QE.shape == plain_QE.shape
    truth = dict(sources_Q=np.arange(len(gallery_GE)), labels_G=unseen.labels_n)
    figures = [retrieval_attack(found_QE, gallery_GE, **truth)["same_image"] for found_QE in (plain_QE, queries_QE)]
    return *figures, aware, queries_QE


@pytest.mark.parametrize("start", a.STARTS)
def test_who_knows_the_scramble_finds_what_the_plain_judge_cannot(tmp_path, faces, mesh, start):
    plain, aware, found, queries_QE = attack(tmp_path, faces, mesh, start, Scramble())
    assert plain["rank"]["1"] < 0.1
    assert aware["rank"]["1"] > 0.25 and aware["rank"]["1"] > 5 * plain["rank"]["1"]
    assert found.summary["used"] == "aware" and found.summary["start"] == start
    assert found.summary["held_out"]["aware"] > 0.4 > found.summary["held_out"]["plain"]
    assert found.summary["people"] == 72 and found.summary["pairs"] == 576
    assert json.loads(json.dumps(found.summary)) == found.summary
    np.testing.assert_allclose(np.linalg.norm(queries_QE, axis=1), 1.0, atol=1e-5)


@pytest.mark.parametrize("start", a.STARTS)
def test_images_of_other_people_give_no_more_than_chance(tmp_path, faces, mesh, start):
    random = np.random.default_rng(0)
    protected = [each.subset(random.permutation(len(each))) for each in faces]  # a face, but not of that original
    _, aware, _, _ = attack(tmp_path, faces, mesh, start, protected=protected)
    blind = aware["chance"]["rank"]["10"]
    assert abs(aware["rank"]["10"] - blind) < 4 * (blind * (1 - blind) / 320) ** 0.5
    assert abs(aware["map"] - aware["chance"]["map"]) < 4 * aware["standard_error"]["map"]


def test_where_training_harms_the_attacker_keeps_the_plain_judge(tmp_path, faces, mesh):
    # Plain originals are found at once; a rate that breaks everything must not make the attacker look weak.
    plain, aware, found, _ = attack(tmp_path, faces, mesh, "tune", steps=10, learning_rate=10.0)
    assert found.summary["held_out"]["aware"] < found.summary["held_out"]["plain"] == 1.0
    assert found.summary["used"] == "plain" and aware["rank"]["1"] == plain["rank"]["1"] == 1.0


@pytest.mark.slow
def test_the_same_seed_gives_the_same_attacker(tmp_path, faces, mesh):
    runs = [attack(tmp_path / str(number), faces, mesh, "adapt", Scramble(), steps=10)[3] for number in range(2)]
    np.testing.assert_array_equal(*runs)


def test_only_weights_that_may_learn_do():
    judge = attack_help.judge()
    learned, fixed = a._parts(judge.params)
    assert sorted(learned) == ["params/b", "params/w"] and list(fixed) == ["statistics/scale"]
    joined = a._joined(judge.params, {"params/w": 1, "params/b": 3}, {"statistics/scale": 2})
    assert joined == {"params": {"w": 1, "b": 3}, "statistics": {"scale": 2}}
    graph = {"conv": np.ones((2, 2)), "variance": np.ones(2), "shape": np.ones((2, 2), int)}
    assert list(a._parts(graph)[0]) == ["conv"]


def test_the_loss_by_hand():
    e = np.eye(3, dtype=np.float32)
    found = e[[0, 1, 1]]  # the third pair lies at the second's original
    loss, metrics = LOSS(found, e, np.arange(3))
    scores = np.asarray(found @ e.T) / a.TEMPERATURE
    rows = -np.log(np.exp(scores) / np.exp(scores).sum(1, keepdims=True)).diagonal()
    columns = -np.log(np.exp(scores) / np.exp(scores).sum(0, keepdims=True)).diagonal()
    assert float(loss) == pytest.approx(0.5 * (rows.mean() + columns.mean()) + 1 - 2 / 3, rel=1e-5)
    assert float(metrics["cosine"]) == pytest.approx(2 / 3) and float(metrics["found"]) == pytest.approx(2 / 3)


def test_one_pair_twice_in_a_batch_is_no_stranger_to_itself():
    one = np.eye(4, dtype=np.float32)
    e = one[[0, 1, 0, 2]]
    alone, _ = LOSS(one[:3], one[:3], np.arange(3))
    twice, _ = LOSS(e, e, np.array([0, 1, 0, 2]))
    assert float(twice) == pytest.approx(float(alone), abs=1e-6)
    assert float(LOSS(e, e, np.arange(4))[0]) > float(twice) + 0.3


def test_an_unknown_start_is_refused(tmp_path, faces, mesh):
    with pytest.raises(FacemaeError, match="audit.aware_start=fresh: choose one of tune, adapt"):
        attack(tmp_path, faces, mesh, "fresh")
