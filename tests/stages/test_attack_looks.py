"""What pixels alone tell of an audited set."""

import numpy as np
import pytest
from training_help import SIZE, write_faces

from facemae_jax.audit.copy_detector import nearest_pixel, thumbnails
from facemae_jax.chain import settings as files
from facemae_jax.data.face_set import open_face_set
from facemae_jax.data.images import decode_record
from facemae_jax.stages import attack_looks
from facemae_jax.stages.attack_faces import Protected


@pytest.fixture(scope="module")
def gallery(tmp_path_factory):
    write_faces(folder := tmp_path_factory.mktemp("looks"), people=8, images=4)
    return open_face_set(folder / "faces")


def config(**audit):
    c = files.load("configs/base.py")
    c.mae.patch = 4
    c.audit.update(audit)
    return c


def halved(image_HWC, key):
    return image_HWC // 2 + 64


SOURCES_Q = np.arange(4, 24)  # five people


def protected(gallery):
    """The queries' images themselves; with half the contrast; and each person's first image in place of all of his."""
    queries = gallery.subset(SOURCES_Q)
    first = gallery.subset(SOURCES_Q // 4 * 4)
    return {"same": Protected(queries, None), "halved": Protected(queries, halved), "first": Protected(first, None)}


def test_diversity_is_measured_without_being_asked_and_copies_are_not(gallery):
    found = attack_looks.looks(config(), gallery, SOURCES_Q, protected(gallery), {}, copies=False)
    assert set(found) == {"set"}
    ratio = {name: one["ratio"] for name, one in found["set"].items()}
    assert ratio["same"] == 1 and 0.4 < ratio["halved"] < 0.6 and ratio["first"] == pytest.approx(0, abs=1e-6)
    assert found["set"]["same"]["images"] == 20 and found["set"]["same"]["several"] == 5


def test_copies_are_what_the_detector_says(gallery):
    found = attack_looks.looks(config(), gallery, SOURCES_Q, protected(gallery), {}, copies=True)
    plain = attack_looks.looks(config(), gallery, SOURCES_Q, protected(gallery), {}, copies=False)
    assert found["set"] == plain["set"] and set(found["pixels"]) == {"same", "halved", "first"}
    assert found["pixels"]["same"]["visible"]["mean"] == 1.0 and found["pixels"]["first"]["visible"]["mean"] < 0.5
    images = np.stack([decode_record(record.image, record.key) for record in gallery])
    thumbs = thumbnails(images)
    right = nearest_pixel(
        thumbnails(halved(images, "")[SOURCES_Q]), thumbs, sources_Q=SOURCES_Q, labels_G=gallery.labels_n
    )
    assert found["pixels"]["halved"]["nearest"] == right
    assert found["pixels"]["halved"]["visible"]["images"] == 20


def test_every_image_is_decoded_once(gallery, monkeypatch):
    opened = []

    def decode(image, key):
        opened.append(key)
        return decode_record(image, key)

    monkeypatch.setattr(attack_looks, "decode_record", decode)
    attack_looks.looks(config(), gallery, SOURCES_Q, protected(gallery), {}, copies=True)
    assert len(opened) == len(gallery) + 3 * len(SOURCES_Q)  # the sources are among the gallery


def test_only_some_are_looked_at_whole(gallery):
    found = attack_looks.looks(config(attack_images=8), gallery, SOURCES_Q, protected(gallery), {}, copies=True)
    assert found["set"]["same"]["images"] == 8 and found["set"]["same"]["several"] == 2
    assert found["pixels"]["same"]["visible"]["images"] == 8 and found["pixels"]["same"]["nearest"]["queries"] == 20


def test_images_come_in_parts_in_their_order(gallery):
    whole = np.concatenate(list(attack_looks.decoded(gallery, None)))
    parts = list(attack_looks.decoded(gallery, halved, 5))
    assert whole.shape == (32, SIZE, SIZE, 3) and [len(part) for part in parts] == [5] * 6 + [2]
    np.testing.assert_array_equal(np.concatenate(parts), halved(whole, ""))
