import jax
import numpy as np
import orbax.checkpoint as ocp
import pytest
from training_help import LENGTH, SIZE, metrics, settings, write_faces, write_recognizer

from facemae_jax.checkpoint import load_model
from facemae_jax.data.face_set import open_face_set
from facemae_jax.models.frozen import load_frozen
from facemae_jax.stages import recognizers
from facemae_jax.stages.recognizers import train_recognizer
from facemae_jax.train.recognizer_task import Head, recognizer_task
from facemae_jax.types import FacemaeError


def train(config, faces, out, **more):
    out.mkdir(parents=True, exist_ok=True)
    return train_recognizer(config, config.teacher, faces, out, label="ours", field="teacher", **more)


@pytest.fixture
def faces(tmp_path):
    """The records of five of eight people: labels with gaps."""
    whole = open_face_set(write_faces(tmp_path / "import", people=8, images=4) / "faces")
    return whole.subset(np.flatnonzero(np.isin(whole.labels_n, (1, 2, 4, 6, 7))))


def names(tree):
    return {
        jax.tree_util.keystr(path, simple=True, separator="/") for path, _ in jax.tree_util.tree_leaves_with_path(tree)
    }


def test_the_model_is_the_network_alone_and_says_what_it_is(tmp_path, monkeypatch, faces, capsys):
    config = settings(monkeypatch, teacher__optim__epochs=2.0, teacher__dropout=0.25)
    summary = train(config, faces, tmp_path / "stage")
    variables, description = load_model(tmp_path / "stage")
    assert description == dict(
        kind="recognizer", network="tiny", embedding=LENGTH, dtype="float32", dropout=0.25, image_size=SIZE,
        name="ours", identities=5,
    )  # fmt: skip
    assert set(variables) == {"params", "batch_stats"} and set(variables["params"]) == {"conv", "bn", "fc"}
    # A class centre is the mean face of a person in all but name: it stays behind, with the checkpoints.
    assert not [name for name in names(variables) if "centres" in name]
    assert "centres" not in (tmp_path / "stage" / "model" / "weights" / "_METADATA").read_text()
    with ocp.PyTreeCheckpointer() as reader:
        kept = reader.metadata(tmp_path / "stage" / "checkpoints" / "5" / "state").item_metadata.tree
    assert tuple(kept["params"]["centres_KE"].shape) == (8, LENGTH)  # padded to the devices
    assert {name: summary[name] for name in ("images", "identities", "steps")} == dict(images=20, identities=5, steps=5)
    assert summary["last"]["step"] == 5 and set(summary["last"]) == {"step", "loss", "accuracy", "grad_norm"}
    assert "ours: 20 images of 5 people; model in stage/model" in capsys.readouterr().out


def test_margin_and_head_of_the_config_are_those_of_the_training(tmp_path, monkeypatch, faces):
    config = settings(
        monkeypatch, teacher__margin__kind="adaface", teacher__margin__m=0.3, teacher__margin__h=0.5,
        teacher__head__sample=0.5, teacher__head__dtype="bfloat16",
    )  # fmt: skip
    seen = {}

    def spy(network, **given):
        seen.update(given)
        return recognizer_task(network, **given)

    monkeypatch.setattr(recognizers, "recognizer_task", spy)
    summary = train(config, faces, tmp_path / "stage")
    assert seen["margin"].kind == "adaface" and seen["margin"][-2:] == (0.3, 0.5)
    assert seen["head"] == Head(0.5, "bfloat16")
    assert "norm" in summary["last"]
    variables, _ = load_model(tmp_path / "stage")  # the margin's statistics stay behind with the centres
    assert set(variables) == {"params", "batch_stats"}
    assert load_frozen(f"checkpoint:{tmp_path / 'stage'}").embedding == LENGTH


def test_the_model_can_be_used_as_a_teacher(tmp_path, monkeypatch, faces):
    train(settings(monkeypatch), faces, tmp_path / "stage")
    frozen = load_frozen(f"checkpoint:{tmp_path / 'stage'}")
    assert frozen.name == "ours"
    embeddings = frozen.apply(frozen.params, np.random.default_rng(0).uniform(-1, 1, (3, SIZE, SIZE, 3)))
    assert embeddings.shape == (3, LENGTH)
    np.testing.assert_allclose(np.linalg.norm(embeddings, axis=1), 1.0, rtol=1e-5)
    # Evaluation uses the statistics that training left; mean 0 and variance 1 would be those of the birth.
    after = frozen.params["batch_stats"]["bn"]
    assert np.abs(after["mean"]).max() > 1e-4 and np.abs(after["var"] - 1.0).max() > 0.01


def test_it_learns_whom_it_sees(tmp_path, monkeypatch, faces):
    """Five people who are colour patterns: by chance one in five is right."""
    train(settings(monkeypatch, teacher__optim__epochs=24.0), faces, tmp_path / "stage")
    told = metrics(tmp_path / "stage")
    assert np.mean([line["accuracy"] for line in told[-10:]]) > 0.9


def test_a_transform_changes_every_image_before_it_is_learned(tmp_path, monkeypatch, faces):
    def black(image_HWC, key):
        seen.add(key)
        return np.zeros_like(image_HWC)

    seen = set()
    config = settings(monkeypatch)  # 3 steps of 8 images, of 20 in all
    train(config, faces, tmp_path / "black", transform=black)
    assert seen == set(faces.keys())
    train(config, faces, tmp_path / "plain")
    # Equal images have equal embeddings: whatever the batch, the network can do no better than guess.
    assert all(line["accuracy"] <= 0.5 for line in metrics(tmp_path / "black"))
    assert metrics(tmp_path / "black")[-1]["loss"] > metrics(tmp_path / "plain")[-1]["loss"]


def test_weights_to_begin_with_are_the_networks_and_not_the_centres(tmp_path, monkeypatch, faces):
    given = write_recognizer(tmp_path / "given", seed=5)
    # So small a rate that a float32 does not notice.
    changes = dict(teacher__optim__init_from=str(tmp_path / "given"), teacher__optim__learning_rate=1e-12)
    train(settings(monkeypatch, **changes), faces, tmp_path / "stage")
    params = load_model(tmp_path / "stage")[0]["params"]
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, atol=1e-8), params, jax.tree.map(np.asarray, given["params"])
    )


def test_what_cannot_be_begun_with_is_refused(tmp_path, monkeypatch, faces):
    write_recognizer(tmp_path / "given", length=2 * LENGTH)
    config = settings(monkeypatch, teacher__optim__init_from=str(tmp_path / "given"))
    with pytest.raises(FacemaeError, match="teacher.optim.init_from=.*given has other layers or sizes"):
        train(config, faces, tmp_path / "stage")
    assert not (tmp_path / "stage" / "model").exists()


def test_faces_of_another_size_are_refused(tmp_path, monkeypatch):
    small = open_face_set(write_faces(tmp_path / "small", people=4, size=8) / "faces")
    with pytest.raises(FacemaeError, match=f"8×8 pixels, but data.image_size={SIZE}"):
        train(settings(monkeypatch), small, tmp_path / "stage")
