"""Privacy against utility: distortions at three strengths and three MAEs on one curve, an aware attacker behind every point.

The MAEs: pixels alone; pixels and relations (IRM); the same, with two people behind every painted face, each of whom shows three eighths of it.
"""

from ml_collections import ConfigDict

from configs.ablations.base import DEFAULT, config_of

GRID = "seed=0,1,2;mae.irm_weight+mae.mask_ratio+reconstruct.people=(0,0.75,1),(2,0.75,1),(2,0.25,2)"
DISTORTIONS = tuple("mask@0.5 mask mask@0.875 blur@4 blur@8 blur@12 pixelate@7 pixelate@14 pixelate@28".split())


def get_config(base: str = DEFAULT) -> ConfigDict:
    """The config to vary, with more distortions, and attackers with more to learn from."""
    c = config_of(base)
    c.recognizer.variants = c.audit.variants = ("original", *DISTORTIONS, "reconstruction")
    c.audit.trained_on = (*DISTORTIONS, "reconstruction")
    c.audit.attacks = ("fusion", "linkage", "aware")
    c.audit.update(dict(max_queries=2000, max_gallery=4000, attack_images=4000, attack_steps=300))
    return c
