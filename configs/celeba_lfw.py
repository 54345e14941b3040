"""Real faces: MAE and recognizers on CelebA, verification on LFW. Both must be aligned 112×112 crops (ArcFace template).

    python -m facemae_jax run --config=configs/celeba_lfw.py --workdir=runs/celeba \\
        --config.data.seen=FACES/celeba112.zip --config.verify.faces=FACES/lfw112.zip --config.verify.pairs=FACES/lfw_pairs.txt

`celeba_lfw.py:cpu` is sized for two CPU cores, at 64×64 pixels. An independent judge:
--config.audit.judges=teacher,recognizer:original,onnx:MODEL.onnx
with --config.audit.judge_input_range=bytes for models that normalise inside. The README says where the data sets come from.
"""

from ml_collections import ConfigDict

from configs import base
from facemae_jax.types import FacemaeError


def get_config(machine: str = "gpu") -> ConfigDict:
    """One GPU by default; ``cpu`` for a smaller MAE and the CPU-sized recognizer."""
    c = base.get_config()
    c.name = f"celeba_lfw-{machine}"
    c.data.terms = "CelebA: non-commercial research purposes only, no redistribution of the original images."
    c.mae.update(dict(size="custom", width=384, depth=10, heads=6, dtype="bfloat16"))
    c.audit.trained_on = ("blur", "reconstruction")
    if machine == "cpu":
        # A third of the pixels: on LFW these recognizers were as good at 64 as at 112, and every stage is about three times as fast.
        c.data.image_size = 64
        network = dict(network="cpu", embedding=128)
        training = dict(epochs=18.0, batch=128, learning_rate=0.1)
        for part in (c.teacher, c.recognizer):
            part.update(network)
            part.optim.update(training)
        c.mae.update(
            dict(
                width=128,
                depth=4,
                heads=4,
                dtype="float32",
                decoder_width=96,
                decoder_depth=2,
                decoder_heads=4,
                relation_from=0.75,
            )
        )
        c.mae.optim.update(dict(epochs=12.0, batch=32, learning_rate=1.5e-3))
        c.audit.update(dict(max_queries=1000, max_gallery=3000, attack_images=1000, attack_steps=150))
    elif machine != "gpu":
        raise FacemaeError(f"configs/celeba_lfw.py:{machine}: choose gpu or cpu.")
    return c
