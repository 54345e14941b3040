"""How much of a face is hidden: the share of patches that the MAE never sees."""

from ml_collections import ConfigDict

from configs.ablations.base import DEFAULT, config_of

GRID = "mae.mask_ratio=0.5,0.65,0.75,0.85,0.95;seed=0,1,2"


def get_config(base: str = DEFAULT) -> ConfigDict:
    """The config to vary, as it is."""
    return config_of(base)
