import jax
import numpy as np
import pytest
from mae_help import CONFIG, authors_names, golden

from facemae_jax.models.weights.mae_facebook import from_facebook, is_facebook
from facemae_jax.models.weights.mae_hf import from_hf
from facemae_jax.models.weights.mae_published import IMAGENET_MEAN
from facemae_jax.types import FacemaeError

HEADS = (2, 2)


@pytest.fixture(scope="module")
def arrays():
    return authors_names(golden()[0])


def encoder_only(arrays):
    return {name: array for name, array in arrays.items() if "decoder" not in name and name != "mask_token"}


def test_the_names_are_those_of_the_published_files(arrays):
    some = "cls_token pos_embed mask_token decoder_pos_embed patch_embed.proj.weight blocks.1.attn.qkv.bias blocks.0.mlp.fc2.weight"
    more = "norm.weight decoder_embed.weight decoder_blocks.0.attn.proj.weight decoder_blocks.0.norm2.bias decoder_norm.bias decoder_pred.weight"
    assert set(f"{some} {more}".split()) <= arrays.keys()
    assert is_facebook(arrays) and is_facebook(encoder_only(arrays)) and not is_facebook(golden()[0])


def test_both_layouts_hold_the_same_model(arrays):
    read, wanted = from_facebook(arrays, "x", norm_pix=False, heads=HEADS), from_hf(golden()[0], CONFIG, None, "x")
    jax.tree.map(np.testing.assert_array_equal, read.params, wanted.params)
    assert read == wanted._replace(params=read.params)


def test_an_encoder_alone_is_read(arrays):
    read = from_facebook(encoder_only(arrays), "x", norm_pix=True, heads=HEADS)  # the decoder that painted so is gone
    assert not read.whole and not read.norm_pix and read.mean == IMAGENET_MEAN
    assert sorted(read.params) == ["cls_token", "encoder", "encoder_norm", "patch_embed"]


@pytest.mark.parametrize("norm_pix", [True, False])
def test_whether_patches_were_normalised_must_be_told(arrays, norm_pix):
    with pytest.raises(FacemaeError, match="--norm-pix=no or --norm-pix=yes"):
        from_facebook(arrays, "x", heads=HEADS)
    assert from_facebook(arrays, "x", norm_pix=norm_pix, heads=HEADS).norm_pix is norm_pix


def test_heads_follow_from_published_widths_alone(arrays):
    with pytest.raises(FacemaeError, match="heads of width 8 .* --heads=ENCODER,DECODER"):
        from_facebook(arrays, "x", norm_pix=False, heads=(0, 2))
    with pytest.raises(FacemaeError, match="heads of width 4 "):
        from_facebook(arrays, "x", norm_pix=False, heads=(2, 3))
    sizes = {768: (12, 12, 16), 1024: (1, 16, 16), 1280: (1, 16, 14)}  # of ViT-B, L and H; one layer of the larger two
    for width, (_, heads, patch) in sizes.items():
        read = from_facebook(one_layer(width, patch), "x")
        assert (read.config.heads, read.config.patch, read.config.image_size) == (heads, patch, 224)


def one_layer(width, patch):
    from facemae_jax.models.vit import positions_2d

    shapes = {
        "cls_token": (1, 1, width), "patch_embed.proj.weight": (width, 3, patch, patch), "patch_embed.proj.bias": (width,),
        "norm.weight": (width,), "norm.bias": (width,), "blocks.0.attn.qkv.weight": (3 * width, width), "blocks.0.attn.qkv.bias": (3 * width,),
        "blocks.0.attn.proj.weight": (width, width), "blocks.0.attn.proj.bias": (width,), "blocks.0.mlp.fc1.weight": (4 * width, width),
        "blocks.0.mlp.fc1.bias": (4 * width,), "blocks.0.mlp.fc2.weight": (width, 4 * width), "blocks.0.mlp.fc2.bias": (width,),
        **{f"blocks.0.norm{number}.{kind}": (width,) for number in (1, 2) for kind in ("weight", "bias")},
    }  # fmt: skip
    side = 224 // patch
    places = np.concatenate([np.zeros((1, width), np.float32), positions_2d(width, side)])[None]
    return {name: np.zeros(shape, np.float16) for name, shape in shapes.items()} | {"pos_embed": places}


def test_a_fine_tuned_file_is_told(arrays):
    tuned = encoder_only(arrays) | {"head.weight": np.zeros((10, 8))}
    with pytest.raises(FacemaeError, match="head.weight; a fine-tuned classifier"):
        from_facebook(tuned, "x", heads=HEADS)
    with pytest.raises(FacemaeError, match="has no norm.weight"):
        from_facebook({name: array for name, array in tuned.items() if name != "norm.weight"}, "x", heads=HEADS)
    with pytest.raises(FacemaeError, match="learned positions"):
        from_facebook(encoder_only(arrays) | {"pos_embed": arrays["pos_embed"] + 0.01}, "x", heads=HEADS)
