"""A toy release that judges partly find, for the tests of its leakage budget: real pixels pasted into the paint of an untrained MAE."""

import json
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from facemae_jax.chain import settings as files
from facemae_jax.chain.fingerprint import view
from facemae_jax.checkpoint import save_model
from facemae_jax.data.face_set import FaceSetWriter, open_face_set
from facemae_jax.data.images import decode_record, encode_png
from facemae_jax.data.synthetic import render
from facemae_jax.export.release import read_or_make_secret
from facemae_jax.models.frozen import Frozen
from facemae_jax.models.mae import Mae, MaeConfig
from facemae_jax.stages import audit, reconstruct
from facemae_jax.stages.inputs import SHARED, Input, Inputs
from facemae_jax.train.mae_task import MaeLoss
from facemae_jax.types import Record

SIZE, PEOPLE, IMAGES, VISIBLE = 32, 12, 4, 10
MAE = MaeConfig(SIZE, 8, VISIBLE, 32, 1, 2, 16, 1, 2)
JUDGES = ("teacher", "recognizer:original")
SEEDS = {"teacher": 0, "recognizer:original": 1}


def toy_frozen(source, **_):
    name = Path(source.partition(":")[2]).name  # not the whole path, which differs from run to run
    weights = np.random.default_rng(SEEDS[name]).normal(size=(SIZE * SIZE * 3, 16)).astype(np.float32)
    return Frozen({"w": weights}, embedding, SIZE, 16, f"digest {name}", "toy")


def embedding(params, images_BHWC):
    rows_BE = images_BHWC.reshape(len(images_BHWC), -1) @ params["w"]
    return rows_BE / jnp.linalg.norm(rows_BE, axis=-1, keepdims=True)


def settings(**changes):
    config = files.load("configs/base.py")
    config.data.update(image_size=SIZE, seen="synthetic", seen_share=0.0)
    config.mae.update(patch=8, visible=VISIBLE)
    config.reconstruct.update(batch=4, composition="paste", encoding="png")
    config.audit.update(judges=JUDGES, variants=("original", "reconstruction"), attacks=(), batch=24)
    config.publish.update(name="toy", formats=("array_record",), allow_real_pixels=True)
    config.verify.faces = ""
    for field, value in changes.items():
        *sections, leaf = field.split("__")
        part = config
        for section in sections:
            part = part[section]
        part[leaf] = value
    return config


def made(world, module, name, audited="audit-0", painted="reconstruct-0", **changes):
    """Run a stage of this world; gives its directory."""
    config = settings(**changes)
    given = {"faces": Input(world / "import", SHARED), "reconstruct": Input(world / painted)}
    given |= {"secret": Input(world / "secret"), "audit": Input(world / audited)}
    given |= {name: Input(world / name) for name in ("mae", *JUDGES)}
    asked = set(module.reads(config, "")) | set(module.outside(config, ""))
    out = world / name
    out.mkdir(parents=True, exist_ok=True)
    module.run(view(config, module, ""), Inputs({name: given[name] for name in asked}, world), out, "")
    return out


def build(path):
    """Faces, an untrained MAE, its reconstruction and the audit of it; the judges are toys."""
    writer = FaceSetWriter(path / "import" / "faces" / "1.0.0", name="faces", image_size=SIZE, encoding="png")
    shown = [(n, i) for n in range(PEOPLE) for i in range(IMAGES)]
    writer.write_shard(0, [Record(encode_png(render(n, i, seed=0, size=SIZE)), n, f"p{n}/{i}.png") for n, i in shown])
    writer.finish(len(shown))
    images, visible_BV = jnp.zeros((1, SIZE, SIZE, 3)), jnp.arange(VISIBLE, dtype=jnp.int32)[None]
    described = MAE.to_dict() | MaeLoss()._asdict() | dict(kind="mae")
    save_model(path / "mae" / "model", jax.jit(Mae(MAE).init)(jax.random.key(0), images, visible_BV), described)
    read_or_make_secret(path / "secret")
    (path / "secret").write_bytes(bytes(range(32)))  # the same figures in every run of these tests
    made(path, reconstruct, "reconstruct-0")
    made(path, audit, "audit-0")
    return path


def budget(**fields):
    return {f"publish__budget__{name}": value for name, value in (dict(figure="same_image") | fields).items()}


def version(out):
    return out / "release" / "toy" / "1.0.0"


def records(out):
    return {record.key: record for record in open_face_set(version(out))}


def first_painted(world):
    return {record.key: record for record in open_face_set(world / "reconstruct-0" / "faces")}


def told(out):
    return json.loads((version(out) / "metadata.json").read_text())["budget"]


def look(world, faces, judge, figure="same_image"):
    """Whether a judge finds each image of a release, and its margin: by hand, with plain sorting."""
    originals = open_face_set(world / "import" / "faces")
    keys = open_face_set(world / "reconstruct-0" / "faces").keys()
    sources_n = np.load(world / "reconstruct-0" / "private.npz")["source_positions_n"]
    source_of = dict(zip(keys, sources_n, strict=True))
    frozen = toy_frozen(f"checkpoint:{world / judge}")

    def embedded(records):
        images = np.stack([decode_record(record.image, record.key) for record in records])
        return np.asarray(frozen.apply(frozen.params, jnp.asarray(images / 127.5 - 1, jnp.float32)))

    found, margin = [], []
    scores_nG = embedded(faces.values()) @ embedded(list(originals)).T
    for key, scores_G in zip(faces, scores_nG, strict=True):
        own_G = np.arange(len(originals)) == source_of[key]
        right_G = own_G
        if figure == "same_identity":
            right_G = (originals.labels_n == originals.labels_n[source_of[key]]) & ~own_G
        others_G = ~right_G & ~own_G
        found.append(right_G[np.argmax(np.where(own_G & ~right_G, -2, scores_G))])
        margin.append(scores_G[right_G].max() - scores_G[others_G].max())
    return np.array(found), np.array(margin)


def rank_1(world, faces, judge, figure="same_image"):
    """The share of images that a judge finds."""
    return look(world, faces, judge, figure)[0].mean()
