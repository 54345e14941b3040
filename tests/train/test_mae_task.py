import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tiny_tasks import EMBEDDING, MAE, ROWS, Painter, faces, mesh_of, teacher

from facemae_jax.keys import image_keys, keys_for
from facemae_jax.losses.relation import relation_loss
from facemae_jax.losses.shift import Shift, shift_loss
from facemae_jax.mesh import put_batch
from facemae_jax.models.masking import patchify, random_mask
from facemae_jax.models.scaling import to_unit
from facemae_jax.train import mae_task as module
from facemae_jax.train.mae_task import Guide, MaeLoss, mae_task
from facemae_jax.types import FacemaeError

EVERYTHING = MaeLoss(
    pixel_weight=0.5, irm_weight=2.0, feature_weight=0.3, unlink_weight=0.7, unlink_margin=-0.2, shift_weight=0.4
)
SHIFT = Shift(np.full(EMBEDDING, 0.1, np.float32), np.diag(np.resize([1.0, -1.0], EMBEDDING)).astype(np.float32))


@functools.cache
def params():
    return jax.jit(mae_task(Painter(), MaeLoss(), mesh=mesh_of("8x1")).init)(jax.random.key(0))["params"]


@functools.cache
def value(loss):
    """(loss, metrics, gradients) on all devices."""
    mesh = mesh_of("8x1")
    task = mae_task(Painter(), loss, guides=[Guide(teacher(), SHIFT)] if loss.needs_teacher else [], mesh=mesh)
    run = jax.jit(jax.value_and_grad(task.loss, has_aux=True))
    keys = keys_for(0, 0, task.key_names)
    (total, (metrics, extra)), grads = run(params(), {"kept": 1.0}, task.frozen, put_batch(mesh, faces()), keys)
    assert extra == {"kept": 1.0}
    return float(total), {name: float(metric) for name, metric in metrics.items()}, grads


@functools.cache
def by_hand():
    """Images, painting and both embeddings, on one device and without the task."""
    images, frozen = to_unit(faces().images_BHWC), teacher()
    mask = random_mask(image_keys(keys_for(0, 0, ("mask",))["mask"], ROWS), patches=MAE.patches, visible=MAE.visible)

    @jax.jit
    def paint(images, visible_BV):
        painted = Painter().apply({"params": params()}, images, visible_BV).pixels_BHWC
        return painted, frozen.apply(frozen.params, images), frozen.apply(frozen.params, painted)

    return images, *paint(images, mask.visible_BV)


def test_the_total_is_the_weighted_sum_of_its_terms():
    total, metrics, _ = value(EVERYTHING)
    assert set(metrics) == {"pixel", "irm", "feature", "unlink", "shift", "cosine"}
    weights = dict(pixel=0.5, irm=2.0, feature=0.3, unlink=0.7, shift=0.4)
    assert total == pytest.approx(sum(weight * metrics[name] for name, weight in weights.items()), rel=1e-6)
    images, painted, real, mine = by_hand()
    cosines = np.sum(np.asarray(real) * np.asarray(mine), axis=1)
    expected = dict(
        pixel=np.mean((np.asarray(painted) - np.asarray(images)) ** 2),
        irm=float(relation_loss(real, mine)),
        feature=np.mean(1 - cosines),
        unlink=np.mean(np.maximum(cosines + 0.2, 0)),
        shift=float(np.mean(shift_loss(real, mine, SHIFT))),
        cosine=np.mean(cosines),
    )
    assert metrics == pytest.approx(expected, rel=1e-4)
    assert all(abs(metric) > 1e-3 for metric in metrics.values())


@pytest.mark.parametrize(
    ("loss", "terms"),
    [
        (MaeLoss(), set()),
        (MaeLoss(irm_weight=1.0), {"irm", "cosine"}),
        (MaeLoss(feature_weight=1.0), {"feature", "cosine"}),
        (MaeLoss(unlink_weight=1.0, unlink_margin=-0.2), {"unlink", "cosine"}),
        (MaeLoss(shift_weight=1.0), {"shift", "cosine"}),
    ],
)
def test_a_term_of_weight_0_is_not_computed_and_every_other_moves_the_loss(loss, terms):
    pixels, _, pixel_grads = value(MaeLoss())
    total, metrics, grads = value(loss)
    assert set(metrics) == {"pixel"} | terms
    if terms:
        assert abs(total - pixels) > 1e-3
        moved = jax.tree.map(lambda a, b: float(jnp.abs(a - b).max()), grads, pixel_grads)
        assert min(jax.tree.leaves(moved)) > 1e-6


def test_without_a_weight_for_it_the_teacher_is_not_asked_and_not_carried():
    def refuse(*_):
        raise AssertionError("the teacher was asked")

    mesh = mesh_of("8x1")
    task = mae_task(Painter(), MaeLoss(), guides=[Guide(teacher()._replace(apply=refuse))], mesh=mesh)
    assert task.frozen == ()
    jax.eval_shape(task.loss, params(), {}, (), put_batch(mesh, faces()), keys_for(0, 0, task.key_names))


def test_the_pixel_loss_may_be_dropped_and_is_then_only_told():
    total, metrics, grads = value(MaeLoss(pixel_weight=0.0, irm_weight=1.0))
    assert total == pytest.approx(metrics["irm"]) and metrics["pixel"] > 0.1
    both = value(MaeLoss(pixel_weight=1.0, irm_weight=1.0))[2]
    pixels = value(MaeLoss())[2]
    jax.tree.map(lambda a, b, c: np.testing.assert_allclose(a, b - c, atol=1e-5), grads, both, pixels)


@pytest.mark.parametrize(
    "change", [dict(irm_group=4), dict(irm_kind="euclidean"), dict(irm_kind="euclidean", irm_group=8)]
)
def test_the_relation_graph_is_the_one_asked_for(change):
    plain = value(MaeLoss(irm_weight=1.0))[1]["irm"]
    told = value(MaeLoss(irm_weight=1.0, **change))[1]["irm"]
    _, _, real, mine = by_hand()
    expected = relation_loss(real, mine, **{name.removeprefix("irm_"): x for name, x in change.items()})
    assert told == pytest.approx(float(expected), rel=1e-4) and abs(told - plain) > 1e-4


def test_the_form_changes_nothing(monkeypatch):
    asked, original = [], module.relation_loss_sharded
    monkeypatch.setattr(module, "relation_loss_sharded", lambda *a, **k: asked.append(k["form"]) or original(*a, **k))
    rows, gram = (value(MaeLoss(irm_weight=1.0, irm_form=form)) for form in ("rows", "gram"))
    assert asked[-1] == "gram" and gram[0] == pytest.approx(rows[0], rel=1e-5)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5), gram[2], rows[2])


def test_normalised_targets_have_their_own_mean_and_variance():
    _, metrics, _ = value(MaeLoss(norm_pix=True))
    images, painted, _, _ = by_hand()
    target, mine = (np.asarray(patchify(x, MAE.patch)) for x in (images, painted))
    target = (target - target.mean(-1, keepdims=True)) / target.std(-1, keepdims=True)
    assert metrics["pixel"] == pytest.approx(np.mean((mine - target) ** 2), rel=1e-3)
    assert abs(metrics["pixel"] - value(MaeLoss())[1]["pixel"]) > 0.1


def test_the_teacher_gets_no_gradient_through_the_real_images():
    """The real embeddings are a target: the gradient is the one that takes them as constants."""
    mesh = mesh_of("8x1")
    frozen = teacher()
    task = mae_task(Painter(), EVERYTHING._replace(pixel_weight=0.0), guides=[Guide(frozen, SHIFT)], mesh=mesh)
    batch, keys = put_batch(mesh, faces()), keys_for(0, 0, ("mask",))
    images, painted, real, _ = by_hand()

    def loss(w, real_BE):
        """The terms by hand, with the real embeddings as a constant."""
        mine = frozen.apply({"w": w}, painted)
        cosine = jnp.sum(real_BE * mine, axis=1)
        single = 0.3 * (1 - cosine) + 0.7 * jax.nn.relu(cosine + 0.2) + 0.4 * shift_loss(real_BE, mine, SHIFT)
        return 2.0 * relation_loss(real_BE, mine) + jnp.mean(single)

    expected = jax.jit(jax.grad(loss))(jnp.asarray(frozen.params["w"]), real)
    found = jax.jit(jax.grad(lambda w: task.loss(params(), {}, (({"w": w}, SHIFT),), batch, keys)[0]))(
        frozen.params["w"]
    )
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_with_several_teachers_every_term_is_their_mean():
    mesh = mesh_of("8x1")
    one = teacher()
    other = one._replace(params={"w": one.params["w"][::-1].copy()})
    away = Shift(-SHIFT.mean_E, SHIFT.map_EE)

    def metrics(*guides):
        task = mae_task(Painter(), EVERYTHING, guides=guides, mesh=mesh)
        batch, keys = put_batch(mesh, faces()), keys_for(0, 0, ("mask",))
        total, (parts, _) = jax.jit(task.loss)(params(), {}, task.frozen, batch, keys)
        return {"total": float(total)} | {name: float(part) for name, part in parts.items()}

    first, second, both = (
        metrics(Guide(one, SHIFT)),
        metrics(Guide(other, away)),
        metrics(Guide(one, SHIFT), Guide(other, away)),
    )
    assert both == pytest.approx({name: (first[name] + second[name]) / 2 for name in first}, rel=1e-5)
    assert all(abs(first[name] - second[name]) > 1e-4 for name in first if name != "pixel")


def masks(mesh_name, seed, step, batch, config=MAE):
    """The patches that the model is shown."""
    mesh, seen = mesh_of(mesh_name), []

    class Spy(Painter):
        def apply(self, variables, images_BHWC, visible_BV):
            seen.append(visible_BV)
            return super().apply(variables, images_BHWC, visible_BV)

    task = mae_task(Spy(config), MaeLoss(), mesh=mesh)

    def told(batch):
        task.loss(params(), {}, (), batch, keys_for(seed, step, task.key_names))
        return seen.pop()

    return np.asarray(jax.jit(told)(put_batch(mesh, batch)))


def test_masks_follow_from_seed_step_and_position_alone():
    plain = masks("8x1", 5, 7, faces())
    assert plain.shape == (ROWS, MAE.visible) and len(np.unique(plain, axis=0)) > ROWS // 2
    key = keys_for(5, 7, ("mask",))["mask"]
    expected = random_mask(image_keys(key, ROWS), patches=MAE.patches, visible=MAE.visible).visible_BV
    np.testing.assert_array_equal(plain, expected)
    for mesh_name in ("1", "4x2"):
        np.testing.assert_array_equal(masks(mesh_name, 5, 7, faces()), plain)
    np.testing.assert_array_equal(masks("8x1", 5, 7, faces(seed=9)), plain)  # other images
    np.testing.assert_array_equal(masks("8x1", 5, 7, faces(8)), plain[:8])  # a smaller batch
    for seed, step in ((5, 8), (6, 7)):
        assert (masks("8x1", seed, step, faces()) != plain).any()


def test_a_focus_of_the_masks_is_that_of_the_model():
    focused = dataclasses.replace(MAE, mask_focus=4.0)
    keys = image_keys(keys_for(5, 7, ("mask",))["mask"], ROWS)
    expected = random_mask(keys, patches=MAE.patches, visible=MAE.visible, focus=4.0).visible_BV
    np.testing.assert_array_equal(masks("8x1", 5, 7, faces(), focused), expected)
    assert (masks("8x1", 5, 7, faces()) != expected).any()


def test_a_loss_that_compares_embeddings_needs_a_teacher():
    for name in ("irm_weight", "feature_weight", "unlink_weight", "shift_weight"):
        with pytest.raises(FacemaeError, match="mae.irm_weight, .* give a teacher"):
            mae_task(Painter(), MaeLoss(**{name: 1.0}), mesh=mesh_of("8x1"))


def test_the_phase_before_the_teacher_joins_has_pixels_alone():
    first = EVERYTHING.pixels_only()
    assert not first.needs_teacher and first.pixel_weight == 0.5 and first.unlink_margin == -0.2
    assert EVERYTHING._replace(pixel_weight=0.0).pixels_only().pixel_weight == 1.0
    assert EVERYTHING._replace(norm_pix=True).pixels_only().norm_pix
