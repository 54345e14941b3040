from pathlib import Path

import numpy as np
import pytest

from facemae_jax.chain import settings
from facemae_jax.models.frozen import Frozen
from facemae_jax.stages import judges, teachers
from facemae_jax.stages.inputs import Input, Inputs, Ref
from facemae_jax.stages.judges import Judge
from facemae_jax.types import FacemaeError


def config(*specs, source="train"):
    c = settings.load("configs/base.py")
    c.audit.judges, c.teacher.source = specs, source
    return c


def frozen(digest, name="model"):
    return Frozen({}, lambda params, images: images, None, 4, digest, name)


def test_every_form_is_understood():
    found = judges.judges(config("teacher", "recognizer:blur", "onnx:/a:b.onnx", "checkpoint:/c"))
    assert found == (
        Judge("teacher", "", "teacher"),
        Judge("recognizer", "blur", "recognizer:blur"),
        Judge("onnx", "/a:b.onnx", "judge-2"),
        Judge("checkpoint", "/c", "judge-3"),
    )


@pytest.mark.parametrize("spec", ["nobody", "onnx:", "recognizer", "teacher:x", "", "dlib:/x"])
def test_anything_else_names_the_field_and_the_forms(spec):
    with pytest.raises(FacemaeError, match="audit.judges.*recognizer:VARIANT, onnx:PATH"):
        judges.judges(config(spec))


def test_where_weights_come_from():
    c = config("teacher", "recognizer:original", "onnx:/j.onnx")
    assert judges.reads(c, teacher=False) == {
        "recognizer:original": Ref("train-recognizer", "original"),
        "teacher": Ref("train-teacher"),
    }
    assert judges.outside(c) == {"judge-2": "onnx:/j.onnx"}
    c = config("recognizer:original")
    assert "teacher" not in judges.reads(c, teacher=False) and "teacher" in judges.reads(c, teacher=True)
    c.teacher.count = 2
    assert "teacher-2" not in judges.reads(c, teacher=False) and "teacher-2" in judges.reads(c, teacher=True)
    c = config("teacher", source="checkpoint:/t")
    assert judges.reads(c, teacher=True) == {} and judges.outside(c) == {"teacher": "checkpoint:/t"}


def test_a_judge_is_loaded_with_its_own_input_settings(monkeypatch):
    asked = []
    for module in (judges, teachers):
        monkeypatch.setattr(module, "load_frozen", lambda source, **settings: asked.append((source, settings)))
    c = config("teacher", "onnx:/j.onnx", "recognizer:mask", source="onnx:/t.onnx")
    c.teacher.input_range, c.teacher.colour_order, c.audit.judge_input_range = "bytes", "bgr", "zero_one"
    places = {"teacher": "/t.onnx", "judge-1": "/j.onnx", "recognizer:mask": "/r"}
    inputs = Inputs({name: Input(Path(place)) for name, place in places.items()}, Path("/w"))
    for judge in judges.judges(c):
        judges.load_judge(c, judge, inputs)
    assert asked[:2] == [
        ("onnx:/t.onnx", dict(input_range="bytes", colour_order="bgr")),
        ("onnx:/j.onnx", dict(input_range="zero_one", colour_order="rgb")),
    ]
    assert asked[2][0] == "checkpoint:/r"


def test_names_hold_no_path_and_are_told_apart():
    loaded = [
        (Judge("teacher", "", "teacher"), frozen("aaaaaaaa")),
        (Judge("recognizer", "blur", "recognizer:blur"), frozen("bbbbbbbb")),
        (Judge("onnx", "/home/me/model.onnx", "judge-2"), frozen("cccccccc")),
        (Judge("checkpoint", "/home/me/model", "judge-3"), frozen("dddddddd")),
        (Judge("onnx", "/home/me/original.onnx", "judge-4"), frozen("eeeeeeee", "original")),
    ]
    assert judges.names(loaded) == ["teacher", "recognizer:blur", "model", "model-dddddd", "original"]
    assert judges.names(loaded, taken=["original"])[-1] == "original-eeeeee"


def test_independence_must_be_shown():
    taught = frozen("t")._replace(params={"w": np.arange(3.0)})

    def independent(kind, rest="", digest="x", weights=2.0, guides=(taught,), here=True):
        looked = frozen(digest)._replace(params={"w": np.full(3, weights)})
        return judges.independence(Judge(kind, rest, ""), looked, guides, mae_trained_here=here)

    assert not independent("teacher").independent
    assert not independent("onnx", digest="t").independent  # the teacher's weights under another name
    assert not independent("onnx", weights=np.arange(3.0)).independent  # the same numbers, fed in another way
    assert not independent("recognizer", "reconstruction").independent
    assert not independent("onnx", here=False).independent  # nobody knows who taught that MAE
    assert independent("onnx").independent
    assert independent("onnx", guides=()).independent
    other = frozen("o")._replace(params={"w": np.zeros(3)})
    assert not independent(
        "onnx", weights=np.arange(3.0), guides=(other, taught)
    ).independent  # any of several teachers
    assert independent("onnx", guides=(other, taught)).independent
    assert independent("recognizer", "original").independent
    assert independent("recognizer", "original", here=False).independent
    assert "inside knowledge" in independent("recognizer", "original").reason
