"""CASIA-WebFace: ViT-B MAE with patches of 8 pixels, IResNet-50 recognizers with ArcFace's margin. For one to eight GPUs.

    python -m facemae_jax run --config=configs/casia.py --workdir=runs/casia \\
        --config.data.seen=FACES/casia112 --config.verify.faces=FACES/lfw112.zip --config.verify.pairs=FACES/lfw_pairs.txt

Never run in full here: what it reaches is not known. It resolves, a few steps of its shrunken form train, and its full-size steps
are traced; the numbers are those of publications, and FaceMAE's own text (arXiv 2205.11090) leaves most of them open.

Faces: Yi et al. 2014 (arXiv 1411.7923), 494,414 images of 10,575 people; the usual aligned 112×112 pack has 490,623 of 10,572. Give it
as a folder or zip of identity/image. Recognizers as in ArcFace (arXiv 1801.07698): batch 512, 34 epochs, s = 64, m = 0.5.
MAE as in He et al. 2021 (arXiv 2111.06377): ViT-B, decoder 512 × 8, 1.5e-4 · batch / 256.
"""

from ml_collections import ConfigDict

from configs import base

IMAGES, IDENTITIES = 490_623, 10_572  # of the aligned pack


def get_config() -> ConfigDict:
    """Half of the people are seen, half of them reconstructed."""
    c = base.get_config()
    c.name = "casia"
    c.data.seen = "FACES/casia112"  # stands for your own path
    c.data.terms = (
        "CASIA-WebFace: non-commercial research and education only, no redistribution of the original images."
    )
    c.data.threads = 16
    for part in (c.teacher, c.recognizer):
        part.update(dict(network="iresnet50", dtype="bfloat16"))
        part.margin.update(dict(m2=0.5, m3=0.0, scale=64.0))
        part.augment.crop = 1.0  # mirror images alone
        part.optim.update(dict(epochs=34.0, batch=512, learning_rate=0.1, warmup=0.0, log_every=50, save_every=2000))
    c.mae.update(dict(size="base", dtype="bfloat16", decoder_width=512, decoder_depth=8, decoder_heads=16))
    c.mae.optim.update(dict(epochs=200.0, batch=1024, learning_rate=6e-4, log_every=50, save_every=2000))
    return c
