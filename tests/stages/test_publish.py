import json
import os
import subprocess
import sys
import unicodedata
from pathlib import Path
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from facemae_jax.chain import settings as files
from facemae_jax.chain.fingerprint import view
from facemae_jax.checkpoint import save_model
from facemae_jax.data.face_set import FaceSetWriter, open_face_set
from facemae_jax.data.images import encode_jpeg
from facemae_jax.data.synthetic import render
from facemae_jax.export.release import read_or_make_secret, release_key, sealed
from facemae_jax.metrics.verification import verification
from facemae_jax.models.frozen import Frozen
from facemae_jax.models.mae import Mae, MaeConfig
from facemae_jax.stages import audit, judges, publish, reconstruct, teachers
from facemae_jax.stages.inputs import SHARED, Input, Inputs, Ref
from facemae_jax.train.mae_task import MaeLoss
from facemae_jax.types import FacemaeError, Record

SIZE, IMAGES, SHARD = 32, 3, 5
MAE = MaeConfig(SIZE, 8, 4, 32, 1, 2, 16, 1, 2)
# Names of several scripts, one that every card holds as a word, one number; all in one folder.
PEOPLE = ("Ada_Lovelace", "Mask", "José Núñez", "李小龍", "Grace_Hopper", "0042")
NAMES = [f"images/{name}" for name in PEOPLE]
PLACE = "/srv/private-faces/celebrities.zip"


def toy_frozen(source, **_):
    weights = np.random.default_rng(len(source)).normal(size=(SIZE * SIZE * 3, 8)).astype(np.float32)
    return Frozen({"w": weights}, embedding, SIZE, 8, f"digest {len(source)}", "toy")


def embedding(params, images_BHWC):
    rows_BE = images_BHWC.reshape(len(images_BHWC), -1) @ params["w"]
    return rows_BE / jnp.linalg.norm(rows_BE, axis=-1, keepdims=True)


def settings(**changes):
    config = files.load("configs/base.py")
    config.data.update(image_size=SIZE, seen=PLACE, terms="For research alone.", seen_share=0.0)
    config.mae.update(patch=8, visible=4)
    config.reconstruct.update(batch=1, shard_records=SHARD)
    config.audit.update(judges=("teacher", "recognizer:original"), variants=("original", "reconstruction"), batch=24)
    config.audit.attacks = ()
    config.publish.update(name="toy_release", version="2.0.1", description="Painted faces.")
    for field, value in changes.items():
        section, _, leaf = field.partition("_")
        config[section][leaf] = value
    return config


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """Faces of people with names, and all that a release is made from: by the stages themselves."""
    path = tmp_path_factory.mktemp("world")
    people = [
        Record(encode_jpeg(render(n, i, seed=0, size=SIZE), 95), n, f"{name}/{i}.jpg")
        for n, name in enumerate(NAMES)
        for i in range(IMAGES)
    ]
    writer = FaceSetWriter(path / "import" / "faces" / "1.0.0", name="faces", image_size=SIZE, identity_names=NAMES)
    writer.write_shard(0, people[:-1])  # the last person has an image less
    writer.finish(len(people) - 1)
    images, visible_BV = jnp.zeros((1, SIZE, SIZE, 3)), jnp.arange(4, dtype=jnp.int32)[None]
    described = MAE.to_dict() | MaeLoss(irm_weight=2.0)._asdict() | dict(kind="mae")
    save_model(path / "mae" / "model", jax.jit(Mae(MAE).init)(jax.random.key(0), images, visible_BV), described)
    read_or_make_secret(path / "secret")
    for composition in ("full", "paste"):
        made(path, reconstruct, f"reconstruct-{composition}", reconstruct_composition=composition)
    with pytest.MonkeyPatch.context() as patch:
        for module in (judges, teachers):
            patch.setattr(module, "load_frozen", toy_frozen)
        made(path, audit, "audit-0")
    same, fold, random = np.tile([True, False], 60), np.repeat(np.arange(3), 40), np.random.default_rng(0)
    rows = [
        dict(name=name, kind="recognizer") | verification(same + random.normal(scale=scale, size=120), same, fold)
        for name, scale in (("original", 0.5), ("reconstruction", 1.0))
    ]
    (path / "verify-0").mkdir()
    (path / "verify-0" / "verify.json").write_text(json.dumps(dict(protocol=dict(count=120, folds=3), rows=rows)))
    return path


def made(world, module, name, *, secret="secret", composition="full", **changes):
    """Run a stage of this world; gives its directory."""
    config = settings(**changes)
    given = {"faces": Input(world / "import", SHARED), "reconstruct": Input(world / f"reconstruct-{composition}")}
    given |= {"secret": Input(world / secret), "audit": Input(world / "audit-0"), "verify": Input(world / "verify-0")}
    given |= {name: Input(world / name) for name in ("mae", "teacher", "recognizer:original")}
    asked = set(module.reads(config, "")) | set(module.outside(config, ""))
    out = world / name
    out.mkdir(parents=True, exist_ok=True)
    module.run(view(config, module, ""), Inputs({name: given[name] for name in asked}, world), out, "")
    return out


@pytest.fixture(scope="module")
def released(world):
    return made(world, publish, "publish-0")


def version(out):
    return out / "release" / "toy_release" / "2.0.1"


def content(folder):
    return {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


def metadata(out):
    return json.loads((version(out) / "metadata.json").read_text())


def test_the_release_holds_the_reconstruction_and_its_description(world, released):
    records, painted = open_face_set(version(released)), open_face_set(world / "reconstruct-full" / "faces")
    assert list(records) == list(painted) and len(records) == 17
    shards = [f"toy_release-train.{kind}-{n:05d}-of-00004" for kind in ("array_record", "tfrecord") for n in range(4)]
    described = ["card.md", "dataset_info.json", "features.json", "metadata.json"]
    assert sorted(content(released)) == [f"release/toy_release/2.0.1/{name}" for name in described + shards]


def test_no_byte_of_the_release_tells_of_the_source(world, released):
    """Names, keys and paths, as text or inside the records of both formats; in any case and Unicode form."""
    secret = (world / "secret").read_bytes()
    hidden = {*PEOPLE, *open_face_set(world / "import" / "faces").keys(), "Ada Lovelace", "images/"} - {"Mask", "0042"}
    hidden |= {str(world), PLACE, "celebrities", "private-faces", "reconstruct-full"}
    hidden |= {secret.hex(), release_key(secret, "release-1").hex()}
    forms = {unicodedata.normalize(form, text) for text in hidden for form in ("NFC", "NFD")}
    forms |= {json.dumps(text)[1:-1] for text in forms}  # as JSON may escape them
    everything = content(released)
    for name, data in everything.items():
        where = name.encode().lower() + data.lower()
        assert not [text for text in forms if text.encode().lower() in where] and secret not in data, name
    # The search sees into the records: the released keys and images stand there in plain bytes, in either format.
    for kind in ("array_record", "tfrecord"):
        packed = b"".join(data for name, data in everything.items() if f"train.{kind}" in name)
        for record in open_face_set(version(released)):
            assert record.key.encode() in packed and record.image in packed
            assert not any(mark in record.image for mark in (b"Exif", b"http", b"\xff\xfe"))  # pixels, and no comment


def test_metadata_tell_how_it_was_made(world, released):
    found = metadata(released)
    assert found["composition"] == "full" and found["mask_ratio"] == 0.75 and found["real_pixel_share"] == 0.0
    assert (found["visible_patches"], found["patches"], found["people_behind_a_face"]) == (4, 16, 1)
    assert (found["images"], found["identities"]) == (17, 6)
    assert found["images_per_identity"] == dict(min=2, median=3.0, max=3)
    assert found["loss_weights"] == "pixel 1, irm 2, feature 0, unlink 0, shift 0; relations: cosine, group 0"
    assert found["model"] == "encoder 1 × 32, decoder 1 × 16" and found["terms"] == "For research alone."
    assert set(found["software"]) == {"jax", "flax", "optax", "numpy", "simplejpeg"}
    assert found["software"]["jax"] == jax.__version__
    measured = json.loads((world / "audit-0" / "audit.json").read_text())
    assert (found["audit"]["queries"], found["audit"]["gallery"]) == (17, 17)
    for told, judge in zip(found["audit"]["judges"], measured["judges"], strict=True):
        assert all(told[field] == judge[field] for field in ("name", "independent", "reason"))
        for row in told["rows"]:
            attack = judge["variants"][row["variant"]]
            assert row["same_image"] == attack["retrieval"]["same_image"]["rank"]["1"]
            assert row["same_identity"] == attack["retrieval"]["same_identity"]["rank"]["1"]
            assert row["tar_at_far"] == attack["matching"]["tar_at_far"]
    assert [judge["independent"] for judge in found["audit"]["judges"]] == [False, True]
    assert "iresnet18, 60 epochs, batch 256, learning rate 0.1" in found["utility"]["recipe"]
    assert [row["name"] for row in found["utility"]["rows"]] == ["original", "reconstruction"]  # the real-data control


def test_the_card_says_the_same(released):
    text, found = (version(released) / "card.md").read_text(), metadata(released)
    for words in (
        "# toy_release 2.0.1", "Painted faces.", "17 images of 6 people (2 to 3 each, median 3)", "No pixel is copied",
        "4 of 16 patches of 8 pixels visible", "- composition: full", "- people behind a face: 1, the person",
        found["loss_weights"], found["model"], "32×32 RGB, jpeg quality 95",
        "teacher | no | reconstruction", "recognizer:original | yes | reconstruction", found["utility"]["recipe"], "real-data control",
        "For research alone.", f"jax {jax.__version__}", "number of people (6)",
    ):  # fmt: skip
        assert words in text, words


def test_the_fingerprint_is_sealed(world, released):
    assert metadata(released)["sealed_fingerprint"] == sealed((world / "secret").read_bytes(), "reconstruct-full")
    read_or_make_secret(world / "secret-2")
    other = made(world, publish, "publish-secret", secret="secret-2")
    one, two = metadata(released), metadata(other)
    assert one.pop("sealed_fingerprint") != two.pop("sealed_fingerprint") and one == two


def test_twice_the_same_bytes(world, released):
    assert content(made(world, publish, "elsewhere/publish-1")) == content(released)


def test_no_weights_are_restored(world, released, monkeypatch):
    """All processes restore together, and the first publishes alone: it would wait for ever."""

    def restored(model):
        pytest.fail(f"the weights in {model} were restored")

    monkeypatch.setattr("facemae_jax.checkpoint.weights._read_weights", restored)
    assert metadata(made(world, publish, "elsewhere/publish-2")) == metadata(released)


class Killed(BaseException):
    """As a signal: nothing in the code handles it."""


@pytest.mark.parametrize(("last", "rest"), [("00002.tfrecord", [2, 3]), ("card.md", [0, 1, 2, 3])])
def test_a_killed_publication_goes_on_to_the_same_bytes(world, released, monkeypatch, last, rest):
    """Between two shards; or when the face set is whole and its card is not there."""
    replace, write, written = os.replace, FaceSetWriter.write_shard, []

    def killed(source, target):
        if Path(target).name == last:
            raise Killed
        replace(source, target)

    def counted(self, shard, records):
        written.append(shard)
        write(self, shard, records)

    name = f"publish-{last}"
    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", killed)
        with pytest.raises(Killed):
            made(world, publish, name)
    assert not (version(world / name) / "card.md").exists()
    monkeypatch.setattr(FaceSetWriter, "write_shard", counted)
    assert content(made(world, publish, name)) == content(released) and written == rest


def test_real_pixels_need_leave(world):
    with pytest.raises(FacemaeError, match="25 % real pixels .*--config.publish.allow_real_pixels=True"):
        made(world, publish, "publish-paste", composition="paste")
    assert not content(world / "publish-paste")
    out = made(world, publish, "publish-paste", composition="paste", publish_allow_real_pixels=True)
    assert metadata(out)["real_pixel_share"] == 0.25 and metadata(out)["composition"] == "paste"
    assert "**25.0 % of the pixels are copied" in (version(out) / "card.md").read_text()


def test_terms_are_required_of_real_faces_alone(world):
    with pytest.raises(FacemaeError, match="data.terms is empty"):
        made(world, publish, "publish-terms", data_terms=" ")
    out = made(world, publish, "publish-terms", data_terms="", data_seen="synthetic")
    assert metadata(out)["terms"].startswith("None: the source faces are synthetic")


@pytest.mark.parametrize(
    "where", ["data_landmarks", "verify_pairs", "verify_groups", "recognizer_variants", "protocol"]
)
def test_paths_of_all_that_was_read_are_refused(world, monkeypatch, where):
    changes = {where: {"recognizer_variants": ("original", "set:/our/files")}.get(where, "/our/files")}
    if where == "protocol":
        changes, plain = {}, settings

        def with_protocol(**more):
            config = plain(**more)
            config.verify.protocols.cfp_fp.faces = "/our/files"
            return config

        monkeypatch.setitem(globals(), "settings", with_protocol)
    with pytest.raises(FacemaeError, match="would carry 1 name"):
        made(world, publish, "publish-place", publish_description="Made of /our/files.", **changes)
    made(world, publish, "publish-place", publish_description="Made of faces.", **changes)


@pytest.mark.parametrize(
    "changes",
    [
        dict(publish_description="Faces such as that of ADA_LOVELACE."),
        dict(publish_description="Ada Lovelace, painted."),
        dict(publish_description="With José Núñez."),
        dict(publish_description=unicodedata.normalize("NFD", "With José Núñez.")),
        dict(publish_description="照片是李小龍的"),
        dict(publish_description="Everybody, and Mask too."),
        dict(publish_name="grace_hopper"),
        dict(data_terms=f"Those of {PLACE} hold."),
        dict(publish_description="See images/0042/1.jpg."),
        dict(publish_description="From WORLD/import/faces/1.0.0"),
    ],
)
def test_names_keys_and_paths_are_refused_and_not_repeated(world, changes):
    """Whoever typed a name is told where to look for it, not the name: messages are pasted into mails."""
    changes = {field: value.replace("WORLD", str(world)) for field, value in changes.items()}
    with pytest.raises(FacemaeError, match="would carry [1-9] name.*publish.description, publish.name") as error:
        made(world, publish, "publish-name", **changes)
    assert not content(world / "publish-name")
    told = str(error.value).casefold()
    assert not [word for name in (*NAMES, PLACE) for word in name.casefold().split("/") if word and word in told]


def test_numbers_are_no_names_but_keys_are_keys():
    """Sets of numbered people: a number alone may be anything, and the path of an image is one."""
    faces = SimpleNamespace(identity_names=["0042", "0043"], keys=lambda: ["0042/1.jpg", "0043/1.jpg"], path="/faces")
    publish.check_no_names("0042 images", "0042", faces)
    with pytest.raises(FacemaeError, match="would carry 1 name"):
        publish.check_no_names("as in 0042/1.JPG", "", faces)


def test_ordinary_words_are_not_taken_for_names(world, released):
    """One person's folder is called Mask, a word of every card, and all lie in one folder called images."""
    assert "mask" in (version(released) / "card.md").read_text()
    made(world, publish, "publish-words", publish_description="42 images of people, masked.")


def test_without_verification(world):
    out = made(world, publish, "publish-unverified", verify_faces="")
    assert metadata(out)["utility"] is None and "Not measured" in (version(out) / "card.md").read_text()


def test_array_record_alone(world):
    out = made(world, publish, "publish-one", publish_formats=("array_record",), publish_description="")
    assert not list(version(out).glob("*tfrecord*")) and len(open_face_set(version(out))) == 17
    assert "painted anew" in json.loads((version(out) / "dataset_info.json").read_text())["description"]


def test_what_it_reads():
    config = settings()
    assert set(publish.reads(config, "")) == {"reconstruct", "audit", "mae", "faces", "verify"}
    assert publish.reads(config, "")["mae"] == Ref("train-mae")
    assert publish.outside(config, "") == {"secret": "private/secret"}
    assert "verify" not in publish.reads(settings(verify_faces=""), "")


READ = """
import json, sys
import tensorflow_datasets as tfds
builder = tfds.builder_from_directory(sys.argv[1] + "/toy_release/2.0.1")
source, named = builder.as_data_source(split="train"), tfds.data_source("toy_release", split="train", data_dir=sys.argv[1])
assert "tensorflow" not in sys.modules
first, info = source[16], builder.info
assert named[16]["key"] == first["key"] and (named[16]["image"] == first["image"]).all()
print(json.dumps([len(source), len(named), first["image"].shape, str(first["image"].dtype), int(first["label"]), first["key"].decode(),
    dict(info.metadata), info.description, info.features["label"].num_classes]))
"""


def test_tfds_reads_it_without_tensorflow(released, repository):
    command = [sys.executable, "-c", READ, str(released / "release")]
    told = subprocess.run(command, cwd=repository, capture_output=True, text=True, check=True)
    record = open_face_set(version(released))[16]
    expected = [17, 17, [SIZE, SIZE, 3], "uint8", record.label, record.key, metadata(released), "Painted faces.", 6]
    assert json.loads(told.stdout) == expected


@pytest.mark.tf
def test_tfds_load_reads_it(released):
    pytest.importorskip("tensorflow", reason="tfds.load needs tensorflow-cpu, an optional package")
    import tensorflow_datasets as tfds

    data, info = tfds.load(
        "toy_release:2.0.1", split="train", data_dir=released / "release", with_info=True, shuffle_files=False
    )
    found = {example["key"].decode(): example for example in tfds.as_numpy(data)}
    records = {record.key: record for record in open_face_set(version(released))}
    assert found.keys() == records.keys() and dict(info.metadata) == metadata(released)
    assert all(found[key]["label"] == record.label for key, record in records.items())
    assert all(example["image"].shape == (SIZE, SIZE, 3) for example in found.values())
