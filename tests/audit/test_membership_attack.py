import json

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from facemae_jax.audit import membership_attack as m
from facemae_jax.data.synthetic import render
from facemae_jax.losses.pixels import pixel_loss
from facemae_jax.mesh import make_mesh
from facemae_jax.metrics.bootstrap import bootstrap
from facemae_jax.models.mae import Mae, MaeConfig
from facemae_jax.models.masking import random_mask
from facemae_jax.models.scaling import to_unit
from facemae_jax.types import FacemaeError

SIZE, PATCH, VISIBLE, TRAINED, STEPS = 32, 16, 2, 64, 450
CONFIG = MaeConfig(SIZE, PATCH, VISIBLE, 64, 1, 2, 64, 1, 2)
MODEL = Mae(CONFIG)
# 32 people with two images each are trained on, 64 others are not.
IMAGES = np.stack([render(n // 2, n % 2, seed=5, size=SIZE) for n in range(3 * TRAINED)])
PEOPLE, MEMBER = np.arange(len(IMAGES)) // 2, np.arange(len(IMAGES)) < TRAINED


@pytest.fixture(scope="module")
def mesh():
    return make_mesh(1, 1, jax.devices()[:1])


@pytest.fixture(scope="module")
def untrained():
    return jax.jit(MODEL.init)(jax.random.key(0), jnp.zeros((1, SIZE, SIZE, 3)), jnp.arange(VISIBLE)[None])["params"]


@pytest.fixture(scope="module")
def overfitted(untrained):
    """Some hundred steps on the same 64 images, a few seconds."""
    units_BHWC = to_unit(jnp.asarray(IMAGES[:TRAINED]))
    schedule = optax.warmup_cosine_decay_schedule(0, 4e-3, 50, STEPS)
    optimizer = optax.chain(optax.clip_by_global_norm(1.0), optax.adam(schedule))

    def loss(params, key):
        mask = random_mask(jax.random.split(key, TRAINED), patches=CONFIG.patches, visible=VISIBLE)
        return pixel_loss(MODEL.apply({"params": params}, units_BHWC, mask.visible_BV).pixels_BHWC, units_BHWC).mean()

    def step(carry, key):
        params, state = carry
        updates, state = optimizer.update(jax.grad(loss)(params, key), state, params)
        return (optax.apply_updates(params, updates), state), ()

    keys = jax.random.split(jax.random.key(1), STEPS)
    (params, _), _ = jax.jit(lambda carry: jax.lax.scan(step, carry, keys))((untrained, optimizer.init(untrained)))
    return params


def attack(params, mesh, **more):
    losses_nM = m.mae_losses(params, MODEL, IMAGES, mesh=mesh, batch=64, **more)
    return m.membership_attack(losses_nM, MEMBER, PEOPLE)


def test_an_overfitted_model_tells_what_it_was_trained_on(overfitted, mesh):
    found = attack(overfitted, mesh)
    assert found["auc"] > 0.9 and found["interval"][0] > 0.8
    assert found["tpr_at_fpr"]["0.1"] > 0.5 > found["chance"]["tpr_at_fpr"]["0.1"]
    low, high = found["tpr_interval"]["0.1"]
    assert low <= found["tpr_at_fpr"]["0.1"] <= high
    assert found["loss"]["members"]["mean"] < found["loss"]["non_members"]["mean"]
    assert (found["members"], found["non_members"], found["masks"]) == (TRAINED, 2 * TRAINED, 16)
    assert json.loads(json.dumps(found)) == found


def test_an_untrained_model_tells_nothing(untrained, mesh):
    found = attack(untrained, mesh)
    low, high = found["interval"]
    assert low < 0.5 < high and high - low < 0.35
    assert found["chance"]["auc"] == 0.5


def test_more_masks_tell_more(overfitted, mesh):
    losses_nM = m.mae_losses(overfitted, MODEL, IMAGES, mesh=mesh, batch=64)
    one = np.mean([m.membership_attack(losses_nM[:, [at]], MEMBER, PEOPLE, draws=20)["auc"] for at in range(16)])
    assert one < m.membership_attack(losses_nM, MEMBER, PEOPLE)["auc"]


def test_losses_are_those_of_hidden_patches_under_one_set_of_masks(untrained, mesh):
    found_nM = m.mae_losses(untrained, MODEL, IMAGES[:11], mesh=mesh, batch=4, masks=2, seed=7)
    keys = m.image_keys(m.keys_for(7, 0, ("membership",))["membership"], 2)
    mask = random_mask(keys, patches=CONFIG.patches, visible=VISIBLE)
    units_BHWC = np.asarray(to_unit(jnp.asarray(IMAGES[:11])))
    for at in range(2):
        visible_BV = jnp.broadcast_to(mask.visible_BV[at][None], (11, VISIBLE))
        painted = np.asarray(jax.jit(MODEL.apply)({"params": untrained}, units_BHWC, visible_BV).pixels_BHWC)
        hidden = np.kron(np.asarray(mask.hidden_BN[at]).reshape(2, 2), np.ones((PATCH, PATCH), bool)).astype(bool)
        right_n = ((painted - units_BHWC) ** 2)[:, hidden].mean(axis=(1, 2))
        np.testing.assert_allclose(found_nM[:, at], right_n, rtol=1e-5)
    other_nM = m.mae_losses(untrained, MODEL, IMAGES[:11], mesh=mesh, batch=4, masks=2, seed=8)
    assert np.abs(other_nM - found_nM).max() > 1e-3


def test_place_batch_and_devices_do_not_matter(untrained, mesh):
    arguments = dict(masks=2, seed=1)
    found_nM = m.mae_losses(untrained, MODEL, IMAGES[:11], mesh=mesh, batch=4, **arguments)
    assert found_nM.shape == (11, 2) and found_nM.dtype == np.float32
    turned_nM = m.mae_losses(untrained, MODEL, IMAGES[:11][::-1], mesh=mesh, batch=4, **arguments)
    np.testing.assert_allclose(turned_nM[::-1], found_nM, rtol=1e-5)
    wide = make_mesh(4, 2)
    many_nM = m.mae_losses(untrained, Mae(CONFIG, wide), IMAGES[:11], mesh=wide, batch=8, **arguments)
    np.testing.assert_allclose(many_nM, found_nM, rtol=1e-4)
    assert m.mae_losses(untrained, MODEL, IMAGES[:0], mesh=mesh, batch=4, **arguments).shape == (0, 2)


def test_a_model_of_normalised_patches_is_asked_for_those(untrained, mesh):
    plain, normal = (
        m.mae_losses(untrained, MODEL, images, mesh=mesh, batch=4, masks=2, norm_pix=True)
        for images in (IMAGES[:4] // 2, IMAGES[:4] // 2 + 100)
    )
    # What the encoder sees changes a little; a shift of all targets does not count, as it would without norm_pix.
    np.testing.assert_allclose(plain, normal, rtol=0.25)
    assert 0.8 < plain.mean() < 3.0


def test_the_rate_at_few_false_positives_by_hand():
    scores, member = np.array([9, 8, 7, 7, 6, 5, 4]), np.array([1, 0, 1, 0, 1, 1, 0], bool)
    ones = np.ones((1, 7))
    for fpr, tpr in ((0.0, 0.25), (0.34, 0.25), (0.67, 1.0), (1.0, 1.0)):  # the tie at 7 is decided together
        assert m.weighted_tpr(scores, member, fpr)(ones) == pytest.approx([tpr])
    weights = np.array([[0, 0, 2, 1, 1, 0, 1], [1, 1, 0, 0, 0, 0, 0], [0, 1, 0, 1, 0, 0, 0]], float)
    found = m.weighted_tpr(scores, member, 0.5)(weights)
    np.testing.assert_allclose(found, [1.0, 1.0, np.nan])
    low, high = bootstrap(m.weighted_tpr(scores, member, 1.0), np.arange(7), strata_n=member)
    assert (low, high) == (1.0, 1.0)


def test_people_are_drawn_in_groups_and_all_masks_count():
    """Two people of members only, one of both kinds, many others: draws that leave no member would have no rate."""
    random = np.random.default_rng(0)
    member, people = np.arange(200) < 10, np.arange(200) // 4
    losses_nM = random.random((200, 4))
    losses_nM[:, 3] -= 3.0 * member  # one mask of four tells
    found = m.membership_attack(losses_nM, member, people)
    assert found["auc"] > 0.95 and found["tpr_at_fpr"]["0.1"] > 0.8
    low, high = found["tpr_interval"]["0.1"]
    assert 0 < low <= found["tpr_at_fpr"]["0.1"] <= high
    assert found["masks"] == 4


def test_what_cannot_be_attacked_is_refused(untrained, mesh):
    with pytest.raises(FacemaeError, match="4 of 4 patches leaves nothing to paint"):
        whole = Mae(MaeConfig(SIZE, PATCH, 4, 64, 1, 2, 64, 1, 2))
        m.mae_losses(untrained, whole, IMAGES[:4], mesh=mesh, batch=4)
    with pytest.raises(FacemaeError, match="audit.batch=6 does not divide"):
        m.mae_losses(untrained, MODEL, IMAGES[:4], mesh=make_mesh(8, 1), batch=6)
    with pytest.raises(FacemaeError, match="needs images of both kinds"):
        m.membership_attack(np.ones((4, 2)), np.ones(4, bool), np.arange(4))
