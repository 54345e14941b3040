import io
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.experimental import multihost_utils
from PIL import Image
from two_processes import as_two

from facemae_jax import embed as module
from facemae_jax.data.face_set import open_face_set
from facemae_jax.data.face_set_writer import FaceSetWriter
from facemae_jax.embed import cache_name, embed
from facemae_jax.mesh import make_mesh
from facemae_jax.models.frozen import Frozen
from facemae_jax.types import FacemaeError, Record

SIZE, LENGTH = 16, 5


def weights(seed=0):
    return {"w": np.random.default_rng(seed).normal(size=(SIZE * SIZE * 3, LENGTH)).astype(np.float32)}


def apply(params, images_BHWC):
    embeddings_BE = images_BHWC.reshape(len(images_BHWC), -1) @ params["w"]
    return embeddings_BE / jnp.linalg.norm(embeddings_BE, axis=-1, keepdims=True)


def frozen(seed=0):
    return Frozen(weights(seed), apply, SIZE, LENGTH, f"digest-{seed}", "toy")


def by_hand(images_nHWC, seed=0):
    rows = images_nHWC.reshape(len(images_nHWC), -1).astype(np.float64) / 127.5 - 1
    embeddings = rows @ weights(seed)["w"]
    return embeddings / np.linalg.norm(embeddings, axis=1, keepdims=True)


def png(image_HWC):
    file = io.BytesIO()
    Image.fromarray(image_HWC).save(file, "PNG")
    return file.getvalue()


@pytest.fixture(scope="module")
def images():
    return np.random.default_rng(7).integers(0, 256, (21, SIZE, SIZE, 3), dtype=np.uint8)


@pytest.fixture(scope="module")
def faces(images, tmp_path_factory):
    path = tmp_path_factory.mktemp("faces") / "1.0.0"
    writer = FaceSetWriter(path, name="toy", image_size=SIZE, encoding="png")
    writer.write_shard(0, [Record(png(image), i % 3, f"key-{i:02d}") for i, image in enumerate(images)])
    writer.finish(len(images))
    return open_face_set(path)


@pytest.fixture(scope="module")
def mesh():
    return make_mesh()


def test_equals_embedding_by_hand(faces, images, mesh):
    embeddings_nE = embed(frozen(), faces, batch=8, mesh=mesh)  # 21 records: the last step holds three of padding
    assert embeddings_nE.dtype == np.float32 and embeddings_nE.shape == (21, LENGTH)
    np.testing.assert_allclose(embeddings_nE, by_hand(images), atol=1e-5)


def test_mirror_images_are_summed_and_brought_to_unit_norm(faces, images, mesh):
    embeddings_nE = embed(frozen(), faces, batch=8, mesh=mesh, flip=True)
    both = by_hand(images) + by_hand(images[:, :, ::-1])
    np.testing.assert_allclose(embeddings_nE, both / np.linalg.norm(both, axis=1, keepdims=True), atol=1e-5)


def test_a_transform_sees_image_and_key(faces, images, mesh):
    class Grey:
        def __call__(self, image_HWC, key):
            return np.full_like(image_HWC, 10 * int(key[-2:]) + 7)

        def __repr__(self):
            return "Grey()"

    expected = np.stack([np.full_like(image, 10 * i + 7) for i, image in enumerate(images)])
    np.testing.assert_allclose(
        embed(frozen(), faces, batch=8, mesh=mesh, transform=Grey()), by_hand(expected), atol=1e-5
    )


def test_a_subset_is_embedded_in_its_own_order(faces, images, mesh):
    chosen = np.array([17, 2, 9])
    embeddings_nE = embed(frozen(), faces.subset(chosen), batch=8, mesh=mesh)
    np.testing.assert_allclose(embeddings_nE, by_hand(images[chosen]), atol=1e-5)


def test_devices_and_batches_do_not_matter(faces, mesh):
    one = embed(frozen(), faces, batch=21, mesh=make_mesh(devices=jax.devices()[:1]))
    for batch, layout in ((8, mesh), (16, make_mesh(4, 2)), (24, mesh)):
        np.testing.assert_allclose(embed(frozen(), faces, batch=batch, mesh=layout), one, atol=1e-6)


def test_cached_by_content(faces, mesh, tmp_path, monkeypatch):
    first = embed(frozen(), faces, batch=8, mesh=mesh, cache_dir=tmp_path / "cache")
    files = list((tmp_path / "cache").iterdir())
    assert len(files) == 1 and files[0].suffix == ".npy"

    def never(*_, **__):
        raise AssertionError("computed again")

    with monkeypatch.context() as patch:
        patch.setattr(module, "eval_batches", never)
        again = embed(frozen(), faces, batch=16, mesh=mesh, cache_dir=tmp_path / "cache")
        np.testing.assert_array_equal(first, again)
        for change in (dict(flip=True), dict(transform=lambda image, key: image)):
            with pytest.raises(AssertionError, match="computed again"):
                embed(frozen(), faces, batch=8, mesh=mesh, cache_dir=tmp_path / "cache", **change)
        for other, records in ((frozen(1), faces), (frozen(), faces.subset(np.arange(21)[::-1]))):
            with pytest.raises(AssertionError, match="computed again"):
                embed(other, records, batch=8, mesh=mesh, cache_dir=tmp_path / "cache")


def test_names_differ_with_everything_they_depend_on():
    def name(weights="w", records="r", flip=False, transform=None):
        return cache_name(
            SimpleNamespace(digest=weights), SimpleNamespace(digest=records), flip=flip, transform=transform
        )

    names = [name(), name(weights="v"), name(records="s"), name(flip=True), name(transform=1), name(transform=2)]
    assert len(set(names)) == len(names)
    assert name(weights="a", records="bc") != name(weights="ab", records="c")


@pytest.mark.parametrize("damage", ["truncated", "other shape", "text"])
def test_a_damaged_cache_is_told_about_and_made_anew(faces, mesh, tmp_path, capsys, damage):
    first = embed(frozen(), faces, batch=8, mesh=mesh, cache_dir=tmp_path)
    (file,) = tmp_path.iterdir()
    if damage == "truncated":
        file.write_bytes(file.read_bytes()[:-40])
    elif damage == "text":
        file.write_text("no array")
    else:
        np.save(file, first[:3])
    np.testing.assert_array_equal(embed(frozen(), faces, batch=8, mesh=mesh, cache_dir=tmp_path), first)
    assert "computed again" in capsys.readouterr().err
    np.testing.assert_array_equal(np.load(file), first)


def test_an_interrupted_write_leaves_nothing(faces, mesh, tmp_path, monkeypatch):
    def full(file, array):
        file.write(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(module.np, "save", full)
    with pytest.raises(OSError, match="No space"):
        embed(frozen(), faces, batch=8, mesh=mesh, cache_dir=tmp_path)
    assert not list(tmp_path.iterdir())


def test_compiled_once_per_recognizer(faces, mesh):
    traces = []

    def counted(params, images_BHWC):
        traces.append(images_BHWC.shape)
        return apply(params, images_BHWC)

    for seed in (0, 1, 0):
        embed(frozen(seed)._replace(apply=counted), faces, batch=8, mesh=mesh)
    assert traces == [(8, SIZE, SIZE, 3)]


def test_a_recognizer_that_gives_nan_is_named_and_not_cached(faces, mesh, tmp_path):
    broken = frozen()._replace(params={"w": weights()["w"] * np.nan})
    with pytest.raises(FacemaeError, match="toy gave embeddings with NaN or infinity for 21 of 21 images"):
        embed(broken, faces, batch=8, mesh=mesh, cache_dir=tmp_path)
    assert not list(tmp_path.iterdir())


class Counted:
    """A face set that tells which records were opened."""

    def __init__(self, faces):
        self.faces, self.opened = faces, []
        self.image_size, self.path = faces.image_size, faces.path

    def __len__(self):
        return len(self.faces)

    def __getitem__(self, position):
        self.opened.append(position)
        return self.faces[position]


def test_a_process_opens_its_own_records_and_has_the_embeddings_of_all(faces, images, monkeypatch):
    mesh = make_mesh(
        1, 1, jax.devices()[:1]
    )  # programs of one device, for those of two threads must not wait for each other
    real, parts = module.put_batch, [Counted(faces), Counted(faces)]

    def put_both(mesh, mine):
        """The rows of both, as the devices of both would hold them; each process brings half a batch."""
        assert all(len(rows) == 4 for rows in mine)
        both = [multihost_utils.process_allgather(rows) for rows in mine]
        return real(mesh, tuple(rows.reshape(-1, *rows.shape[2:]) for rows in both))

    monkeypatch.setattr(module, "put_batch", put_both)
    for found in as_two(
        monkeypatch, lambda number: embed(frozen(), parts[number], batch=8, mesh=mesh, threads=0)
    ):  # fmt: skip
        np.testing.assert_allclose(found, by_hand(images), atol=1e-5)
    # Of 21 records in batches of 8, the first takes rows 0 to 3 of each: the last batch holds five.
    assert parts[0].opened == [0, 1, 2, 3, 8, 9, 10, 11, 16, 17, 18, 19]
    assert parts[1].opened == [4, 5, 6, 7, 12, 13, 14, 15, 20]
