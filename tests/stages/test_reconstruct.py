import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from two_processes import as_two

from facemae_jax.chain import settings as files
from facemae_jax.chain.fingerprint import view
from facemae_jax.checkpoint import save_model
from facemae_jax.data.face_set import FaceSet, FaceSetWriter, open_face_set
from facemae_jax.data.images import decode_record, encode_jpeg, encode_png
from facemae_jax.data.synthetic import render
from facemae_jax.export import painted_set, release
from facemae_jax.export.painter import Painter
from facemae_jax.mesh import make_mesh
from facemae_jax.models.mae import Mae, MaeConfig
from facemae_jax.stages import reconstruct
from facemae_jax.stages.inputs import SHARED, Input, Inputs, Ref, pick_faces
from facemae_jax.types import FacemaeError, Record

SIZE, PATCH, VISIBLE, PEOPLE, IMAGES, SHARD = 32, 8, 4, 8, 4, 6
MAE = MaeConfig(SIZE, PATCH, VISIBLE, 32, 1, 2, 16, 1, 2)
NAMES = [f"Person_{number}" for number in range(PEOPLE)]


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """Imported faces, of which half of the people are unseen, an MAE, and a secret."""
    path = tmp_path_factory.mktemp("world")
    records = [
        Record(encode_jpeg(render(n, image, seed=0, size=SIZE), 95), n, f"{NAMES[n]}/{image:04d}.jpg")
        for n in range(PEOPLE)
        for image in range(IMAGES)
    ]
    writer = FaceSetWriter(path / "import" / "faces" / "1.0.0", name="faces", image_size=SIZE, identity_names=NAMES)
    writer.write_shard(0, records)
    writer.finish(len(records))
    variables = jax.jit(Mae(MAE).init)(
        jax.random.key(0), jnp.zeros((1, SIZE, SIZE, 3)), jnp.arange(VISIBLE, dtype=jnp.int32)[None]
    )
    variables["params"]["decoder_pred"]["kernel"] *= 3.0  # a fresh decoder paints grey in grey
    save_model(path / "mae" / "model", variables, MAE.to_dict() | dict(kind="mae", norm_pix=False))
    (path / "secret").write_bytes(
        bytes(range(release.LENGTH))
    )  # of 4 people, one in 24 pairs of secrets gives the same labels
    (path / "secret").chmod(0o600)
    return path


def settings(**changes):
    config = files.load("configs/base.py")
    config.data.image_size = SIZE
    config.mae.update(patch=PATCH, visible=VISIBLE)
    config.reconstruct.update(batch=1, shard_records=SHARD, encoding="png")
    for field, value in changes.items():
        section, _, leaf = field.partition("_")
        config[section][leaf] = value
    return config


def stage(world, out, mae="mae", **changes):
    config = settings(**changes)
    given = dict(
        faces=Input(world / "import", SHARED), mae=Input(world / mae), secret=Input(world / "secret", "private/secret")
    )
    assert set(given) == set(reconstruct.reads(config, "")) | set(reconstruct.outside(config, ""))
    out.mkdir(exist_ok=True)
    return reconstruct.run(view(config, reconstruct, ""), Inputs(given, world), out, "")


def content(folder):
    return {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


@pytest.fixture(scope="module")
def done(world):
    """One whole reconstruction: 16 images of 4 people in shards of 6, 6 and 4."""
    return stage(world, world / "reconstruct-0"), world / "reconstruct-0"


def sources(world, subset="unseen"):
    return pick_faces(settings(), Input(world / "import", SHARED), subset)


def test_keys_labels_and_order_are_the_releases_own(world, done):
    summary, out = done
    painted, originals = open_face_set(out / "faces"), sources(world)
    key = release.release_key((world / "secret").read_bytes(), "release-1")
    position_n = np.load(out / "private.npz")["source_positions_n"]
    assert sorted(position_n.tolist()) == list(range(16)) and position_n.tolist() != list(range(16))
    np.testing.assert_array_equal(position_n, release.release_order(key, originals.keys()))
    own = release.record_keys(key, originals.keys())
    assert painted.keys() == [own[position] for position in position_n]
    assert not any(name in key for key in painted.keys() for name in NAMES)
    # Who stays together stays together, under another number out of the same 0 … 3.
    pairs = {*zip(originals.labels_n[position_n].tolist(), painted.labels_n.tolist(), strict=True)}
    assert len(pairs) == 4 and {label for _, label in pairs} == {0, 1, 2, 3}
    expected = release.label_map(key, 4)
    assert [label for _, label in sorted(pairs)] == expected.tolist()
    assert painted.identity_names == ["0", "1", "2", "3"] and painted.image_size == SIZE
    assert summary["images"] == 16 and summary["identities"] == 4


def test_each_record_is_the_painting_of_its_source(world, done):
    """By the painter itself, over the originals in their own order, with the masks of their own keys."""
    _, out = done
    painted, originals = open_face_set(out / "faces"), sources(world)
    key = release.release_key((world / "secret").read_bytes(), "release-1")
    painter = Painter(world / "mae", visible=VISIBLE, mesh=make_mesh(8, 1), batch_per_device=1)
    images = np.stack([decode_record(record.image) for record in originals])
    expected = painter(images[:, None], release.mask_seeds(key, originals.keys()))
    assert len({image.tobytes() for image in expected}) == 16
    for place, position in enumerate(np.load(out / "private.npz")["source_positions_n"]):
        np.testing.assert_array_equal(decode_record(painted[place].image), expected[position])


def test_shards_follow_from_the_number_of_records(done):
    _, out = done
    files = sorted(file.name for file in (out / "faces" / "1.0.0").glob("*.array_record*"))
    assert files == [f"reconstruction-train.array_record-{n:05d}-of-00003" for n in range(3)]
    info = json.loads((out / "faces" / "1.0.0" / "dataset_info.json").read_text())
    assert info["splits"][0]["shardLengths"] == ["6", "6", "4"]
    assert not list(out.rglob("*.partial*"))


def test_the_summary_is_kept_for_the_card(done):
    summary, out = done
    assert summary == json.loads((out / "reconstruct.json").read_text())
    assert summary == dict(
        images=16, identities=4, people=1, composition="full", image_size=SIZE, patch=PATCH, patches=16, visible=4,
        visible_share=0.25, mask_focus=0.0, real_pixel_share=0.0,
    )  # fmt: skip


def test_the_same_inputs_give_the_same_bytes(world, done, tmp_path):
    stage(world, tmp_path / "again")
    assert content(tmp_path / "again") == content(done[1])


def test_other_shards_hold_the_same_paintings(world, done, tmp_path):
    stage(world, tmp_path / "one", reconstruct_shard_records=100)
    assert list(open_face_set(tmp_path / "one" / "faces")) == list(open_face_set(done[1] / "faces"))


class Killed(BaseException):
    """As a signal: nothing in the code handles it."""


def test_a_killed_run_goes_on_to_the_same_bytes(world, done, tmp_path, monkeypatch):
    encoded = []

    def until(count):
        def encode(image):
            if len(encoded) == count:
                raise Killed
            encoded.append(0)
            return encode_png(image)

        return encode

    monkeypatch.setattr(painted_set, "encode_png", until(9))  # in the middle of the second shard
    with pytest.raises(Killed):
        stage(world, tmp_path)
    assert not (tmp_path / "faces" / "1.0.0").exists() and not (tmp_path / "private.npz").exists()
    (tmp_path / "faces" / "1.0.0.partial" / "shards" / "00001.array_record").write_bytes(
        b"torn"
    )  # as after a power cut
    encoded.clear()
    monkeypatch.setattr(painted_set, "encode_png", until(100))
    stage(world, tmp_path)
    assert len(encoded) == 10  # the first shard was whole
    assert content(tmp_path) == content(done[1])


def test_killed_when_all_shards_were_written(world, done, tmp_path, monkeypatch):
    """The face set is there and the note for the audit is not: nothing is painted again."""

    def killed(*_):
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(reconstruct, "_write_private", killed)
        with pytest.raises(Killed):
            stage(world, tmp_path)
    monkeypatch.setattr(painted_set, "encode_png", killed)
    stage(world, tmp_path)
    assert content(tmp_path) == content(done[1])


def test_another_release_shares_nothing(world, done, tmp_path):
    stage(world, tmp_path, reconstruct_release_id="release-2")
    one, two = open_face_set(done[1] / "faces"), open_face_set(tmp_path / "faces")
    assert not set(one.keys()) & set(two.keys())
    assert not {record.image for record in one} & {record.image for record in two}  # other masks, other paintings
    order = [np.load(out / "private.npz")["source_positions_n"].tolist() for out in (done[1], tmp_path)]
    assert order[0] != order[1]
    labels = [faces.labels_n[np.argsort(positions)] for faces, positions in zip((one, two), order, strict=True)]
    assert not np.array_equal(*labels)


def test_jpeg_is_the_painting_encoded_once(world, done, tmp_path):
    stage(world, tmp_path, reconstruct_encoding="jpeg", reconstruct_quality=80)
    kept = open_face_set(done[1] / "faces")
    for place, record in enumerate(open_face_set(tmp_path / "faces")):
        assert record == kept[place]._replace(image=encode_jpeg(decode_record(kept[place].image), 80))


def test_paste_holds_a_quarter_of_real_pixels_and_says_so(world, tmp_path):
    summary = stage(world, tmp_path, reconstruct_composition="paste", reconstruct_subset="seen")
    assert summary["composition"] == "paste" and summary["real_pixel_share"] == 0.25
    originals, positions = sources(world, "seen"), np.load(tmp_path / "private.npz")["source_positions_n"]
    for place, record in enumerate(open_face_set(tmp_path / "faces")):
        same = decode_record(record.image) == decode_record(originals[int(positions[place])].image)
        patches = same.reshape(4, PATCH, 4, PATCH, 3).all(axis=(1, 3, 4))
        assert patches.sum() == VISIBLE


def test_all_people_of_one_source(world, tmp_path):
    assert stage(world, tmp_path, reconstruct_subset="all") | {} == stage(world, tmp_path, reconstruct_subset="all")
    faces = open_face_set(tmp_path / "faces")
    assert len(faces) == PEOPLE * IMAGES and faces.identities == PEOPLE
    assert np.bincount(faces.labels_n).tolist() == [IMAGES] * PEOPLE


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        (dict(data_image_size=64), "has 32×32 pixels, but data.image_size=64"),
        (dict(mae_patch=4), "trained with mae.patch=8, this config says 4: add --config.mae.patch=8"),
        (dict(mae="mae64"), "trained with data.image_size=64, this config says 32: add --config.data.image_size=64"),
    ],
)
def test_sizes_that_do_not_fit_are_refused_before_painting(world, tmp_path, changes, told):
    description = MAE.to_dict() | dict(kind="mae", norm_pix=False, image_size=64)
    save_model(world / "mae64" / "model", {"params": {"w": np.zeros(1)}}, description)
    with pytest.raises(FacemaeError, match=told):
        stage(world, tmp_path, **changes)
    assert not content(tmp_path)


def test_what_it_reads():
    config = settings()
    assert reconstruct.reads(config, "") == {"faces": Ref("import-faces", SHARED), "mae": Ref("train-mae")}
    assert reconstruct.outside(config, "") == {"secret": "private/secret"} and reconstruct.variants(config) == ("",)
    config = settings(data_seen="/a", data_unseen="/b")
    assert reconstruct.reads(config, "")["faces"] == Ref("import-faces", "unseen")


def test_a_process_opens_the_records_of_its_own_shards(world, done, tmp_path, monkeypatch):
    """Shards of 6, 6 and 4 images: the first process paints the first and the last, and the bytes are those of one process."""
    opened, real = {0: [], 1: []}, FaceSet.__getitem__

    def counted(faces, position):
        opened[jax.process_index()].append(position)
        return real(faces, position)

    monkeypatch.setattr(FaceSet, "__getitem__", counted)
    summaries = as_two(monkeypatch, lambda number: stage(world, tmp_path / "both"))
    assert summaries == [done[0], done[0]]
    order = np.load(done[1] / "private.npz")["source_positions_n"].tolist()
    assert opened == {0: order[:6] + order[12:], 1: order[6:12]}
    assert content(tmp_path / "both") == content(done[1])


def test_faces_of_several_people_are_painted_from_the_images_that_the_secret_assigns(world, tmp_path):
    """By the painter itself, over the images that ``private.npz`` names; those of one person always with the same other one."""
    summary = stage(world, tmp_path, reconstruct_people=2)
    assert summary["people"] == 2
    painted, originals = open_face_set(tmp_path / "faces"), sources(world)
    inside, labels_n = np.load(tmp_path / "private.npz"), originals.relabelled().labels_n
    mixed_nM = inside["contributors_nM"]
    np.testing.assert_array_equal(mixed_nM[:, 0], inside["source_positions_n"])
    other_of = {pair for pair in zip(labels_n[mixed_nM[:, 0]].tolist(), labels_n[mixed_nM[:, 1]].tolist(), strict=True)}
    assert len(other_of) == 4 and len({other for _, other in other_of}) == 4 and all(a != b for a, b in other_of)
    assert len({*mixed_nM[:, 1].tolist()}) > 4  # not always the same image of that person
    key = release.release_key((world / "secret").read_bytes(), "release-1")
    painter = Painter(world / "mae", visible=VISIBLE, mesh=make_mesh(8, 1), batch_per_device=1)
    images = np.stack([decode_record(record.image) for record in originals])
    seeds_n2 = release.mask_seeds(key, originals.keys())
    expected = painter(images[mixed_nM], seeds_n2[mixed_nM[:, 0]])
    whose_n = release.label_map(key, 4)[labels_n[mixed_nM[:, 0]]]
    np.testing.assert_array_equal(painted.labels_n, whose_n)  # the own person's
    for record, image_HWC in zip(painted, expected, strict=True):
        np.testing.assert_array_equal(decode_record(record.image), image_HWC)


def test_too_few_people_to_mix_are_refused(world, tmp_path):
    with pytest.raises(FacemaeError, match=r"reconstruct.people=4: of 4 people some would be mixed with the same ones"):
        stage(world, tmp_path, reconstruct_people=4)
