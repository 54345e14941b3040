import io
import itertools
import threading
import time

import numpy as np
import pytest
from PIL import Image

from facemae_jax.data import pipeline
from facemae_jax.data.face_set import FaceSetWriter, open_face_set
from facemae_jax.data.images import encode_jpeg, encode_png
from facemae_jax.data.pipeline import Augment, eval_batches, train_batches
from facemae_jax.types import Batch, FacemaeError, Record

SIZE = 16


class Faces:
    """Records in memory, as a face set gives them; image i has the mean grey level 8·i."""

    path = "somewhere/faces/1.0.0"
    image_size = SIZE

    def __init__(self, count, encode=encode_png):
        noise = np.random.default_rng(0).integers(0, 8, (count, SIZE, SIZE, 3))
        self.images = [(8 * (i % 31) + noise[i]).astype(np.uint8) for i in range(count)]
        self.encoded = [encode(image) for image in self.images]

    def __len__(self):
        return len(self.encoded)

    def __getitem__(self, position):
        return Record(self.encoded[position], position % 5, f"people/{position}")


def train(faces, steps, **changes):
    """The first ``steps`` batches, with small defaults."""
    given = dict(batch=8, seed=1, start_step=0, augment=Augment(crop=0.6), threads=2) | changes
    batches = train_batches(faces, **given)
    found = list(itertools.islice(batches, steps))
    batches.close()
    return found


def assert_same(left, right):
    assert len(left) == len(right)
    for one, other in zip(left, right, strict=True):
        for a, b in zip(one, other, strict=True):
            assert a.dtype == b.dtype
            np.testing.assert_array_equal(a, b)


def joined(*per_host):
    """The global batches that several hosts' rows make, in the order in which they stand on the devices."""
    return [
        Batch(*(np.concatenate(rows) for rows in zip(*parts, strict=True))) for parts in zip(*per_host, strict=True)
    ]


def test_a_batch_holds_the_records_it_names():
    faces = Faces(20)
    for batch in train(faces, 3, augment=None):
        assert batch.images_BHWC.shape == (8, SIZE, SIZE, 3)
        assert [array.dtype for array in batch] == [np.uint8, np.int32, np.int32, bool]
        assert batch.valid_B.all()
        np.testing.assert_array_equal(batch.labels_B, batch.positions_B % 5)
        np.testing.assert_array_equal(batch.images_BHWC, [faces.images[n] for n in batch.positions_B])


@pytest.mark.parametrize("count", [29, 24, 5])  # batches span the ends of passes; whole passes; fewer than a batch
def test_every_pass_holds_every_record_once_and_is_shuffled_anew(count):
    order = np.concatenate([batch.positions_B for batch in train(Faces(count), count, augment=None)])
    passes = order.reshape(-1, count)
    assert all(sorted(one) == list(range(count)) for one in passes.tolist())
    assert len({tuple(one) for one in passes.tolist()}) > 1
    other = np.concatenate([batch.positions_B for batch in train(Faces(count), count, augment=None, seed=2)])
    assert (order != other).any()


@pytest.mark.parametrize("threads", [0, 1, 4])
def test_threads_change_nothing(threads):
    faces = Faces(29)
    assert_same(train(faces, 8, threads=threads), train(faces, 8))


@pytest.mark.parametrize(("count", "steps"), [(29, 8), (5, 2)])
@pytest.mark.parametrize("hosts", [2, 4])
def test_hosts_together_see_the_batches_of_one(count, steps, hosts):
    faces = Faces(count)
    parts = [train(faces, steps, host=host, hosts=hosts) for host in range(hosts)]
    assert all(len(batch.positions_B) == 8 // hosts for part in parts for batch in part)
    assert_same(joined(*parts), train(faces, steps))


@pytest.mark.parametrize("start", [2, 3, 4, 8])  # before, at and after ends of passes of 29
@pytest.mark.parametrize(("host", "hosts"), [(0, 1), (1, 2)])
def test_the_step_alone_tells_where_to_go_on(start, host, hosts):
    faces = Faces(29)
    whole = train(faces, 10, host=host, hosts=hosts)
    assert_same(train(faces, 10 - start, start_step=start, host=host, hosts=hosts, threads=0), whole[start:])


def test_augmentation_differs_between_passes_and_images_but_not_between_runs():
    faces = Faces(4)
    (first, second, third) = train(faces, 3, batch=4)
    by_record = [batch.images_BHWC[np.argsort(batch.positions_B)] for batch in (first, second, third)]
    assert all((a != b).any() for a, b in itertools.pairwise(by_record))
    assert_same(train(faces, 3, batch=4), [first, second, third])


def test_flips_half_of_the_images():
    faces = Faces(200)
    flipped = 0
    for batch in train(faces, 50, augment=Augment(flip=True, crop=1.0)):
        for image_HWC, position in zip(batch.images_BHWC, batch.positions_B, strict=True):
            original = faces.images[position]
            mirrored = np.array_equal(image_HWC, original[:, ::-1])
            assert mirrored or np.array_equal(image_HWC, original)
            flipped += mirrored
    assert abs(flipped - 200) < 40  # four standard deviations of 400 throws


def ramp():
    """Red grows with the column, green with the row, by 8 per pixel."""
    grid = np.arange(SIZE) * 8 + 4
    return np.stack(
        [np.tile(grid, (SIZE, 1)), np.tile(grid[:, None], (1, SIZE)), np.zeros((SIZE, SIZE), int)], -1
    ).astype(np.uint8)


@pytest.mark.parametrize(
    ("draws", "left", "top", "side"),
    [((0.9, 0.0, 0.0, 0.0), 0, 0, 8), ((0.9, 0.0, 1 - 1e-16, 0.5), 8, 4, 8), ((0.9, 0.5, 0.5, 0.0), 2, 0, 12)],
)
def test_the_crop_is_the_square_that_the_draws_tell(draws, left, top, side):
    found = Augment(flip=False, crop=0.5)(ramp(), np.array(draws)).astype(float)
    expected = (np.arange(SIZE) + 0.5) * side / SIZE  # columns of the source, in its pixels
    inside = slice(1, -1)  # at the edges there is nothing to interpolate with
    np.testing.assert_allclose(found[3, inside, 0], (8 * (left + expected))[inside], atol=1.5)
    np.testing.assert_allclose(found[inside, 3, 1], (8 * (top + expected))[inside], atol=1.5)


def test_no_crop_and_no_flip_leave_the_image():
    draws = np.array([0.1, 0.2, 0.3, 0.4])
    np.testing.assert_array_equal(Augment(flip=False, crop=1.0)(ramp(), draws), ramp())
    np.testing.assert_array_equal(Augment(flip=True, crop=1.0)(ramp(), draws), ramp()[:, ::-1])


def test_all_draws_give_a_crop_inside_the_image():
    augment = Augment(crop=0.3)
    for draws in np.random.default_rng(0).choice([0.0, 1 - 2.0**-53, 0.3, 0.7], (64, 4)):
        assert augment(ramp(), draws).shape == (SIZE, SIZE, 3)


def test_draws_belong_to_the_image_not_to_the_batch():
    draws = pipeline._draws(5, 0, 1000)
    assert draws.min() >= 0 and draws.max() < 1 and np.abs(draws.mean(0) - 0.5).max() < 0.05
    np.testing.assert_array_equal(pipeline._draws(5, 996, 4), draws[996:])
    assert (pipeline._draws(6, 0, 4) != draws[:4]).any()


@pytest.mark.parametrize("crop", [0.0, -0.5, 1.01])
def test_an_impossible_crop_is_refused(crop):
    with pytest.raises(FacemaeError, match=r"augment\.crop="):
        Augment(crop=crop)


def darken(image_HWC, key):
    return image_HWC // 2 + int(key.rpartition("/")[2]) % 2


def test_the_transform_knows_the_key_and_comes_before_augmentation():
    faces = Faces(13)
    changed = Faces(13)
    changed.encoded = [encode_png(darken(image, f"people/{n}")) for n, image in enumerate(faces.images)]
    assert_same(train(faces, 4, transform=darken), train(changed, 4))
    assert_same(list(eval_batches(faces, batch=8, transform=darken)), list(eval_batches(changed, batch=8)))


@pytest.mark.parametrize(("count", "batches"), [(13, 2), (16, 2), (3, 1), (17, 3)])
@pytest.mark.parametrize("threads", [0, 2])
def test_evaluation_sees_every_record_once_in_order(count, batches, threads):
    faces = Faces(count)
    found = list(eval_batches(faces, batch=8, threads=threads))
    assert len(found) == batches
    whole = Batch(*(np.concatenate(rows) for rows in zip(*found, strict=True)))
    assert len(whole.valid_B) == 8 * batches
    np.testing.assert_array_equal(whole.positions_B[:count], np.arange(count))
    np.testing.assert_array_equal(whole.images_BHWC[:count], faces.images)
    np.testing.assert_array_equal(whole.labels_B[:count], np.arange(count) % 5)
    assert whole.valid_B[:count].all() and not whole.valid_B[count:].any()
    assert (whole.positions_B[count:] == -1).all() and (whole.labels_B[count:] == 0).all()
    assert not whole.images_BHWC[count:].any()


@pytest.mark.parametrize("count", [13, 3, 9])  # 9: the last batch leaves a host only padding
def test_hosts_get_their_rows_of_each_evaluation_batch(count):
    faces = Faces(count)
    parts = [list(eval_batches(faces, batch=8, host=host, hosts=4)) for host in range(4)]
    assert len({len(part) for part in parts}) == 1
    assert_same(joined(*parts), list(eval_batches(faces, batch=8)))


def test_jpeg_records():
    faces = Faces(8, encode=lambda image: encode_jpeg(image, 95))
    (batch,) = eval_batches(faces, batch=8)
    decoded = [np.asarray(Image.open(io.BytesIO(data))) for data in faces.encoded]
    assert np.abs(batch.images_BHWC.astype(int) - decoded).max() <= 1


def test_a_subset_of_a_face_set_on_disk(tmp_path):
    faces = Faces(12)
    writer = FaceSetWriter(tmp_path / "1.0.0", name="tiny", image_size=SIZE, encoding="png", num_labels=5)
    writer.write_shard(0, (faces[position] for position in range(12)))
    writer.finish(12)
    odd = open_face_set(tmp_path).subset(np.arange(1, 12, 2))
    for batch in train(odd, 3, batch=4, augment=None, threads=4):
        source_B = 2 * batch.positions_B + 1
        np.testing.assert_array_equal(batch.images_BHWC, [faces.images[n] for n in source_B])
        np.testing.assert_array_equal(batch.labels_B, source_B % 5)
    assert [batch.positions_B.tolist() for batch in eval_batches(odd, batch=4)] == [[0, 1, 2, 3], [4, 5, -1, -1]]


@pytest.mark.parametrize("threads", [0, 2])
def test_a_record_of_another_size_is_named(threads):
    faces = Faces(13)
    faces.encoded[9] = encode_png(np.zeros((SIZE, 20, 3), np.uint8))
    with pytest.raises(FacemaeError, match=r"record people/9 has 20×16 pixels, .* promises 16×16"):
        list(eval_batches(faces, batch=8, threads=threads))


def test_a_damaged_record_is_named():
    faces = Faces(13)
    faces.encoded[9] = faces.encoded[9][:40]
    with pytest.raises(FacemaeError, match=r"somewhere/faces/1\.0\.0: record people/9: "):
        train(faces, 2)


def test_mistakes_are_told_before_the_first_batch():
    given = dict(seed=0, start_step=0, augment=None)
    with pytest.raises(FacemaeError, match="a batch of 9 images does not divide over 2 hosts"):
        train_batches(Faces(4), batch=9, hosts=2, **given)
    with pytest.raises(FacemaeError, match="a batch of 0 images"):
        eval_batches(Faces(4), batch=0)
    with pytest.raises(FacemaeError, match="holds no records"):
        train_batches(Faces(0), batch=8, **given)
    varying = Faces(4)
    varying.image_size = 0
    with pytest.raises(FacemaeError, match="images of varying size"):
        eval_batches(varying, batch=8)


@pytest.mark.parametrize("seed", [0, -3, 2**32 + 1, 2**40])
def test_any_integer_is_a_seed(seed):
    assert len(train(Faces(3), 1, seed=seed)) == 1


def test_closing_ends_the_threads():
    before = set(threading.enumerate())
    train(Faces(13), 2, threads=3)
    until = time.monotonic() + 5
    while (left := set(threading.enumerate()) - before) and time.monotonic() < until:
        time.sleep(0.01)
    assert not left


class Counted(Faces):
    """Tells which records were opened."""

    def __init__(self, count):
        super().__init__(count)
        self.opened = []

    def __getitem__(self, position):
        self.opened.append(position)
        return super().__getitem__(position)


@pytest.mark.parametrize("start", [0, 3])
@pytest.mark.parametrize("hosts", [2, 4])
def test_a_host_opens_its_own_part_of_each_batch_and_nothing_else(start, hosts):
    whole = np.concatenate([batch.positions_B for batch in train(Faces(64), 4, start_step=start, threads=0)]).tolist()
    assert len(set(whole)) == 32
    parts = [Counted(64) for _ in range(hosts)]
    for host, faces in enumerate(parts):
        batches = train(faces, 4, start_step=start, threads=0, host=host, hosts=hosts)
        assert faces.opened == np.concatenate([batch.positions_B for batch in batches]).tolist()
        assert len(faces.opened) == 32 // hosts
    assert sorted(position for faces in parts for position in faces.opened) == sorted(whole)


@pytest.mark.parametrize(("hosts", "shares"), [(1, [13]), (2, [8, 5]), (4, [4, 4, 3, 2])])
def test_a_host_opens_its_own_part_of_an_evaluation(hosts, shares):
    parts = [Counted(13) for _ in range(hosts)]
    for host, faces in enumerate(parts):
        assert len(list(eval_batches(faces, batch=8, threads=0, host=host, hosts=hosts))) == 2
    assert [len(faces.opened) for faces in parts] == shares
    assert sorted(position for faces in parts for position in faces.opened) == list(range(13))
