import numpy as np
import pytest

from facemae_jax.chain import settings as files
from facemae_jax.data.face_set_writer import FaceSetWriter
from facemae_jax.data.images import encode_png
from facemae_jax.data.split import split_identities
from facemae_jax.stages.inputs import SHARED, Input, Inputs, Ref, faces_ref, one_source, pick_faces
from facemae_jax.types import FacemaeError, Record

SIZE, PEOPLE = 8, 12
NAMES = [f"Person_{number:02d}" for number in range(PEOPLE)]
LABELS = np.repeat(np.arange(PEOPLE), np.arange(1, PEOPLE + 1))  # 1 to 12 images, 78 in all


@pytest.fixture(scope="module")
def imported(tmp_path_factory):
    path = tmp_path_factory.mktemp("import-faces")
    image = encode_png(np.zeros((SIZE, SIZE, 3), np.uint8))
    records = [Record(image, int(label), f"{NAMES[label]}/{n:03d}.png") for n, label in enumerate(LABELS)]
    writer = FaceSetWriter(
        path / "faces" / "1.0.0", name="faces", image_size=SIZE, encoding="png", identity_names=NAMES
    )
    writer.write_shard(0, records)
    writer.finish(len(records))
    return path


def config(**changes):
    found = files.load("configs/base.py")
    for field, value in changes.items():
        found.data[field] = value
    return found


def people(faces):
    return set(faces.labels_n.tolist())


@pytest.mark.parametrize(
    ("seen", "unseen", "one"),
    [
        ("synthetic", "", True),
        ("synthetic", "synthetic", True),
        ("/a/faces.zip", "", True),
        ("/a/faces.zip", "/a/faces.zip", True),
        ("/a/faces.zip", "/b/faces.zip", False),
        ("/a/faces.zip", "synthetic", False),
        ("synthetic", "/b/faces.zip", False),
    ],
)
def test_one_source_or_two(seen, unseen, one):
    asked = config(seen=seen, unseen=unseen)
    assert one_source(asked) == one
    for subset in ("seen", "unseen"):
        assert faces_ref(asked, subset) == Ref("import-faces", SHARED if one else subset)


def test_all_people_are_there_only_in_one_source():
    assert faces_ref(config(), "all") == Ref("import-faces", SHARED)
    with pytest.raises(FacemaeError, match='reconstruct.subset="all" needs one face set.*choose "seen" or "unseen"'):
        faces_ref(config(seen="/a", unseen="/b"), "all")


def test_seen_and_unseen_share_nobody_and_leave_nobody_out(imported):
    given = Input(imported, SHARED)
    seen, unseen, everybody = (pick_faces(config(), given, subset) for subset in ("seen", "unseen", "all"))
    assert not people(seen) & people(unseen) and people(seen) | people(unseen) == set(range(PEOPLE))
    assert seen.identities == unseen.identities == PEOPLE // 2  # seen_share is one half
    assert sorted([*seen.keys(), *unseen.keys()]) == sorted(everybody.keys()) and len(everybody) == len(LABELS)
    # Labels stay those of the import, and the records those of their people.
    for faces in (seen, unseen):
        assert all(key.startswith(NAMES[n]) for key, n in zip(faces.keys(), faces.labels_n, strict=True))
        assert faces[3] == everybody[everybody.keys().index(faces.keys()[3])]


@pytest.mark.parametrize(("share", "expected"), [(0.25, 3), (0.5, 6), (0.9, 11), (0.0, 0), (1.0, 12)])
def test_counts_follow_the_share(imported, share, expected):
    asked, given = config(seen_share=share), Input(imported, SHARED)
    chosen = split_identities(NAMES, share, asked.data.split_seed)
    assert chosen.sum() == expected
    for subset, wanted in (("seen", chosen), ("unseen", ~chosen)):
        if wanted.any():
            assert people(pick_faces(asked, given, subset)) == set(np.flatnonzero(wanted).tolist())


def test_another_seed_is_another_split(imported):
    one, other = (pick_faces(config(split_seed=seed), Input(imported, SHARED), "seen") for seed in (0, 1))
    assert people(one) != people(other) and one.identities == other.identities
    assert people(pick_faces(config(), Input(imported, SHARED), "seen")) == people(one)


@pytest.mark.parametrize(("share", "subset"), [(0.0, "seen"), (0.01, "seen"), (1.0, "unseen")])
def test_an_empty_side_is_refused(imported, share, subset):
    told = f"data.seen_share={share} leaves no {subset} identity of the {PEOPLE} in .*1.0.0: choose a share"
    with pytest.raises(FacemaeError, match=told):
        pick_faces(config(seen_share=share), Input(imported, SHARED), subset)
    assert len(pick_faces(config(seen_share=share), Input(imported, SHARED), "all")) == len(LABELS)


@pytest.mark.parametrize("subset", ["seen", "unseen"])
def test_with_two_sources_each_is_taken_whole(imported, subset):
    """Whatever the share says: there is nothing to split."""
    faces = pick_faces(config(seen="/a", unseen="/b", seen_share=1.0), Input(imported, subset), subset)
    assert len(faces) == len(LABELS)


def test_without_names_the_labels_are_split(imported, tmp_path):
    """A face set of others may have no names; the split is still fixed, and the same for everybody who holds it."""
    bare = tmp_path / "bare"
    (bare / "faces").mkdir(parents=True)
    for file in (imported / "faces" / "1.0.0").iterdir():
        target = bare / "faces" / "1.0.0" / file.name
        target.parent.mkdir(exist_ok=True)
        if file.name not in ("identities.json", "index.npz"):
            target.write_bytes(file.read_bytes())
    expected = split_identities([str(label) for label in range(PEOPLE)], 0.5, 0)
    assert people(pick_faces(config(), Input(bare, SHARED), "seen")) == set(np.flatnonzero(expected).tolist())


def test_names_of_results_and_the_place_of_embeddings(tmp_path):
    assert str(Ref("audit")) == "audit" and str(Ref("train-recognizer", "mask")) == "train-recognizer/mask"
    inputs = Inputs({"faces": Input(tmp_path / "x", "seen")}, tmp_path)
    assert inputs.embeddings == tmp_path / "private" / "embeddings" and inputs["faces"].variant == "seen"
