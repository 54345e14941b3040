import dataclasses
import json
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from facemae_jax.mesh import batch_sharding, make_mesh, shardings_for
from facemae_jax.models.mae import Mae, MaeConfig, mae_config
from facemae_jax.models.vit import stack, unstack
from facemae_jax.types import Mask

TINY = MaeConfig(
    image_size=16,
    patch=4,
    visible=4,
    width=16,
    depth=1,
    heads=2,
    decoder_width=8,
    decoder_depth=1,
    decoder_heads=2,
)
BATCH = 8


def pictures(config=TINY, seed=0, batch=BATCH):
    shape = (batch, config.image_size, config.image_size, 3)
    return np.random.default_rng(seed).uniform(-1, 1, shape).astype(np.float32)


def masks(config=TINY, batch=BATCH):
    """As ``masking.random_mask`` makes them."""
    random = np.random.default_rng(3)
    visible_BV = np.stack([np.sort(random.permutation(config.patches)[: config.visible]) for _ in range(batch)])
    return Mask(visible_BV.astype(np.int32), ~(visible_BV[:, :, None] == np.arange(config.patches)).any(1))


def where_hidden(config, mask, shape):
    """Which numbers of the images the encoder may not see."""
    grid = mask.hidden_BN.reshape(-1, config.side, config.side)
    pixels = grid.repeat(config.patch, 1).repeat(config.patch, 2)
    return np.broadcast_to(pixels[..., None], shape)


def cut(images, patch=TINY.patch):
    """Images of a painting, patch by patch."""
    b, size = images.shape[:2]
    grid = np.asarray(images).reshape(b, size // patch, patch, size // patch, patch, 3)
    return grid.swapaxes(2, 3).reshape(b, (size // patch) ** 2, -1)


def born(config=TINY):
    """Parameters by hand: compiling their birth would take longer than all that is tested here. All of them matter."""
    random = np.random.default_rng(1)
    shapes = jax.eval_shape(Mae(config).init, jax.random.key(0), pictures(config), masks(config).visible_BV)
    return jax.tree.map(lambda leaf: 0.3 * random.normal(size=leaf.shape).astype(np.float32), shapes)


@pytest.fixture(scope="module")
def variables():
    return born()


@pytest.fixture(scope="module")
def paint():
    return jax.jit(Mae(TINY).apply)


@pytest.fixture(scope="module")
def output(variables, paint):
    return paint(variables, pictures(), masks().visible_BV)


def assert_close(found, wanted):
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5), found, wanted)


def test_shapes_and_types(output):
    assert output.pixels_BHWC.shape == (BATCH, 16, 16, 3) and output.pixels_BHWC.dtype == jnp.float32
    assert output.latent_BVD.shape == (BATCH, 4, 16) and output.latent_BVD.dtype == jnp.float32


def test_hidden_pixels_change_no_bit(variables, paint, output):
    hidden = where_hidden(TINY, masks(), pictures().shape)
    other = np.where(hidden, pictures(seed=9), pictures())
    assert (other != pictures()).any()
    repainted = paint(variables, other, masks().visible_BV)
    jax.tree.map(np.testing.assert_array_equal, repainted, output)


@pytest.mark.parametrize(
    ("size", "patch", "visible", "depth"), [(16, 4, 4, 1), (16, 8, 1, 0), (18, 6, 3, 0), (6, 1, 9, 0), (16, 16, 1, 0)]
)
def test_no_gradient_from_hidden_pixels_for_any_patch_that_divides(size, patch, visible, depth):
    config = dataclasses.replace(TINY, image_size=size, patch=patch, visible=visible, depth=depth, decoder_depth=depth)
    mask, images, variables = masks(config, 2), pictures(config, batch=2), born(config)
    weights = np.random.default_rng(4).normal(size=images.shape).astype(np.float32)

    def seen(images):
        return (Mae(config).apply(variables, images, mask.visible_BV).pixels_BHWC * weights).sum()

    gradient = np.asarray(jax.jit(jax.grad(seen))(images))
    assert gradient.shape == images.shape
    hidden = where_hidden(config, mask, images.shape)
    assert (~hidden).mean() == pytest.approx(visible / config.patches)
    assert not gradient[hidden].any()  # exactly
    assert gradient[~hidden].all()


def test_images_of_a_batch_do_not_meet(variables, paint, output):
    others = pictures(seed=5)
    others[2] = pictures()[2]
    found = paint(variables, others, masks().visible_BV)
    np.testing.assert_array_equal(found.pixels_BHWC[2], output.pixels_BHWC[2])
    assert (found.pixels_BHWC[3] != output.pixels_BHWC[3]).any()


def test_order_of_the_list_does_not_matter(variables, paint, output):
    """Tokens carry their place with them, and come back to it."""
    order = np.array([2, 0, 3, 1])
    mixed = paint(variables, pictures(), masks().visible_BV[:, order])
    np.testing.assert_allclose(mixed.pixels_BHWC, output.pixels_BHWC, atol=1e-5)
    np.testing.assert_allclose(mixed.latent_BVD, output.latent_BVD[:, order], atol=1e-5)


def test_a_mask_lists_the_visible_patches():
    """Without layers each token stands alone: painted patches follow their own pixels where listed, and nothing elsewhere."""
    config = dataclasses.replace(TINY, depth=0, decoder_depth=0)
    variables, mask = born(config), masks(config)
    apply = jax.jit(Mae(config).apply)
    first, second = (cut(apply(variables, pictures(seed=seed), mask.visible_BV).pixels_BHWC) for seed in (0, 1))
    np.testing.assert_array_equal((first != second).any(-1), ~mask.hidden_BN)
    # Hidden ones differ by place alone: the same place in two images is painted the same.
    both = mask.hidden_BN[0] & mask.hidden_BN[1]
    assert both.sum() > 3
    np.testing.assert_array_equal(first[0][both], first[1][both])
    assert len(np.unique(first[0][mask.hidden_BN[0], 0])) == mask.hidden_BN[0].sum()
    # One patch changes: that one is painted anew, in its own place.
    image, place = pictures(), int(mask.visible_BV[0, 2])
    image[0, place // 4 * 4 : place // 4 * 4 + 4, place % 4 * 4 : place % 4 * 4 + 4] += 0.5
    third = cut(apply(variables, image, mask.visible_BV).pixels_BHWC)
    assert np.argwhere((third != first).any(-1)).tolist() == [[0, place]]


@pytest.mark.parametrize(("data", "fsdp"), [(1, 1), (8, 1), (4, 2)])
def test_same_painting_on_1_and_8_devices(variables, output, data, fsdp):
    mesh = make_mesh(data, fsdp, jax.devices()[: data * fsdp])
    shardings = shardings_for(variables, mesh, min_size=64)
    images, visible_BV = jax.device_put((pictures(), masks().visible_BV), batch_sharding(mesh))
    spread = jax.device_put(variables, shardings)
    found = jax.jit(Mae(TINY, mesh).apply)(spread, images, visible_BV)
    assert_close(found, output)
    assert found.pixels_BHWC.sharding.is_equivalent_to(batch_sharding(mesh), 4)
    if fsdp > 1:
        kernel = spread["params"]["encoder"]["block_0"]["fc1"]["kernel"]
        assert kernel.addressable_shards[0].data.size == kernel.size // fsdp


def test_activations_are_pinned_to_the_batch(variables):
    def pins(mesh):
        program = jax.make_jaxpr(Mae(TINY, mesh).apply)(variables, pictures(), masks().visible_BV)
        return str(program).count("sharding_constraint[")

    assert pins(None) == 0
    assert (
        pins(make_mesh(4, 2)) == 2 * (TINY.depth + TINY.decoder_depth) + 4
    )  # two in a layer; embedded, joined twice, painted


def test_scanned_model_with_the_same_weights_paints_the_same(variables, output):
    scanned = Mae(dataclasses.replace(TINY, scan=True, remat=True))
    stacked = stack(variables)
    found = jax.jit(scanned.apply)(stacked, pictures(), masks().visible_BV)
    assert_close(found, output)
    shapes = jax.eval_shape(scanned.init, jax.random.key(0), pictures(), masks().visible_BV)
    assert jax.tree.map(jnp.shape, shapes) == jax.tree.map(jnp.shape, stacked)
    assert jax.tree.structure(unstack(stacked)) == jax.tree.structure(variables)


def test_bfloat16_paints_nearly_the_same_in_float32(variables, output):
    model = Mae(dataclasses.replace(TINY, dtype="bfloat16"))
    found = jax.jit(model.apply)(variables, pictures(), masks().visible_BV)
    assert found.pixels_BHWC.dtype == found.latent_BVD.dtype == jnp.float32
    difference = np.abs(found.pixels_BHWC - output.pixels_BHWC) / np.abs(output.pixels_BHWC).max()
    assert 1e-4 < difference.max() < 0.03
    given = pictures(), masks().visible_BV
    kept = jax.eval_shape(lambda v: model.apply(v, *given, capture_intermediates=True)[1]["intermediates"], variables)
    for name in ("patch_embed", "encoder", "decoder_embed", "decoder", "decoder_pred"):
        assert kept[name]["__call__"][0].dtype == jnp.bfloat16
    fresh = jax.eval_shape(model.init, jax.random.key(0), *given)
    assert {leaf.dtype for leaf in jax.tree.leaves(fresh)} == {jnp.dtype("float32")}


@pytest.mark.parametrize(
    ("size", "patch", "millions"), [("base", 16, 111.9), ("large", 16, 329.5), ("huge", 14, 657.0)]
)
def test_parameters_of_the_published_models(size, patch, millions):
    section = settings(size=size, patch=patch, decoder_width=512, decoder_depth=8, decoder_heads=16, scan=True)
    config = mae_config(section, 224)
    shapes = jax.eval_shape(
        Mae(config).init, jax.random.key(0), jnp.zeros((1, 224, 224, 3)), jnp.zeros((1, config.visible), jnp.int32)
    )
    count = sum(leaf.size for leaf in jax.tree.leaves(shapes))
    np.testing.assert_allclose(count / 1e6, millions, rtol=0.01)  # positions are fixed, and not counted here


def settings(**changed):
    """The config section ``mae``, as far as it is read here."""
    values = dict(
        size="custom", width=32, depth=3, heads=4, patch=8, visible=0, mask_ratio=0.75,
        decoder_width=24, decoder_depth=2, decoder_heads=3, dtype="bfloat16", remat=True, scan=False, remat_keep="dots",
        mask_focus=2.0,
    )  # fmt: skip
    return SimpleNamespace(**values | changed)


def test_sizes_from_the_settings():
    custom = mae_config(settings(), 112)
    assert custom == MaeConfig(112, 8, 49, 32, 3, 4, 24, 2, 3, "bfloat16", True, False, "dots", 2.0)
    assert (custom.side, custom.patches) == (14, 196)
    named = mae_config(settings(size="small", visible=7), 64)
    assert (named.width, named.depth, named.heads, named.visible, named.patches) == (384, 12, 6, 7, 64)
    assert mae_config(settings(mask_ratio=0.9, patch=4), 40).visible == 10


def test_description_round_trip():
    config = dataclasses.replace(TINY, dtype="bfloat16", scan=True)
    plain = json.loads(json.dumps(config.to_dict() | {"kind": "mae", "later": 1}))
    assert MaeConfig.from_dict(plain) == config
