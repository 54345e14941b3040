"""What the listing of an import holds per image; with fifty million images a Python object each would be gigabytes."""

import tracemalloc
from collections import Counter

from facemae_jax.data.face_import import make_plan
from facemae_jax.data.formats.lazy_keys import LazyKeys
from facemae_jax.data.formats.names import check_names

IMAGES = 60_000


class Many:
    """A source without images, whose listing costs nothing."""

    ignored: Counter[str] = Counter()
    keys = LazyKeys(IMAGES, "é{:08d}".format)

    def identity(self, position: int) -> str:
        return f"p{position * 7 % 500:04d}" + "x" * 50


def test_plan_and_names_hold_arrays_only():
    source = Many()
    tracemalloc.start()
    plan = make_plan(source, 120, [], "x")
    check_names(source.keys, map(source.identity, range(IMAGES)), "x")
    held, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(plan.names) == 500 and len(plan.positions) == IMAGES
    assert held < 15 * IMAGES + 400_000 and peak < 35 * IMAGES + 400_000


def test_numbers_of_a_plan_are_pythons():
    plan = make_plan(Many(), 1, ["p0007" + "x" * 50], "x")
    assert len(plan.names) == 499 and type(plan.positions[0]) is int and type(plan.labels[0]) is int
    assert len(plan.positions) == IMAGES - 120 == len(plan.labels) and plan == make_plan(
        Many(), 1, ["p0007" + "x" * 50], "x"
    )
    first = [position * 7 % 500 for position in range(4)]
    assert plan.positions[:4].tolist() == [0, 2, 3, 4], "the second image shows the one who was dropped"
    assert plan.labels[:3].tolist() == [0, first[2] - 1, first[3] - 1]
