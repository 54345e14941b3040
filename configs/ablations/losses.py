"""Which loss keeps identity structure: pixels alone, relations (IRM) alone, both, or pixels and single embeddings (feature).

IRM alone has no first part of pixels alone, so that it is trained by relations from its first step.
"""

from ml_collections import ConfigDict

from configs.ablations.base import DEFAULT, config_of

GRID = (
    "mae.pixel_weight+mae.irm_weight+mae.feature_weight+mae.relation_from="
    "(1,0,0,0.7),(0,2,0,0),(1,2,0,0.7),(1,0,0.1,0.7);seed=0,1,2"
)


def get_config(base: str = DEFAULT) -> ConfigDict:
    """The config to vary, as it is."""
    return config_of(base)
