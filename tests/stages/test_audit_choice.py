"""Which originals are attacked and searched, and who else is behind the attacked."""

import numpy as np

from facemae_jax.stages.audit_choice import choose, others_behind


def test_who_is_behind_each_query_by_the_gallerys_positions():
    labels_n = np.repeat(np.arange(10), 5)
    random = np.random.default_rng(0)
    sources_n = random.permutation(50)  # place in the release → original
    mixed_nM = np.stack([sources_n, (sources_n + 7) % 50, (sources_n + 23) % 50], axis=1)
    choice = choose(sources_n, 50, queries=12, gallery=30, seed=1)
    found = others_behind({"source_positions_n": sources_n, "contributors_nM": mixed_nM}, choice, labels_n)
    absent = 0
    for query, images_C, people_C in zip(choice.queries_Q, found.images_QC, found.people_QC, strict=True):
        expected = [(query + 7) % 50, (query + 23) % 50]
        np.testing.assert_array_equal(people_C, labels_n[expected])
        for image, original in zip(images_C, expected, strict=True):
            assert (image == -1) == (original not in choice.gallery_G)
            assert image == -1 or choice.gallery_G[image] == original
            absent += image == -1
    assert 0 < absent < 24


def test_nobody_else_where_nobody_is_mixed():
    sources_n = np.arange(9)
    inside = {"source_positions_n": sources_n, "contributors_nM": sources_n[:, None]}
    assert others_behind(inside, choose(sources_n, 9, queries=4, gallery=9, seed=0), np.arange(9)) is None
