"""What the tests of the training stages share: people who are colour patterns, a config of nothing but small numbers, a run."""

import io
import json
from pathlib import Path

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from PIL import Image

from facemae_jax.chain import rules
from facemae_jax.chain import settings as files
from facemae_jax.chain.fingerprint import view
from facemae_jax.checkpoint import save_model
from facemae_jax.data.face_set_writer import FaceSetWriter
from facemae_jax.models import recognizer
from facemae_jax.models.iresnet import batch_norm, conv
from facemae_jax.stages.inputs import Input, Inputs
from facemae_jax.types import Record

SIZE, LENGTH = 16, 8


class TinyNet(nn.Module):
    """A recognizer that compiles in a second."""

    embedding: int
    dtype: jnp.dtype = jnp.float32
    dropout: float = 0.0

    @nn.compact
    def __call__(self, images_BHWC, train):
        x = nn.relu(batch_norm(train, self.dtype, "bn")(conv(4, 3, 2, self.dtype, "conv")(images_BHWC)))
        return nn.Dense(self.embedding, name="fc")(x.reshape(len(x), -1))


def settings(monkeypatch, **changes):
    """The base config, shrunk; ``section__field=value`` changes it. The network "tiny" is :class:`TinyNet`."""
    monkeypatch.setitem(recognizer.NETWORKS, "tiny", TinyNet)
    config = files.load("configs/base.py")
    config.data.image_size = SIZE
    optim = dict(epochs=1.0, batch=8, warmup=0.0, learning_rate=0.05, log_every=1, save_every=100)
    for part in (config.teacher, config.recognizer):
        part.update(dict(network="tiny", embedding=LENGTH))
        part.optim.update(optim)
    config.mae.update(dict(size="custom", width=16, depth=1, heads=2, patch=4))
    config.mae.update(dict(decoder_width=16, decoder_depth=1, decoder_heads=2))
    config.mae.optim.update(optim | dict(learning_rate=0.001))
    for field, value in changes.items():
        *sections, leaf = field.split("__")
        part = config
        for section in sections:
            part = part[section]
        part[leaf] = value
    return rules.resolve(config)


def write_faces(path, people=16, images=2, size=SIZE, seed=0):
    """A face set in ``path/faces``: image i of person n has the key "n/i"."""
    random = np.random.default_rng(seed)
    patterns = random.integers(30, 225, (people, size, size, 3))
    records = []
    for person in range(people):
        for number in range(images):
            noisy = patterns[person] + random.integers(-20, 20, (size, size, 3))
            file = io.BytesIO()
            Image.fromarray(noisy.astype(np.uint8)).save(file, "PNG")
            records.append(Record(file.getvalue(), person, f"{person}/{number}"))
    writer = FaceSetWriter(path / "faces" / "1.0.0", name="toy", image_size=size, encoding="png")
    writer.write_shard(0, records)
    writer.finish(len(records))
    return path


def run_stage(module, config, given, out, variant=""):
    """A stage with exactly the inputs and the fields that it declares."""
    assert set(given) == set(module.reads(config, variant)) | set(module.outside(config, variant))
    inputs = Inputs({name: x if isinstance(x, Input) else Input(Path(x)) for name, x in given.items()}, out.parent)
    out.mkdir(parents=True, exist_ok=True)
    return module.run(view(config, module, variant), inputs, out, variant)


def write_recognizer(path, seed=0, length=LENGTH, size=SIZE):
    """An untrained recognizer as a stage leaves it."""
    model = TinyNet(length)
    init = jax.jit(lambda key: model.init(key, jnp.zeros((1, size, size, 3)), train=False))
    variables = init(jax.random.key(seed))
    save_model(path / "model", variables, recognizer.described("tiny", length, "float32", 0.0, size))
    return variables


def metrics(out):
    return [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]


def handed_on(monkeypatch, stage):
    """What the stage hands on to the training of a recognizer, which has its own tests."""
    calls = []

    def note(config, section, faces, out, **more):
        calls.append(dict(seed=config.seed, section=section, faces=faces, out=out, **more))
        return {"noted": True}

    monkeypatch.setattr(stage, "train_recognizer", note)
    return calls
