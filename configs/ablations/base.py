"""What the studies of this folder stand on. Each names a grid, `GRID`, and takes the config to vary after a colon.

    python -m facemae_jax sweep --config=configs/ablations/mask_ratio.py --workdir=runs/demo            on configs/demo.py
    python -m facemae_jax sweep --config=configs/ablations/mask_ratio.py:celeba_lfw:cpu --workdir=…     on configs/celeba_lfw.py:cpu

Nothing but the grid differs from that config, so that its finished stages are reused (`trade_off` also asks
for more distortions and attacks). `--grid` sets another grid.
"""

import importlib

from ml_collections import ConfigDict

from facemae_jax.types import FacemaeError

DEFAULT = "demo"


def config_of(base: str) -> ConfigDict:
    """The config ``NAME`` or ``NAME:ARGUMENT`` of the folder above."""
    name, _, argument = base.partition(":")
    name = name.removeprefix("configs/").removesuffix(".py")
    try:
        file = importlib.import_module(f"configs.{name}")
    except ModuleNotFoundError as error:
        raise FacemaeError(
            f"{base}: there is no configs/{name}.py to vary; name one after the colon, such as :demo."
        ) from error
    return file.get_config(argument) if argument else file.get_config()
