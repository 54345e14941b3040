import jax
import jax.numpy as jnp
import numpy as np
import pytest
from checkpoint_help import assert_same, cut, delete, flip

from facemae_jax.checkpoint import load_model, model_digest, save_model, weights
from facemae_jax.mesh import make_mesh, replicated, shardings_for
from facemae_jax.types import FacemaeError

VARIABLES = {
    "params": {
        "encoder": {"kernel": np.arange(6, dtype=np.float32).reshape(2, 3)},
        "half": np.full((3,), 1.5, jnp.bfloat16),
    },
    "batch_stats": {"empty": {}, "count": np.asarray(7, np.int32)},
}


def test_a_model_comes_back_as_numpy(tmp_path):
    on_devices = jax.device_put(VARIABLES, replicated(make_mesh(4, 2)))
    save_model(tmp_path / "stage" / "model", on_devices, {"kind": "mae", "größe": 16})
    for directory in (tmp_path / "stage" / "model", tmp_path / "stage"):
        variables, description = load_model(directory)
        assert description == {"kind": "mae", "größe": 16}
        assert_same(variables, VARIABLES)
        assert all(type(leaf) is np.ndarray for leaf in jax.tree.leaves(variables))
    assert [path.name for path in (tmp_path / "stage").iterdir()] == ["model"]


def test_sharded_weights_come_back_whole(tmp_path):
    mesh = make_mesh(2, 4)
    kernel = np.arange(64.0 * 8, dtype=np.float32).reshape(64, 8)
    shardings = shardings_for({"kernel": kernel}, mesh, min_size=1)
    save_model(tmp_path / "m", jax.device_put({"kernel": kernel}, shardings), {})
    np.testing.assert_array_equal(load_model(tmp_path / "m")[0]["kernel"], kernel)


def test_the_digest_is_of_the_weights_alone(tmp_path):
    save_model(tmp_path / "a", VARIABLES, {"name": "a"})
    save_model(tmp_path / "b", jax.device_put(VARIABLES), {"name": "b"})
    changed = jax.tree.map(np.copy, VARIABLES)
    changed["params"]["encoder"]["kernel"][1, 2] += 1
    save_model(tmp_path / "c", changed, {"name": "a"})
    digests = [model_digest(tmp_path / name) for name in "abc"]
    assert len(digests[0]) == 64 and digests[0] == digests[1] != digests[2]


def test_a_killed_save_leaves_no_model_and_does_not_disturb_the_next(tmp_path, monkeypatch):
    def killed(*_args):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(weights.os, "replace", killed)
        with pytest.raises(KeyboardInterrupt):
            save_model(tmp_path / "model", VARIABLES, {})
    assert (tmp_path / "model.partial" / "model.json").is_file()
    with pytest.raises(FacemaeError, match=r"no model in .*model: .*model\.partial is the rest of an interrupted save"):
        load_model(tmp_path / "model")
    with pytest.raises(FacemaeError, match=r"model\.partial is the rest"):
        load_model(tmp_path)
    save_model(tmp_path / "model", VARIABLES, {"second": True})
    assert load_model(tmp_path)[1] == {"second": True}
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


def test_a_model_replaces_an_older_one_whole(tmp_path):
    for number in (1, 2):
        save_model(tmp_path / "m", {f"w{number}": np.ones(3)}, {"number": number})
    variables, description = load_model(tmp_path / "m")
    assert list(variables) == ["w2"] and description == {"number": 2}


def harm_json(model):
    (model / "model.json").write_text("{")


def harm_sum(model):
    (model / "weights.sha256").write_text("0" * 64)


@pytest.mark.parametrize("harm", [flip, cut, delete, harm_json, harm_sum])
def test_damaged_models_are_refused(tmp_path, harm):
    rng = np.random.default_rng(0)
    save_model(tmp_path / "m", {"kernel": rng.normal(size=(64, 64)).astype(np.float32)}, {})
    harm(tmp_path / "m")
    with pytest.raises(FacemaeError, match=str(tmp_path / "m")):
        load_model(tmp_path / "m")


def test_no_model_there(tmp_path):
    with pytest.raises(FacemaeError, match=r"no model in .*nowhere: name a model directory"):
        load_model(tmp_path / "nowhere")
