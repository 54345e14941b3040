import numpy as np
import pytest

from facemae_jax.audit import set_threshold as t


def unit(rows):
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def people(count, seed=0):
    random = np.random.default_rng(seed)
    labels = np.arange(count) // 4
    centres = unit(random.normal(size=(count // 4, 12)))
    return unit(centres[labels] + 0.3 * unit(random.normal(size=(count, 12)))), labels


@pytest.mark.parametrize(("count", "far"), [(120, 1e-3), (60, 1e-2), (16, 1e-1)])
def test_few_strangers_lie_above_it(count, far):
    rows, labels = people(count)
    found = t.set_threshold(rows, rows, labels_Q=labels, labels_G=labels)
    cosine = (rows @ rows.T)[labels[:, None] != labels[None, :]]
    assert found.far == far
    assert far - 3 / len(cosine) < np.mean(cosine > found.cosine + 1e-6) <= far
    own = (rows @ rows.T)[labels[:, None] == labels[None, :]]
    assert np.mean(own > found.cosine) > 0.5  # which strangers' pairs would not be


def test_a_large_set_is_sampled_the_same_twice(monkeypatch):
    rows, labels = people(400)
    whole = t.set_threshold(rows, rows, labels_Q=labels, labels_G=labels)
    monkeypatch.setattr(t, "PAIRS", 20_000)
    some, same = (t.set_threshold(rows, rows, labels_Q=labels, labels_G=labels, seed=1) for _ in range(2))
    assert some == same != whole and some.cosine == pytest.approx(whole.cosine, abs=0.05)


def test_too_few_strangers_tell_nothing():
    rows, labels = people(8)
    assert t.set_threshold(rows[:3], rows, labels_Q=labels[:3], labels_G=labels) is None
