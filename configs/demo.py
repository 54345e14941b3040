"""The whole chain on synthetic faces: two CPU cores, minutes, no person's data. `launch/demo.sh` runs this.

python -m facemae_jax run --config=configs/demo.py --workdir=runs/demo
"""

from ml_collections import ConfigDict

from configs import base


def get_config() -> ConfigDict:
    """64×64 faces of 192 invented people, half of them seen."""
    c = base.get_config()
    c.name = "demo"
    c.data.image_size = 64
    c.synthetic.update(dict(identities=192, images=12, difficulty=1.2))
    network = dict(network="cpu", embedding=128)
    training = dict(epochs=6.0, batch=64, learning_rate=0.05, log_every=5, save_every=200)
    for part in (c.teacher, c.recognizer):
        part.update(network)
        part.optim.update(training)
    c.mae.update(
        dict(size="custom", width=128, depth=4, heads=4, decoder_width=96, decoder_depth=2, decoder_heads=4, patch=8)
    )
    c.mae.relation_from = 0.7
    c.mae.optim.update(dict(epochs=16.0, batch=16, learning_rate=1.5e-3, log_every=20, save_every=500))
    c.verify.update(dict(identities=80, images=6, count=2000, batch=128))
    c.audit.update(dict(max_queries=500, max_gallery=2048, batch=128, attacks=("fusion", "copy", "membership")))
    c.audit.update(dict(attack_images=300, membership_masks=4))
    c.reconstruct.update(dict(batch=64, shard_records=1024))
    return c
