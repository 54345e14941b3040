"""Which recognizers measure: the teacher, and the judges that ``audit.judges`` names; where their weights come from.

Shared by ``verify`` and ``audit``. What they measure is the business of those stages.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from facemae_jax.models.dlib_judge import load_dlib, model_path
from facemae_jax.models.frozen import Frozen, load_frozen
from facemae_jax.stages import teachers
from facemae_jax.stages.inputs import Inputs, Ref
from facemae_jax.stages.teachers import TEACHER
from facemae_jax.types import FacemaeError

DLIB = "dlib"
FORMS = ("teacher", "recognizer:VARIANT", "onnx:PATH", "checkpoint:PATH", "dlib")
OUTSIDE = ("onnx", "checkpoint", DLIB)  # kinds whose weights come from outside this chain
# Fields that reads(), outside() and load() need. The texts in UNHASHED only say where weights lie: their content is
# hashed, as what a stage reads.
FIELDS = (
    "teacher.count",
    "teacher.input_range",
    "teacher.colour_order",
    "audit.judge_input_range",
    "audit.judge_colour_order",
)
UNHASHED = ("teacher.source", "teacher.more", "audit.judges")


class Judge(NamedTuple):
    """One entry of ``audit.judges``."""

    kind: str  # teacher | recognizer | onnx | checkpoint | dlib
    rest: str  # variant or path; "" for the teacher and dlib
    input: str  # its name among a stage's inputs


class Independence(NamedTuple):
    """Whether a judge has nothing to do with the teacher that shaped the images, and why."""

    independent: bool
    reason: str


def judges(config: Any) -> tuple[Judge, ...]:
    """The judges of ``audit.judges``, in order.

    Raises:
        FacemaeError: for a form that is none of :data:`FORMS`.
    """
    found = []
    for position, spec in enumerate(config.audit.judges):
        kind, _, rest = spec.partition(":")
        if spec == TEACHER:
            found.append(Judge(TEACHER, "", TEACHER))
        elif spec == DLIB:
            found.append(Judge(DLIB, "", f"judge-{position}"))
        elif kind == "recognizer" and rest:
            found.append(Judge(kind, rest, spec))
        elif kind in ("onnx", "checkpoint") and rest:
            found.append(Judge(kind, rest, f"judge-{position}"))
        else:
            raise FacemaeError(f"audit.judges: {spec!r} is no judge; choose one of the forms {', '.join(FORMS)}.")
    return tuple(found)


def reads(config: Any, *, teacher: bool) -> dict[str, Ref]:
    """The results of this chain that judge; ``teacher`` asks for all trained teachers, even where none is a judge."""
    found = {judge.input: Ref("train-recognizer", judge.rest) for judge in judges(config) if judge.kind == "recognizer"}
    if teacher:
        return found | teachers.reads(config)
    if config.teacher.source == "train" and TEACHER in config.audit.judges:
        found[TEACHER] = Ref("train-teacher")
    return found


def outside(config: Any) -> dict[str, str]:
    """Weights from outside: of the judges, and of a teacher that was not trained here.

    Raises:
        FacemaeError: when dlib judges and its weights are not installed.
    """
    found = {
        judge.input: str(model_path()) if judge.kind == DLIB else f"{judge.kind}:{judge.rest}"
        for judge in judges(config)
        if judge.kind in OUTSIDE
    }
    return found | teachers.outside(config)


def load_judge(config: Any, judge: Judge, inputs: Inputs) -> Frozen:
    """The weights of one judge."""
    if judge.kind == TEACHER:
        return teachers.load_first(config, inputs)
    if judge.kind == DLIB:
        return load_dlib(inputs[judge.input].path)
    kind = "onnx" if judge.kind == "onnx" else "checkpoint"
    return load_frozen(
        f"{kind}:{inputs[judge.input].path}",
        input_range=config.audit.judge_input_range,
        colour_order=config.audit.judge_colour_order,
    )


def names(loaded: Iterable[tuple[Judge, Frozen]], taken: Iterable[str] = ()) -> list[str]:
    """What each judge is called in results: no paths, no name twice, and none of ``taken``."""
    found: list[str] = []
    taken = set(taken)
    for judge, frozen in loaded:
        name = {TEACHER: TEACHER, "recognizer": f"recognizer:{judge.rest}"}.get(judge.kind, frozen.name)
        while name in taken | set(found):
            name = f"{name}-{frozen.digest[:6]}"
        found.append(name)
    return found


def same_weights(one: Frozen, other: Frozen) -> bool:
    """Whether two recognizers hold the same numbers, however their images are fed."""
    if one.digest == other.digest:
        return True
    left, right = jax.tree.leaves(one.params), jax.tree.leaves(other.params)
    return len(left) == len(right) and all(np.array_equal(a, b) for a, b in zip(left, right, strict=True))


def independence(judge: Judge, frozen: Frozen, guides: Sequence[Frozen], *, mae_trained_here: bool) -> Independence:
    """Whether ``judge`` can count as a stranger to the teachers; what cannot be shown counts as no.

    Args:
        judge: the entry.
        frozen: its weights.
        guides: teachers that shaped the images; none when the MAE learned from pixels alone, or when no judge is from outside.
        mae_trained_here: False when the MAE came from a checkpoint, whose own teacher is unknown.
    """
    if judge.kind == TEACHER:
        return Independence(False, "it is the teacher itself: an attack with the eyes that shape the images")
    if any(same_weights(frozen, guide) for guide in guides):
        return Independence(
            False, "its weights are the teacher's" if len(guides) == 1 else "its weights are a teacher's"
        )
    if judge.kind == "recognizer" and judge.rest == "reconstruction":
        return Independence(False, "it was trained on reconstructions, which the teacher may have shaped")
    if judge.kind == "recognizer":
        return Independence(
            True,
            f"trained in this chain on the variant {judge.rest} of the very people it searches, without the teacher: "
            "an attacker with inside knowledge",
        )
    if not mae_trained_here:
        return Independence(False, "the MAE was trained elsewhere, and its teacher may have been this judge")
    if not guides:
        return Independence(True, "weights from outside; the MAE learned from pixels alone, without a teacher")
    return Independence(True, "weights from outside that differ from the teacher's")
