import logging

import jax
import numpy as np
import pytest
from jax.sharding import AxisType, PartitionSpec

from facemae_jax import mesh as meshes
from facemae_jax.mesh import (
    batch_sharding,
    check_batch,
    make_mesh,
    pin_batch,
    put_batch,
    replicated,
    shardings_for,
)
from facemae_jax.types import Batch, FacemaeError, batch_of


@pytest.fixture
def warnings_said(monkeypatch):
    """What the package's logger is told, whether or not the door has been at it."""
    monkeypatch.setattr(meshes, "_told", set())
    said = []
    handler = logging.Handler()
    handler.emit = lambda record: said.append(record.getMessage())
    meshes.LOG.addHandler(handler)
    yield said
    meshes.LOG.removeHandler(handler)


@pytest.mark.parametrize(
    ("data", "fsdp", "shape"), [(-1, 1, (8, 1)), (-1, 2, (4, 2)), (4, 2, (4, 2)), (2, -1, (2, 4)), (1, 8, (1, 8))]
)
def test_sizes_that_fit(data, fsdp, shape):
    mesh = make_mesh(data, fsdp)
    assert mesh.devices.shape == shape
    assert mesh.axis_names == ("data", "fsdp")
    assert mesh.axis_types == (AxisType.Auto, AxisType.Auto)


@pytest.mark.parametrize(
    ("data", "fsdp", "words"),
    [
        (4, 1, "mesh.data=4 × mesh.fsdp=1 = 4 devices, but 8 are there"),
        (16, 1, "= 16 devices, but 8 are there"),
        (-1, 3, "8 devices do not divide by 3; choose one of 1, 2, 4, 8"),
        (-1, -1, "leaves both sizes open"),
        (0, 1, "mesh.data=0 is not a number of devices"),
        (-1, -2, "mesh.fsdp=-2 is not a number of devices"),
    ],
)
def test_sizes_that_do_not_fit_show_the_arithmetic(data, fsdp, words):
    with pytest.raises(FacemaeError, match=".") as error:
        make_mesh(data, fsdp)
    assert words in str(error.value)


class Chip:
    """A device of a machine we do not hold."""

    def __init__(self, number, part, process):
        self.id, self.slice_index, self.process_index = number, part, process
        self.platform, self.device_kind = "cpu", "chip"

    def __repr__(self):
        return f"{self.id}"


def chips(slices, size, named=True):
    """Devices in an order that mixes slices."""
    return [Chip(part * size + at, part if named else None, part) for at in range(size) for part in range(slices)]


@pytest.mark.parametrize("named", [True, False], ids=["slices", "processes"])
@pytest.mark.parametrize(
    ("data", "fsdp", "rows"),
    [
        (8, 1, [[0], [1], [2], [3], [4], [5], [6], [7]]),
        (4, 2, [[0, 1], [2, 3], [4, 5], [6, 7]]),  # fsdp inside a slice of four
        (2, 4, [[0, 1, 2, 3], [4, 5, 6, 7]]),
        (1, 8, [[0, 1, 2, 3, 4, 5, 6, 7]]),
    ],
)
def test_parameters_stay_inside_a_slice_and_batches_go_across(named, data, fsdp, rows):
    grid = meshes.arranged(chips(2, 4, named), data, fsdp)
    assert [[chip.id for chip in row] for row in grid] == rows


def test_slices_follow_their_numbers_whatever_the_order_of_devices():
    """Process p brings the p-th part of a batch, so its devices stand in the p-th part of the mesh."""
    grid = meshes.arranged(chips(3, 2)[::-1], 3, 2)
    assert [{chip.slice_index for chip in row} for row in grid] == [{0}, {1}, {2}]


def test_a_mesh_that_does_not_fit_the_slices_shows_the_arithmetic():
    with pytest.raises(FacemaeError, match=r"mesh.fsdp=4 does not fit 2 slices of 6 devices: choose one of 1, 2, 3, 6"):
        meshes.arranged(chips(2, 6), 3, 4)
    with pytest.raises(FacemaeError, match=r"slices of this run have \[2, 4\] devices"):
        meshes.arranged([*chips(1, 4), *(Chip(9 + n, 1, 1) for n in range(2))], 3, 2)


def test_some_of_the_devices():
    assert list(make_mesh(2, 1, devices=jax.devices()[4:6]).devices.flat) == jax.devices()[4:6]


def test_a_batch_divides_over_all_devices():
    mesh = make_mesh(4, 2)
    check_batch(mesh, 16, "mae.optim.batch")
    with pytest.raises(FacemaeError, match=r"mae\.optim\.batch=20 does not divide over the 8 devices .*use 16 or 24\."):
        check_batch(mesh, 20, "mae.optim.batch")
    for wrong in (0, -8, 3):
        with pytest.raises(FacemaeError, match=r"use 8\."):
            check_batch(mesh, wrong, "x")


def leaf(*shape):
    return jax.ShapeDtypeStruct(shape, np.float32)


def specs(tree, mesh, **changes):
    return jax.tree.map(lambda sharding: sharding.spec, shardings_for(tree, mesh, **changes))


def test_large_parameters_and_their_moments_lie_over_fsdp(warnings_said):
    tree = {
        "params": {"a": {"kernel": leaf(128, 256), "bias": leaf(256)}, "centres_KE": leaf(16, 8)},
        "opt_state": ({"mu": {"a": {"kernel": leaf(128, 256)}, "centres_KE": leaf(16, 8)}},),
        "extra": {"batch_stats": {"mean": leaf(2**15)}},
        "step": leaf(),
    }
    found = specs(tree, make_mesh(4, 2))
    split = PartitionSpec(None, "fsdp")
    centres = PartitionSpec(("data", "fsdp"))
    assert found == {
        "params": {"a": {"kernel": split, "bias": PartitionSpec()}, "centres_KE": centres},
        "opt_state": ({"mu": {"a": {"kernel": split}, "centres_KE": centres}},),
        "extra": {"batch_stats": {"mean": PartitionSpec()}},
        "step": PartitionSpec(),
    }
    assert warnings_said == []


def test_only_class_centres_are_laid_out_as_such():
    tree = {"my_centres_KE": leaf(16, 8), "centres_KE": {"scale": leaf(16, 8)}, "b": {"centres_KE": leaf(16, 8)}}
    whole = PartitionSpec()
    assert specs(tree, make_mesh(8, 1)) == {
        "my_centres_KE": whole, "centres_KE": {"scale": whole}, "b": {"centres_KE": PartitionSpec(("data", "fsdp"))}
    }  # fmt: skip


def test_nothing_is_split_over_one_device():
    assert specs({"kernel": leaf(256, 256)}, make_mesh(8, 1)) == {"kernel": PartitionSpec()}


def test_first_match_wins_and_the_largest_fitting_dimension_is_split():
    rules = ((r"kept", "replicate"), (r"", "fsdp"))
    found = specs({"kept": leaf(64, 64), "odd": leaf(6, 127, 64)}, make_mesh(4, 2), rules=rules, min_size=1)
    assert found == {"kept": PartitionSpec(), "odd": PartitionSpec(None, None, "fsdp")}
    assert specs({"a": leaf(64)}, make_mesh(4, 2), rules=(), min_size=1) == {"a": PartitionSpec()}


def test_a_spec_longer_than_the_leaf_does_not_match():
    rules = ((r"x", PartitionSpec(None, "fsdp")), (r"", PartitionSpec("data")))
    found = specs({"x": leaf(8), "xx": leaf(8, 8)}, make_mesh(4, 2), rules=rules)
    assert found == {"x": PartitionSpec("data"), "xx": PartitionSpec(None, "fsdp")}


def test_misses_are_told_once(warnings_said):
    mesh = make_mesh(4, 2)
    tree = {"odd": leaf(127, 129), "centres_KE": leaf(10, 4)}
    for _ in range(2):
        assert specs(tree, mesh, min_size=16) == {"odd": PartitionSpec(), "centres_KE": PartitionSpec()}
    assert len(warnings_said) == 1
    assert "odd (127, 129)" in warnings_said[0] and "centres_KE (10, 4)" in warnings_said[0]


def test_a_rule_of_another_word_is_refused():
    with pytest.raises(ValueError, match="neither a PartitionSpec"):
        shardings_for({"a": leaf(8)}, make_mesh(), rules=((r"", "split"),))


def test_born_sharded_on_the_devices():
    mesh = make_mesh(4, 2)
    shardings = shardings_for({"kernel": leaf(64, 32)}, mesh, min_size=1)
    made = jax.jit(lambda: {"kernel": jax.numpy.ones((64, 32))}, out_shardings=shardings)()
    assert made["kernel"].addressable_shards[0].data.shape == (32, 32)


@pytest.mark.parametrize(("data", "fsdp"), [(8, 1), (4, 2)])
def test_batches_are_split_over_both_axes(data, fsdp):
    mesh = make_mesh(data, fsdp)
    images_BHWC = np.random.default_rng(0).integers(0, 256, (16, 4, 4, 3), np.uint8)
    batch = put_batch(mesh, batch_of(images_BHWC))
    assert isinstance(batch, Batch)
    assert batch.images_BHWC.sharding.is_equivalent_to(batch_sharding(mesh), 4)
    for number, device in enumerate(mesh.devices.flat):
        (rows,) = [shard.data for shard in batch.images_BHWC.addressable_shards if shard.device == device]
        np.testing.assert_array_equal(rows, images_BHWC[2 * number : 2 * number + 2])
    assert batch.images_BHWC.dtype == np.uint8 and batch.valid_B.dtype == bool
    np.testing.assert_array_equal(batch.positions_B, np.arange(16))


def test_pinned_rows_and_replicas():
    mesh = make_mesh(4, 2)
    pinned = jax.jit(lambda x: pin_batch(x * 1.0, mesh))(jax.device_put(np.ones((8, 3), np.float32), replicated(mesh)))
    assert pinned.sharding.is_equivalent_to(batch_sharding(mesh), 2)
    assert replicated(mesh).is_fully_replicated
