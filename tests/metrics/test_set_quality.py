import numpy as np
import pytest

from facemae_jax.metrics import set_quality as q

LABELS = np.repeat([7, 3, 9, 5], 4)


def unit(rows):
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def classes(spread, centres=None, seed=0):
    """Four classes of four images around orthogonal centres, or those given."""
    random = np.random.default_rng(seed)
    centres = np.eye(4, 16) if centres is None else centres
    return unit(np.repeat(centres, 4, axis=0) + spread * unit(random.normal(size=(16, 16)))).astype(np.float32)


def test_far_classes_are_unique_and_doubles_are_not():
    assert q.uniqueness(classes(0.3), LABELS, 0.5) == 1.0
    twins = np.eye(4, 16)[[0, 0, 2, 3]]  # the first two classes show one person
    assert q.uniqueness(classes(0.3, twins), LABELS, 0.5) == 0.5
    assert q.uniqueness(classes(0.3, twins[[0, 0, 0, 0]]), LABELS, 0.5) == 0.0
    assert q.uniqueness(classes(0.3)[:4], LABELS[:4], 0.5) == 1.0


def test_many_classes_are_compared_in_blocks(monkeypatch):
    rows, labels = unit(np.random.default_rng(1).normal(size=(50, 6))), np.arange(50)
    cosine = rows @ rows.T - 2 * np.eye(50)
    right = np.mean(cosine.max(axis=1) <= 0.8)
    assert 0.1 < right < 0.9 and q.uniqueness(rows, labels, 0.8) == pytest.approx(right)
    monkeypatch.setattr(q, "ROWS", 7)
    assert q.uniqueness(rows, labels, 0.8) == pytest.approx(right)


def test_consistency_is_about_the_other_images_of_the_class():
    np.testing.assert_array_equal(q.consistency(classes(0.1), LABELS, 0.5), 1.0)
    # Unrelated images share no centre; with the own image in it, each would lie near (1/√4 = 0.5).
    unrelated = np.eye(16, dtype=np.float32)
    np.testing.assert_array_equal(q.consistency(unrelated, LABELS, 0.1), 0.0)
    strange = classes(0.0)
    strange[0] = np.eye(1, 16, 9)  # an image of somebody else, in the class 7, which is third in order
    np.testing.assert_allclose(q.consistency(strange, LABELS, 0.8), [1, 1, 0.75, 1])


def test_classes_of_one_image_are_left_out_of_consistency():
    assert q.consistency(classes(0.1)[:5], LABELS[:5], 0.5).tolist() == [1.0]
    found = q.set_quality(classes(0.1)[::4], LABELS[::4], threshold=0.5)
    assert found == dict(classes=4, several=0, threshold=0.5, uniqueness=1.0, consistency=None)


def test_figures_with_the_interval_of_consistency_over_classes():
    rows = classes(0.0)
    rows[0] = np.eye(1, 16, 9)
    found = q.set_quality(rows, LABELS, threshold=0.8)
    assert (found["classes"], found["several"], found["uniqueness"]) == (4, 4, 1.0)
    low, high = found["interval"]["consistency"]
    assert found["consistency"] == 0.9375 and low < 0.9375 < high == 1.0 and found["level"] == 0.95


def photographs(light, seed=0):
    """16 images of noise, whose brightness differs by ``light`` within each class."""
    random = np.random.default_rng(seed)
    shift = light * np.tile([-1, 0, 0, 1], 4)[:, None, None, None]
    return (random.normal(128, 10, (16, 12, 12, 3)) + shift).clip(0, 255).astype(np.uint8)


def test_statistics_by_hand():
    images = np.zeros((1, 10, 10, 3), np.uint8)  # 4 cells of 2, 3, 3 and 2 pixels
    images[0, :2, :2, 1] = [[10, 20], [30, 40]]
    found = q.image_statistics(images)[0].reshape(2, 4, 4, 3)
    assert found[0, 0, 0].tolist() == [0, 25, 0] and found[1, 0, 0, 1] == pytest.approx(np.std([10, 20, 30, 40]))
    assert np.count_nonzero(found) == 2
    noise = np.random.default_rng(0).integers(0, 256, (70, 10, 10, 3), np.uint8)  # more than one block
    cell = noise[:, 2:5, 5:8].astype(float).reshape(70, 9, 3)
    many = q.image_statistics(noise).reshape(70, 2, 4, 4, 3)
    np.testing.assert_allclose(many[:, 0, 1, 2], cell.mean(axis=1))
    np.testing.assert_allclose(many[:, 1, 1, 2], cell.std(axis=1), rtol=1e-6)


def test_a_collapsed_class_has_no_diversity():
    originals = q.image_statistics(photographs(40))
    same = q.image_statistics(np.repeat(photographs(40)[::4], 4, axis=0))
    found = q.set_diversity(same, originals, LABELS)
    assert found["diversity"] == pytest.approx(0, abs=1e-9) and found["ratio"] == pytest.approx(0, abs=1e-9)
    assert found["of_originals"] > 0.3 and found["several"] == 4 and found["images"] == 16


def test_diversity_is_that_of_the_originals_where_nothing_changed_and_grows_with_light():
    originals = q.image_statistics(photographs(20))
    same = q.set_diversity(originals, originals, LABELS)
    assert same["ratio"] == 1 and same["interval"]["ratio"] == [1, 1] and same["diversity"] == same["of_originals"]
    ratio = [q.set_diversity(q.image_statistics(photographs(light)), originals, LABELS)["ratio"] for light in (5, 40)]
    assert ratio[0] < 0.8 < 1.3 < ratio[1]


def test_the_spread_by_hand():
    rows, labels = np.array([[0.0, 5], [2, 5], [1, 7], [1, 7], [4, 5]]), np.array([0, 0, 1, 1, 2])
    np.testing.assert_allclose(q.spread(rows, labels, np.array([4.0, 0.0])), [0.5, 0.0])  # ((1 + 1) / 1) / 4; no scale
    assert q.spread(rows, labels, np.zeros(2)).tolist() == [0, 0]


def test_what_cannot_be_told_is_none():
    rows = q.image_statistics(photographs(20))
    assert q.set_diversity(rows[::4], rows[::4], LABELS[::4]) is None
    still = np.repeat(rows[::4], 4, axis=0)
    assert q.set_diversity(rows, still, LABELS)["ratio"] is None
