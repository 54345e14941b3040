import collections
import pickle
import threading

import numpy as np
import pytest

from facemae_jax.data import k_same
from facemae_jax.data.face_set import FaceSetWriter, open_face_set
from facemae_jax.data.images import encode_png
from facemae_jax.data.k_same import KSame, group
from facemae_jax.data.pipeline import eval_batches
from facemae_jax.types import FacemaeError, Record

SIZE = 16


class FacesInMemory:
    """As much of a face set as k-same reads."""

    path = "somewhere/faces/1.0.0"
    image_size = SIZE

    def __init__(self, images, people, digest="d"):
        self.images, self.labels_n, self.digest = images, np.asarray(people), digest
        self.encoded = [encode_png(image) for image in images]
        self.reads = collections.Counter()

    def __len__(self):
        return len(self.encoded)

    def __getitem__(self, position):
        self.reads[position] += 1
        return Record(self.encoded[position], int(self.labels_n[position]), f"k/{position}")

    def keys(self):
        return [f"k/{position}" for position in range(len(self))]


def faces_of(people, seed=0, **given):
    """Random pixels around a grey level of the person's own."""
    random = np.random.default_rng(seed)
    level = random.integers(60, 190, max(people) + 1)
    images = [
        np.clip(level[who] + random.integers(-50, 50, (SIZE, SIZE, 3)), 0, 255).astype(np.uint8) for who in people
    ]
    return FacesInMemory(images, people, **given)


def published(faces, k):
    transform = KSame(faces, k)
    return np.stack([transform(image, key) for image, key in zip(faces.images, faces.keys(), strict=True)]), transform


def check_groups(groups, people, k):
    """Every image once; k to 2k − 1 different people in each group."""
    assert sorted(np.concatenate(groups).tolist()) == list(range(len(people)))
    for members in groups:
        assert k <= len(members) < 2 * k
        assert len({people[position] for position in members}) == len(members)


@pytest.mark.parametrize("k", [2, 3, 5])
def test_every_image_is_the_mean_of_k_people(k):
    people = [position % 7 for position in range(38)]
    faces = faces_of(people)
    images, transform = published(faces, k)
    groups = {tuple(transform.group_of(key)) for key in faces.keys()}
    check_groups([np.array(members) for members in groups], people, k)
    for members in groups:
        mean = np.mean([faces.images[position].astype(float) for position in members], axis=0)
        for position in members:
            np.testing.assert_array_equal(images[position], np.floor(mean + 0.5).astype(np.uint8))


def test_the_closest_people_are_averaged():
    """Twelve people in three clusters of four, far apart: the clusters are the groups."""
    levels = np.repeat([20, 120, 220], 4) + np.tile([0, 3, 6, 9], 3)
    order = np.random.default_rng(3).permutation(12)
    faces = FacesInMemory([np.full((SIZE, SIZE, 3), level, np.uint8) for level in levels[order]], list(range(12)))
    _, transform = published(faces, 4)
    for position, key in enumerate(faces.keys()):
        assert {order[other] // 4 for other in transform.group_of(key)} == {order[position] // 4}


@pytest.mark.parametrize("k", [2, 5, 10])
def test_no_deterministic_matcher_finds_more_than_one_in_k(k):
    """One image per person: the nearest original is the right one for at most one member of a group."""
    faces = faces_of(list(range(60)))
    images, _ = published(faces, k)
    originals = np.stack(faces.images).reshape(60, -1).astype(float)
    distance = np.square(images.reshape(60, 1, -1) - originals[None]).sum(axis=2)
    hits = (distance.argmin(axis=1) == np.arange(60)).mean()
    assert 0 < hits <= 1 / k


def test_several_images_per_person_break_the_promise():
    """Stated in the docstring: who knows that images belong together intersects their groups."""
    people = [position % 40 for position in range(160)]
    faces, k = faces_of(people), 4
    _, transform = published(faces, k)
    candidates = [set(range(40)) for _ in range(40)]
    for position, key in enumerate(faces.keys()):
        candidates[people[position]] &= {people[other] for other in transform.group_of(key)}
    assert np.mean([len(left) == 1 for left in candidates]) > 2 / k


def test_fixed_by_key_and_set_alone():
    people = [position % 9 for position in range(30)]
    faces = faces_of(people)
    images, transform = published(faces, 3)
    fresh = KSame(faces_of(people), 3)
    black = np.zeros_like(faces.images[0])
    for position in reversed(range(30)):  # another order, and the image that is passed in does not matter
        np.testing.assert_array_equal(fresh(black, f"k/{position}"), images[position])
    copied = pickle.loads(pickle.dumps(transform))  # as workers get it
    assert not copied._means and transform._means  # images do not travel
    np.testing.assert_array_equal(copied(black, "k/4"), images[4])
    given = transform(black, "k/4")
    given[:] = 0  # what a caller does to its image changes nobody else's
    np.testing.assert_array_equal(transform(black, "k/4"), images[4])


def test_repr_names_k_and_the_set():
    one = repr(KSame(faces_of([0, 1]), 2))
    assert one == repr(KSame(faces_of([0, 1]), 2)) and "/" not in one
    assert one != repr(KSame(faces_of([0, 1]), 3))
    assert one != repr(KSame(faces_of([0, 1], digest="e"), 2))


def test_from_shards_through_the_pipeline(tmp_path):
    people = [0, 0, 1, 2, 3, 4, 2]
    memory = faces_of(people)
    writer = FaceSetWriter(
        tmp_path / "toy" / "1.0.0",
        name="toy", image_size=SIZE, shard_records=7, num_labels=5, identity_names=list("abcde"),
    )  # fmt: skip
    writer.write_shard(0, [memory[position] for position in range(7)])
    writer.finish(7)
    faces = open_face_set(tmp_path / "toy" / "1.0.0")
    batches = list(eval_batches(faces, batch=4, transform=KSame(faces, 3), threads=2))
    np.testing.assert_array_equal(np.concatenate([batch.images_BHWC for batch in batches])[:7], published(memory, 3)[0])
    part = faces.subset(np.array([1, 2, 3, 4, 5, 6]))
    assert repr(KSame(part, 3)) != repr(KSame(faces, 3))
    some = faces.subset(
        np.array([6, 2])
    )  # queries of an audit: images of the same release, so averaged over the whole set
    (batch,) = eval_batches(some, batch=2, transform=KSame(faces, 3), threads=0)
    np.testing.assert_array_equal(batch.images_BHWC, published(memory, 3)[0][[6, 2]])


def test_nothing_is_read_before_it_is_needed_and_threads_group_once(monkeypatch):
    calls = []
    monkeypatch.setattr(k_same, "group", lambda *given: calls.append(1) or group(*given))
    faces = faces_of([position % 9 for position in range(27)])
    transform = KSame(faces, 3)
    repr(transform)
    assert not faces.reads
    together = threading.Barrier(8)

    def ask(position):
        together.wait()
        transform(faces.images[0], f"k/{position}")

    threads = [threading.Thread(target=ask, args=(position,)) for position in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(calls) == 1 and len(transform._means) > 1
    before = faces.reads.total()
    for _ in range(3):
        transform(faces.images[0], "k/0")
    assert faces.reads.total() == before


def test_memory_for_means_is_bounded(monkeypatch):
    monkeypatch.setattr(k_same, "KEPT_BYTES", 2 * SIZE * SIZE * 3)
    faces = faces_of([position % 9 for position in range(27)])
    images, transform = published(faces, 3)
    assert len(transform._means) == 2
    np.testing.assert_array_equal(published(faces, 3)[0], images)


@pytest.mark.parametrize("seed", range(30))
def test_whatever_can_be_grouped_is(seed):
    """Uneven people, some with as many images as there are groups: the greedy choice must still end well."""
    random = np.random.default_rng(seed)
    k = int(random.integers(2, 6))
    groups = int(random.integers(1, 9))
    count = k * groups + int(random.integers(0, k))
    left, people = count, []
    while left:  # the first ones take all they may
        size = min(left, groups if random.random() < 0.6 else int(random.integers(1, groups + 1)))
        people += [len(set(people))] * size
        left -= size
    people = random.permutation(people)
    check_groups(group(random.standard_normal((count, 4)), people, k), people, k)


def test_large_sets_are_grouped_in_parts(monkeypatch):
    monkeypatch.setattr(k_same, "LEAF", 32)
    random = np.random.default_rng(0)
    small, people = random.standard_normal((500, 4)).astype(np.float32), random.integers(0, 60, 500)
    groups = group(small, people, 3)
    check_groups(groups, people, 3)
    again = group(small, people * 7 + 3, 3)  # labels are names only
    assert all(np.array_equal(one, other) for one, other in zip(groups, again, strict=True))

    def spread(parts):
        return np.mean([small[members].var(axis=0).sum() for members in parts])

    random_parts = np.split(random.permutation(498), 166)
    assert spread(groups) < 0.6 * spread(random_parts)


def test_parts_are_halves_of_the_cell_that_varies_most(monkeypatch):
    """64 values in any order, in parts of 8: each part is a run of neighbours, and no group reaches beyond its part."""
    monkeypatch.setattr(k_same, "LEAF", 8)
    value = np.random.default_rng(0).permutation(64)
    small = np.stack([value % 2, value, np.zeros(64)], axis=1).astype(np.float32)
    for members in group(small, np.arange(64), 2):
        assert len(set((value[members] // 8).tolist())) == 1


def test_parts_that_one_person_fills_are_not_split(monkeypatch):
    """All of one person's images lie on one side: halving there would leave them without enough others."""
    monkeypatch.setattr(k_same, "LEAF", 16)
    small = np.arange(64, dtype=np.float32)[:, None]
    people = np.array([0] * 20 + list(range(1, 45)))
    check_groups(group(small, people, 3), people, 3)


def test_what_cannot_be_grouped_is_told():
    with pytest.raises(
        FacemaeError, match="distort.ksame=3: 9 images make 3 groups of 3 different people, but one person has 4"
    ):
        group(np.zeros((9, 2)), [0, 0, 0, 0, 1, 1, 2, 2, 3], 3)
    with pytest.raises(FacemaeError, match="ksame=3: 2 images make 0 groups"):
        group(np.zeros((2, 2)), [0, 1], 3)
    with pytest.raises(FacemaeError, match="ksame=1.*at least 2"):
        group(np.zeros((2, 2)), [0, 1], 1)
    with pytest.raises(FacemaeError, match="ksame=2: 0 images"):
        group(np.zeros((0, 2)), [], 2)


def test_foreign_keys_and_sizes_are_refused():
    faces = faces_of([0, 1, 2, 3])
    transform = KSame(faces, 2)
    with pytest.raises(FacemaeError, match="stranger: not among the faces of somewhere"):
        transform(faces.images[0], "stranger")
    with pytest.raises(FacemaeError, match="use one size"):
        transform(np.zeros((8, 8, 3), np.uint8), "k/0")
    faces.encoded[2] = encode_png(np.zeros((8, 8, 3), np.uint8))
    with pytest.raises(FacemaeError, match="k/2 has shape .*data.resize=True"):
        KSame(faces, 2)(faces.images[0], "k/0")
