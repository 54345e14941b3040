import jax
import numpy as np
import pytest
from mae_help import CONFIG, DEVIATION, MEAN, VISIBLE_BV, as_pixels, golden, images, normalised, ours

from facemae_jax.models.weights.mae_adapt import DecoderSize, adapt
from facemae_jax.models.weights.mae_hf import from_hf, is_hf, to_hf
from facemae_jax.types import FacemaeError

DECODER = DecoderSize(4, 1, 1)
HALF = dict(image_mean=[0.5] * 3, image_std=[0.5] * 3)


@pytest.fixture(scope="module")
def arrays():
    return golden()[0]


def changed(arrays, **changes):
    """Some arrays replaced; None leaves one out."""
    return {name: array for name, array in (arrays | changes).items() if array is not None}


def test_ours_computes_what_transformers_computed(arrays):
    wanted = golden()[1]
    made = adapt(from_hf(arrays, CONFIG, None, "golden"), image_size=16, decoder=DECODER)
    pixels, blocks = ours(made.params, made.config, images(), VISIBLE_BV)
    assert blocks.keys() == wanted.keys() - {"logits"} and len(blocks) == 3
    for name, tokens in blocks.items():
        np.testing.assert_allclose(tokens, wanted[name], rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(normalised(pixels), as_pixels(wanted["logits"], 4), rtol=1e-4, atol=1e-4)


def test_both_versions_names_are_read_and_the_older_are_written(arrays):
    older = {name.replace("decoder_encoder.layer", "decoder_layers"): array for name, array in arrays.items()}
    assert older.keys() != arrays.keys()
    published = from_hf(arrays, CONFIG, HALF, "x")
    jax.tree.map(np.testing.assert_array_equal, published.params, from_hf(older, CONFIG, HALF, "x").params)
    written, config, preprocessor = to_hf(published.params, published.config.to_dict() | {"norm_pix": False})
    assert written.keys() == older.keys()
    for name, array in written.items():
        np.testing.assert_allclose(array, older[name], atol=1e-6)
    assert all(config[name] == value for name, value in CONFIG.items())
    assert preprocessor["image_mean"] == preprocessor["image_std"] == [0.5] * 3
    back = adapt(from_hf(written, config, preprocessor, "x"), image_size=16, decoder=DECODER)
    jax.tree.map(np.testing.assert_array_equal, back.params, published.params)  # −1…1 needs no folding
    assert back.config == published.config


def test_the_normalisation_is_what_the_preprocessor_tells(arrays):
    assert from_hf(arrays, CONFIG, None, "x").mean == pytest.approx(MEAN)
    assert from_hf(arrays, CONFIG, None, "x").deviation == pytest.approx(DEVIATION)
    assert from_hf(arrays, CONFIG, HALF, "x").mean == (0.5,) * 3
    bare = from_hf(arrays, CONFIG, HALF | dict(do_normalize=False), "x")
    assert (bare.mean, bare.deviation) == ((0.0,) * 3, (1.0,) * 3)


def test_norm_pix_goes_along_in_both_directions(arrays):
    published = from_hf(arrays, CONFIG | dict(norm_pix_loss=True), None, "x")
    assert published.norm_pix and not from_hf(arrays, CONFIG, None, "x").norm_pix
    assert to_hf(published.params, published.config.to_dict() | {"norm_pix": True})[1]["norm_pix_loss"] is True


def test_an_encoder_alone_is_read(arrays):
    """As ViTMAEModel saves it: no decoder, no ``vit.`` before the names."""
    alone = {name.removeprefix("vit."): array for name, array in arrays.items() if name.startswith("vit.")}
    assert is_hf(alone) and is_hf(arrays) and not is_hf({"layer1.0.conv1.weight": alone["layernorm.bias"]})
    published = from_hf(alone, CONFIG | dict(norm_pix_loss=True), None, "x")
    assert not published.whole and not published.norm_pix and "decoder_pred" not in published.params
    jax.tree.map(
        np.testing.assert_array_equal, published.params["encoder"], from_hf(arrays, CONFIG, None, "x").params["encoder"]
    )


@pytest.mark.parametrize(
    ("arrays_change", "config_change", "match"),
    [
        ({"vit.layernorm.bias": None}, {}, "has no vit.layernorm.bias"),
        ({"classifier.weight": np.ones(2)}, {}, "classifier.weight; a fine-tuned"),
        ({"vit.embeddings.position_embeddings": np.zeros((1, 17, 8))}, {}, "position_embeddings differs by 1 .*4×4"),
        ({"decoder.decoder_pos_embed": np.ones((1, 10, 4))}, {}, "decoder_pos_embed differs"),
        ({"vit.embeddings.position_embeddings": np.zeros((17, 8))}, {}, "has the shape"),
        (
            {"vit.encoder.layer.0.intermediate.dense.bias": np.zeros(31)},
            {},
            r"encoder/block_0/fc1/bias has the shape \(31,\)",
        ),
        ({"vit.encoder.layer.3.output.dense.bias": np.zeros(8)}, {}, r"layers \[0, 1, 3\]"),
        ({}, dict(hidden_act="gelu_new"), "hidden_act=gelu_new"),
        ({}, dict(model_type="vit"), "model_type=vit"),
        ({}, dict(num_attention_heads=None), "no num_attention_heads"),
        ({}, dict(image_size=32), "8×8 patches, the weights have 4×4"),
        ({}, dict(num_hidden_layers=1), "encoder/block_1"),
    ],
)
def test_what_does_not_fit_is_told(arrays, arrays_change, config_change, match):
    with pytest.raises(FacemaeError, match=match):
        from_hf(changed(arrays, **arrays_change), CONFIG | config_change, None, "folder")
