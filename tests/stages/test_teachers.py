from pathlib import Path

import pytest

from facemae_jax.chain import settings
from facemae_jax.stages import teachers
from facemae_jax.stages.inputs import Input, Inputs, Ref


def config(**fields):
    return settings.load("configs/base.py", [(f"teacher.{name}", str(value)) for name, value in fields.items()])


@pytest.mark.parametrize(
    ("fields", "reads", "outside"),
    [
        ({}, {"teacher": Ref("train-teacher")}, {}),
        (
            dict(count=3),
            {f"teacher{end}": Ref("train-teacher", end[1:]) for end in ("", "-2", "-3")},
            {},
        ),
        (dict(source="onnx:/a"), {}, {"teacher": "onnx:/a"}),
        (
            dict(count=2, more="onnx:/a,checkpoint:/b"),
            {"teacher": Ref("train-teacher"), "teacher-2": Ref("train-teacher", "2")},
            {"teacher-more-0": "onnx:/a", "teacher-more-1": "checkpoint:/b"},
        ),
    ],
)
def test_where_teachers_come_from(fields, reads, outside):
    assert teachers.reads(config(**fields)) == reads
    assert teachers.outside(config(**fields)) == outside


def test_all_are_loaded_each_from_its_own_place_the_first_one_first(monkeypatch):
    asked = []

    def load(source, **how):
        asked.append((source, how["input_range"], how["colour_order"]))
        return source

    monkeypatch.setattr(teachers, "load_frozen", load)
    c = config(count=2, more="onnx:/outside/a,checkpoint:/outside/b", input_range="bytes", colour_order="bgr")
    names = ("teacher", "teacher-2", "teacher-more-0", "teacher-more-1")
    inputs = Inputs({name: Input(Path(f"/{name}")) for name in reversed(names)}, Path("/w"))
    expected = ["checkpoint:/teacher", "checkpoint:/teacher-2", "onnx:/teacher-more-0", "checkpoint:/teacher-more-1"]
    assert teachers.load(c, inputs) == expected
    assert asked == [(source, "bytes", "bgr") for source in expected]
    assert teachers.load_first(c, inputs) == expected[0]
    c = config(source="onnx:/outside/a", more="checkpoint:/outside/b")
    inputs = Inputs({name: Input(Path(f"/{name}")) for name in ("teacher-more-0", "teacher")}, Path("/w"))
    assert teachers.load(c, inputs) == ["onnx:/teacher", "checkpoint:/teacher-more-0"]
