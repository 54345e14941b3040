"""How strongly every face is moved away from its own source while relations are kept."""

from ml_collections import ConfigDict

from configs.ablations.base import DEFAULT, config_of

GRID = "mae.unlink_weight=0,0.25,0.5,1,2;seed=0,1,2"


def get_config(base: str = DEFAULT) -> ConfigDict:
    """The config to vary, as it is."""
    return config_of(base)
