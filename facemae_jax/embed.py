"""Embeddings of a whole face set by a frozen recognizer, kept on disk per (recognizer, face set).

The cache is content-named: other weights, other images, another transform or mirror setting have another file. What
embeddings are good for is the business of ``search``, ``metrics`` and ``audit``.
"""

from __future__ import annotations

import functools
import hashlib
import json
import os
import secrets
from collections.abc import Callable
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from facemae_jax import logs
from facemae_jax.data.face_set import FaceSet
from facemae_jax.data.pipeline import eval_batches
from facemae_jax.mesh import batch_sharding, put_batch, replicated
from facemae_jax.models.frozen import Frozen
from facemae_jax.models.scaling import to_unit
from facemae_jax.processes import everywhere, first
from facemae_jax.types import Array, FacemaeError, Tree

CACHE_VERSION = 1  # raised when the same names would hold other numbers
Transform = Callable[[np.ndarray, str], np.ndarray]


@functools.lru_cache(maxsize=16)
def _program(apply: Callable[[Tree, Array], Array], mesh: Mesh, flip: bool) -> Callable[[Tree, Array], Array]:
    """uint8 images, split over the mesh → ``embeddings_BE`` on every device; compiled once per recognizer and shape."""

    def run(params: Tree, images_BHWC: Array) -> Array:
        images_BHWC = to_unit(images_BHWC)
        embeddings_BE = apply(params, images_BHWC)
        if flip:
            embeddings_BE = embeddings_BE + apply(params, images_BHWC[:, :, ::-1, :])
        length_B1 = jnp.linalg.norm(embeddings_BE, axis=-1, keepdims=True)
        return embeddings_BE / jnp.maximum(length_B1, 1e-12)

    return jax.jit(run, in_shardings=(replicated(mesh), batch_sharding(mesh)), out_shardings=replicated(mesh))


def embed(
    frozen: Frozen,
    faces: FaceSet,
    *,
    batch: int,
    mesh: Mesh,
    flip: bool = False,
    transform: Transform | None = None,
    threads: int = 2,
    cache_dir: Path | None = None,
    label: str = "",
) -> np.ndarray:
    """``embeddings_nE``, float32, unit norm, in the order of the face set; the same on every host.

    Args:
        frozen: the recognizer.
        faces: n records.
        batch: images per step over all devices; divides over the mesh. The last step is padded, its padding dropped.
        mesh: batches are split over it, weights are on every device.
        flip: embeddings of image and mirror image are summed, then brought to unit norm again.
        transform: image and key → image of the same shape, before embedding; its ``repr`` names it in the cache.
        threads: that decode.
        cache_dir: where to keep the result; None = nowhere.
        label: what the progress bar says.

    Raises:
        FacemaeError: when the recognizer gives NaN or infinity.
    """
    cached = None if cache_dir is None else cache_dir / cache_name(frozen, faces, flip=flip, transform=transform)
    found_nE = None if cached is None else _read(cached, (len(faces), frozen.embedding))
    if everywhere(found_nE is not None):  # otherwise one would wait for the others in a collective
        assert found_nE is not None
        return found_nE
    embeddings_nE = np.full((len(faces), frozen.embedding), np.nan, np.float32)
    program = _program(frozen.apply, mesh, flip)
    params = jax.device_put(frozen.params, replicated(mesh))
    host, hosts = jax.process_index(), jax.process_count()
    batches = eval_batches(faces, batch=batch, transform=transform, threads=threads, host=host, hosts=hosts)
    on_all_devices = jax.jit(lambda *arrays: arrays, out_shardings=replicated(mesh))
    with logs.progress(len(faces), label or "embed") as bar:

        def collect(embeddings_BE: Array, positions_B: Array, valid_B: Array) -> None:
            valid = np.asarray(valid_B)
            embeddings_nE[np.asarray(positions_B)[valid]] = np.asarray(embeddings_BE)[valid]
            bar.update(int(valid.sum()))

        waiting: tuple[Array, Array, Array] | None = None
        for local in batches:
            images_BHWC, positions_B, valid_B = put_batch(mesh, (local.images_BHWC, local.positions_B, local.valid_B))
            sent = (program(params, images_BHWC), *on_all_devices(positions_B, valid_B))
            if waiting is not None:
                collect(*waiting)  # one step behind, so that the device is never waited for
            waiting = sent
        if waiting is not None:
            collect(*waiting)
    broken = int(np.count_nonzero(~np.isfinite(embeddings_nE).all(axis=1)))
    if broken:
        raise FacemaeError(
            f"{frozen.name} gave embeddings with NaN or infinity for {broken} of {len(faces)} images of {faces.path}: "
            "use other weights, or look at how it was trained."
        )
    if cached is not None and first():
        _write(cached, embeddings_nE)
    return embeddings_nE


def cache_name(frozen: Frozen, faces: FaceSet, *, flip: bool, transform: Transform | None) -> str:
    """The file that holds these embeddings: a digest of all they depend on, and nothing that names a person or a path."""
    parts = [CACHE_VERSION, frozen.digest, faces.digest, bool(flip), "" if transform is None else repr(transform)]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:32] + ".npy"


def _read(path: Path, shape: tuple[int, int]) -> np.ndarray | None:
    """The cached embeddings, or None when there are none; a damaged file is told about and made anew."""
    if not path.is_file():
        return None
    try:
        embeddings_nE = np.load(path, allow_pickle=False)
    except (ValueError, EOFError, OSError) as error:
        logs.warn(f"{path} is damaged ({error}); these embeddings are computed again.")
        return None
    if embeddings_nE.shape != shape or embeddings_nE.dtype != np.float32:
        logs.warn(f"{path} holds {embeddings_nE.dtype} {embeddings_nE.shape}, not {shape}; computed again.")
        return None
    return embeddings_nE


def _write(path: Path, embeddings_nE: np.ndarray) -> None:
    """Whole or not at all; embeddings of faces are personal data, so only the owner may read them."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    partial = path.with_name(f"{path.name}.{secrets.token_hex(8)}.partial")
    try:
        with open(partial, "wb") as file:
            np.save(file, embeddings_nE)
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)
