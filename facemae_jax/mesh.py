"""Devices as a grid ("data", "fsdp"), and where arrays lie on it.

Batches are split over both axes, large parameters over ``fsdp``, class centres over both. Not for collectives: those
live beside the loss that needs them.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Sequence

import jax
import numpy as np
from jax.experimental import mesh_utils
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from facemae_jax.types import Array, FacemaeError, Tree

LOG = logging.getLogger("facemae_jax")
AXES = ("data", "fsdp")
Rule = tuple[str, PartitionSpec | str]

# First match wins. The names are paths such as "params/encoder/Dense_0/kernel"; an optimizer's moments carry the same.
PADDED = r"(^|/)centres_KE$"  # leaves with as many rows of zeros at the end as make them divide over the devices
RULES: tuple[Rule, ...] = (
    (PADDED, PartitionSpec(AXES)),
    (r"(^|/)batch_stats(/|$)", "replicate"),
    (r"", "fsdp"),
)
_told: set[str] = set()


def make_mesh(data: int = -1, fsdp: int = 1, devices: Sequence[jax.Device] | None = None) -> Mesh:
    """A mesh of ``data`` × ``fsdp`` devices.

    Args:
        data: devices along the batch axis; -1 = what ``fsdp`` leaves.
        fsdp: devices over which parameters are split as well; -1 = what ``data`` leaves.
        devices: all of this run by default.

    Raises:
        FacemaeError: when the product is not the number of devices; the sentence shows the arithmetic.
    """
    there = list(jax.devices() if devices is None else devices)
    sizes = {"data": data, "fsdp": fsdp}
    asked = f"mesh.data={data} × mesh.fsdp={fsdp}"
    for axis, size in sizes.items():
        if size == 0 or size < -1:
            raise FacemaeError(
                f"mesh.{axis}={size} is not a number of devices: give 1 or more, or -1 for what is left."
            )
    if data == fsdp == -1:
        raise FacemaeError(f"{asked} leaves both sizes open: give one of them a number.")
    if -1 in (data, fsdp):
        given = max(data, fsdp)
        if len(there) % given:
            raise FacemaeError(
                f"{asked} does not fit: {len(there)} devices do not divide by {given}; "
                f"choose one of {_divisors(len(there))}."
            )
        sizes = {axis: len(there) // given if size == -1 else size for axis, size in sizes.items()}
    product = sizes["data"] * sizes["fsdp"]
    if product != len(there):
        raise FacemaeError(
            f"{asked} = {product} devices, but {len(there)} are there ({there[0].platform}): "
            "set mesh.data=-1 to take what is left, or change the sizes."
        )
    # Auto is stated: a mesh's default may become Explicit, which refuses programs that mix shardings.
    return Mesh(arranged(there, sizes["data"], sizes["fsdp"]), AXES, axis_types=(AxisType.Auto,) * 2)


def arranged(devices: Sequence[jax.Device], data: int, fsdp: int) -> np.ndarray:
    """The devices as a grid in which ``fsdp`` stays inside a slice (a TPU slice, the GPUs of one machine) and ``data`` goes across.

    Parameters are gathered over ``fsdp`` in every layer, gradients summed over ``data`` once a step: the slow network between slices
    gets the rare traffic.

    Raises:
        FacemaeError: when ``fsdp`` neither divides a slice nor covers whole ones; the sentence shows the arithmetic.
    """
    slices: dict[int, list[jax.Device]] = {}
    for device in devices:
        number = getattr(device, "slice_index", None)
        slices.setdefault(device.process_index if number is None else number, []).append(device)
    sizes = {len(part) for part in slices.values()}
    if len(slices) == 1:
        return mesh_utils.create_device_mesh((data, fsdp), list(devices), allow_split_physical_axes=True)
    if len(sizes) > 1:
        raise FacemaeError(f"the slices of this run have {sorted(sizes)} devices: choose as many of each.")
    (size,) = sizes
    if size % fsdp and fsdp % size:
        raise FacemaeError(
            f"mesh.fsdp={fsdp} does not fit {len(slices)} slices of {size} devices: choose one of {_divisors(size)}, or a multiple of {size}."
        )
    inner = min(fsdp, size)
    grids = [
        mesh_utils.create_device_mesh((size // inner, inner), part, allow_split_physical_axes=True)
        for _, part in sorted(slices.items())
    ]
    return np.concatenate(grids).reshape(data, fsdp)


def batch_sharding(mesh: Mesh) -> NamedSharding:
    """The first axis over all devices."""
    return NamedSharding(mesh, PartitionSpec(AXES))


def replicated(mesh: Mesh) -> NamedSharding:
    """A whole copy on every device."""
    return NamedSharding(mesh, PartitionSpec())


def check_batch(mesh: Mesh, batch: int, field: str) -> None:
    """Refuse a global batch that does not divide over the devices.

    Raises:
        FacemaeError: names ``field`` (such as ``mae.optim.batch``) and the nearest values that fit.
    """
    if batch > 0 and batch % mesh.size == 0:
        return
    below, above = batch // mesh.size * mesh.size, (max(batch, 0) // mesh.size + 1) * mesh.size
    fitting = f"{below} or {above}" if below > 0 else f"{above}"
    raise FacemaeError(
        f"{field}={batch} does not divide over the {mesh.size} devices of the mesh "
        f"({mesh.shape['data']} × {mesh.shape['fsdp']}): use {fitting}."
    )


def shardings_for(abstract: Tree, mesh: Mesh, rules: Sequence[Rule] = RULES, min_size: int = 2**14) -> Tree:
    """A sharding per leaf, by the first rule whose pattern is found in the leaf's path.

    Args:
        abstract: arrays or ShapeDtypeStructs, such as the result of ``jax.eval_shape``.
        mesh: of :func:`make_mesh`.
        rules: (regular expression, what): a PartitionSpec; ``"fsdp"`` = the largest dimension that divides over the
            axis, for leaves of at least ``min_size`` elements; ``"replicate"``. A PartitionSpec with more entries than
            a leaf has dimensions does not match it. A leaf without a match is replicated.
        min_size: elements; smaller leaves are not worth a collective.

    Returns:
        The same tree of NamedSharding. Leaves that should have been split and could not be are named once per process.
    """
    misses: list[str] = []

    def choose(path: jax.tree_util.KeyPath, leaf: Array) -> NamedSharding:
        name = jax.tree_util.keystr(path, simple=True, separator="/")
        spec = _spec(name, tuple(leaf.shape), mesh, rules, min_size)
        if spec is None:
            misses.append(f"{name} {tuple(leaf.shape)}")
        return NamedSharding(mesh, spec or PartitionSpec())

    chosen = jax.tree.map_with_path(choose, abstract)
    new = [miss for miss in misses if miss not in _told]
    if new:
        _told.update(new)
        LOG.warning(
            "%d arrays lie whole on every device, since no dimension divides over the mesh %d × %d: %s",
            len(new),
            *mesh.devices.shape,
            ", ".join(new[:5]) + (", …" if len(new) > 5 else ""),
        )
    return chosen


def put_batch(mesh: Mesh, batch: Tree) -> Tree:
    """This process's rows, as rows of global arrays: process p of P holds rows p·B/P to (p+1)·B/P.

    Args:
        mesh: of :func:`make_mesh`.
        batch: numpy arrays whose first axis is this process's part of the batch; all processes bring equally many.

    Returns:
        jax.Arrays of B rows, split over all devices.
    """
    sharding = batch_sharding(mesh)
    return jax.tree.map(lambda local: jax.make_array_from_process_local_data(sharding, np.asarray(local)), batch)


def pin_batch(x: Array, mesh: Mesh) -> Array:
    """``x`` with its first axis held over all devices; without this, weights' shardings leak into activations."""
    return jax.lax.with_sharding_constraint(x, batch_sharding(mesh))


def _spec(name: str, shape: tuple[int, ...], mesh: Mesh, rules: Sequence[Rule], min_size: int) -> PartitionSpec | None:
    """Where one leaf lies; None when a rule wanted it split and no dimension allows that."""
    for pattern, what in rules:
        if not re.search(pattern, name) or (isinstance(what, PartitionSpec) and len(what) > len(shape)):
            continue
        if what == "replicate":
            return PartitionSpec()
        if isinstance(what, PartitionSpec):
            return what if all(size % _ways(mesh, axes) == 0 for size, axes in zip(shape, what, strict=False)) else None
        if what != "fsdp":
            raise ValueError(f'rule {pattern!r}: {what!r} is neither a PartitionSpec, "fsdp" nor "replicate"')
        if mesh.shape["fsdp"] == 1 or int(np.prod(shape)) < min_size:
            return PartitionSpec()
        fitting = [axis for axis, size in enumerate(shape) if size % mesh.shape["fsdp"] == 0]
        if not fitting:
            return None
        largest = max(fitting, key=lambda axis: shape[axis])
        return PartitionSpec(*("fsdp" if axis == largest else None for axis in range(largest + 1)))
    return PartitionSpec()


def _ways(mesh: Mesh, axes: str | tuple[str, ...] | None) -> int:
    names = () if axes is None else (axes,) if isinstance(axes, str) else axes
    return int(np.prod([mesh.shape[name] for name in names], dtype=int))


def _divisors(count: int) -> str:
    return ", ".join(str(n) for n in range(1, count + 1) if count % n == 0)
