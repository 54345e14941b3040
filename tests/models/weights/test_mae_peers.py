"""Against PyTorch, transformers and safetensors themselves: ``launch/test.sh -m peers``."""

import argparse
import tempfile
from pathlib import Path

import numpy as np
import pytest
from mae_help import CONFIG, GOLDEN, VISIBLE_BV, as_pixels, golden, images, normalised, ours, write_folder

from facemae_jax.models.masking import random_mask
from facemae_jax.models.vit import positions_2d
from facemae_jax.models.weights.mae_adapt import DecoderSize, adapt
from facemae_jax.models.weights.mae_hf import from_hf, to_hf
from facemae_jax.models.weights.mae_place import published_mae, read_arrays, write_hf
from facemae_jax.models.weights.pth_file import read_pth
from facemae_jax.models.weights.safetensors_file import read_safetensors, write_safetensors

pytestmark = pytest.mark.peers
NO_DECODER = DecoderSize(8, 1, 1)  # not used: the files have one


def random_weights(model, seed=0, rounded=False):
    """Everything random, norms and biases too, which a fresh model has at 1 and 0; positions as they are published.

    Some versions leave the positions of a fresh model at zero.
    """
    import torch

    torch.manual_seed(seed)
    side = model.config.image_size // model.config.patch_size
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if "pos" in name:
                weight[:, 1:] = torch.tensor(positions_2d(weight.shape[-1], side))
                continue
            scale = 0.2 if weight.ndim < 2 else 1.0 / weight.shape[-1] ** 0.5 if weight.ndim == 2 else 0.05
            weight.copy_(
                scale * torch.randn_like(weight) + (1.0 if "norm" in name and name.endswith("weight") else 0.0)
            )
            if rounded:
                weight.copy_(weight.half().float())
    return model.eval()


def theirs(model, images_BHWC, visible_BV):
    """transformers: logits and the tokens after every block. Its order of visible patches follows from the noise."""
    import torch

    patches = model.config.image_size**2 // model.config.patch_size**2
    noise = np.tile(np.arange(patches) + 1000.0, (len(visible_BV), 1))
    np.put_along_axis(noise, visible_BV, np.arange(visible_BV.shape[1])[None], axis=1)
    blocks = {}

    def note(name):
        def hook(module, given, made):
            blocks[name] = (made[0] if isinstance(made, tuple) else made).numpy()

        return hook

    encoder = model.vit.layers if hasattr(model.vit, "layers") else model.vit.encoder.layer
    for part, layers in (("encoder", encoder), ("decoder", model.decoder.decoder_layers)):
        for number, layer in enumerate(layers):
            layer.register_forward_hook(note(f"{part}_{number}"))
    with torch.no_grad():
        made = model(torch.tensor(images_BHWC.transpose(0, 3, 1, 2)), noise=torch.tensor(noise))
    return dict(logits=made.logits.numpy()) | blocks


def relative(found, wanted):
    """Largest difference, as a share of the largest number."""
    return np.abs(found - wanted).max() / np.abs(wanted).max()


def small():
    import transformers

    return random_weights(transformers.ViTMAEForPreTraining(transformers.ViTMAEConfig(**CONFIG)), rounded=True)


def saved_arrays(model, folder):
    """As they are named in the file; transformers 4 names the decoder's layers otherwise."""
    model.save_pretrained(folder / "saved")
    arrays = read_safetensors(folder / "saved" / "model.safetensors")
    return {name.replace("decoder_layers.", "decoder_encoder.layer."): array for name, array in arrays.items()}


def test_size_b_equals_transformers_block_by_block(tmp_path):
    import jax
    import torch
    import transformers

    torch.set_num_threads(2)
    model = random_weights(transformers.ViTMAEForPreTraining(transformers.ViTMAEConfig(layer_norm_eps=1e-6)))
    model.save_pretrained(tmp_path / "base")
    published = published_mae(*read_arrays(tmp_path / "base"))
    assert (published.config.width, published.config.depth, published.config.decoder_depth) == (768, 12, 8)
    made = adapt(published, image_size=224, decoder=NO_DECODER)
    x_BHWC = images(224)
    visible_BV = np.asarray(random_mask(jax.random.split(jax.random.key(1), 2), patches=196, visible=49).visible_BV)
    wanted = theirs(model, normalised(x_BHWC), visible_BV)
    pixels, blocks = ours(made.params, made.config, x_BHWC, visible_BV)
    assert len(blocks) == 20
    apart = {name: relative(tokens, wanted[name]) for name, tokens in blocks.items()}
    apart["pixels"] = relative(normalised(pixels), as_pixels(wanted["logits"], 16))
    print({name: f"{value:.1e}" for name, value in apart.items()})
    assert max(apart.values()) < 1e-4, apart


def test_the_golden_arrays_are_still_theirs(tmp_path):
    import transformers

    arrays, kept = golden()
    older = {name.replace("decoder_encoder.layer", "decoder_layers"): array for name, array in arrays.items()}
    write_folder(tmp_path / "x", older, lambda path, given: write_safetensors(path, given, {"format": "pt"}))
    model = transformers.ViTMAEForPreTraining.from_pretrained(tmp_path / "x")
    computed = theirs(model.eval(), normalised(images()), VISIBLE_BV)
    assert computed.keys() == kept.keys()
    for name, value in computed.items():
        np.testing.assert_allclose(value, kept[name], rtol=1e-4, atol=1e-4)
    saved = saved_arrays(model, tmp_path)
    assert saved.keys() == arrays.keys()
    for name, value in saved.items():
        np.testing.assert_array_equal(value, arrays[name])


def test_transformers_loads_what_we_write_and_paints_the_same(tmp_path):
    import transformers

    published = from_hf(golden()[0], CONFIG, None, "golden")
    made = adapt(published, image_size=16, decoder=NO_DECODER)
    write_hf(tmp_path / "out", made.params, made.config.to_dict())
    model, told = transformers.ViTMAEForPreTraining.from_pretrained(tmp_path / "out", output_loading_info=True)
    assert not told["missing_keys"] and not told["unexpected_keys"] and not told["mismatched_keys"]
    processor = transformers.AutoImageProcessor.from_pretrained(tmp_path / "out")
    shown = np.random.default_rng(0).integers(0, 256, (16, 16, 3), dtype=np.uint8)
    read = np.asarray(processor(shown, return_tensors="np")["pixel_values"])[0].transpose(1, 2, 0)
    np.testing.assert_allclose(read, shown / 127.5 - 1, atol=1e-5)
    x_BHWC = images()
    wanted = theirs(model.eval(), x_BHWC, VISIBLE_BV)
    pixels, _ = ours(made.params, made.config, x_BHWC, VISIBLE_BV)
    assert relative(pixels, as_pixels(wanted["logits"], 4)) < 1e-5


def test_the_safetensors_package_reads_ours_and_we_read_its(tmp_path):
    import safetensors.numpy
    import safetensors.torch
    import torch

    made = adapt(from_hf(golden()[0], CONFIG, None, "golden"), image_size=16, decoder=NO_DECODER)
    arrays, _, _ = to_hf(made.params, made.config.to_dict())
    arrays |= dict(count=np.array(7, np.int64), flags=np.array([True, False, True]), half=np.ones((3, 1), np.float16))
    write_safetensors(tmp_path / "ours", arrays, {"format": "pt"})
    back = safetensors.numpy.load_file(tmp_path / "ours")
    assert back.keys() == arrays.keys()
    for name, array in arrays.items():
        assert back[name].dtype == array.dtype
        np.testing.assert_array_equal(back[name], array)
    given = dict(
        a=torch.randn(3, 5),
        b=torch.randn(4).bfloat16(),
        c=torch.randn(2).half(),
        d=torch.tensor(3),
        e=torch.zeros(0, 2),
    )
    safetensors.torch.save_file(given, tmp_path / "theirs.safetensors")
    for name, array in read_safetensors(tmp_path / "theirs.safetensors").items():
        np.testing.assert_array_equal(array.astype(np.float32), given[name].float().numpy())
        assert array.shape == tuple(given[name].shape)


@pytest.mark.parametrize("zipped", [True, False])
def test_torch_writes_what_we_read(tmp_path, zipped):
    import torch

    model = small()
    saved = {"model": model.state_dict(), "epoch": 3, "args": argparse.Namespace(lr=0.1, device=torch.device("cpu"))}
    torch.save(saved, tmp_path / "x.pth", _use_new_zipfile_serialization=zipped)
    found = read_pth(tmp_path / "x.pth")
    assert list(found) == list(model.state_dict())
    for name, value in model.state_dict().items():
        np.testing.assert_array_equal(found[name], value.numpy())
    torch.save(model, tmp_path / "whole.pth", _use_new_zipfile_serialization=zipped)
    with pytest.raises(Exception, match="names transformers.*nothing was run"):
        read_pth(tmp_path / "whole.pth")


def write_golden():
    """How the golden file was made: python -c "import test_mae_peers; test_mae_peers.write_golden()"."""
    model = small()
    with tempfile.TemporaryDirectory() as folder:
        arrays = saved_arrays(model, Path(folder))
    weights = {f"w.{name}": array if "pos" in name else array.astype(np.float16) for name, array in arrays.items()}
    np.savez_compressed(GOLDEN, **weights, **theirs(model, normalised(images()), VISIBLE_BV))
