import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from tiny_tasks import EMBEDDING, PEOPLE, ROWS, SIZE, Network, faces, mesh_of, recognizer

from facemae_jax.keys import keys_for
from facemae_jax.losses import sharded_softmax
from facemae_jax.losses.margin import adaface_margins, margin_loss, norm_statistics, unit
from facemae_jax.mesh import batch_sharding, put_batch
from facemae_jax.models.scaling import to_unit
from facemae_jax.train.recognizer_task import CENTRE_STD, HEAD, WHOLE, Head, Margin, recognizer_task
from facemae_jax.train.step import init_state, make_train_step
from facemae_jax.types import FacemaeError

MARGIN = dict(m1=1.0, m2=0.3, m3=0.1, scale=8.0)  # as tiny_tasks gives it


@functools.cache
def variables():
    return jax.jit(recognizer(mesh_of("8x1")).init)(jax.random.key(1))


def split():
    extra = dict(variables())
    return extra.pop("params"), extra


def value(task, seed=0, step=0, batch=None):
    """(loss, metrics, new extra) on all devices."""
    params, extra = split()
    keys = keys_for(seed, step, task.key_names)
    batch = put_batch(mesh_of("8x1"), faces() if batch is None else batch)
    loss, (metrics, extra) = jax.jit(task.loss)(params, extra, (), batch, keys)
    return loss, metrics, extra


def test_centres_stand_beside_the_network():
    params, extra = split()
    assert set(params) == {"network", "centres_KE"} and set(extra) == {"batch_stats"}
    assert params["centres_KE"].shape == (PEOPLE, EMBEDDING)
    assert float(params["centres_KE"].std()) == pytest.approx(CENTRE_STD, rel=0.2)
    assert float(jnp.abs(params["centres_KE"].mean())) < CENTRE_STD / 4
    again = jax.jit(recognizer(mesh_of("8x1")).init)(jax.random.key(2))["params"]
    assert not np.allclose(again["centres_KE"], params["centres_KE"])
    assert not np.allclose(again["network"]["fc"]["kernel"], params["network"]["fc"]["kernel"])


def test_the_loss_is_the_margin_softmax_of_embeddings_in_training_mode():
    params, extra = split()
    batch = faces()

    @jax.jit
    def by_hand(images, labels):
        variables = {"params": params["network"], **extra}
        embeddings, _ = Network().apply(variables, to_unit(images), train=True, mutable=["batch_stats"])
        return embeddings, margin_loss(embeddings, params["centres_KE"], labels, **MARGIN)

    embeddings, _ = by_hand(batch.images_BHWC, batch.labels_B)
    nearest = (np.asarray(embeddings) @ np.asarray(unit(params["centres_KE"])).T).argmax(axis=1)
    batch = batch._replace(labels_B=np.where(np.arange(ROWS) < 5, nearest, batch.labels_B).astype(np.int32))
    loss, metrics, _ = value(recognizer(mesh_of("8x1")), batch=batch)
    embeddings, expected = by_hand(batch.images_BHWC, batch.labels_B)
    assert float(loss) == pytest.approx(float(expected.mean()), rel=1e-5)
    # Accuracy is told without the margin, in which the own class would look worse than it is.
    cosines = np.asarray(embeddings) @ (
        np.asarray(params["centres_KE"]) / np.linalg.norm(params["centres_KE"], axis=1, keepdims=True)
    ).T  # fmt: skip
    assert float(metrics["accuracy"]) == pytest.approx(np.mean(cosines.argmax(axis=1) == batch.labels_B))
    assert 0 < float(metrics["accuracy"]) < 1


@pytest.mark.parametrize("change", [dict(m1=1.2), dict(m2=0.5), dict(m3=0.4), dict(scale=16.0)])
def test_every_number_of_the_margin_counts(change):
    loss, _, _ = value(recognizer(mesh_of("8x1")))
    harder, _, _ = value(recognizer(mesh_of("8x1"), **change))
    assert float(harder) > float(loss) + 0.01


def test_statistics_are_those_of_the_whole_batch():
    """Two images on each of eight devices: a device's own mean would be another one."""
    batch = faces()
    # Images of different brightness, sorted: so the devices' own variances are far below that of the batch.
    bright = np.sort(np.random.default_rng(0).integers(0, 256, ROWS, dtype=np.uint8))
    images = np.broadcast_to(bright[:, None, None, None], (ROWS, SIZE, SIZE, 3)).copy()
    _, _, extra = value(recognizer(mesh_of("8x1")), batch=batch._replace(images_BHWC=images))
    kernel = split()[0]["network"]["conv"]["kernel"]
    layer = jax.lax.conv_general_dilated(
        to_unit(images), kernel, (2, 2), [(1, 1), (1, 1)], dimension_numbers=("NHWC", "HWIO", "NHWC")
    )
    after = extra["batch_stats"]["bn"]  # momentum 0.9, from mean 0 and variance 1
    np.testing.assert_allclose(after["mean"], 0.1 * layer.mean(axis=(0, 1, 2)), atol=1e-6)
    np.testing.assert_allclose(after["var"], 0.9 + 0.1 * layer.var(axis=(0, 1, 2)), rtol=1e-4)


def test_dropout_follows_the_key_and_nothing_else_does():
    mesh = mesh_of("8x1")
    dropping = recognizer(mesh, dropout=0.5)
    losses = [float(value(dropping, seed, step)[0]) for seed, step in ((0, 0), (0, 0), (0, 1), (1, 0))]
    assert losses[0] == losses[1] and len(set(losses)) == 3
    plain = recognizer(mesh)
    assert float(value(plain, 0, 0)[0]) == float(value(plain, 1, 1)[0])


ODD = 27  # identities that divide over no mesh here


def odd_task(mesh_name, network=None, **given):
    mesh = mesh_of(mesh_name)
    margin = Margin(**({"m2": 0.3, "m3": 0.1, "scale": 8.0} | given.pop("margin", {})))
    return recognizer_task(
        network or Network(), identities=ODD, embedding=EMBEDDING, image_size=SIZE, margin=margin, mesh=mesh, **given
    )


@functools.cache
def trained(mesh_name, head=WHOLE, optimizer="sgd", accumulate=1, kind="combined", steps=2):
    """(before, after) as numpy, and the metrics of the last step."""
    mesh, task = mesh_of(mesh_name), odd_task(mesh_name, head=head, margin={"kind": kind})
    decay = optax.add_decayed_weights(0.1)
    rule = (
        optax.chain(decay, optax.sgd(0.1, momentum=0.9)) if optimizer == "sgd" else optax.adamw(0.01, weight_decay=0.1)
    )
    state = init_state(task, rule, mesh=mesh, seed=5)
    # Momentum of rows that were trained before must stand still as well: so it is not zero to begin with.
    memory = jax.tree.map(lambda x: x + jnp.asarray(0.5, x.dtype) if x.ndim == 2 else x, state.opt_state)
    state = state.replace(opt_state=memory)
    step = make_train_step(task, rule, mesh=mesh, seed=5, accumulate=accumulate)
    before = jax.tree.map(np.array, state)
    for number in range(steps):
        state, metrics = step(state, put_batch(mesh, faces(seed=number)))
    return before, jax.tree.map(np.array, state), jax.tree.map(float, metrics)


def centres_of(state):
    """Every array that has a row per class: centres and what the optimizer remembers of them."""
    leaves = jax.tree_util.tree_flatten_with_path(state)[0]
    found = {jax.tree_util.keystr(path): leaf for path, leaf in leaves if "centres_KE" in jax.tree_util.keystr(path)}
    assert len(found) >= 2
    return found


def test_classes_that_do_not_divide_are_padded_with_rows_that_stay_zero():
    rows = [
        len(jax.eval_shape(odd_task(name).init, jax.random.key(0))["params"]["centres_KE"]) for name in ("1", "8x1")
    ]
    assert rows == [27, 32]
    before, after, _ = trained("8x1")
    one_before, one_after, _ = trained("1")
    np.testing.assert_array_equal(before.params["centres_KE"][:ODD], one_before.params["centres_KE"])
    assert not before.params["centres_KE"][ODD:].any()
    np.testing.assert_allclose(after.params["centres_KE"][:ODD], one_after.params["centres_KE"], atol=1e-5)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5), after.params["network"], one_after.params["network"]
    )
    assert np.abs(after.params["centres_KE"][:ODD] - before.params["centres_KE"][:ODD]).max() > 1e-3


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
@pytest.mark.parametrize("accumulate", [1, 2])
def test_only_sampled_rows_change_bit_for_bit(optimizer, accumulate):
    # 32 rows over 8 devices and batches of 16: tiles and batch would sample all, so the sizes are set aside here.
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sharded_softmax, "sample_size", lambda identities, devices, rate, batch: 3)
        before, after, metrics = trained(
            "8x1", head=Head(sample=0.1), optimizer=optimizer, accumulate=accumulate, steps=1
        )
    task = odd_task("8x1", head=Head(sample=0.1))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sharded_softmax, "sample_size", lambda identities, devices, rate, batch: 3)
        batch = put_batch(mesh_of("8x1"), faces(seed=0))
        rows = np.asarray(jax.jit(lambda: task.select(batch, keys_for(5, 0, task.key_names)).rows_S)())
    touched = (rows.reshape(8, 3) + 4 * np.arange(8)[:, None]).ravel()
    resting = np.setdiff1d(np.arange(32), touched)
    assert len(resting) == 8
    assert ODD not in touched  # the seventh device has three classes and a row of padding
    for name, old in centres_of(before).items():
        new = centres_of(after)[name]
        np.testing.assert_array_equal(new[resting], old[resting], err_msg=name)
        moved = touched[touched < ODD]
        assert (np.abs(new[moved] - old[moved]).max(axis=1) > 0).all(), name
    assert 0 <= metrics["accuracy"] <= 1


def test_the_share_of_centres_that_a_step_trains():
    mesh, identities = mesh_of("8x1"), 16_000
    for share, rows in ((0.1, 256), (0.5, 1024), (0.999, 2000)):  # of 2,000 on each device, in tiles of 128
        task = recognizer_task(
            Network(), identities=identities, embedding=EMBEDDING, image_size=SIZE, margin=Margin(), mesh=mesh,
            head=Head(sample=share),
        )  # fmt: skip
        chosen = jax.eval_shape(lambda task=task: task.select(faces(), keys_for(0, 0, task.key_names)).rows_S)
        assert chosen.shape == (8 * rows,)


def test_images_are_held_over_all_devices():
    """Otherwise the shardings of large weights would spread to them."""
    params, extra = split()
    task = recognizer(mesh_of("4x2"))
    program = jax.make_jaxpr(task.loss)(params, extra, (), faces(), keys_for(0, 0, task.key_names))
    (pinned,) = [step for step in program.eqns if step.primitive.name == "sharding_constraint"]
    assert pinned.outvars[0].aval.shape == (ROWS, SIZE, SIZE, 3)
    assert pinned.params["sharding"].is_equivalent_to(batch_sharding(mesh_of("4x2")), 4)


def test_sampling_all_is_no_sampling():
    whole, all_sampled = trained("8x1"), trained("8x1", head=Head(sample=0.999))  # rounded up to all four rows
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5), whole[1].params, all_sampled[1].params)


def test_adaface_keeps_statistics_of_the_norms_and_its_margin_follows_them():
    before, after, metrics = trained("8x1", kind="adaface")
    assert before.extra[HEAD] == {"mean": 20.0, "std": 100.0}
    assert after.extra[HEAD]["mean"] != 20.0 and after.extra[HEAD]["std"] != 100.0 and metrics["norm"] > 0
    _, one, _ = trained("1", kind="adaface")
    np.testing.assert_allclose(after.extra[HEAD]["mean"], one.extra[HEAD]["mean"], rtol=1e-5)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5), after.params["network"], one.params["network"]
    )


def embedded(params, extra, batch):
    variables = {"params": params["network"], "batch_stats": extra["batch_stats"]}
    return Network().apply(variables, to_unit(batch.images_BHWC), train=True, mutable=["batch_stats"])[0]


def test_adaface_margins_follow_statistics_that_have_seen_this_batch():
    params, extra = split()
    before = {"mean": jnp.asarray(9.0), "std": jnp.asarray(4.0)}
    task = recognizer(mesh_of("8x1"), kind="adaface", m=0.3, h=0.5, m1=1.3)  # AdaFace knows no m1

    @jax.jit
    def both(batch):
        found, (metrics, after) = task.loss(params, {**extra, HEAD: before}, (), batch, keys_for(0, 0, task.key_names))
        embeddings_BE = embedded(params, extra, batch)
        norms_B = jnp.linalg.norm(embeddings_BE, axis=1)
        mean, std = norm_statistics(norms_B, before["mean"], before["std"])
        m2, m3 = adaface_margins(norms_B, mean, std, m=0.3, h=0.5)
        losses = margin_loss(embeddings_BE, params["centres_KE"], batch.labels_B, m2=m2, m3=m3, scale=MARGIN["scale"])
        return (found, after[HEAD], metrics["norm"]), (losses.mean(), {"mean": mean, "std": std}, norms_B.mean())

    found, expected = both(put_batch(mesh_of("8x1"), faces()))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5), found, expected)
    assert abs(found[1]["mean"] - 9.0) > 0.01 and abs(found[1]["std"] - 4.0) > 0.01


def test_the_product_with_bfloat16_centres_is_one_of_bfloat16():
    params, extra = split()
    params = {**params, "centres_KE": params["centres_KE"].astype("bfloat16")}
    mesh = mesh_of("8x1")
    task = recognizer_task(
        Network(), identities=PEOPLE, embedding=EMBEDDING, image_size=SIZE, margin=Margin(**MARGIN), mesh=mesh,
        head=Head(dtype="bfloat16"),
    )  # fmt: skip

    @jax.jit
    def losses(batch):
        given = (embedded(params, extra, batch), params["centres_KE"], batch.labels_B)
        by_hand = [
            sharded_softmax.sharded_margin_loss(
                *given, identities=PEOPLE, mesh=mesh, dtype=dtype, **MARGIN
            ).loss_B.mean()
            for dtype in ("bfloat16", "float32")
        ]
        return task.loss(params, extra, (), batch, keys_for(0, 0, task.key_names))[0], *by_hand

    found, half, whole = losses(put_batch(mesh, faces()))
    assert float(found) == pytest.approx(float(half), rel=1e-6)
    assert float(found) != pytest.approx(float(whole), rel=1e-5)


def test_bfloat16_centres_are_held_as_such():
    before, after, metrics = trained("8x1", head=Head(dtype="bfloat16"))
    assert all(leaf.dtype == jnp.bfloat16 for leaf in centres_of(after).values())
    assert np.isfinite(metrics["loss"]) and (after.params["centres_KE"] != before.params["centres_KE"]).any()


@pytest.mark.parametrize(
    ("given", "said"), [(dict(margin={"kind": "arc"}), "margin.kind=arc"), (dict(head=Head(sample=0.0)), "head.sample")]
)
def test_an_unknown_margin_or_share_is_refused(given, said):
    with pytest.raises(FacemaeError, match=said):
        odd_task("1", **given)


def test_a_million_identities_train_with_an_eighth_of_the_centres_on_each_device():
    identities, mesh = 1_000_003, mesh_of("8x1")
    task = recognizer_task(
        Network(), identities=identities, embedding=EMBEDDING, image_size=SIZE, margin=Margin(m3=0.1, scale=8.0), mesh=mesh,
        head=Head(sample=0.1),
    )  # fmt: skip
    rule = optax.adam(0.02)
    state = init_state(task, rule, mesh=mesh, seed=0)
    for name, leaf in centres_of((state.params, state.opt_state)).items():
        sizes = {shard.data.nbytes for shard in leaf.addressable_shards}
        assert sizes == {1_000_008 // 8 * EMBEDDING * 4}, name
        assert len({shard.device for shard in leaf.addressable_shards}) == 8
    batch = faces()
    batch = put_batch(mesh, batch._replace(labels_B=batch.labels_B * 41_666))  # spread over all devices
    step = make_train_step(task, rule, mesh=mesh, seed=0)
    losses = []
    for _ in range(6):
        state, metrics = step(state, batch)
        losses.append(float(metrics["loss"]))
    print(losses)
    assert losses[0] > np.log(100_000) > losses[-1]
