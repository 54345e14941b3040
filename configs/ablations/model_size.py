"""How large the encoder is: width, layers, heads. The config to vary has mae.size=custom."""

from ml_collections import ConfigDict

from configs.ablations.base import DEFAULT, config_of

GRID = "mae.width+mae.depth+mae.heads=(64,2,2),(128,4,4),(192,6,6);seed=0,1,2"


def get_config(base: str = DEFAULT) -> ConfigDict:
    """The config to vary, as it is."""
    return config_of(base)
