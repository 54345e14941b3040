"""From counts to seconds and a verdict, with numbers computed by hand."""

import pytest

from facemae_jax.plan.estimate import Counts, estimate, size
from facemae_jax.plan.machine import GIB, Assumptions, Collective
from facemae_jax.plan.memory import Memory

MIB = 2**20
MEMORY = Memory(
    weights=10 * MIB, optimizer=20 * MIB, gradients=10 * MIB, centres=0, centres_optimizer=0, centres_gradients=0, frozen=0,
    batch=8 * MIB, copies=0, activations=400 * MIB,
)  # fmt: skip
COUNTS = Counts(
    name="mae", identities=10, images=8000, batch=80, accumulate=1, steps=1000, dtype="bfloat16", mesh=(8, 1), parameters=5,
    centres=0, flops=80 * 10**9, memory=MEMORY, collectives=(Collective("g", "all-reduce", ("data", "fsdp"), 10**6),),
)  # fmt: skip
ASSUMED = Assumptions(utilisation=0.5, links=0.5, memory_rate=0.5, usable=0.5)


def test_seconds_by_hand(eight):
    found = estimate(COUNTS, eight, ASSUMED)
    assert found.flops_per_image == 1e9
    assert found.compute_seconds == pytest.approx(10e9 / 100e9)  # 80 GFLOP over 8 devices at half of 200 GFLOP/s
    assert found.memory_seconds == pytest.approx((14 * 400 + 2 * 40) * MIB / 0.5e9)
    # 2 · 3/4 MB at half of 100 MB/s, and 2 · (1/4 · 1/2) MB at half of 10 MB/s
    assert found.network_seconds == pytest.approx(1.5e6 / 50e6 + 0.25e6 / 5e6)
    assert found.step_seconds == found.memory_seconds + found.network_seconds  # memory is the slower one
    assert found.moved == {"data+fsdp": 1.75e6}
    assert found.images_per_second == pytest.approx(80 / found.step_seconds)
    assert found.days == pytest.approx(1000 * found.step_seconds / 86_400)


def test_bytes_add_up_by_axis(eight):
    one = Collective("a", "all-gather", ("fsdp",), 1000, 2)
    found = estimate(COUNTS._replace(mesh=(4, 2), collectives=(one, one, one._replace(axes=("data",)))), eight, ASSUMED)
    # halves to a neighbour, four times; and twice over two slices with two members each: 1/2 inside, 1/2 · 1/2 across
    assert found.moved == {"fsdp": 4 * 500, "data": 2 * (500 + 250)}


def test_float32_has_its_own_rate(eight):
    slow = estimate(COUNTS._replace(dtype="float32", flops=10**13), eight, ASSUMED)
    assert slow.compute_seconds == 2 * estimate(COUNTS._replace(flops=10**13), eight, ASSUMED).compute_seconds
    assert slow.step_seconds == slow.compute_seconds + slow.network_seconds


def test_what_fits_and_what_does_not_shows_its_sum(eight):
    found = estimate(COUNTS, eight, ASSUMED)
    assert found.fits and found.needed == 448 * MIB and found.usable == GIB // 2
    assert found.arithmetic == (
        "weights 10 MiB + optimizer 20 MiB + gradients 10 MiB + batch 8 MiB + activations 400 MiB = 448 MiB per device "
        "≤ 512 MiB: fits (50% of 1 GiB on a chip)"
    )
    # 40 MiB do not depend on the batch; an image takes 40.8 MiB of the other 472: eleven on each of eight devices
    assert found.largest_batch == 8 * 11
    small = eight._replace(memory=GIB // 2)
    found = estimate(COUNTS, small, ASSUMED)
    assert not found.fits and "= 448 MiB per device > 256 MiB: 192 MiB too much" in found.arithmetic
    assert found.largest_batch == 8 * 5
    assert estimate(COUNTS, eight._replace(memory=60 * MIB), ASSUMED).largest_batch == 0


def test_accumulation_counts_in_the_largest_batch(eight):
    # the same bytes for half as many images at once
    assert estimate(COUNTS._replace(accumulate=2), eight, ASSUMED).largest_batch == 2 * 8 * 5


def test_a_compiled_program_has_the_last_word(eight):
    found = estimate(COUNTS._replace(compiled=GIB), eight, ASSUMED)
    assert not found.fits and found.needed == GIB
    assert found.arithmetic.startswith("compiled program = 1 GiB per device > 512 MiB: 512 MiB too much")


def test_a_compiler_that_finds_no_room_is_believed(eight):
    found = estimate(COUNTS._replace(refused="Used 20G of 15G hbm."), eight, ASSUMED)
    assert not found.fits and found.arithmetic == "the compiler finds no room: Used 20G of 15G hbm"


@pytest.mark.parametrize(
    ("count", "said"), [(0, "0"), (1, "1 B"), (2048, "2 KiB"), (527_337_472, "502.9 MiB"), (3 * 2**40, "3 TiB")]
)
def test_sizes(count, said):
    assert size(count) == said
