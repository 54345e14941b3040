import numpy as np
import pytest

from facemae_jax.data.split import split_identities

NAMES = [f"person {number}" for number in range(101)]


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.77, 1.0])
def test_share_is_exact(share):
    seen_K = split_identities(NAMES, share, seed=3)
    assert seen_K.dtype == bool and seen_K.shape == (101,) and seen_K.sum() == round(share * 101)


def test_order_of_the_names_does_not_matter():
    seen_K = split_identities(NAMES, 0.5, seed=0)
    order = np.random.default_rng(0).permutation(len(NAMES))
    np.testing.assert_array_equal(split_identities([NAMES[i] for i in order], 0.5, seed=0), seen_K[order])


def test_seed_changes_who_is_seen():
    assert (split_identities(NAMES, 0.5, seed=0) != split_identities(NAMES, 0.5, seed=1)).sum() > 20


def test_one_more_identity_moves_at_most_one_other():
    for number in range(50, 100):
        before = split_identities(NAMES[:number], 0.4, seed=0)
        after = split_identities(NAMES[: number + 1], 0.4, seed=0)[:number]
        assert (before != after).sum() <= 1


def test_split_stays_what_it_was():
    # A change here would move people from unseen to seen under users who keep their config.
    assert split_identities(["ada", "bo", "cy", "dee", "eve", "日本"], 0.5, seed=0).tolist() == [
        True,
        True,
        False,
        True,
        False,
        False,
    ]
    assert split_identities([], 0.5, seed=0).shape == (0,)
