"""dlib's detector: which face, which five of 68 points; real faces in larger pictures where dlib is installed."""

import importlib.util
import io
import sys
import types
import zipfile

import numpy as np
import pytest
from PIL import Image

from facemae_jax.data.align import TEMPLATE_52, align
from facemae_jax.models import dlib_detector
from facemae_jax.models.dlib_detector import choose, five, load_detector, predictor_path, smaller
from facemae_jax.types import FacemaeError


def test_the_largest_face_near_the_middle():
    large, middle = (0, 0, 50, 50), (180, 130, 220, 170)
    assert choose([large, middle], 400, 300) == 1
    assert choose([large, (0, 0, 60, 60)], 60, 60) == 1
    assert choose([(100, 50, 300, 250), middle], 400, 300) == 0


def test_five_of_68():
    points = np.arange(136, dtype=float).reshape(68, 2)
    assert five(points).tolist() == [[77, 78], [89, 90], [60, 61], [96, 97], [108, 109]]


def test_smaller_pictures_keep_their_means():
    image = np.random.default_rng(0).integers(0, 256, (7, 9, 3), np.uint8)
    assert smaller(image, 1) is image
    expected = [[image[2 * r : 2 * r + 2, 2 * c : 2 * c + 2].mean((0, 1)) for c in range(4)] for r in range(3)]
    np.testing.assert_array_equal(smaller(image, 2), np.rint(expected))


class Box:
    def __init__(self, *edges):
        self.edges = edges

    left, top, right, bottom = (lambda self, n=n: self.edges[n] for n in range(4))


@pytest.fixture
def fake(monkeypatch):
    """dlib as far as the detector uses it; remembers what it was shown."""
    seen = types.SimpleNamespace(images=[], upsampled=[], boxes=[Box(10, 10, 60, 60), Box(0, 0, 4, 4)])

    def detector(image, upsample):
        seen.images.append(image)
        seen.upsampled.append(upsample)
        return seen.boxes

    def predictor(path):
        if path == "bad":
            raise RuntimeError("unexpected version")

        def landmarks(image, box):
            seen.full, seen.box = image, box
            return types.SimpleNamespace(parts=lambda: [types.SimpleNamespace(x=n, y=2 * n) for n in range(68)])

        return landmarks

    module = types.SimpleNamespace(
        get_frontal_face_detector=lambda: detector, shape_predictor=predictor, rectangle=lambda *edges: edges
    )
    monkeypatch.setitem(sys.modules, "dlib", module)
    return seen


def test_what_dlib_is_shown(fake):
    image = np.random.default_rng(0).integers(0, 256, (80, 100, 3), np.uint8)
    found = load_detector("good")(image[:, ::-1])
    np.testing.assert_array_equal(found, five(np.array([[n, 2 * n] for n in range(68)], float)))
    np.testing.assert_array_equal(fake.images[0], image[:, ::-1])  # the colours as they are
    assert fake.upsampled == [1] and fake.box == (10, 10, 60, 60) and fake.images[0].flags.c_contiguous


def test_a_large_picture_is_searched_smaller_and_measured_whole(fake):
    image = np.zeros((500, 2500, 3), np.uint8)
    load_detector("good")(image)
    assert fake.images[0].shape == (166, 833, 3) and fake.upsampled == [0]
    assert fake.box == (30, 30, 180, 180) and fake.full.shape == image.shape


def test_no_face(fake):
    fake.boxes = []
    assert load_detector("good")(np.zeros((50, 50, 3), np.uint8)) is None


def test_what_is_missing_is_said(fake, monkeypatch):
    with pytest.raises(FacemaeError, match="bad is not dlib's predictor .*unexpected version.* pip install -r launch/"):
        load_detector("bad")
    monkeypatch.setitem(sys.modules, "dlib", None)
    with pytest.raises(
        FacemaeError, match="data.detect=dlib needs dlib-bin, .*pip install -r launch/requirements-dlib"
    ):
        load_detector("good")
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(FacemaeError, match="data.detect=dlib needs the weights in face-recognition-models"):
        predictor_path()


def test_the_packages_are_in_the_file_that_is_named(repository):
    text = (repository / dlib_detector.INSTALL.split()[-1]).read_text()
    assert "\ndlib-bin" in text and "data.detect=dlib" in text


@pytest.mark.slow
@pytest.mark.faces
def test_real_faces_come_back_to_the_template(faces_folder):
    """Aligned crops, turned, scaled and pasted into a larger picture, are found and aligned again: a few pixels from where they were."""
    pytest.importorskip("dlib", reason=dlib_detector.INSTALL)
    if importlib.util.find_spec("face_recognition_models") is None:
        pytest.skip(f"dlib's weights: {dlib_detector.INSTALL}")
    find, random = load_detector(predictor_path()), np.random.default_rng(0)
    with zipfile.ZipFile(faces_folder / "lfw112.zip") as archive:
        names = sorted(name for name in archive.namelist() if name.endswith(".webp"))[::190]
        crops = [np.asarray(Image.open(io.BytesIO(archive.read(name))).convert("RGB")) for name in names]
    errors, differences = [], []
    for crop in crops:
        angle, scale = random.uniform(-0.25, 0.25), random.uniform(1.3, 3.0)
        there = scale * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
        shift = np.array([320, 300]) + random.uniform(-60, 60, 2) - there @ [55.5, 60]
        back = np.linalg.inv(there)
        coefficients = np.column_stack([back, 0.5 - back @ (shift + 0.5)]).ravel().tolist()
        picture = Image.new("RGB", (640, 600), (120, 110, 100))
        turned = (Image.Transform.AFFINE, coefficients, Image.Resampling.BICUBIC)
        face, mask = Image.fromarray(crop), Image.new("L", (112, 112), 255)
        picture.paste(face.transform(picture.size, *turned), mask=mask.transform(picture.size, *turned))
        points_52 = find(np.asarray(picture))
        if points_52 is None:
            continue
        errors.append(np.abs((points_52 - shift) @ back.T - TEMPLATE_52).mean())
        again = align(np.asarray(picture), points_52)[16:-16, 16:-16].astype(float)
        differences.append(np.abs(again - crop[16:-16, 16:-16]).mean())
    print(len(crops), len(errors), np.median(errors), np.max(errors), np.median(differences))
    assert len(crops) > 35 and len(errors) >= 0.9 * len(crops)
    assert np.median(errors) < 2.5 and np.quantile(errors, 0.9) < 4
