import jax
import numpy as np
import pytest

from facemae_jax.models.mae import Mae, MaeConfig
from facemae_jax.models.weights.mae_adapt import (
    DecoderSize,
    adapt,
    folded_input,
    folded_output,
    resized_input,
    resized_output,
    resizing,
)
from facemae_jax.models.weights.mae_published import IMAGENET_DEVIATION, IMAGENET_MEAN, Published, shapes_of
from facemae_jax.types import FacemaeError

CONFIG = MaeConfig(
    image_size=32, patch=8, visible=4, width=8, depth=1, heads=2, decoder_width=4, decoder_depth=1, decoder_heads=1
)  # fmt: skip
DECODER = DecoderSize(8, 2, 2)


def random_layer(inputs, outputs, seed=0):
    random = np.random.default_rng(seed)
    return dict(kernel=np.float32(random.normal(size=(inputs, outputs))), bias=np.float32(random.normal(size=outputs)))


def run(layer, rows):
    return rows.astype(np.float64) @ layer["kernel"].astype(np.float64) + layer["bias"]


def published(whole=True, norm_pix=False):
    random = np.random.default_rng(1)
    params = jax.tree.map(lambda leaf: np.float32(0.3 * random.normal(size=leaf.shape)), shapes_of(CONFIG))
    if not whole:
        params = {name: value for name, value in params.items() if "decoder" not in name and name != "mask_token"}
    return Published(params, CONFIG, IMAGENET_MEAN, IMAGENET_DEVIATION, norm_pix, whole)


def smooth_patches(size):
    """Ramps, which bilinear resizing keeps."""
    random = np.random.default_rng(2)
    at = (np.arange(size) + 0.5) / size
    height, across, base = random.normal(size=(3, 6, 1, 1, 3))
    return (base + height * at[None, :, None, None] + across * at[None, None, :, None]).reshape(6, -1)


def test_the_normalisation_is_folded_exactly():
    x_BP = np.random.default_rng(0).uniform(-1, 1, (5, 4 * 4 * 3))
    mean, deviation = np.tile(IMAGENET_MEAN, 16), np.tile(IMAGENET_DEVIATION, 16)
    layer = random_layer(48, 7)
    read = run(layer, ((x_BP + 1) / 2 - mean) / deviation)
    np.testing.assert_allclose(
        run(folded_input(layer, IMAGENET_MEAN, IMAGENET_DEVIATION), x_BP), read, rtol=1e-5, atol=1e-5
    )
    layer = random_layer(7, 48)
    tokens = np.random.default_rng(1).normal(size=(5, 7))
    painted = 2 * (run(layer, tokens) * deviation + mean) - 1
    np.testing.assert_allclose(
        run(folded_output(layer, IMAGENET_MEAN, IMAGENET_DEVIATION), tokens), painted, rtol=1e-5, atol=1e-5
    )


def test_a_grown_patch_gives_the_very_same_token():
    layer = random_layer(4 * 4 * 3, 7)
    small = np.random.default_rng(3).normal(size=(5, 4, 4, 3))
    large = np.asarray(jax.image.resize(small, (5, 8, 8, 3), "bilinear"))
    np.testing.assert_allclose(
        run(resized_input(layer, 4, 8), large.reshape(5, -1)), run(layer, small.reshape(5, -1)), atol=1e-4
    )


def test_a_shrunken_kernel_is_the_best_one():
    """Least squares over white noise: no other kernel on the small patch comes nearer to the old one on the large patch."""
    layer = random_layer(8 * 8 * 3, 1)
    found = resized_input(layer, 8, 4)["kernel"].reshape(4, 4, 3)
    along = resizing(8, 4)

    def miss(kernel):
        on_large = np.einsum("ap,bq,abc->pqc", along, along, kernel)
        return np.sum((on_large - layer["kernel"].reshape(8, 8, 3)) ** 2)

    least = miss(found)
    for seed in range(20):
        assert miss(found + 0.01 * np.random.default_rng(seed).normal(size=found.shape)) > least
    naive = np.einsum("ap,bq,pqc->abc", along, along, layer["kernel"].reshape(8, 8, 3))
    assert least < 0.9 * miss(naive)


def test_a_shrunken_patch_of_a_ramp_gives_nearly_the_same_token():
    layer = random_layer(8 * 8 * 3, 7)
    layer["kernel"] = np.repeat(np.repeat(random_layer(48, 7)["kernel"].reshape(4, 4, 3, 7), 2, 0), 2, 1).reshape(
        -1, 7
    )  # smooth
    large, small = run(layer, smooth_patches(8)), run(resized_input(layer, 8, 4), smooth_patches(4))
    assert np.abs(large - small).max() < 0.15 * np.abs(large).max()


@pytest.mark.parametrize("new", [4, 16])
def test_a_resized_last_layer_paints_the_resized_patch(new):
    layer = random_layer(7, 8 * 8 * 3)
    tokens = np.random.default_rng(1).normal(size=(5, 7))
    painted = run(layer, tokens).reshape(5, 8, 8, 3)
    wanted = np.asarray(jax.image.resize(painted, (5, new, new, 3), "bilinear"))
    np.testing.assert_allclose(run(resized_output(layer, 8, new), tokens).reshape(wanted.shape), wanted, atol=1e-4)


def test_the_grid_is_kept_unless_a_patch_is_named():
    made = adapt(published(), image_size=16, decoder=DECODER)
    assert (made.config.image_size, made.config.patch, made.config.visible) == (16, 4, 4)
    made = adapt(published(), image_size=32, patch=4, decoder=DECODER)
    assert (made.config.patch, made.config.side, made.config.visible) == (4, 8, 16)
    shapes = jax.tree.map(lambda leaf: leaf.shape, shapes_of(made.config))
    assert jax.tree.map(lambda leaf: leaf.shape, made.params) == shapes
    with pytest.raises(FacemaeError, match="image-size=30.*patches of 7 pixels"):
        adapt(published(), image_size=30, decoder=DECODER)


def test_normalised_patches_are_painted_as_they_were():
    kept = published(norm_pix=True)
    made = adapt(kept, image_size=32, decoder=DECODER)
    np.testing.assert_array_equal(made.params["decoder_pred"]["kernel"], kept.params["decoder_pred"]["kernel"])
    assert not np.array_equal(made.params["patch_embed"]["kernel"], kept.params["patch_embed"]["kernel"])


def test_a_missing_decoder_begins_as_ours_do():
    made = adapt(published(whole=False), image_size=16, decoder=DECODER, seed=3)
    assert (made.config.decoder_width, made.config.decoder_depth, made.config.decoder_heads) == DECODER
    shapes = jax.tree.map(lambda leaf: leaf.shape, shapes_of(made.config))
    assert jax.tree.map(lambda leaf: leaf.shape, made.params) == shapes
    own = jax.eval_shape(Mae(made.config).init, jax.random.key(0), np.zeros((1, 16, 16, 3)), np.zeros((1, 4), np.int32))
    assert jax.tree.structure(own["params"]) == jax.tree.structure(made.params)
    block = made.params["decoder"]["block_1"]
    assert (
        (block["norm1"]["scale"] == 1).all()
        and (block["norm1"]["bias"] == 0).all()
        and (block["fc1"]["bias"] == 0).all()
    )
    bound = (6 / (8 + 32)) ** 0.5
    assert 0.9 * bound < np.abs(block["fc1"]["kernel"]).max() <= bound
    assert 0.01 < made.params["mask_token"].std() < 0.04
    again = adapt(published(whole=False), image_size=16, decoder=DECODER, seed=3)
    jax.tree.map(np.testing.assert_array_equal, made.params, again.params)
    for wrong in (DecoderSize(8, 2, 3), DecoderSize(6, 2, 2), DecoderSize(8, 0, 2)):
        with pytest.raises(FacemaeError, match="--decoder="):
            adapt(published(whole=False), image_size=16, decoder=wrong)
