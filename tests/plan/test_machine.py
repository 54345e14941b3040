"""Machines on paper: mesh sizes and the cost of an exchange, by hand."""

import pytest

from facemae_jax.plan.machine import Collective, mesh_sizes, moved, nearest, seconds
from facemae_jax.types import FacemaeError


def collective(kind, *axes, size=800, times=1):
    return Collective("test", kind, axes, size, times)


def test_what_is_left_goes_to_the_open_axis(eight):
    assert mesh_sizes(eight, -1, 1) == (8, 1)
    assert mesh_sizes(eight, 2, -1) == (2, 4)
    assert mesh_sizes(eight, 4, 2) == (4, 2)


@pytest.mark.parametrize(
    ("data", "fsdp", "said"),
    [
        (
            4,
            4,
            "mesh.data=4 × mesh.fsdp=4 = 16 devices does not fit eight with 8: choose one of 8 × 1, 4 × 2, 2 × 4, 1 × 8",
        ),
        (-1, 3, "mesh.data=-1 × mesh.fsdp=3 does not fit eight with 8"),
        (-1, -1, "at most one of them -1"),
        (0, 8, "give numbers of devices"),
    ],
)
def test_a_mesh_that_does_not_fit_shows_the_arithmetic(eight, data, fsdp, said):
    with pytest.raises(FacemaeError) as error:
        mesh_sizes(eight, data, fsdp)
    assert said in str(error.value)


@pytest.mark.parametrize(
    ("kind", "axes", "mesh", "expected"),
    [
        # one group of eight, four in each of two slices: 3/4 of the array inside, half of a quarter across
        ("all-gather", ("data", "fsdp"), (8, 1), (600, 100)),
        ("reduce-scatter", ("data", "fsdp"), (8, 1), (600, 100)),
        ("all-reduce", ("data", "fsdp"), (8, 1), (1200, 200)),
        # fsdp inside a slice: half of the array to one neighbour
        ("all-gather", ("fsdp",), (4, 2), (400, 0)),
        # data in steps of two: two members in each slice
        ("all-reduce", ("data",), (4, 2), (2 * 400, 2 * 200)),
        # data in steps of four: one member in each slice, all goes across
        ("all-reduce", ("data",), (2, 4), (0, 2 * 400)),
        # fsdp over both slices
        ("all-gather", ("fsdp",), (1, 8), (600, 100)),
        ("collective-permute", ("fsdp",), (4, 2), (800, 0)),
        ("collective-permute", ("data",), (2, 4), (0, 800)),
        ("all-reduce", ("data",), (1, 8), (0, 0)),
    ],
)
def test_bytes_that_a_device_sends(eight, kind, axes, mesh, expected):
    assert moved(collective(kind, *axes), eight, mesh) == expected


def test_seconds_add_up_over_both_networks(eight):
    # 600 bytes at half of 100 MB/s and 100 bytes at half of 10 MB/s, three times
    found = seconds(collective("all-gather", "data", "fsdp", times=3), eight, (8, 1), links=0.5)
    assert found == pytest.approx(3 * (600 / 50e6 + 100 / 5e6))


def test_the_nearest_names_are_told():
    said = str(nearest("h100x9", ["cpu", "h100x8", "h100x32"], "--hardware"))
    assert said.startswith("--hardware=h100x9: did you mean h100x8") and said.endswith(
        "choose one of cpu, h100x8, h100x32."
    )
