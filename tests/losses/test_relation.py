import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from facemae_jax.losses import relation
from facemae_jax.losses.relation import relation_loss_sharded
from facemae_jax.mesh import batch_sharding, make_mesh, replicated
from facemae_jax.types import FacemaeError

relation_loss = jax.jit(relation.relation_loss, static_argnames=("kind", "group", "form"))
BATCH, LENGTH, INPUTS = 64, 16, 8
FORMS = [
    dict(kind="cosine", group=0),
    dict(kind="cosine", group=32),
    dict(kind="euclidean", group=0),
    dict(kind="euclidean", group=32),
    dict(kind="cosine", group=0, form="gram"),
]


def unit(x):
    return x / np.linalg.norm(x, axis=1, keepdims=True)


def embeddings(seed, batch=BATCH):
    return unit(np.random.default_rng(seed).normal(size=(batch, LENGTH))).astype(np.float32)


def oracle(real, painted, kind, group):
    """The definition in float64, pair by pair."""
    real, painted, batch = real.astype(np.float64), np.asarray(painted, np.float64), len(real)
    size, losses = group or batch, []
    for start in range(0, batch, size):
        pairs = [(i, j) for i in range(start, start + size) for j in range(start, start + size) if i != j]
        a, b = ([(e[i], e[j]) for i, j in pairs] for e in (real, painted))
        if kind == "cosine":
            losses.append(np.mean([(x @ y - v @ w) ** 2 for (x, y), (v, w) in zip(a, b, strict=True)]))
            continue
        d, e = (np.array([np.linalg.norm(x - y) for x, y in points]) for points in (a, b))
        apart = np.abs(d / d.mean() - e / e.mean())
        losses.append(np.where(apart < 1, 0.5 * apart**2, apart - 0.5).mean())
    return np.mean(losses)


def assert_close(found, wanted, tolerance):
    """Within ``tolerance`` of the largest number."""
    found, wanted = np.asarray(found), np.asarray(wanted)
    assert np.abs(found - wanted).max() <= tolerance * np.abs(wanted).max()


@pytest.mark.parametrize("form", FORMS, ids=str)
def test_definition(form):
    real, painted = embeddings(0), embeddings(1)
    value = relation_loss(real, painted, **form)
    np.testing.assert_allclose(value, oracle(real, painted, form["kind"], form["group"]), rtol=1e-5)
    assert value.shape == () and value.dtype == jnp.float32
    gradient = jax.grad(lambda p: relation_loss(real, p, **form))(painted)
    way = np.random.default_rng(6).normal(size=painted.shape)
    after, before = (oracle(real, painted + step * way, form["kind"], form["group"]) for step in (1e-5, -1e-5))
    np.testing.assert_allclose((gradient * way).sum(), (after - before) / 2e-5, rtol=1e-4)


def test_cosine_by_hand():
    real = jnp.array([[1.0, 0.0], [0.0, 1.0], [0.6, 0.8]])  # relations 0, 0.6, 0.8
    painted = jnp.array([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]])  # relations 1, 0, 0
    for form in ("rows", "gram"):
        np.testing.assert_allclose(relation_loss(real, painted, form=form), (1 + 0.36 + 0.64) / 3, rtol=1e-6)


def test_euclidean_by_hand():
    # Distances 3, 4, 5 → 0.75, 1, 1.25 of their mean; 1, 1, 2 → 0.75, 0.75, 1.5.
    real = jnp.array([[0.0, 0.0], [3.0, 0.0], [0.0, 4.0]])
    painted = jnp.array([[0.0, 0.0], [1.0, 0.0], [-1.0, 0.0]])
    np.testing.assert_allclose(relation_loss(real, painted, kind="euclidean"), 0.5 * 2 * 0.0625 / 3, rtol=1e-5)
    # Three at one place and a fourth elsewhere: distances 0, 0, 0, 1, 1, 1 → 0 and 2 of their mean. Another is then the fourth:
    # of six pairs two go from 0 to 2 and two from 2 to 0, where Huber's loss is linear: 2 − 0.5.
    lonely = jnp.array([[0.0, 0.0], [0.0, 0.0], [0.0, 0.0], [1.0, 0.0]])
    swapped = lonely[::-1]
    np.testing.assert_allclose(relation_loss(lonely, swapped, kind="euclidean"), 4 * 1.5 / 6, rtol=1e-5)


@pytest.mark.parametrize("kind", ["cosine", "euclidean"])
def test_groups_are_consecutive_and_averaged(kind):
    real, painted = embeddings(0), embeddings(1)
    parts = [relation_loss(real[at : at + 16], painted[at : at + 16], kind=kind) for at in range(0, BATCH, 16)]
    np.testing.assert_allclose(relation_loss(real, painted, kind=kind, group=16), np.mean(parts), rtol=1e-5)


@pytest.fixture(scope="module")
def task():
    """Embeddings of painted faces that depend on parameters: what training differentiates."""
    random = np.random.default_rng(2)
    weights = random.normal(size=(INPUTS, LENGTH)).astype(np.float32)
    return weights, random.normal(size=(BATCH, INPUTS)).astype(np.float32), embeddings(0)


def loss_and_gradients(task, loss):
    """Value, gradient of the parameters, of each painted embedding and of each real one."""
    weights, inputs, real = task

    def total(weights, moved, real):
        raw = inputs @ weights
        return loss(real, raw / jnp.linalg.norm(raw, axis=1, keepdims=True) + moved)

    still = np.zeros((BATCH, LENGTH), np.float32)
    return jax.jit(jax.value_and_grad(total, argnums=(0, 1, 2)))(weights, still, real)


@pytest.mark.parametrize("form", FORMS, ids=str)
def test_same_loss_and_gradient_on_1_and_8_devices_and_none_into_the_real_faces(task, form):
    value, gradients = loss_and_gradients(task, lambda r, p: relation_loss(r, p, **form))
    assert value > 1e-3 and all(np.abs(gradient).max() > 1e-4 for gradient in gradients[:2])
    assert not np.asarray(gradients[2]).any()  # nothing flows into the real faces
    for mesh in (make_mesh(1, 1, jax.devices()[:1]), make_mesh(8, 1), make_mesh(4, 2)):
        weights, inputs, real = task
        split = batch_sharding(mesh)
        spread = jax.device_put(weights, replicated(mesh)), jax.device_put(inputs, split), jax.device_put(real, split)
        sharded, others = loss_and_gradients(spread, lambda r, p, m=mesh: relation_loss_sharded(r, p, mesh=m, **form))
        np.testing.assert_allclose(sharded, value, rtol=1e-5)
        for other, gradient in zip(others[:2], gradients[:2], strict=True):
            assert_close(other, gradient, 1e-5)
        assert not np.asarray(others[2]).any()


def test_gram_agrees_with_rows(task):
    rows, gram = (loss_and_gradients(task, lambda r, p, f=f: relation_loss(r, p, form=f)) for f in ("rows", "gram"))
    np.testing.assert_allclose(gram[0], rows[0], rtol=1e-5)
    for a, b in zip(gram[1][:2], rows[1][:2], strict=True):
        assert_close(a, b, 1e-5)


@pytest.mark.parametrize("distance", [1e-2, 1e-4, 1e-6])
def test_gram_is_exact_where_the_painted_are_nearly_the_real(distance):
    # ‖EᵀE‖² − 2‖ÊᵀE‖² + ‖ÊᵀÊ‖² is here a difference of numbers 10⁴ to 10¹² times as large: in float32, little would be left.
    real = embeddings(0)
    painted = (real + distance * np.random.default_rng(3).normal(size=real.shape)).astype(np.float32)
    value, gradient = jax.value_and_grad(lambda p: relation_loss(real, p, form="gram"))(painted)
    np.testing.assert_allclose(value, oracle(real, painted, "cosine", 0), rtol=1e-5)
    e, p = real.astype(np.float64), painted.astype(np.float64)
    apart = p @ p.T - e @ e.T
    np.fill_diagonal(apart, 0)
    assert_close(gradient, 4 * apart @ p / (BATCH * (BATCH - 1)), 1e-5)
    if distance >= 1e-4:  # the rows form subtracts relations, and so it loses digits before the gram form does
        rows, by_rows = jax.value_and_grad(lambda p: relation_loss(real, p))(painted)
        np.testing.assert_allclose(value, rows, rtol=1e-3)
        assert_close(gradient, by_rows, 1e-3)


def test_gram_of_the_same_embeddings_is_zero_and_never_negative():
    real = embeddings(0)
    value, gradient = jax.value_and_grad(lambda p: relation_loss(real, p, form="gram"))(jnp.asarray(real))
    assert value == 0 and not np.asarray(gradient).any()
    turn = np.linalg.qr(np.random.default_rng(4).normal(size=(LENGTH, LENGTH)))[0].astype(np.float32)
    for seed in range(20):  # a common turn keeps all relations: what is left is the rounding of a sum, of either sign
        assert 0 <= relation_loss(embeddings(seed), embeddings(seed) @ turn, form="gram") < 1e-6


@pytest.mark.parametrize("form", FORMS, ids=str)
def test_order_within_a_group_does_not_matter(form):
    real, painted, random = embeddings(0), embeddings(1), np.random.default_rng(5)
    size = form["group"] or BATCH
    order = np.concatenate([start + random.permutation(size) for start in range(0, BATCH, size)])
    value = relation_loss(real, painted, **form)
    np.testing.assert_allclose(relation_loss(real[order], painted[order], **form), value, rtol=1e-5)
    # Faces of another's painting are another matter.
    assert abs(relation_loss(real, painted[order], **form) - value) > 1e-3 * value


@pytest.mark.parametrize("kind", ["cosine", "euclidean"])
def test_relations_kept_cost_nothing_wherever_the_faces_move(kind):
    turn = np.linalg.qr(np.random.default_rng(4).normal(size=(LENGTH, LENGTH)))[0].astype(np.float32)
    assert relation_loss(embeddings(0), embeddings(0) @ turn, kind=kind) < 1e-10
    if kind == "euclidean":  # distances are relative to their mean
        np.testing.assert_allclose(
            relation_loss(embeddings(0), 3 * embeddings(1), kind=kind),
            relation_loss(embeddings(0), embeddings(1), kind=kind),
            rtol=1e-5,
        )


@pytest.mark.parametrize("form", FORMS, ids=str)
def test_gradient_is_finite_where_embeddings_coincide(form):
    real, painted = embeddings(0), embeddings(1)
    painted[1] = painted[0]
    for same in (painted, np.broadcast_to(painted[:1], painted.shape)):  # two alike, or a painter that collapsed
        value, gradient = jax.value_and_grad(lambda p: relation_loss(real, p, **form))(jnp.asarray(same))
        assert np.isfinite(value) and np.isfinite(gradient).all()


@pytest.mark.parametrize(
    ("form", "words"),
    [
        (dict(group=3), "irm.group=3 does not cut the 64 images"),
        (dict(group=1), "irm.group=1 does not cut"),
        (dict(group=128), "irm.group=128 does not cut"),
        (dict(group=-32), "irm.group=-32 does not cut"),
        (dict(kind="angle"), "irm.kind=angle: choose one of cosine, euclidean"),
        (dict(form="columns"), "irm.form=columns"),
        (dict(form="gram", kind="euclidean"), "irm.form=gram"),
        (dict(form="gram", group=32), "irm.form=gram"),
    ],
    ids=str,
)
def test_what_does_not_fit_is_named(form, words):
    for loss in (relation_loss, lambda r, p, **f: relation_loss_sharded(r, p, mesh=make_mesh(8, 1), **f)):
        with pytest.raises(FacemaeError) as error:
            loss(embeddings(0), embeddings(1), **form)
        assert words in str(error.value)


def test_one_image_has_no_relation():
    with pytest.raises(FacemaeError, match="groups of at least 2"):
        relation_loss(embeddings(0)[:1], embeddings(1)[:1])


@pytest.mark.parametrize("form", FORMS[:4], ids=str)
def test_rows_taken_a_few_at_a_time_give_the_same(task, form):
    """Eight rows per device, two at a time."""
    mesh = make_mesh(8, 1)
    whole, chunked = (
        loss_and_gradients(task, lambda r, p, c=chunk: relation_loss_sharded(r, p, mesh=mesh, chunk=c, **form))
        for chunk in (0, 2)
    )
    np.testing.assert_allclose(chunked[0], whole[0], rtol=1e-6)
    for one, other in zip(chunked[1][:2], whole[1][:2], strict=True):
        assert_close(one, other, 1e-6)


def compiled(batch, **given):
    """The program of loss and gradient on eight devices."""
    mesh = make_mesh(8, 1)
    loss = jax.value_and_grad(lambda r, p: relation_loss_sharded(r, p, mesh=mesh, **given), argnums=1)
    rows = jax.ShapeDtypeStruct((batch, LENGTH), jnp.float32, sharding=batch_sharding(mesh))
    return jax.jit(loss).lower(rows, rows).compile()


@pytest.mark.parametrize("kind", ["cosine", "euclidean"])
def test_chunks_bound_the_memory_of_the_block(kind):
    batch = 8192  # a device's block is 1,024 × 8,192 numbers, 32 MiB
    block = batch // 8 * batch * 4
    whole, chunked = (compiled(batch, kind=kind, chunk=chunk).memory_analysis().temp_size_in_bytes for chunk in (0, 16))
    assert whole > block > 3 * chunked  # what is left is mostly the gathered embeddings and their gradient


def test_what_is_moved_is_what_is_said():
    batch, sums, gathered = 64, 0, 0
    text = compiled(batch, kind="cosine").as_text()
    for line in text.splitlines():
        kind = re.search(r" (all-gather|all-reduce|reduce-scatter|all-to-all|collective-permute)(-start)?\(", line)
        if kind is None:
            continue
        numbers = [
            np.prod([int(n) for n in dims.split(",") if n])
            for dims in re.findall(r"f32\[([\d,]*)\]", line.split(kind[0])[0])
        ]
        if kind[1] == "all-gather":
            gathered += sum(numbers)
        else:
            assert kind[1] in ("all-reduce", "reduce-scatter"), line
            sums += sum(numbers)
    assert gathered == 2 * batch * LENGTH
    # CPUs scatter the gradient as a sum of B·E numbers, of which each device keeps its part.
    assert batch * LENGTH // 8 <= sums <= batch * LENGTH + 1


def test_a_chunk_that_does_not_divide_is_named():
    with pytest.raises(FacemaeError, match=r"irm.chunk=3 does not divide the 8 images of a device.*\[1, 2, 4, 8\]"):
        relation_loss_sharded(embeddings(0), embeddings(1), mesh=make_mesh(8, 1), chunk=3)
