"""A masked autoencoder as it was published: other image and patch sizes, inputs normalised by a mean and deviation per colour, maybe no decoder.

What every foreign layout shares: taking arrays by name, and saying which are missing or too many. Layouts have a file each; what is then
done to fit our images is in ``mae_adapt``.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import NamedTuple

import jax
import numpy as np

from facemae_jax.models.mae import Mae, MaeConfig
from facemae_jax.models.vit import SIZES, positions_2d
from facemae_jax.types import FacemaeError, Tree

IMAGENET_MEAN, IMAGENET_DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # RGB, of pixels in 0…1
DECODER_HEADS = {512: 16}  # width → heads of the published decoders
SAME = 1e-4  # positions were computed in float32 here, in float64 there


class Published(NamedTuple):
    """Weights in our names and axes, still for their own images."""

    params: Tree  # without decoder parts where the file has none
    config: MaeConfig
    mean: tuple[float, ...]  # their input is (pixel in 0…1 − mean) / deviation, per colour
    deviation: tuple[float, ...]
    norm_pix: bool  # trained with norm_pix_loss
    whole: bool  # there is a decoder


class Arrays:
    """Foreign arrays that are taken one by one, so that what is left over is known."""

    def __init__(self, arrays: dict[str, np.ndarray], where: str):
        self.left, self.where = dict(arrays), where

    def take(self, name: str) -> np.ndarray:
        """As float32.

        Raises:
            FacemaeError: when it is not there.
        """
        if name not in self.left:
            raise FacemaeError(f"{self.where} has no {name}, which an MAE in this layout has: give the whole file.")
        return self.left.pop(name).astype(np.float32)

    def dense(self, name: str) -> dict[str, np.ndarray]:
        """A linear layer: (outputs, inputs) becomes (inputs, outputs)."""
        return dict(kernel=self.take(f"{name}.weight").T, bias=self.take(f"{name}.bias"))

    def norm(self, name: str) -> dict[str, np.ndarray]:
        """A LayerNorm."""
        return dict(scale=self.take(f"{name}.weight"), bias=self.take(f"{name}.bias"))

    def patches(self, name: str) -> dict[str, np.ndarray]:
        """A convolution over patches: (outputs, colours, rows, columns) becomes (rows · columns · colours, outputs)."""
        kernel = self.take(f"{name}.weight")
        return dict(kernel=kernel.transpose(2, 3, 1, 0).reshape(-1, kernel.shape[0]), bias=self.take(f"{name}.bias"))

    def blocks(self, before: str, block: Callable[[Arrays, str], Tree]) -> Tree:
        """All layers whose names begin with ``before`` and a number."""
        pattern = re.compile(re.escape(before) + r"\.(\d+)\.")
        numbers = {int(match[1]) for name in self.left if (match := pattern.match(name))}
        if numbers != set(range(len(numbers))) or not numbers:
            raise FacemaeError(
                f"{self.where} has the layers {sorted(numbers)} of {before}, expected 0, 1, 2 …: give the whole file."
            )
        return {f"block_{number}": block(self, f"{before}.{number}") for number in sorted(numbers)}

    def positions(self, name: str) -> int:
        """Patches along a side, after checking that the positions are those of this grid: fixed sine and cosine, none for the class token.

        Raises:
            FacemaeError: for others, which our model cannot hold.
        """
        given = self.take(name)
        side = round((given.shape[-2] - 1) ** 0.5)
        if given.ndim != 3 or given.shape[1] != side**2 + 1 or given.shape[2] % 4:
            raise FacemaeError(
                f"{self.where}: {name} has the shape {given.shape}, expected (1, 1 + patches of a square grid, width)."
            )
        wanted = np.concatenate([np.zeros((1, given.shape[2]), np.float32), positions_2d(given.shape[2], side)])
        apart = float(np.abs(given[0] - wanted).max())
        if not apart <= SAME:
            raise FacemaeError(
                f"{self.where}: {name} differs by {apart:.3g} from the fixed sine-cosine positions of a {side}×{side} grid: learned positions "
                "cannot be taken over."
            )
        return side

    def done(self) -> None:
        """Nothing may be left.

        Raises:
            FacemaeError: naming what is.
        """
        if self.left:
            raise FacemaeError(
                f"{self.where} holds what no MAE in this layout has: {', '.join(list(self.left)[:5])}; a fine-tuned classifier is not read."
            )


def heads_of(width: int, given: int, known: dict[int, int], where: str) -> int:
    """Attention heads, which no file of weights says: as given, or those of the published size.

    Raises:
        FacemaeError: for a width that is not a published one, or heads that do not divide it.
    """
    heads = given or known.get(width, 0)
    if not heads or width % heads:
        raise FacemaeError(
            f"{where}: the number of attention heads of width {width} is not in the file: name one that divides it, with --heads=ENCODER,DECODER."
        )
    return heads


def encoder_heads(width: int, given: int, where: str) -> int:
    """Of the encoder; as :func:`heads_of`."""
    return heads_of(width, given, {size.width: size.heads for size in SIZES.values()}, where)


def shapes_of(config: MaeConfig) -> Tree:
    """Shapes of an MAE's parameters, without computing any."""
    images = jax.ShapeDtypeStruct((1, config.image_size, config.image_size, 3), np.float32)
    visible = jax.ShapeDtypeStruct((1, config.visible), np.int32)
    return jax.eval_shape(Mae(config).init, jax.random.key(0), images, visible)["params"]


def check_shapes(params: Tree, config: MaeConfig, where: str) -> None:
    """Whether parameters, or as many as there are, are those of ``config``.

    Raises:
        FacemaeError: naming the first that is not.
    """
    named = {jax.tree_util.keystr(path, simple=True, separator="/"): leaf for path, leaf in _leaves(shapes_of(config))}
    for path, leaf in _leaves(params):
        name = jax.tree_util.keystr(path, simple=True, separator="/")
        if name not in named or named[name].shape != leaf.shape:
            wanted = named[name].shape if name in named else "nothing"
            raise FacemaeError(f"{where}: {name} has the shape {leaf.shape}, an MAE of these sizes has {wanted} there.")


def _leaves(tree: Tree) -> list:
    return jax.tree_util.tree_flatten_with_path(tree)[0]
