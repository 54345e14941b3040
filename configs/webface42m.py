"""WebFace42M on a pod: two million class centres spread over all devices, a tenth of them trained in each step (PartialFC).

    python -m facemae_jax run --config=configs/webface42m.py --workdir=runs/webface42m --processes=auto \\
        --config.data.seen=FACES/webface42m --config.verify.faces=FACES/lfw112.zip --config.verify.pairs=FACES/lfw_pairs.txt

The same command on every host; all of them see the same faces and workdir. `--config.mesh.fsdp=8` also splits networks, which none needs here.

Never run here: what it reaches, and how fast, is not known. It resolves, a few steps of its shrunken form train, and its full-size
steps are traced with all 2,059,906 people; the numbers are those of publications.

Faces: Zhu et al. 2021 (arXiv 2103.04098, face-benchmark.org), 42,474,558 aligned 112×112 images of 2,059,906 people, given to those who
sign its agreement. Give them as a folder or zip of identity/image. Recognizers as arcface_torch's recipe for 32 GPUs: 32 × 128 images,
20 epochs of which two warm up, SGD 0.4, s = 64, margin (1.0, 0.0, 0.4); it trains 0.2 of the centres in a step, or 0.3
(An et al. 2021, arXiv 2010.05222, finds 0.1 enough); its decay of the learning rate is a polynomial, ours a cosine. MAE as in He et al.
2021 (arXiv 2111.06377): ViT-L, decoder 512 × 8, 1.5e-4 · batch / 256.
"""

from ml_collections import ConfigDict

from configs import base

IMAGES, IDENTITIES = 42_474_558, 2_059_906


def get_config() -> ConfigDict:
    """A tenth of the people, 4 million images, is seen; all others are reconstructed."""
    c = base.get_config()
    c.name = "webface42m"
    c.data.seen = "FACES/webface42m"  # stands for your own path
    c.data.seen_share = 0.1
    c.data.terms = (
        "WebFace260M and its subsets: academic research only, no commercial use; nothing of it may be passed on, published or "
        "distributed without the permission of its owners. Ask them before you pass on a reconstruction."
    )
    c.data.threads = 32
    for part in (c.teacher, c.recognizer):
        part.update(dict(network="iresnet100", dtype="bfloat16"))
        part.margin.update(dict(m2=0.0, m3=0.4, scale=64.0))
        part.head.sample = 0.1  # centres stay float32: bfloat16 would round a step's small changes away
        part.augment.crop = 1.0  # mirror images alone
        part.optim.update(dict(epochs=20.0, batch=4096, learning_rate=0.4, warmup=0.1, log_every=100, save_every=5000))
    c.recognizer.variants = ("original", "reconstruction")  # each is 20 passes over 38 million images
    c.mae.update(dict(size="large", dtype="bfloat16", decoder_width=512, decoder_depth=8, decoder_heads=16, scan=True))
    c.mae.optim.update(dict(epochs=60.0, batch=4096, learning_rate=2.4e-3, log_every=100, save_every=5000))
    c.audit.update(dict(variants=("original", "blur", "reconstruction"), max_gallery=100_000, batch=4096))
    c.verify.batch = 4096
    c.publish.formats = ("array_record",)  # a second copy for tfds.load is as large as the first
    return c
