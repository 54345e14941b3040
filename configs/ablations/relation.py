"""What a relation is: cosines of embeddings, or distances divided by their mean."""

from ml_collections import ConfigDict

from configs.ablations.base import DEFAULT, config_of

GRID = "irm.kind=cosine,euclidean;seed=0,1,2"


def get_config(base: str = DEFAULT) -> ConfigDict:
    """The config to vary, as it is."""
    return config_of(base)
