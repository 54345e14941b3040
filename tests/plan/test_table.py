"""The plan as text and as JSON."""

import json

import pytest
from test_estimate import ASSUMED, COUNTS

from facemae_jax.plan.estimate import estimate
from facemae_jax.plan.machine import Collective
from facemae_jax.plan.program import Program
from facemae_jax.plan.table import Plan, as_json, text

MIB = 2**20


@pytest.fixture
def plan(eight):
    """Two trainings, the second compiled and too large."""
    large = COUNTS._replace(
        name="recognizer", centres=1_000_000, collectives=(Collective("sum", "all-reduce", ("data",), 4 * MIB, 3),),
        compiled=600 * MIB, accumulate=2,
    )  # fmt: skip
    found = tuple(estimate(counts, eight, ASSUMED) for counts in (COUNTS, large))
    program = Program(500 * MIB, 99 * MIB, MIB, ())
    return Plan("configs/x.py", eight, (ASSUMED, ASSUMED), "from somewhere", found, (None, program), (), ("do this.",))


def test_the_table_has_a_column_for_each_training(plan):
    said = text(plan)
    lines = {line[:36].strip(): line[36:].split("  ") for line in said.splitlines()}
    assert "configs/x.py on eight: 8 × a chip, 1 GiB each, 2 hosts, 2 slices" in said
    assert "bytes and exchanges: from somewhere" in said
    for label, cells in {
        "numbers in class centres": ["0", "1,000,000"],
        "images per step": ["80", "80 in 2"],
        "activations": ["400 MiB", "400 MiB"],
        "fits": ["yes, 448 MiB of 512 MiB", "NO, 600 MiB of 512 MiB"],
        "GFLOP per image": ["1.00", "1.00"],
        "compiled program, bytes per device": ["600 MiB"],
        "temporaries": ["99 MiB"],
    }.items():
        assert [cell.strip() for cell in lines[label] if cell.strip()] == cells, label
    assert "centres optimizer" not in said  # no training has any


def test_what_does_not_fit_and_what_moves_is_spelled_out(plan):
    said = text(plan).splitlines()
    assert (
        "recognizer: compiled program = 600 MiB per device > 512 MiB: 88 MiB too much (50% of 1 GiB on a chip)." in said
    )
    # four members in each of two slices: 2 · 4 · 3/4 inside, 2 · (4/4) · 1/2 across, three times
    assert (
        "recognizer: all-reduce over data, 4 MiB × 3: sum (a device sends 18 MiB inside a slice, 3 MiB to others)"
        in said
    )
    assert not any(line.startswith("mae:") for line in said)
    assert "do this." in said
    assert said[-1].startswith(
        "Assumed: 50% (mae), 50% (recognizer) of the peak while computing, 50% of the memory's rate"
    )


def test_a_failed_compilation_has_no_bytes(plan):
    said = text(plan._replace(programs=(None, Program(0, 0, 0, (), "no room"))))
    assert "temporaries" not in said and "compiled program, bytes" not in said


def test_exchanges_that_nobody_planned_are_called_so_once(plan):
    leak = Collective("jit(step)/gather", "all-gather", ("fsdp",), 8 * MIB)
    counts = plan.estimates[1].counts
    told = plan.estimates[1]._replace(counts=counts._replace(collectives=(*counts.collectives, leak), mesh=(2, 4)))
    said = text(plan._replace(news=((), (leak,)), estimates=(plan.estimates[0], told))).splitlines()
    assert [line for line in said if "gather" in line] == [
        "recognizer: NOT PLANNED, yet compiled: all-gather over fsdp, 8 MiB: jit(step)/gather (a device sends 6 MiB inside a slice)"
    ]


def test_json_holds_every_number(plan):
    found = json.loads(as_json(plan))
    assert found["machine"]["devices"] == 8 and found["machine"]["meshes"]["mae"] == [4, 2]
    assert found["assumed"][0]["utilisation"] == 0.5
    assert found["estimates"][1]["counts"]["memory"]["activations"] == 400 * MIB
    assert found["estimates"][1]["counts"]["collectives"][0]["axes"] == ["data"]
    assert found["estimates"][0]["fits"] is True and found["programs"][1]["temporaries"] == 99 * MIB
