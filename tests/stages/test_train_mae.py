import dataclasses
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from training_help import SIZE, metrics, run_stage, settings, write_faces, write_recognizer

from facemae_jax.chain.fingerprint import hashed_fields
from facemae_jax.checkpoint import load_model, model_digest, save_model
from facemae_jax.models import vit
from facemae_jax.models.frozen import Frozen
from facemae_jax.models.mae import Mae, MaeConfig
from facemae_jax.stages import teachers, train_mae, training
from facemae_jax.stages.inputs import SHARED, Input, Ref
from facemae_jax.train.mae_task import MaeLoss
from facemae_jax.types import FacemaeError

PEOPLE, IMAGES = 16, 2
SEEN = 8 * IMAGES  # the split of seed 0 happens to be even; checked below


@pytest.fixture
def faces(tmp_path):
    return Input(write_faces(tmp_path / "import", PEOPLE, IMAGES), SHARED)


def assert_equal(left, right):
    assert jax.tree.structure(left) == jax.tree.structure(right)
    jax.tree.map(np.testing.assert_array_equal, left, right)


def born(config, seed=9):
    """Fresh weights of this config's MAE, as a stage would save them, and their description."""
    sizes = train_mae.mae_config(config.mae, config.data.image_size)
    model = Mae(sizes)
    images, visible = jnp.zeros((1, SIZE, SIZE, 3)), jnp.arange(sizes.visible, dtype=jnp.int32)[None]
    params = jax.jit(model.init)(jax.random.key(seed), images, visible)["params"]
    return {"params": params}, sizes.to_dict() | {"kind": "mae"}


def test_it_trains_under_every_loss_and_the_model_says_how_it_was_made(tmp_path, monkeypatch, faces, capsys):
    write_recognizer(tmp_path / "teacher")
    weights = dict(mae__pixel_weight=0.5, mae__feature_weight=0.1, mae__unlink_weight=0.25, mae__unlink_margin=-0.4)
    weights |= dict(mae__shift_weight=0.3, mae__shift_share=0.4, mae__mask_focus=1.5)
    changes = dict(mae__relation_from=0.0, irm__group="4", irm__kind="euclidean")
    config = settings(monkeypatch, mae__scan=True, **weights, **changes)
    out = tmp_path / "train-mae-00000000"
    summary = run_stage(train_mae, config, {"faces": faces, "teacher": tmp_path / "teacher"}, out)
    told = metrics(out)
    terms = {"pixel", "cosine", "irm", "feature", "unlink", "shift"}
    assert [set(line) for line in told] == [{"step", "loss", "grad_norm"} | terms] * 2
    weighted = dict(pixel=0.5, irm=2.0, feature=0.1, unlink=0.25, shift=0.3)
    assert told[1]["loss"] == pytest.approx(sum(weight * told[1][name] for name, weight in weighted.items()), rel=1e-5)

    variables, description = load_model(out)
    loss = dict(
        pixel_weight=0.5, irm_weight=2.0, feature_weight=0.1, unlink_weight=0.25, unlink_margin=-0.4, shift_weight=0.3,
        irm_kind="euclidean", irm_group=4, irm_form="rows", irm_chunk=0, norm_pix=False,
    )  # fmt: skip
    sizes = dict(
        image_size=SIZE, patch=4, visible=4, width=16, depth=1, heads=2, decoder_width=16, decoder_depth=1,
        decoder_heads=2, dtype="float32", remat=False, scan=True, remat_keep="nothing",
        mask_focus=1.5,
    )  # fmt: skip
    made = dict(kind="mae", mask_ratio=0.75, seed=0, teacher="tiny", shift_share=0.4)
    assert description == sizes | loss | made
    # What is saved can paint, without the stacked layers of scan, and has nothing of the teacher.
    model = Mae(dataclasses.replace(MaeConfig.from_dict(description), scan=False))
    images, visible = jnp.zeros((2, SIZE, SIZE, 3)), jnp.tile(jnp.arange(4)[None], (2, 1))
    assert jax.eval_shape(model.apply, variables, images, visible).pixels_BHWC.shape == images.shape
    assert set(variables) == {"params"} and "fc" not in variables["params"]
    assert {name: summary[name] for name in ("images", "identities", "steps")} == dict(
        images=SEEN, identities=SEEN // IMAGES, steps=2
    )
    assert f"mae: {SEEN} images of {SEEN // IMAGES} people; model in {out.name}/model" in capsys.readouterr().out


@pytest.mark.parametrize(("share", "expected"), [(0.0, [True, True]), (0.3, [False, True]), (1.0, [False, False])])
def test_from_when_the_teacher_is_asked(tmp_path, monkeypatch, faces, share, expected):
    """The steps and not the loss are of interest here: so the training itself is left out."""
    asked, losses, make = [], [], train_mae.mae_task

    def fit(**given):
        asked.append([(share, bool(task.frozen)) for share, task in given["tasks"]])
        raise InterruptedError

    monkeypatch.setattr(train_mae, "fit", fit)
    monkeypatch.setattr(train_mae, "mae_task", lambda *given, **more: losses.append(given[1]) or make(*given, **more))
    write_recognizer(tmp_path / "teacher")
    config = settings(monkeypatch, mae__relation_from=share, mae__norm_pix_loss=True, irm__form="gram")
    with pytest.raises(InterruptedError):
        run_stage(train_mae, config, {"faces": faces, "teacher": tmp_path / "teacher"}, tmp_path / "out")
    whole = MaeLoss(irm_weight=2.0, norm_pix=True, irm_form="gram")
    assert losses == [whole] + [whole.pixels_only()] * (share > 0)
    (tasks,) = asked
    until = [(round(part * 2), knows) for part, knows in tasks]
    assert [next(knows for end, knows in until if step < end) for step in range(2)] == expected
    assert tasks[-1] == (1.0, True)  # the state is always made for the last one


@pytest.fixture
def begin(tmp_path, monkeypatch, faces):
    """The variables that a run begins with when it names weights; the training itself is left out."""

    def begun(config):
        def fit(**given):
            sizes = train_mae.mae_config(config.mae, SIZE)
            visible = jnp.zeros((1, sizes.visible), jnp.int32)
            fresh = jax.eval_shape(Mae(sizes).init, jax.random.key(0), jnp.zeros((1, SIZE, SIZE, 3)), visible)
            found.append(given["warm"](jax.tree.map(lambda leaf: jnp.zeros(leaf.shape), fresh)))
            raise InterruptedError

        found = []
        monkeypatch.setattr(train_mae, "fit", fit)
        with pytest.raises(InterruptedError):
            run_stage(train_mae, config, {"faces": faces, "init_from": tmp_path / "given"}, tmp_path / "out")
        return found[0]

    return begun


@pytest.mark.parametrize("scan", [False, True])
def test_weights_to_begin_with(tmp_path, monkeypatch, begin, scan):
    """Saved layers are never stacked; where scan wants them so, they are stacked at the start."""
    given, description = born(settings(monkeypatch, mae__depth=2))
    save_model(tmp_path / "given" / "model", given, description)
    place = str(tmp_path / "given")
    config = settings(monkeypatch, mae__irm_weight=0.0, mae__optim__init_from=place, mae__depth=2, mae__scan=scan)
    begun = begin(config)
    assert ("blocks" in begun["params"]["encoder"]) == scan
    assert_equal(vit.unstack(begun["params"]), given["params"])


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (dict(mae__depth=2), "mae.optim.init_from=.*given has other layers or sizes"),
        (dict(mae__depth=2, mae__scan=True), "mae.optim.init_from=.*given has other layers or sizes"),
        (dict(mae__width=32), "mae.optim.init_from=.*given has other layers or sizes"),
        (dict(kind="recognizer"), "mae.optim.init_from=.*given holds a recognizer, expected a mae"),
    ],
)
def test_other_weights_to_begin_with_are_refused(tmp_path, monkeypatch, begin, change, said):
    given, description = born(settings(monkeypatch))
    kind = {"kind": change.get("kind", "mae")}
    save_model(tmp_path / "given" / "model", given, description | kind)
    change = {name: value for name, value in change.items() if name != "kind"}
    config = settings(monkeypatch, mae__irm_weight=0.0, mae__optim__init_from=str(tmp_path / "given"), **change)
    with pytest.raises(FacemaeError, match=said):
        begin(config)


def test_an_mae_from_a_checkpoint_is_copied_whole(tmp_path, monkeypatch):
    config = settings(monkeypatch, mae__source=f"checkpoint:{tmp_path / 'given'}", mae__depth=3, mae__mask_ratio=0.5)
    variables, description = born(settings(monkeypatch))
    save_model(tmp_path / "given" / "model", variables, description | {"irm_weight": 7.0})
    assert train_mae.reads(config, "") == {} and train_mae.outside(config, "") == {"mae": config.mae.source}
    out = tmp_path / "out"
    assert run_stage(train_mae, config, {"mae": tmp_path / "given"}, out) == {"taken": True}
    # Layers and losses are those it was made with, whatever this config says about training.
    assert load_model(out)[1] == description | {"irm_weight": 7.0}
    assert model_digest(out) == model_digest(tmp_path / "given")
    assert sorted(path.name for path in out.iterdir()) == ["model"]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (
            dict(data__image_size=32, mae__patch=4),
            "trained with data.image_size=16, this config says 32.*image_size=16",
        ),
        (dict(mae__patch=8), "trained with mae.patch=4, this config says 8: add --config.mae.patch=4"),
    ],
)
def test_an_mae_of_another_size_is_not_taken(tmp_path, monkeypatch, changes, said):
    save_model(tmp_path / "given" / "model", *born(settings(monkeypatch)))
    config = settings(monkeypatch, mae__source=f"checkpoint:{tmp_path / 'given'}", **changes)
    with pytest.raises(FacemaeError, match=said):
        run_stage(train_mae, config, {"mae": tmp_path / "given"}, tmp_path / "out")
    assert not (tmp_path / "out" / "model").exists()


def test_a_recognizer_is_not_taken_for_an_mae(tmp_path, monkeypatch):
    write_recognizer(tmp_path / "given")
    config = settings(monkeypatch, mae__source=f"checkpoint:{tmp_path / 'given'}")
    with pytest.raises(FacemaeError, match="given holds a recognizer, not an MAE: name a train-mae directory"):
        run_stage(train_mae, config, {"mae": tmp_path / "given"}, tmp_path / "out")


@pytest.mark.parametrize("source", ["train", "checkpoint:/t", "onnx:/t.onnx"])
def test_how_the_teacher_is_loaded(tmp_path, monkeypatch, faces, source):
    asked = []

    def load(place, **settings):
        asked.append((place, settings))
        return Frozen({"w": np.ones(1)}, lambda params, images: images, None, 4, "digest", "frozen")

    def fit(**given):
        assert given["tasks"][-1][1].frozen == (({"w": np.ones(1)}, None),)
        raise InterruptedError

    monkeypatch.setattr(teachers, "load_frozen", load)
    monkeypatch.setattr(train_mae, "fit", fit)
    changes = dict(teacher__source=source, teacher__input_range="bytes", teacher__colour_order="bgr")
    with pytest.raises(InterruptedError):
        given = {"faces": faces, "teacher": "/where/it/is"}
        run_stage(train_mae, settings(monkeypatch, **changes), given, tmp_path / "out")
    form = "onnx" if source.startswith("onnx") else "checkpoint"
    assert asked == [(f"{form}:/where/it/is", dict(input_range="bytes", colour_order="bgr"))]


def test_a_batch_larger_than_the_faces_is_refused(tmp_path, monkeypatch, faces):
    config = settings(monkeypatch, mae__irm_weight=0.0, mae__optim__batch=24)
    with pytest.raises(FacemaeError, match=f"mae: optim.batch=24 is more than the {SEEN} images to train on"):
        run_stage(train_mae, config, {"faces": faces}, tmp_path / "out")


def test_what_it_reads(monkeypatch):
    config = settings(monkeypatch)
    assert train_mae.variants(config) == ("",)
    assert train_mae.reads(config, "") == {"faces": Ref("import-faces", SHARED), "teacher": Ref("train-teacher")}
    assert train_mae.outside(config, "") == {}
    # A teacher that no loss asks is not needed, wherever it comes from.
    for source in ("train", "onnx:/t.onnx"):
        config = settings(monkeypatch, mae__irm_weight=0.0, teacher__source=source)
        assert set(train_mae.reads(config, "")) == {"faces"} and train_mae.outside(config, "") == {}
        for weight in ("feature_weight", "unlink_weight", "shift_weight"):
            config = settings(monkeypatch, mae__irm_weight=0.0, teacher__source=source, **{f"mae__{weight}": 1.0})
            assert "teacher" in train_mae.reads(config, "") | train_mae.outside(config, "")
    config = settings(monkeypatch, data__unseen="/x", teacher__source="onnx:/t.onnx", mae__optim__init_from="/weights")
    assert train_mae.reads(config, "") == {"faces": Ref("import-faces", "seen")}
    assert train_mae.outside(config, "") == {"teacher": "onnx:/t.onnx", "init_from": "checkpoint:/weights"}


def test_what_changes_no_result_is_not_hashed(monkeypatch):
    hashed = json.dumps(list(hashed_fields(settings(monkeypatch), train_mae, "")))
    assert all(name in hashed for name in ("mae.visible", "irm.group", "mae.optim.epochs", "teacher.input_range"))
    for name in (
        "log_every",
        "save_every",
        "keep_latest",
        "keep_best",
        "keep_pixels",
        "init_from",
        "source",
        "threads",
        "mesh",
    ):
        assert name not in hashed


@pytest.fixture
def shared(tmp_path, monkeypatch, faces):
    """The first part that a run of a config would share, as (folder, step at its end); the training itself is left out."""

    def part(**changes):
        def train(**given):
            found.append(given["shared"])
            raise InterruptedError

        found = []
        monkeypatch.setattr(training, "train", train)
        config = settings(monkeypatch, **{"mae__relation_from": 0.5, "mae__optim__epochs": 4.0} | changes)
        given = {"faces": faces, "teacher": tmp_path / "teacher"}
        asked = set(train_mae.reads(config, "")) | set(train_mae.outside(config, ""))
        with pytest.raises(InterruptedError):
            run_stage(train_mae, config, {name: given[name] for name in asked}, tmp_path / "out")
        return found[0] and (found[0].place({"jax": "1"}), found[0].until)

    write_recognizer(tmp_path / "teacher")
    return part


def test_losses_that_join_later_share_the_part_before(shared, tmp_path):
    place, until = shared()
    assert place.parent == tmp_path / "private" / "phases" and until == 4
    for changes in (
        dict(mae__irm_weight=0.5), dict(mae__irm_weight=0.0), dict(mae__feature_weight=1.0), dict(mae__unlink_weight=1.0),
        dict(mae__shift_weight=1.0, mae__shift_share=0.2), dict(irm__group="4"), dict(mae__optim__log_every=7),
        dict(mae__irm_weight=0.0, mae__pixel_weight=1.0),
    ):  # fmt: skip
        assert shared(**changes) == (place, until), changes


def test_what_changes_the_part_before_has_one_of_its_own(shared):
    place = shared()[0]
    places = [
        shared(**changes)[0]
        for changes in (
            dict(seed=1), dict(mae__mask_ratio=0.5), dict(mae__optim__learning_rate=0.1), dict(mae__optim__epochs=5.0),
            dict(mae__augment__flip=False), dict(mae__decoder_depth=2), dict(mae__pixel_weight=0.5), dict(mae__relation_from=0.25),
            dict(mae__norm_pix_loss=True), dict(mae__mask_focus=1.0), dict(data__split_seed=1),
        )
    ]  # fmt: skip
    assert len({place, *places}) == 12


@pytest.mark.parametrize(
    "changes", [dict(mae__keep_pixels=False), dict(mae__relation_from=0.0), dict(mae__relation_from=1.0)]
)
def test_nothing_is_shared_where_nothing_is_kept_or_common(shared, changes):
    assert shared(**changes) is None
