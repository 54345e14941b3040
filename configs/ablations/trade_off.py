"""Privacy against utility: distortions at three strengths and four MAEs on one curve, an aware attacker behind every point.

The MAEs: pixels alone; pixels and relations (IRM); the same with nine tenths hidden; with the embedding moved elsewhere (shift).
"""

from ml_collections import ConfigDict

from configs.ablations.base import DEFAULT, config_of

GRID = "mae.irm_weight+mae.shift_weight+mae.mask_ratio=(0,0,0.75),(2,0,0.75),(2,0,0.9),(2,2,0.75);seed=0,1,2"
DISTORTIONS = ("mask", "blur@4", "blur@8", "blur@12", "pixelate@7", "pixelate@14", "pixelate@28")


def get_config(base: str = DEFAULT) -> ConfigDict:
    """The config to vary, with more distortions, and attackers with more to learn from."""
    c = config_of(base)
    c.recognizer.variants = c.audit.variants = ("original", *DISTORTIONS, "reconstruction")
    c.audit.trained_on = (*DISTORTIONS, "reconstruction")
    c.audit.attacks = ("fusion", "linkage", "aware")
    c.audit.update(dict(max_queries=2000, max_gallery=4000, attack_images=4000, attack_steps=300))
    return c
