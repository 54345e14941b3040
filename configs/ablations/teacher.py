"""How good the teacher is: trained for fewer or more epochs. Other networks: --grid="teacher.network=cpu,iresnet18"."""

from ml_collections import ConfigDict

from configs.ablations.base import DEFAULT, config_of

GRID = "teacher.optim.epochs=1,6,18;seed=0,1,2"


def get_config(base: str = DEFAULT) -> ConfigDict:
    """The config to vary, as it is."""
    return config_of(base)
