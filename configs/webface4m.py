"""WebFace4M, a tenth of WebFace42M: ViT-B MAE with patches of 8 pixels, IResNet-100 recognizers with CosFace's margin. For eight GPUs.

    python -m facemae_jax run --config=configs/webface4m.py --workdir=runs/webface4m \\
        --config.data.seen=FACES/webface4m --config.verify.faces=FACES/lfw112.zip --config.verify.pairs=FACES/lfw_pairs.txt

Never run in full here: what it reaches is not known. It resolves, a few steps of its shrunken form train, and its full-size steps
are traced; the numbers are those of publications.

Faces: Zhu et al. 2021 (arXiv 2103.04098, face-benchmark.org), 4,235,242 aligned 112×112 images of 205,990 people, given to those who
sign its agreement. Give them as a folder or zip of identity/image. Recognizers as arcface_torch's recipe for these faces: 8 × 128
images, 20 epochs, SGD 0.1, s = 64, margin (1.0, 0.0, 0.4), all class centres; its decay of the learning rate is a polynomial, ours a
cosine. MAE as in He et al. 2021 (arXiv 2111.06377): ViT-B, decoder 512 × 8, 1.5e-4 · batch / 256.
"""

from ml_collections import ConfigDict

from configs import base

IMAGES, IDENTITIES = 4_235_242, 205_990


def get_config() -> ConfigDict:
    """Half of the people are seen, half of them reconstructed."""
    c = base.get_config()
    c.name = "webface4m"
    c.data.seen = "FACES/webface4m"  # stands for your own path
    c.data.terms = (
        "WebFace260M and its subsets: academic research only, no commercial use; nothing of it may be passed on, published or "
        "distributed without the permission of its owners. Ask them before you pass on a reconstruction."
    )
    c.data.threads = 16
    for part in (c.teacher, c.recognizer):
        part.update(dict(network="iresnet100", dtype="bfloat16"))
        part.margin.update(dict(m2=0.0, m3=0.4, scale=64.0))
        part.augment.crop = 1.0  # mirror images alone
        part.optim.update(dict(epochs=20.0, batch=1024, learning_rate=0.1, warmup=0.0, log_every=100, save_every=5000))
    c.mae.update(dict(size="base", dtype="bfloat16", decoder_width=512, decoder_depth=8, decoder_heads=16))
    c.mae.optim.update(dict(epochs=60.0, batch=2048, learning_rate=1.2e-3, log_every=100, save_every=5000))
    c.audit.update(dict(max_gallery=100_000, batch=1024))
    return c
