"""From images and mask seeds to published images. Callable without any stage; knows no files but the model directory.

``paint`` is the pure function. ``Painter`` runs it over a mesh in batches of one fixed shape, because float results depend on the
batch shape: the same image then gives the same bytes wherever it stands, on the same hardware and versions.
"""

from __future__ import annotations

import dataclasses
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from facemae_jax import mesh as meshes
from facemae_jax.checkpoint import load_model
from facemae_jax.models.mae import Mae, MaeConfig
from facemae_jax.models.masking import mix_patches, paste, patch_owners, random_mask
from facemae_jax.models.scaling import to_uint8, to_unit
from facemae_jax.types import FacemaeError, Tree

COMPOSITIONS = ("full", "paste")


def compiler_options(backend: str) -> dict[str, bool] | None:
    """Options of the one compiled program of an export: on GPUs sums are taken in a fixed order, so that bytes come out the same twice."""
    return {"xla_gpu_deterministic_ops": True} if backend == "gpu" else None


def paint(
    params: Tree, images_BMHWC: jax.Array, mask_seeds_B2: jax.Array, *, model: Mae, composition: str = "full"
) -> jax.Array:
    """Paint faces from their visible patches.

    With M > 1 images per face the visible patches come from all of them in equal shares (``masking.patch_owners``): the face painted from
    them is nobody's. Others of one person must be mixed with the same people, or no recognizer could learn from them.

    Args:
        params: of the MAE.
        images_BMHWC: uint8, the face's own first. Hidden patches never enter the computation.
        mask_seeds_B2: uint32, of ``release.mask_seeds``: which patches of each image are visible.
        model: with the number of visible patches, and where they may be, in its config.
        composition: full = every pixel is decoder output; paste = visible patches are copied from the images.

    Returns:
        ``painted_BHWC``, uint8.
    """
    keys_B = jax.random.wrap_key_data(mask_seeds_B2, impl="threefry2x32")
    c, people = model.config, images_BMHWC.shape[1]
    mask = random_mask(keys_B, patches=c.patches, visible=c.visible, focus=c.mask_focus)
    images_BHWC = images_BMHWC[:, 0]
    if people > 1:
        owner_BN = patch_owners(keys_B, mask.visible_BV, patches=c.patches, people=people)
        images_BHWC = mix_patches(images_BMHWC, owner_BN, c.patch)
    units_BHWC = to_unit(images_BHWC)
    output: Any = model.apply({"params": params}, units_BHWC, mask.visible_BV)
    painted_BHWC = to_uint8(output.pixels_BHWC)
    if composition == "paste":
        return paste(painted_BHWC, images_BHWC, mask.hidden_BN, c.patch)
    return painted_BHWC


class Painter:
    """An MAE ready to paint any number of images in fixed batches over a mesh.

    Args:
        directory: model or stage directory of an MAE.
        visible: patches the encoder sees.
        mask_focus: where they are: see ``masking.random_mask``.
        mesh: images are split over it.
        batch_per_device: images per device and call; shorter tails are padded.
        composition: full | paste.

    Raises:
        FacemaeError: no MAE there, one trained with norm_pix_loss, or an unknown composition.
    """

    def __init__(
        self,
        directory: Path,
        *,
        visible: int,
        mesh: Mesh,
        batch_per_device: int,
        composition: str = "full",
        mask_focus: float = 0.0,
    ):
        variables, description = load_model(directory)
        if description.get("kind") != "mae":
            raise FacemaeError(
                f"{directory} holds a {description.get('kind')}, not an MAE: name a train-mae directory."
            )
        if description.get("norm_pix"):
            raise FacemaeError(
                f"{directory}: this MAE was trained with norm_pix_loss; its images would need the hidden patches' own mean and variance, "
                "which is a leak: train one with mae.norm_pix_loss=False."
            )
        if part := description.get("untrained"):
            raise FacemaeError(
                f"{directory}: the {part} of this MAE was never trained, so that it paints nothing: begin a training from it with "
                f"mae.optim.init_from={directory}."
            )
        if composition not in COMPOSITIONS:
            raise FacemaeError(f"reconstruct.composition={composition}: choose one of {', '.join(COMPOSITIONS)}.")
        self.config = dataclasses.replace(
            MaeConfig.from_dict(description), visible=visible, mask_focus=mask_focus, scan=False, remat=False
        )
        self.description, self.mesh, self.variables = description, mesh, variables
        self.batch = batch_per_device * mesh.size
        self._params = jax.device_put(variables["params"], meshes.replicated(mesh))
        model = Mae(self.config, mesh)
        self._paint = jax.jit(
            partial(paint, model=model, composition=composition),
            out_shardings=meshes.batch_sharding(mesh),
            compiler_options=compiler_options(jax.default_backend()),
        )

    def __call__(self, images_nMHWC: np.ndarray, mask_seeds_n2: np.ndarray) -> np.ndarray:
        """uint8 images (M for each face, its own first) and mask seeds → ``painted_nHWC``, uint8, in order; any n.

        Raises:
            FacemaeError: more images per face than visible patches.
        """
        if images_nMHWC.shape[1] > self.config.visible:
            raise FacemaeError(
                f"reconstruct.people={images_nMHWC.shape[1]}: {self.config.visible} patches are visible, one for each person at least."
            )
        painted = []
        for start in range(0, len(images_nMHWC), self.batch):
            images, seeds = images_nMHWC[start : start + self.batch], mask_seeds_n2[start : start + self.batch]
            rows = len(images)
            given = (_padded(images, self.batch), _padded(seeds, self.batch))
            images_BMHWC, seeds_B2 = meshes.put_batch(self.mesh, given)
            painted.append(np.asarray(self._paint(self._params, images_BMHWC, jnp.asarray(seeds_B2)))[:rows])
        return np.concatenate(painted) if painted else images_nMHWC[:0, 0]


def _padded(rows: np.ndarray, count: int) -> np.ndarray:
    return (
        np.concatenate([rows, np.zeros((count - len(rows), *rows.shape[1:]), rows.dtype)])
        if len(rows) < count
        else rows
    )
