import pytest
from training_help import SIZE, handed_on, run_stage, settings, write_faces

from facemae_jax.chain.fingerprint import hashed_fields
from facemae_jax.checkpoint import load_model
from facemae_jax.data.split import split_identities
from facemae_jax.stages import train_teacher
from facemae_jax.stages.inputs import SHARED, Input, Ref
from facemae_jax.stages.teachers import TEACHER_SEEDS
from facemae_jax.types import FacemaeError


@pytest.fixture
def asked(monkeypatch):
    return handed_on(monkeypatch, train_teacher)


def test_it_learns_from_the_seen_people_alone(tmp_path, monkeypatch, asked):
    config = settings(monkeypatch, teacher__embedding=12)
    write_faces(tmp_path / "import", people=16, images=2)
    out = tmp_path / "train-teacher-00000000"
    assert run_stage(train_teacher, config, {"faces": Input(tmp_path / "import", SHARED)}, out) == {"noted": True}
    (call,) = asked
    seen = split_identities([str(person) for person in range(16)], 0.5, 0)
    assert sorted(call["faces"].keys()) == sorted(f"{n}/{i}" for n in range(16) for i in range(2) if seen[n])
    assert 0 < len(call["faces"]) < 32
    assert call["section"].embedding == 12 and (call["label"], call["field"]) == ("teacher", "teacher")
    assert call["out"] == out and "transform" not in call


def test_several_teachers_differ_by_their_seeds_alone(tmp_path, monkeypatch, asked):
    config = settings(monkeypatch, seed=3, teacher__count=3)
    assert train_teacher.variants(config) == ("", "2", "3")
    given = {"faces": Input(write_faces(tmp_path / "import", people=8, images=2), SHARED)}
    for variant in train_teacher.variants(config):
        run_stage(train_teacher, config, given, tmp_path / "out", variant)
    assert [call["seed"] for call in asked] == [3, 3 * TEACHER_SEEDS + 2, 3 * TEACHER_SEEDS + 3]
    assert [call["label"] for call in asked] == ["teacher", "teacher-2", "teacher-3"]
    assert config.seed == 3 and len({repr(call["section"]) for call in asked}) == 1


def test_a_face_set_of_its_own_is_seen_whole(tmp_path, monkeypatch, asked):
    config = settings(monkeypatch, data__unseen="/others", data__seen="/these")
    write_faces(tmp_path / "import", people=3, images=3)
    run_stage(train_teacher, config, {"faces": Input(tmp_path / "import", "seen")}, tmp_path / "out")
    assert len(asked[0]["faces"]) == 9


def test_it_trains_and_leaves_a_recognizer(tmp_path, monkeypatch):
    config = settings(monkeypatch, data__seen_share=0.6)
    given = {"faces": Input(write_faces(tmp_path / "import", people=16, images=3), SHARED)}
    summary = run_stage(train_teacher, config, given, tmp_path / "train-teacher-00000000")
    _, description = load_model(tmp_path / "train-teacher-00000000")
    people = int(split_identities([str(person) for person in range(16)], 0.6, 0).sum())
    assert description["kind"] == "recognizer" and description["name"] == "teacher"
    assert description["image_size"] == SIZE and description["identities"] == summary["identities"] == people
    assert summary["images"] == 3 * people and summary["last"]["step"] == summary["steps"]


def test_a_batch_larger_than_the_faces_is_refused(tmp_path, monkeypatch):
    config = settings(monkeypatch, teacher__optim__batch=64)
    given = {"faces": Input(write_faces(tmp_path / "import"), SHARED)}
    with pytest.raises(FacemaeError, match="teacher: optim.batch=64 is more than the .* images to train on"):
        run_stage(train_teacher, config, given, tmp_path / "out")


def test_what_it_reads(monkeypatch):
    config = settings(monkeypatch)
    assert train_teacher.variants(config) == ("",)
    assert train_teacher.reads(config, "") == {"faces": Ref("import-faces", SHARED)}
    assert train_teacher.outside(config, "") == {}
    config = settings(monkeypatch, data__unseen="/elsewhere", teacher__optim__init_from="/weights")
    assert train_teacher.reads(config, "") == {"faces": Ref("import-faces", "seen")}
    assert train_teacher.outside(config, "") == {"init_from": "checkpoint:/weights"}
    for source in ("onnx:/t.onnx", "checkpoint:/t"):
        assert train_teacher.variants(settings(monkeypatch, teacher__source=source)) == ()


def test_what_changes_no_result_is_not_hashed(monkeypatch):
    hashed = hashed_fields(settings(monkeypatch), train_teacher, "")
    assert {"seed", "teacher.margin.m3", "teacher.optim.batch", "teacher.augment.crop"} <= set(hashed)
    free = {f"teacher.optim.{name}" for name in ("log_every", "save_every", "keep_latest", "keep_best", "init_from")}
    assert not free & set(hashed) and not {"mesh.data", "data.threads", "teacher.source"} & set(hashed)
