"""dlib's network: a file in dlib's form with a small network in it, done again by hand in numpy; dlib itself where it is installed."""

import importlib.util
import io
import zipfile
from pathlib import Path

import jax
import numpy as np
import pytest
from PIL import Image

from facemae_jax.chain import rules, settings
from facemae_jax.data.face_set import open_face_set
from facemae_jax.data.face_set_writer import FaceSetWriter
from facemae_jax.embed import embed
from facemae_jax.mesh import make_mesh
from facemae_jax.models import dlib_judge, dlib_resnet
from facemae_jax.models.dlib_judge import chips, load_dlib, model_path
from facemae_jax.models.dlib_resnet import convolutions, describe, read_dlib
from facemae_jax.stages import judges
from facemae_jax.stages.inputs import Input, Inputs
from facemae_jax.types import FacemaeError, Record

# Small, with everything that the large one has: 35 → 17 → 8 pixels, then 3 beside 4, where dlib fills up with zeros.
BLOCKS, STEM = ((4, 1), (6, 2), (6, 2), (8, 2)), 4


@pytest.fixture
def small(monkeypatch):
    monkeypatch.setattr(dlib_resnet, "BLOCKS", BLOCKS)
    monkeypatch.setattr(dlib_resnet, "STEM", STEM)


def packed(*integers):
    raw = [value.to_bytes(8, "little").rstrip(b"\0") or b"\0" for value in integers]
    return b"".join(bytes([len(part)]) + part for part in raw)


def tagged(tag, values, *before):
    numbers = np.asarray(values, "<f4").ravel()
    return bytes([1, len(tag)]) + tag + packed(*before, 2, len(numbers), 1, 1, 1) + numbers.tobytes() + packed(0, 3, 3)


class Small:
    """Its weights, as dlib keeps them: (kernel FIHW, bias, gain, shift) of each convolution, and the last matrix."""

    def __init__(self, seed=0):
        random = np.random.default_rng(seed)
        shapes, inputs = [(STEM, 3, 7, 7)], STEM
        for filters, _ in BLOCKS:
            shapes += [(filters, inputs, 3, 3), (filters, filters, 3, 3)]
            inputs = filters
        self.layers = [
            (random.normal(size=shape) / np.sqrt(np.prod(shape[1:])), *random.uniform(-0.5, 1, (3, shape[0])))
            for shape in shapes
        ]
        self.head = random.normal(size=(inputs, 128))

    def write(self, path):
        parts = [packed(1), bytes([1, 13]) + b"loss_metric_2" + bytes([3, 10, 215, 163, 129, 28])]
        for kernel, bias, gain, shift in self.layers:
            parts.append(tagged(b"con_4", [*kernel.ravel(), *bias]) + tagged(b"affine_", [*gain, *shift]))
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"".join(parts) + tagged(b"fc_2", self.head, 128, len(self.head)))
        return path

    def describe(self, chips_BHWC):
        layers = iter(self.layers)

        def windows(x, size, stride):
            return np.lib.stride_tricks.sliding_window_view(x, (size, size), (1, 2))[:, ::stride, ::stride]

        def convolved(x, stride):
            kernel, bias, gain, shift = next(layers)
            around = 0 if stride > 1 else 1
            x = np.pad(x, ((0, 0), (around,) * 2, (around,) * 2, (0, 0)))
            return (np.einsum("bhwiyx,fiyx->bhwf", windows(x, kernel.shape[2], stride), kernel) + bias) * gain + shift

        x = (chips_BHWC - [122.782, 117.001, 104.298]) / 256
        x = windows(np.maximum(convolved(x, 2), 0), 3, 2).max((-2, -1))
        for _, stride in BLOCKS:
            inside = convolved(np.maximum(convolved(x, stride), 0), 1)
            beside = x if stride == 1 else windows(x, 2, 2).mean((-2, -1))
            x = np.zeros(np.maximum(inside.shape, beside.shape))
            for part in (inside, beside):
                x[tuple(slice(0, n) for n in part.shape)] += part
            x = np.maximum(x, 0)
        return x.mean((1, 2)) @ self.head


def bytes_of(count, size, seed=1):
    """Pictures with details of four pixels: a shift shows, and so does shrinking without antialiasing."""
    coarse = np.random.default_rng(seed).integers(0, 256, (count, size // 4, size // 4, 3), np.uint8)
    return np.stack([np.asarray(Image.fromarray(image).resize((size, size), Image.BICUBIC)) for image in coarse])


def units(images_BHWC):
    return images_BHWC.astype(np.float32) / 127.5 - 1


def test_the_same_numbers_as_by_hand(small, tmp_path):
    params = read_dlib(Small().write(tmp_path / "small.dat"))
    assert [kernel.shape for kernel in params["kernels"][:2]] == [(7, 7, 3, 4), (3, 3, 4, 4)]
    seen = bytes_of(2, 150).astype(np.float32)
    expected = Small().describe(seen.astype(np.float64))
    np.testing.assert_allclose(jax.jit(describe)(params, seen), expected, rtol=1e-4, atol=1e-5 * np.abs(expected).max())


def test_the_network_of_the_publication():
    layers = convolutions()
    assert len(layers) == 29
    numbers = sum((size * size * inputs + 3) * filters for size, inputs, filters in layers) + 256 * 128
    assert 0.999 < 4 * numbers / 22_466_066 < 1  # of the file: a few bytes of settings beside each layer's numbers


@pytest.mark.parametrize(
    "damage", [lambda data: data[:-700], lambda data: data.replace(b"affine_", b"bn_con_"), lambda _: b"\x01"]
)
def test_a_damaged_file_is_said(small, tmp_path, damage):
    path = Small().write(tmp_path / "small.dat")
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(FacemaeError, match="small.dat is not dlib's .* or is cut short: no (fc_2|affine_|con_4) of"):
        read_dlib(path)


@pytest.mark.parametrize("size", [112, 64, 320])
def test_chips_are_what_pillow_cuts(size):
    """The same box of the same image, its last rows repeated below; the edge of a shrunk chip is smoothed a little differently."""
    images = bytes_of(2, size)
    found = np.asarray(jax.jit(chips)(units(images)))
    assert found.shape == (2, 150, 150, 3) and found.dtype == np.float32
    box = np.array(
        [dlib_judge.LEFT, dlib_judge.TOP, dlib_judge.LEFT + dlib_judge.SIDE, dlib_judge.TOP + dlib_judge.SIDE]
    )
    below = size // 2
    for image, chip in zip(images, found, strict=True):
        larger = Image.fromarray(np.pad(image, ((0, below), (0, 0), (0, 0)), "edge"))
        np.testing.assert_allclose(chip, larger.resize((150, 150), Image.BILINEAR, tuple(box * size)), atol=1.6)


def test_the_eyes_of_the_one_template_lie_where_the_other_has_them():
    eyes = np.array([[38.29, 51.70], [73.53, 51.50]]) / 112
    on_chip = (eyes - [dlib_judge.LEFT, dlib_judge.TOP]) / dlib_judge.SIDE * 150
    # dlib's five points (corners of both eyes) with its padding of a quarter, in a chip of 150
    corners = np.array([[0.1206, 0.2137], [0.3341, 0.2291], [0.6461, 0.2290], [0.8596, 0.2135]])
    expected = (corners.reshape(2, 2, 2).mean(1) + 0.25) / 1.5 * 150
    np.testing.assert_allclose(on_chip, expected, atol=0.6)


@pytest.mark.slow
def test_embeds_in_order_on_one_device_and_on_eight(small, tmp_path):
    frozen = load_dlib(Small().write(tmp_path / "small.dat"))
    images = bytes_of(11, 112)
    writer = FaceSetWriter(tmp_path / "1.0.0", name="toy", image_size=112, encoding="png")

    def png(image):
        file = io.BytesIO()
        Image.fromarray(image).save(file, "PNG")
        return file.getvalue()

    writer.write_shard(0, [Record(png(image), i, f"key-{i:02d}") for i, image in enumerate(images)])
    writer.finish(len(images))
    faces = open_face_set(tmp_path / "1.0.0")
    expected = Small().describe(np.asarray(chips(units(images)), np.float64))
    expected /= np.linalg.norm(expected, axis=1, keepdims=True)
    for mesh in (make_mesh(devices=jax.devices()[:1]), make_mesh(4, 2)):
        found = embed(frozen, faces, batch=8, mesh=mesh)
        assert found.shape == (11, 128)
        np.testing.assert_allclose(found, expected, atol=2e-5)
    assert (frozen.name, frozen.embedding, frozen.image_size) == ("dlib", 128, None)


def test_digest_is_of_the_weights_and_of_the_part_that_is_looked_at(small, tmp_path, monkeypatch):
    path, other = Small().write(tmp_path / "a.dat"), Small(seed=1).write(tmp_path / "b.dat")
    found = {load_dlib(path).digest, load_dlib(Small().write(tmp_path / "c.dat")).digest}
    assert len(found) == 1
    found.add(load_dlib(other).digest)
    monkeypatch.setattr(dlib_judge, "SIDE", 0.8)
    assert len(found | {load_dlib(path).digest}) == 3


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A package that must not be imported, as the real one fails where pkg_resources is gone."""
    folder = tmp_path / "site" / "face_recognition_models"
    folder.mkdir(parents=True)
    (folder / "__init__.py").write_text("raise RuntimeError('imported')\n")
    monkeypatch.syspath_prepend(folder.parent)
    return folder


def config(*specs):
    c = settings.load("configs/base.py")
    c.audit.judges = specs
    return c


def test_a_judge_of_the_chain(small, package):
    path = Small().write(package / "models" / dlib_judge.MODEL.name)
    c = config("teacher", "dlib")
    rules.check(c)
    judge = judges.judges(c)[1]
    assert judge == judges.Judge("dlib", "", "judge-1")
    assert judges.outside(c) == {"judge-1": str(path)}  # so that its content is hashed
    frozen = judges.load_judge(c, judge, Inputs({"judge-1": Input(path)}, Path("/w")))
    assert judges.names([(judge, frozen)]) == ["dlib"]
    teacher = frozen._replace(digest="other", params={"w": np.ones(3)})
    assert judges.independence(judge, frozen, [teacher], mae_trained_here=True).independent
    assert not judges.independence(judge, frozen, [teacher], mae_trained_here=False).independent
    with pytest.raises(FacemaeError, match="audit.judges.*dlib:x.*choose one of the forms .*, dlib"):
        rules.check(config("dlib:x"))


def test_what_is_missing_is_said_before_any_work(package, monkeypatch):
    with pytest.raises(FacemaeError, match="without dlib_face_.*dat: install it again, pip install -r launch/req"):
        model_path()
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(
        FacemaeError, match="needs .* face-recognition-models, not installed here: pip install -r launch/req"
    ):
        judges.outside(config("dlib"))


def test_what_the_message_says_to_install_is_there(repository):
    file = repository / dlib_judge.INSTALL.split()[-1]
    assert "\nface-recognition-models" in file.read_text()


@pytest.fixture
def weights():
    if importlib.util.find_spec(dlib_judge.PACKAGE) is None:
        pytest.skip(f"dlib's weights: {dlib_judge.INSTALL}")
    return model_path()


@pytest.mark.slow
def test_the_same_numbers_as_dlib(weights):
    dlib = pytest.importorskip("dlib", reason=dlib_judge.INSTALL)
    model, seen = dlib.face_recognition_model_v1(str(weights)), bytes_of(4, 150)
    expected = np.array([model.compute_face_descriptor(image, 0) for image in seen])
    found = jax.jit(describe)(read_dlib(weights), seen.astype(np.float32))
    np.testing.assert_allclose(found, expected, atol=1e-5)


def picture(file):
    return np.asarray(Image.open(io.BytesIO(file)).convert("RGB"))


@pytest.mark.slow
@pytest.mark.faces
def test_it_tells_real_people_apart(weights, faces_folder):
    lines = [line.split() for line in (faces_folder / "lfw_pairs.txt").read_text().splitlines()[1:]]
    pairs = [line if len(line) == 4 else (line[0], line[1], line[0], line[2]) for line in lines[::30]]
    frozen, apply = load_dlib(weights), jax.jit(load_dlib(weights).apply)
    with zipfile.ZipFile(faces_folder / "lfw112.zip") as archive:
        sides = [
            np.stack([picture(archive.read(f"{name}/{name}_{int(number):04d}.webp")) for name, number in side])
            for side in ([pair[:2] for pair in pairs], [pair[2:] for pair in pairs])
        ]
    left, right = (np.asarray(apply(frozen.params, units(side))) for side in sides)
    cosines, same = (left * right).sum(1), np.array([len(line) == 3 for line in lines[::30]])
    accuracy = max(((cosines >= limit) == same).mean() for limit in cosines)
    assert len(pairs) == 200 and accuracy >= 0.97
