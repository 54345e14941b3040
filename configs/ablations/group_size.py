"""How many images stand in one relation graph: the whole batch (0), or groups of 8, 4, 2."""

from ml_collections import ConfigDict

from configs.ablations.base import DEFAULT, config_of

GRID = "irm.group=0,8,4,2;seed=0,1,2"


def get_config(base: str = DEFAULT) -> ConfigDict:
    """The config to vary, as it is."""
    return config_of(base)
