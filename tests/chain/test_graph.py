"""Which results a config asks for, and which need which."""

import pytest

from facemae_jax.chain import graph, settings
from facemae_jax.stages.inputs import Ref
from facemae_jax.types import FacemaeError


def chain(*overrides):
    config = settings.load("configs/demo.py", overrides)
    return graph.in_order(config, graph.targets(config))


def test_order_puts_everything_after_what_it_reads():
    config = settings.load("configs/demo.py")
    order = graph.in_order(config, graph.targets(config))
    for ref in order:
        for up in graph.reads(config, ref).values():
            assert order.index(up) < order.index(ref)
    with pytest.raises(FacemaeError, match="makes no such result"):
        graph.in_order(config, [Ref("train-recognizer", "pixelate")])


def test_the_report_is_there_before_publishing_may_be_refused():
    assert chain()[-2:] == [Ref("report"), Ref("publish")]


def test_without_faces_to_verify_on_only_judges_are_trained():
    refs = chain(("verify.faces", ""))
    assert Ref("verify") not in refs and Ref("import-faces", "verify") not in refs
    assert [ref.variant for ref in refs if ref.stage == "train-recognizer"] == ["original"]
    assert Ref("train-teacher") in refs


def test_existing_weights_leave_out_what_would_make_them():
    refs = chain(("mae.source", "checkpoint:/mae"), ("audit.judges", "recognizer:original"))
    assert Ref("train-teacher") not in refs and Ref("train-mae") in refs
    assert Ref("train-teacher") not in chain(("teacher.source", "onnx:/model.onnx"))


def test_every_verb_names_its_results():
    config = settings.load("configs/demo.py")
    assert graph.results(config, "train-recognizer") == [
        Ref("train-recognizer", name) for name in ("original", "mask", "blur", "reconstruction")
    ]
    assert all(graph.results(config, verb) for verb in graph.STAGES)
