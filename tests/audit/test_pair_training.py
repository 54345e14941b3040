import attack_help
import numpy as np
import pytest

from facemae_jax.audit.pair_training import PairSource
from facemae_jax.types import FacemaeError


class Negative:
    def __call__(self, image_HWC, key):
        return 255 - image_HWC

    def __repr__(self):
        return "Negative()"


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    faces = attack_help.write_set(tmp_path_factory.mktemp("pairs"), *attack_help.rendered(5, 4, 0))
    return PairSource(faces, faces, transform=Negative(), arrays={"number": np.arange(20)[:, None]})


def take(source, count, start_step=0, batch=8, seed=0):
    batches = source.batches(batch=batch, seed=seed, start_step=start_step, threads=0)
    return [next(batches) for _ in range(count)]


def test_pairs_stay_together_through_shuffling_and_mirroring(source):
    images = attack_help.rendered(5, 4, 0)[0]
    mirrored = 0
    for pairs in take(source, 6):  # more than two passes
        np.testing.assert_array_equal(pairs.images_BHWC, 255 - pairs.originals_BHWC)
        np.testing.assert_array_equal(pairs.arrays["number"][:, 0], pairs.positions_B)
        for image, position in zip(pairs.originals_BHWC, pairs.positions_B, strict=True):
            flipped = not np.array_equal(image, images[position])
            np.testing.assert_array_equal(image[:, ::-1] if flipped else image, images[position])
            mirrored += flipped
    assert 10 < mirrored < 38


@pytest.mark.parametrize("pixels", [True, False])
def test_batches_follow_from_seed_and_step(source, pixels):
    source = source._replace(pixels=pixels)
    whole, rest = take(source, 5), take(source, 3, start_step=2)
    assert [p.positions_B.tolist() for p in whole[2:]] == [p.positions_B.tolist() for p in rest]
    assert take(source, 1, seed=1)[0].positions_B.tolist() != whole[0].positions_B.tolist()
    first = np.concatenate([p.positions_B for p in whole])[:20]
    assert sorted(first.tolist()) == list(range(20))  # one pass holds every pair once
    assert whole[0].images_BHWC.shape == ((8, 32, 32, 3) if pixels else (8, 0, 0, 3))
    np.testing.assert_array_equal(whole[0].arrays["number"][:, 0], whole[0].positions_B)


def test_every_pair_in_order_once(source):
    found = list(source.subset(np.arange(3, 16)).in_order(batch=8, threads=0))
    valid = np.concatenate([valid_B for _, valid_B in found])
    numbers = np.concatenate([pairs.arrays["number"][:, 0] for pairs, _ in found])
    assert valid.sum() == 13 and numbers[valid].tolist() == list(range(3, 16))


def test_parts_of_different_length_are_refused(source):
    short = source._replace(originals=source.originals.subset(np.arange(19)))
    with pytest.raises(FacemaeError, match="20 protected images, 20 number, 19 originals"):
        take(short, 1)


def test_the_digest_tells_pairs_apart(source):
    others = [source.subset(np.arange(19)), source._replace(flip=False), source._replace(transform=None)]
    others.append(source._replace(arrays={"number": np.zeros((20, 1), int)}))
    assert len({each.digest() for each in (source, *others)}) == 5
