"""import-faces with landmarks and with a detector, and the colours of a red image by every way in."""

import io
import json
import zipfile
from collections import Counter

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from PIL import Image

from facemae_jax.chain.fingerprint import view
from facemae_jax.chain.settings import load
from facemae_jax.data.align import TEMPLATE_52, align
from facemae_jax.data.face_set import open_face_set
from facemae_jax.data.formats.verification_bin import write_bin
from facemae_jax.data.images import decode_record, encode_png
from facemae_jax.embed import embed
from facemae_jax.mesh import make_mesh
from facemae_jax.models.frozen import load_frozen
from facemae_jax.stages import import_faces
from facemae_jax.stages.inputs import Input, Inputs
from facemae_jax.types import FacemaeError

SIZE = 32
POINTS = TEMPLATE_52 * 1.2 + (20, 30)


def config(**fields):
    return load(
        "configs/base.py",
        [("data.image_size", str(SIZE)), *((f.replace("__", "."), str(v)) for f, v in fields.items())],
    )


def run(out, source, variant="faces", more=(), **fields):
    out.mkdir(exist_ok=True)
    inputs = Inputs({"source": Input(source, str(source)), **{name: Input(path) for name, path in more}}, out)
    import_faces.run(view(config(**fields), import_faces, variant), inputs, out, variant)
    return open_face_set(out / "faces"), json.loads((out / "report.json").read_text())


@pytest.fixture
def folder(tmp_path):
    """Two people with two pictures, bright where the face is."""
    for number, name in enumerate(("ann/1", "ann/2", "bob/1", "bob/2")):
        pixels = np.zeros((190, 170, 3), np.uint8)
        pixels[40:160, 30:140] = np.random.default_rng(number).integers(100, 200, (1, 1, 3))
        (tmp_path / "in" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "in" / f"{name}.png").write_bytes(encode_png(pixels))
    return tmp_path / "in"


def expected(folder, key):
    return align(np.asarray(Image.open(folder / key)), POINTS, SIZE).astype(float)


def test_faces_are_aligned_by_the_file_and_others_are_bad(folder, tmp_path):
    file = tmp_path / "points.csv"
    rows = [f"{name}.png,{','.join(map(str, POINTS.ravel()))}" for name in ("ann/1", "ann/2", "bob/1")]
    file.write_text("\n".join([f"path,{','.join(f'x{n},y{n}' for n in range(1, 6))}", *rows]))
    with pytest.raises(FacemaeError, match=r"bob/2\.png: points\.csv has no landmarks of it"):
        run(tmp_path / "first", folder, more=[("landmarks", file)])
    faces, report = run(tmp_path / "second", folder, more=[("landmarks", file)], data__on_bad_record="skip")
    assert faces.keys() == ["ann/1.png", "ann/2.png", "bob/1.png"]
    assert report["skipped"] == [{"file": "bob/2.png", "reason": "points.csv has no landmarks of it"}]
    for record in faces:
        assert np.abs(decode_record(record.image) - expected(folder, record.key)).mean() < 3
    plain, _ = run(tmp_path / "third", folder)
    assert np.abs(decode_record(plain[0].image) - expected(folder, "ann/1.png")).mean() > 10


def test_faces_are_found_by_a_detector(folder, tmp_path, monkeypatch):
    monkeypatch.setattr(
        import_faces, "load_detector", lambda path: lambda image: POINTS if image.sum(dtype=int) % 2 else None
    )
    for key in ("ann/1.png", "bob/1.png", "bob/2.png"):
        force_parity(folder / key, True)
    force_parity(folder / "ann/2.png", False)
    faces, report = run(tmp_path / "out", folder, more=[("detector", tmp_path)], data__on_bad_record="skip")
    assert report["skipped"] == [{"file": "ann/2.png", "reason": "no face was found in it"}]
    for record in faces:
        assert np.abs(decode_record(record.image) - expected(folder, record.key)).mean() < 3


def force_parity(path, odd):
    pixels = np.array(Image.open(path))
    pixels[0, 0, 0] ^= pixels.sum(dtype=int) % 2 != odd
    path.write_bytes(encode_png(pixels))


def test_what_aligns_is_an_input_of_the_faces_to_train_on_alone(monkeypatch):
    monkeypatch.setattr(import_faces, "predictor_path", lambda: "/weights.dat")
    parted = config(data__seen="/a", data__unseen="/b", data__landmarks="/p.csv", verify__protocols__lfw__faces="/c")
    assert import_faces.outside(parted, "seen") == {"source": "/a", "landmarks": "/p.csv"}
    assert import_faces.outside(parted, "unseen") == {"source": "/b", "landmarks": "/p.csv"}
    assert import_faces.outside(parted, "verify") == {"source": "synthetic"}
    assert import_faces.outside(parted, "verify@lfw") == {"source": "/c"}
    found = config(data__unseen="/b", data__detect="dlib")
    assert import_faces.outside(found, "seen") == {"source": "synthetic"}  # rendered faces are aligned
    assert import_faces.outside(found, "unseen") == {"source": "/b", "detector": "/weights.dat"}


def encoded(kind, mode="RGB", colour=(255, 0, 0), **options):
    file = io.BytesIO()
    Image.new("RGB", (SIZE, SIZE), colour).convert(mode).save(file, kind, **options)
    return file.getvalue()


REDS = {
    "jpg": encoded("JPEG", quality=95, subsampling=0),
    "png": encoded("PNG"),
    "webp": encoded("WEBP", lossless=True),
    "bmp": encoded("BMP"),
    "jpeg": encoded("JPEG", "CMYK", quality=95),
}


def red_folder(path):
    for person in "ab":
        (path / person).mkdir(parents=True)
        for ending, data in REDS.items():
            (path / person / f"1.{ending}").write_bytes(data)
    return path, {}


def red_zip(path):
    with zipfile.ZipFile(path.with_suffix(".zip"), "w") as archive:
        for person in "ab":
            for ending, data in REDS.items():
                archive.writestr(f"{person}/1.{ending}", data)
    return path.with_suffix(".zip"), {}


def red_bin(path):
    write_bin(path.with_suffix(".bin"), [*REDS.values(), encoded("PNG", colour=(254, 0, 0))], [True, True, False])
    return path.with_suffix(".bin"), {"variant": "verify"}


def red_face_set(path):
    run(path, red_folder(path / "source")[0])
    return path / "faces", {}


def red_aligned(path):
    folder, _ = red_folder(path)
    file = path.parent / "points.txt"
    points = " ".join(map(str, (TEMPLATE_52 * SIZE / 112).ravel()))
    file.write_text("".join(f"{person}/1.{ending} {points}\n" for person in "ab" for ending in REDS))
    return folder, {"more": [("landmarks", file)]}


class RedPixels:
    """A source of pixels, such as the renderer."""

    keys, ignored = [f"{person}/{n}" for person in "ab" for n in range(2)], Counter()

    def identity(self, position):
        return self.keys[position][0]

    def read(self, position):
        return np.full((SIZE, SIZE, 3), (255, 0, 0), np.uint8)

    def close(self):
        pass


@pytest.fixture(scope="module")
def means(tmp_path_factory):
    """An ONNX recognizer that tells the mean of its three inputs."""
    path = tmp_path_factory.mktemp("means") / "means.onnx"
    nodes = [helper.make_node("GlobalAveragePool", ["x"], ["a"]), helper.make_node("Flatten", ["a"], ["y"])]
    values = [
        helper.make_tensor_value_info(n, TensorProto.FLOAT, s)
        for n, s in (("x", ["n", 3, SIZE, SIZE]), ("y", ["n", 3]))
    ]
    graph = helper.make_graph(nodes, "means", values[:1], values[1:])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8), path)
    return path


@pytest.mark.parametrize("way", [red_folder, red_zip, red_bin, red_face_set, red_aligned, RedPixels])
def test_red_stays_red(tmp_path, monkeypatch, means, way):
    """Through the import into the records, and through the records into a judge that reads red, green, blue in 0…255, or the reverse."""
    place, how = (tmp_path, {}) if way is RedPixels else way(tmp_path / "red")
    if way is RedPixels:
        monkeypatch.setattr(import_faces, "open_source", lambda path: RedPixels())
    faces, _ = run(tmp_path / "out", place, **how)
    assert len(faces) >= 4
    for record in faces:
        inside_HWC = decode_record(record.image)[8:-8, 8:-8].astype(int)
        assert np.abs(inside_HWC - (255, 0, 0)).max() < 6, record.key
    if way is red_folder:
        for order, fed in (("rgb", [1, 0, 0]), ("bgr", [0, 0, 1])):
            judge = load_frozen(f"onnx:{means}", input_range="bytes", colour_order=order)
            found = embed(judge, faces, batch=8, mesh=make_mesh(devices=None), threads=1)
            np.testing.assert_allclose(found, [fed] * len(faces), atol=0.03)
