import numpy as np

from facemae_jax.audit import partners as p

RANDOM = np.random.default_rng(0)
LABELS_Q, LABELS_G = RANDOM.integers(0, 6, 40), RANDOM.integers(0, 6, 70)
SOURCES_Q, SOURCES_G = RANDOM.integers(0, 30, 40), RANDOM.integers(0, 30, 70)


def as_set(pairs):
    found = set(zip(pairs.left_n.tolist(), pairs.right_n.tolist(), strict=True))
    assert len(found) == len(pairs.left_n)  # no pair twice
    return found


def test_all_strangers_and_all_relatives():
    strangers = p.stranger_pairs(LABELS_Q, LABELS_G, share=1000, seed=0)
    assert as_set(strangers) == set(zip(*map(list, np.nonzero(LABELS_Q[:, None] != LABELS_G[None])), strict=True))
    relatives = p.relative_pairs(LABELS_Q, LABELS_G, sources_Q=SOURCES_Q, sources_G=SOURCES_G, share=1000, seed=0)
    right = (LABELS_Q[:, None] == LABELS_G[None]) & (SOURCES_Q[:, None] != SOURCES_G[None])
    assert as_set(relatives) == set(zip(*map(list, np.nonzero(right)), strict=True))


def test_a_share_is_drawn_evenly_and_by_seed():
    draws = [p.stranger_pairs(LABELS_Q, LABELS_G, share=5, seed=seed) for seed in (1, 1, 2)]
    every = as_set(p.stranger_pairs(LABELS_Q, LABELS_G, share=1000, seed=0))
    for pairs in draws:
        assert as_set(pairs) < every
        np.testing.assert_array_equal(np.bincount(pairs.left_n), 5)
    assert as_set(draws[0]) == as_set(draws[1]) != as_set(draws[2])
    some = p.relative_pairs(LABELS_Q, LABELS_G, sources_Q=SOURCES_Q, sources_G=SOURCES_G, share=2, seed=1)
    assert np.bincount(some.left_n).max() == 2
    many = np.concatenate([p.stranger_pairs(LABELS_Q, LABELS_G, share=5, seed=s).right_n for s in range(200)])
    assert np.bincount(many, minlength=70).min() > 0.5 * len(many) / 70  # every image of the gallery takes part


def test_scores_of_pairs(monkeypatch):
    monkeypatch.setattr(p, "CHUNK", 7)
    left, right = RANDOM.normal(size=(40, 5)), RANDOM.normal(size=(70, 5))
    pairs = p.stranger_pairs(LABELS_Q, LABELS_G, share=3, seed=0)
    np.testing.assert_allclose(p.pair_scores(left, right, pairs), (left @ right.T)[pairs.left_n, pairs.right_n])
    assert p.pair_scores(left, right, p.Pairs(pairs.left_n[:0], pairs.right_n[:0])).shape == (0,)
