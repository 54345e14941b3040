"""Which frozen recognizers guide the MAE, and where their weights come from: ``teacher.source``, ``teacher.count``, ``teacher.more``.

The first one is *the* teacher, which ``verify`` and ``audit`` show by that name. Further ones are trained by the same recipe from
other seeds (``teacher.count``), or taken from outside (``teacher.more``).
"""

from __future__ import annotations

from typing import Any

from facemae_jax.models.frozen import Frozen, load_frozen
from facemae_jax.stages.inputs import Inputs, Ref

TEACHER = "teacher"
TEACHER_SEEDS = (
    1_000_003  # teacher k of a run with seed s starts from TEACHER_SEEDS · s + k: no two runs share one but by chance
)


def trained(config: Any) -> tuple[str, ...]:
    """Variants of ``train-teacher``: "" for the first, "2" for the second, …; none where existing weights are named."""
    if config.teacher.source != "train":
        return ()
    return ("", *(str(number) for number in range(2, config.teacher.count + 1)))


def reads(config: Any) -> dict[str, Ref]:
    """name → the teachers that this chain trains."""
    return {TEACHER + (variant and f"-{variant}"): Ref("train-teacher", variant) for variant in trained(config)}


def outside(config: Any) -> dict[str, str]:
    """name → the teachers from outside."""
    found = {} if config.teacher.source == "train" else {TEACHER: config.teacher.source}
    return found | {f"{TEACHER}-more-{place}": source for place, source in enumerate(config.teacher.more)}


def load_first(config: Any, inputs: Inputs) -> Frozen:
    """*The* teacher."""
    return _load(config, inputs, TEACHER, config.teacher.source)


def load(config: Any, inputs: Inputs) -> list[Frozen]:
    """All teachers, the first one first."""
    sources = dict.fromkeys(reads(config), "train") | outside(config)
    order = sorted(sources, key=lambda name: (name != TEACHER, name.startswith(f"{TEACHER}-more")))
    return [_load(config, inputs, name, sources[name]) for name in order]


def _load(config: Any, inputs: Inputs, name: str, source: str) -> Frozen:
    kind = "onnx" if source.startswith("onnx:") else "checkpoint"
    return load_frozen(
        f"{kind}:{inputs[name].path}",
        input_range=config.teacher.input_range,
        colour_order=config.teacher.colour_order,
    )
