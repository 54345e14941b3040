"""Whose patches make one face: its own person's alone, or also those of one, two, three others whom the secret assigns."""

from ml_collections import ConfigDict

from configs.ablations.base import DEFAULT, config_of

GRID = "reconstruct.people=1,2,3,4;seed=0,1,2"


def get_config(base: str = DEFAULT) -> ConfigDict:
    """The config to vary, as it is."""
    return config_of(base)
