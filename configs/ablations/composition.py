"""What the visible patches become: painted anew, or real pixels pasted back. A sweep publishes nothing, so it asks for no permission."""

from ml_collections import ConfigDict

from configs.ablations.base import DEFAULT, config_of

GRID = "reconstruct.composition=full,paste;seed=0,1,2"


def get_config(base: str = DEFAULT) -> ConfigDict:
    """The config to vary, as it is."""
    return config_of(base)
