"""What the README promises of a release, tried through the door with named people in a folder.

The same MAE paints in every test: one that was trained in another workdir, as for somebody who holds nothing else.
"""

import contextlib
import io
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import jax
import numpy as np
import pytest
from PIL import Image

from facemae_jax import __main__ as door
from facemae_jax.data.face_set import open_face_set
from facemae_jax.data.synthetic import render
from facemae_jax.export import release
from facemae_jax.models.masking import hidden_pixels, random_mask

pytestmark = pytest.mark.slow  # a training and a whole chain come before the first test

SIZE, PATCH, PATCHES, VISIBLE = 32, 8, 16, 4
NAMES = ("Zoë Ångström", "Mario_Rossi", "山田太郎", "Xaver Quibble", "Ottilie_Vandermeer", "Ng_Example")
IMAGES = 3


def through_the_door(*arguments):
    """The exit code of the door, which must be 0, and its standard output."""
    said = io.StringIO()
    with contextlib.redirect_stdout(said):
        assert door.main([str(argument) for argument in arguments]) == 0
    return said.getvalue()


def write_people(folder):
    """PNG files name/photo_k.png: pixels are kept exactly, so that hidden ones can be changed alone."""
    for number, name in enumerate(NAMES):
        (folder / name).mkdir(parents=True)
        for image in range(IMAGES):
            Image.fromarray(render(number, image, seed=5, size=SIZE)).save(folder / name / f"photo_{image}.png")
    return folder


@pytest.fixture(scope="module")
def people(tmp_path_factory):
    return write_people(tmp_path_factory.mktemp("source") / "faces")


@pytest.fixture(scope="module")
def elsewhere(tiny, tmp_path_factory):
    """A workdir in which an MAE and a recognizer were trained on invented people."""
    workdir = tmp_path_factory.mktemp("elsewhere") / "w"
    for verb in ("import-faces", "train-teacher", "train-mae"):
        through_the_door(
            verb, f"--config={tiny}", f"--workdir={workdir}", "--config.mae.irm_weight=0", "--config.verify.faces="
        )
    return workdir


@pytest.fixture(scope="module")
def mae(elsewhere):
    return next(elsewhere.glob("train-mae-*"))


@pytest.fixture(scope="module")
def secret(tmp_path_factory):
    return release.read_or_make_secret(file := tmp_path_factory.mktemp("secret") / "secret") and file


@pytest.fixture(scope="module")
def deploy(elsewhere, mae, secret):
    """``deploy(faces, workdir, …)``: the arguments for a release from nothing but an MAE, a folder and a secret.

    A recognizer from elsewhere judges, so that none has to be trained for every release.
    """

    stranger = f"checkpoint:{next(elsewhere.glob('train-teacher-*'))}"

    def arguments(faces, workdir, *more, judge=stranger):
        return [
            f"--config=configs/deploy.py:{mae}", f"--workdir={workdir}", f"--config.data.seen={faces}",
            "--config.data.terms=for tests", f"--secret-file={secret}", f"--config.audit.judges={judge}",
            "--config.recognizer.network=cpu", "--config.recognizer.embedding=16", "--config.recognizer.optim.epochs=1",
            "--config.recognizer.optim.batch=8", "--config.audit.batch=8", "--config.audit.attacks=fusion", "--config.reconstruct.batch=2",
            "--config.reconstruct.shard_records=5", *map(str, more),
        ]  # fmt: skip

    return arguments


def publish(arguments):
    """The version directory of the release that these arguments make, verb by verb."""
    for verb in ("import-faces", "train-mae", "reconstruct", "audit", "publish"):
        through_the_door(verb, *arguments)
    workdir = Path(arguments[1].partition("=")[2])
    return next(workdir.glob("publish-*/release")) / "facemae_faces" / "1.0.0"


@pytest.fixture(scope="module")
def published(deploy, people, tmp_path_factory):
    return publish(deploy(people, tmp_path_factory.mktemp("published") / "w"))


def files(version):
    return {path.name: path.read_bytes() for path in version.iterdir()}


def shards(version):
    return {name: data for name, data in files(version).items() if "record" in name}


def masks(keys, secret, release_id="release-1"):
    """``hidden_BN`` of the records with these source keys."""
    key = release.release_key(secret.read_bytes(), release_id)
    keys_B = jax.random.wrap_key_data(release.mask_seeds(key, keys), impl="threefry2x32")
    return np.asarray(random_mask(keys_B, patches=PATCHES, visible=VISIBLE).hidden_BN)


def test_an_mae_and_a_folder_end_in_a_release(deploy, people, tmp_path):
    through_the_door("run", *deploy(people, tmp_path, judge="recognizer:original"))
    version = next(tmp_path.glob("publish-*/release")) / "facemae_faces" / "1.0.0"
    faces = open_face_set(version)
    assert len(faces) == len(NAMES) * IMAGES and faces.identities == len(NAMES)
    assert {"card.md", "dataset_info.json", "features.json"} <= set(files(version))
    assert next(tmp_path.glob("report-*/report.html")).stat().st_size > 50_000
    # Nothing was verified, so no recognizer was trained but the judge.
    assert [path.name.split("-")[0] for path in (tmp_path / "train-recognizer").iterdir()] == ["original"]


def test_no_name_and_no_path_is_in_any_byte(published, people):
    forbidden = {part for name in NAMES for part in (name, *name.replace("_", " ").split())} | {
        "photo_", people.name + "/", str(people), str(published.parents[3]),
    }  # fmt: skip
    texts = {name: data.decode("utf-8", "surrogateescape").casefold() for name, data in files(published).items()}
    texts |= {"the names of files": " ".join(texts)}
    for record in open_face_set(published)._shards._records(0):
        texts[record.key] = f"{record.key} {record.label}"
    for word in forbidden - {"Ng"}:
        assert [name for name, text in texts.items() if word.casefold() in text] == []


@pytest.mark.parametrize("composition", ["full", "paste"])
def test_hidden_pixels_never_reach_the_release(composition, deploy, people, secret, tmp_path):
    pasted = (f"--config.reconstruct.composition={composition}", "--config.publish.allow_real_pixels=True")
    before = publish(deploy(people, tmp_path / "before", *pasted))
    shutil.copytree(people, tmp_path / "faces")
    sources = sorted((tmp_path / "faces").glob("*/*.png"))
    keys = [path.relative_to(tmp_path / "faces").as_posix() for path in sources]
    hidden_BHW1 = np.asarray(hidden_pixels(masks(keys, secret), PATCH))
    random = np.random.default_rng(0)
    for path, hidden_HW1 in zip(sources, hidden_BHW1, strict=True):
        image = np.asarray(Image.open(path))
        noise = random.integers(0, 256, image.shape, np.uint8)
        Image.fromarray(np.where(hidden_HW1, noise, image)).save(path)
    after = publish(deploy(tmp_path / "faces", tmp_path / "after", *pasted))
    assert shards(after) == shards(before)
    # One visible pixel changed: that record, and no other, is another.
    row, column = np.argwhere(~hidden_BHW1[0, :, :, 0])[0]
    image = np.array(Image.open(sources[0]))
    image[row, column] = 255 - image[row, column]
    Image.fromarray(image).save(sources[0])
    seen = publish(deploy(tmp_path / "faces", tmp_path / "seen", *pasted))
    old, new = open_face_set(before), open_face_set(seen)
    assert sum(old[n] != new[n] for n in range(len(old))) == 1


def test_published_twice_the_bytes_are_the_same(published, deploy, people, tmp_path):
    again = publish(deploy(people, tmp_path))
    assert files(again) == files(published)


def test_two_release_ids_share_nothing(published, deploy, people, secret, tmp_path):
    other = publish(deploy(people, tmp_path, "--config.reconstruct.release_id=release-2"))
    one, two = open_face_set(published), open_face_set(other)
    assert not set(one.keys()) & set(two.keys())
    keys = [f"{name}/photo_{image}.png" for name in NAMES for image in range(IMAGES)]
    derived = [release.release_key(secret.read_bytes(), name) for name in ("release-1", "release-2")]
    orders = [release.release_order(key, keys) for key in derived]
    labels = [release.label_map(key, len(NAMES)) for key in derived]
    assert (orders[0] != orders[1]).any() and (labels[0] != labels[1]).any()
    assert (masks(keys, secret) != masks(keys, secret, "release-2")).any(axis=1).all()
    assert not set(shards(published).values()) & set(shards(other).values())


def test_real_pixels_are_not_published_unless_that_is_said(deploy, people, tmp_path, capsys):
    assert door.main(["run", *deploy(people, tmp_path, "--config.reconstruct.composition=paste")]) == 2
    assert "publish.allow_real_pixels=True" in capsys.readouterr().err


def test_an_export_killed_and_started_again_gives_the_same_bytes(published, deploy, people, tmp_path):
    arguments = deploy(people, tmp_path)
    for verb in ("import-faces", "train-mae"):
        through_the_door(verb, *arguments)
    devices = {"XLA_FLAGS": "--xla_force_host_platform_device_count=8", "JAX_PLATFORMS": "cpu"}
    process = subprocess.Popen(
        [sys.executable, "-m", "facemae_jax", "reconstruct", *arguments], env=os.environ | devices,
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    while process.poll() is None and not list(tmp_path.glob("reconstruct-*/faces/*.partial/shards/*.npz")):
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not list(tmp_path.glob("reconstruct-*/done.json")), "it was not killed in the middle; make it longer"
    assert files(publish(arguments)) == files(published)
