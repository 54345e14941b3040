import pickle

import numpy as np
import pytest
from PIL import Image

from facemae_jax.data.synthetic import people, render
from facemae_jax.data.synthetic_person import person

SIZE = 32


def pictures(count, images, *, seed=0, difficulty=1.0):
    """``[people, images, size, size, 3]`` as floats."""
    rows = [
        [render(who, number, seed=seed, size=SIZE, difficulty=difficulty) for number in range(images)]
        for who in range(count)
    ]
    return np.array(rows, np.float64)


def distances(pictures_KiHWC, inner=slice(None)):
    """Root mean square distances (within people, between people), one number per pair of images."""
    faces = pictures_KiHWC[:, :, inner, inner]
    count, images = faces.shape[:2]
    rows = faces.reshape(count * images, -1)
    apart = np.sqrt(((rows[:, None] - rows[None]) ** 2).mean(axis=-1))
    one, two = np.triu_indices(count * images, k=1)
    same = one // images == two // images
    return apart[one, two][same], apart[one, two][~same]


def test_the_same_arguments_give_the_same_bytes_whatever_came_before():
    first = render(3, 1, seed=5, size=SIZE)
    assert first.dtype == np.uint8 and first.shape == (SIZE, SIZE, 3)
    np.random.seed(7)  # the global generator is neither read nor moved
    before = np.random.get_state()[1].copy()
    render(4, 0, seed=5, size=SIZE), render(3, 0, seed=6, size=48)
    np.testing.assert_array_equal(render(3, 1, seed=5, size=SIZE), first)
    np.testing.assert_array_equal(np.random.get_state()[1], before)


def test_every_argument_matters():
    base = dict(identity=3, image=1, seed=5, size=SIZE, difficulty=1.0)
    changes = (dict(identity=4), dict(image=2), dict(seed=6), dict(difficulty=0.5))
    all_of_them = [render(**base), *(render(**base | change) for change in changes)]
    assert len({image.tobytes() for image in all_of_them}) == 5


def test_other_seeds_are_other_people():
    shapes = [person(who, seed).head.tobytes() for seed in (0, 1, 2) for who in range(20)]
    assert len(set(shapes)) == 60
    for field in ("skin", "eyes", "nose", "mouth", "hairline"):
        assert not np.array_equal(getattr(person(0, 0), field), getattr(person(0, 1), field))
    # The same numbers in another order of the arguments are another person, too.
    assert not np.array_equal(person(2, 5).eyes, person(5, 2).eyes)


def test_a_person_varies_from_image_to_image():
    within, _ = distances(pictures(3, 4), slice(10, 26))
    assert within.min() > 10  # grey levels, in the middle of the face: far more than the noise of a camera


def test_people_differ_more_than_images_of_one_person():
    within, between = distances(pictures(12, 4))
    error = np.hypot(within.std() / len(within) ** 0.5, between.std() / len(between) ** 0.5)
    assert between.mean() > within.mean() + 4 * error


def test_a_person_can_be_recognized_but_not_by_pixels_alone():
    """The nearest other image is of the same person far more often than by chance, and far from always."""
    faces = pictures(30, 4)[:, :, 8:30, 6:26].mean(axis=-1).reshape(120, -1)
    faces = (faces - faces.mean(axis=1, keepdims=True)) / faces.std(axis=1, keepdims=True)
    alike = faces @ faces.T - 1e9 * np.eye(120)  # an image is not its own neighbour
    rate = np.mean(alike.argmax(axis=1) // 4 == np.arange(120) // 4)
    chance = 3 / 119
    assert chance + 4 * (chance / 120) ** 0.5 < rate < 0.9


def test_difficulty_is_the_strength_of_what_is_not_the_person():
    easy = pictures(2, 3, difficulty=0.0)
    np.testing.assert_array_equal(easy[:, 0, 12:26, 9:23], easy[:, 1, 12:26, 9:23])  # the face stands still
    assert not np.array_equal(easy[:, 0, 0, 0], easy[:, 1, 0, 0])  # the background does not
    spread = [distances(pictures(3, 4, difficulty=d), slice(10, 26))[0].mean() for d in (0.0, 0.5, 1.0)]
    assert spread[0] == 0 < spread[1] < spread[2]


@pytest.mark.parametrize("size", [16, 64, 112])
def test_the_same_face_at_every_size(size):
    image = render(1, 0, seed=0, size=size, difficulty=0.0)
    assert image.shape == (size, size, 3) and image.dtype == np.uint8
    large = render(1, 0, seed=0, size=224, difficulty=0.0)
    shrunk = np.asarray(Image.fromarray(large).resize((size, size), Image.Resampling.BOX), float)
    other = np.asarray(render(2, 0, seed=0, size=size, difficulty=0.0), float)
    assert 2 * np.abs(image - shrunk).mean() < np.abs(image - other).mean()


def test_people_is_a_sequence_in_the_order_of_its_keys():
    rendered = people(3, 2, seed=4, size=SIZE, first=98)
    keys = [f"person-{who:05d}/{number:04d}" for who in (98, 99, 100) for number in (0, 1)]
    assert len(rendered) == 6 and [rendered.key(n) for n in range(6)] == keys == [key for key, _ in rendered]
    np.testing.assert_array_equal(rendered[5][1], render(100, 1, seed=4, size=SIZE))
    key, image = pickle.loads(pickle.dumps(rendered))[3]
    assert key == keys[3]
    np.testing.assert_array_equal(image, rendered[3][1])
    for outside in (6, -1):
        with pytest.raises(IndexError):
            rendered[outside]
    np.testing.assert_array_equal(
        people(1, 1, seed=0, size=SIZE, difficulty=0.2)[0][1], render(0, 0, seed=0, size=SIZE, difficulty=0.2)
    )
