"""What the tests of ``verify`` share: people who are colour patterns, recognizers that see or are blind, a run."""

import io
import json
import zlib
from pathlib import Path

import jax.numpy as jnp
import numpy as np
from PIL import Image

from facemae_jax.chain import settings as files
from facemae_jax.chain.fingerprint import view
from facemae_jax.data.face_set_writer import FaceSetWriter
from facemae_jax.models.frozen import Frozen
from facemae_jax.stages import judges, teachers, verify
from facemae_jax.stages.inputs import Input, Inputs
from facemae_jax.types import Record

SIZE, LENGTH, PEOPLE, IMAGES = 16, 8, 12, 5


def png(image_HWC):
    file = io.BytesIO()
    Image.fromarray(image_HWC).save(file, "PNG")
    return file.getvalue()


def write_faces(path, spread=20.0, names=None, seed=0):
    """A face set of people who are colour patterns; ``spread`` grey levels of noise per image."""
    random = np.random.default_rng(seed)
    patterns = random.uniform(30, 225, (PEOPLE, SIZE, SIZE, 3))
    records = []
    for person in range(PEOPLE):
        for number in range(IMAGES):
            image = patterns[person] + random.normal(scale=spread, size=(SIZE, SIZE, 3))
            key = f"{names[person]}/{names[person]}_{number + 1:04d}.png" if names else f"p{person:02d}/{number}"
            records.append(Record(png(image.clip(0, 255).astype(np.uint8)), person, key))
    writer = FaceSetWriter(path / "faces" / "1.0.0", name="toy", image_size=SIZE, encoding="png")
    writer.write_shard(0, records)
    writer.finish(len(records))


def toy_frozen(source, *, input_range="unit", colour_order="rgb"):
    """A linear recognizer whose weights follow from the last part of its path; ``blind`` ones see nothing."""
    name = Path(source.partition(":")[2]).name
    random = np.random.default_rng(zlib.crc32(name.encode()))
    weights = random.normal(size=(SIZE * SIZE * 3, LENGTH)).astype(np.float32)
    params = {"w": weights, "see": np.float32("blind" not in name)}
    return Frozen(params, apply, SIZE, LENGTH, f"digest of {name}, {input_range}, {colour_order}", name)


def apply(params, images_BHWC):
    images_BHWC = images_BHWC - images_BHWC.mean(axis=(1, 2), keepdims=True)
    rows_BP = images_BHWC.reshape(len(images_BHWC), -1)
    # A blind recognizer answers to the last bits of the picture alone.
    noise_BP = jnp.sin(1e4 * rows_BP)
    embeddings_BE = jnp.where(params["see"] > 0, rows_BP, noise_BP) @ params["w"]
    return embeddings_BE / jnp.linalg.norm(embeddings_BE, axis=-1, keepdims=True)


def settings(**changes):
    config = files.load("configs/base.py")
    config.data.image_size = SIZE
    config.verify.update(count=200, folds=5, batch=16)
    config.recognizer.variants = ("original", "mask", "reconstruction")
    for field, value in changes.items():
        section, _, leaf = field.partition("_")
        config[section][leaf] = value
    return config


def stage(config, inputs, tmp_path):
    out = tmp_path / "verify-00000000"
    out.mkdir(exist_ok=True)
    given = {"faces": Input(tmp_path / "import-faces", "verify")} | inputs
    declared = set(verify.reads(config, "")) | set(verify.outside(config, ""))
    assert set(given) == declared
    summary = verify.run(view(config, verify, ""), Inputs(given, tmp_path), out, "")
    return summary, json.loads((out / "verify.json").read_text())


def make_world(tmp_path, monkeypatch):
    """The folder, and the inputs of a chain: evaluation faces, three recognizers of which ``mask`` is blind, a teacher."""
    for module in (verify, judges, teachers):
        monkeypatch.setattr(module, "load_frozen", toy_frozen)
    write_faces(tmp_path / "import-faces")
    models = ("original", "blind-mask", "reconstruction")
    variants = ("original", "mask", "reconstruction")
    found = {f"recognizer:{v}": Input(tmp_path / model, v) for v, model in zip(variants, models, strict=True)}
    return tmp_path, found | {"teacher": Input(tmp_path / "teacher", "")}
