"""The stages by verb, and which results need which.

Every stage module says what it reads; this file only follows those words. Nothing runs here.
"""

from __future__ import annotations

from types import ModuleType

from ml_collections import ConfigDict

from facemae_jax.stages import (
    audit,
    import_faces,
    publish,
    reconstruct,
    report,
    train_mae,
    train_recognizer,
    train_teacher,
    verify,
)
from facemae_jax.stages.inputs import Ref
from facemae_jax.types import FacemaeError

MODULES = (
    import_faces,
    train_teacher,
    train_mae,
    reconstruct,
    train_recognizer,
    verify,
    audit,
    publish,
    report,
)
STAGES: dict[str, ModuleType] = {module.VERB: module for module in MODULES}


def targets(config: ConfigDict) -> list[Ref]:
    """What ``run`` is for: the report, and the release. In this order, so that a refusal to publish can be read up in the report."""
    return [Ref("report"), Ref("publish")]


def results(config: ConfigDict, verb: str) -> list[Ref]:
    """Every result that one verb makes under this config."""
    return [Ref(verb, variant) for variant in STAGES[verb].variants(config)]


def reads(config: ConfigDict, ref: Ref) -> dict[str, Ref]:
    """name → result that ``ref`` reads."""
    return STAGES[ref.stage].reads(config, ref.variant)


def in_order(config: ConfigDict, wanted: list[Ref]) -> list[Ref]:
    """``wanted`` and all they need, each after what it reads."""
    ordered: dict[Ref, None] = {}
    open_: set[Ref] = set()

    def visit(ref: Ref) -> None:
        if ref in ordered:
            return
        if ref.stage not in STAGES or ref.variant not in STAGES[ref.stage].variants(config):
            raise FacemaeError(
                f"{ref}: this configuration makes no such result; check the lists of variants in the config."
            )
        assert ref not in open_, f"stages read each other in a circle at {ref}"
        open_.add(ref)
        for upstream in reads(config, ref).values():
            visit(upstream)
        open_.remove(ref)
        ordered[ref] = None

    for ref in wanted:
        visit(ref)
    return list(ordered)
