"""A small MAE in Hugging Face's names with what transformers computes from it, and the same weights in the authors' names."""

import json
from pathlib import Path

import jax
import numpy as np

from facemae_jax.models.mae import Mae, MaeConfig
from facemae_jax.models.vit import Block

GOLDEN = Path(__file__).parent / "golden" / "vitmae_tiny.npz"
MEAN, DEVIATION = np.float32((0.485, 0.456, 0.406)), np.float32((0.229, 0.224, 0.225))
CONFIG = dict(
    model_type="vit_mae", image_size=16, patch_size=4, hidden_size=8, num_hidden_layers=2, num_attention_heads=2,
    intermediate_size=32, decoder_hidden_size=4, decoder_num_hidden_layers=1, decoder_num_attention_heads=2,
    decoder_intermediate_size=16, mask_ratio=0.75, norm_pix_loss=False, hidden_act="gelu", qkv_bias=True, num_channels=3,
    layer_norm_eps=1e-6,
)  # fmt: skip
VISIBLE_BV = np.int32([[0, 3, 9, 14], [1, 6, 7, 12]])


def golden():
    """(arrays by name, what transformers computed: logits, encoder_0 …, decoder_0 …)."""
    with np.load(GOLDEN) as file:
        held = {name: file[name] for name in file.files}
    arrays = {
        name.removeprefix("w."): value.astype(np.float32) for name, value in held.items() if name.startswith("w.")
    }
    return arrays, {name: value for name, value in held.items() if not name.startswith("w.")}


def images(size=16, batch=2, seed=5):
    """In −1…1."""
    return np.random.default_rng(seed).uniform(-1, 1, (batch, size, size, 3)).astype(np.float32)


def normalised(images_BHWC):
    """As the published MAEs read images."""
    return ((images_BHWC + 1) / 2 - MEAN) / DEVIATION


def ours(params, config: MaeConfig, images_BHWC, visible_BV):
    """Our MAE: painting and the tokens after every block, by name."""

    def computed(params, images_BHWC, visible_BV):
        return Mae(config).apply(
            {"params": params}, images_BHWC, visible_BV, mutable=["intermediates"],
            capture_intermediates=lambda module, _: isinstance(module, Block),
        )  # fmt: skip

    output, seen = jax.jit(computed)(params, images_BHWC, visible_BV)
    inner = seen["intermediates"]
    blocks = {
        f"{part}_{number}": inner[part][f"block_{number}"]["__call__"][0]
        for part in ("encoder", "decoder")
        for number in range(len(inner[part]))
    }
    return jax.device_get((output.pixels_BHWC, blocks))


def as_pixels(logits_BNP, patch):
    """Painted patches as images."""
    b, n, _ = logits_BNP.shape
    side = round(n**0.5)
    return logits_BNP.reshape(b, side, side, patch, patch, 3).swapaxes(2, 3).reshape(b, side * patch, side * patch, 3)


def authors_names(arrays):
    """Hugging Face's names (transformers 5's) → those of the authors' files."""
    found = {}
    for name, array in arrays.items():
        if ".attention.attention.query." in name:
            array = np.concatenate([arrays[name.replace("query", which)] for which in ("query", "key", "value")])
            name = name.replace("attention.attention.query", "attn.qkv")
        elif ".attention.attention." in name:
            continue
        for theirs, authors in (
            ("vit.embeddings.patch_embeddings.projection", "patch_embed.proj"), ("vit.embeddings.position_embeddings", "pos_embed"),
            ("vit.embeddings.", ""), ("vit.encoder.layer", "blocks"), ("decoder.decoder_encoder.layer", "decoder_blocks"),
            ("vit.layernorm", "norm"), ("decoder.", ""), ("attention.output.dense", "attn.proj"), ("intermediate.dense", "mlp.fc1"),
            ("output.dense", "mlp.fc2"), ("layernorm_before", "norm1"), ("layernorm_after", "norm2"),
        ):  # fmt: skip
            name = name.replace(theirs, authors)
        found[name] = array
    return found


def write_folder(folder: Path, arrays, write, config=CONFIG, preprocessor=None):
    """As save_pretrained leaves it; ``write`` writes arrays into a file."""
    folder.mkdir(exist_ok=True)
    write(folder / "model.safetensors", arrays)
    (folder / "config.json").write_text(json.dumps(config))
    if preprocessor is not None:
        (folder / "preprocessor_config.json").write_text(json.dumps(preprocessor))
    return folder
