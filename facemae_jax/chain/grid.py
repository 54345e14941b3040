"""From ``--grid`` to points: which fields are swept, and every combination of their values. Text in, values out.

mae.mask_ratio=0.5,0.75;seed=0,1                     every ratio with every seed: four points
recognizer.variants=(original,mask),(original)       a value with commas stands in brackets
mae.width+mae.heads=(64,2),(128,4)                   fields joined by + change together
"""

from __future__ import annotations

import copy
import itertools
from collections.abc import Sequence
from typing import Any, NamedTuple

from ml_collections import ConfigDict

from facemae_jax.chain import settings
from facemae_jax.types import FacemaeError

EXAMPLE = "--grid='mae.mask_ratio=0.5,0.75,0.9;seed=0,1'"
SEEDS = ("seed", "synthetic.seed", "data.split_seed", "audit.seed")  # repetitions of one setting, to be averaged over
OUTSIDE = ("publish", "report", "name")  # what no point of a sweep does or is called after
OPENING, CLOSING = "([", ")]"


class Axis(NamedTuple):
    """One part of a grid: a field, or several that change together, and the values they take one after another."""

    fields: tuple[str, ...]
    steps: tuple[tuple[Any, ...], ...]  # one value per field

    @property
    def repeats(self) -> bool:
        """Whether only seeds change: repetitions of the same setting."""
        return set(self.fields) <= set(SEEDS)


def read_grid(text: str, config: ConfigDict, overridden: Sequence[str] = ()) -> tuple[Axis, ...]:
    """The axes of a grid, in the order they are written; the last one changes fastest.

    Args:
        text: as above.
        config: knows the fields and their types.
        overridden: fields that the command line sets to one value.

    Raises:
        FacemaeError: an unknown field (the nearest is told), a value of another type, a field or value that stands twice.
    """
    axes = [_axis(part.strip(), config) for part in split(text, ";") if part.strip()]
    if not axes:
        raise FacemaeError(f"--grid is empty: name fields and their values, such as {EXAMPLE}.")
    fields = [field for axis in axes for field in axis.fields]
    for field in fields:
        if fields.count(field) > 1:
            raise FacemaeError(f"--grid: {field} stands twice; give all its values in one place.")
        if field in overridden:
            raise FacemaeError(f"--config.{field} and --grid both set {field}: leave one out.")
        if field.split(".")[0] in OUTSIDE:
            raise FacemaeError(
                f"--grid: {field} changes nothing that a sweep measures: it neither publishes nor makes a page per point."
            )
    return tuple(axes)


def points(axes: Sequence[Axis]) -> list[dict[str, Any]]:
    """Field → value of every combination."""
    fields = [field for axis in axes for field in axis.fields]
    steps = itertools.product(*(axis.steps for axis in axes))
    return [dict(zip(fields, itertools.chain(*chosen), strict=True)) for chosen in steps]


def with_values(config: ConfigDict, values: dict[str, Any]) -> ConfigDict:
    """A copy of ``config`` with other values in the fields named."""
    changed = copy.deepcopy(config)
    with changed.unlocked():
        for field, value in values.items():
            *sections, leaf = field.split(".")
            parent = changed
            for section in sections:
                parent = parent[section]
            parent[leaf] = value
    return changed.lock()


def shown(value: Any) -> str:
    """A value as results name it: of a path only its last part, for results are handed on and places are not."""
    if isinstance(value, tuple):
        return "(" + ", ".join(map(shown, value)) + ")"
    if isinstance(value, str) and "/" in value:
        head, *_, last = value.rstrip("/").split("/")
        return head[: head.find(":") + 1] + last
    return str(value)


def label(values: dict[str, Any]) -> str:
    """The values of a point, for people."""
    return " ".join(f"{field}={shown(value).replace(' ', '')}" for field, value in values.items())


def split(text: str, separator: str) -> list[str]:
    """``text`` parted at separators that stand in no bracket.

    >>> split("a=(1,2);b=3", ";"), split("(1,2),(3)", ",")
    (['a=(1,2)', 'b=3'], ['(1,2)', '(3)'])

    Raises:
        FacemaeError: for a bracket without its partner.
    """
    parts, depth = [""], 0
    for letter in text:
        depth += (letter in OPENING) - (letter in CLOSING)
        if depth < 0:
            break
        if letter == separator and not depth:
            parts.append("")
        else:
            parts[-1] += letter
    if depth:
        raise FacemaeError(f"--grid: a bracket has no partner in {text!r}.")
    return parts


def _axis(text: str, config: ConfigDict) -> Axis:
    names, equals, listed = text.partition("=")
    fields = tuple(name.strip() for name in names.split("+"))
    given = [part.strip() for part in split(listed, ",")]
    if not equals or not all(given):
        raise FacemaeError(f"--grid: {text!r} is no field with its values; write it like {EXAMPLE}.")
    steps = tuple(_step(fields, part, config) for part in given)
    called = [shown(step if len(step) > 1 else step[0]) for step in steps]
    for step in called:
        if called.count(step) > 1:
            raise FacemaeError(
                f"--grid: two values of {names} are called {step} in results; leave one out, or rename its file."
            )
    return Axis(fields, steps)


def _step(fields: tuple[str, ...], text: str, config: ConfigDict) -> tuple[Any, ...]:
    """One value per field, in the type of the field."""
    texts = [text]
    if len(fields) > 1:
        texts = [part.strip() for part in split(_inside(text), ",")] if text[0] in OPENING else []
        if len(texts) != len(fields):
            raise FacemaeError(
                f"--grid: {'+'.join(fields)} change together, so each value is {len(fields)} in brackets; {text} is not."
            )
    scratch, values = copy.deepcopy(config), []
    for field, part in zip(fields, texts, strict=True):
        default = settings.flat(config).get(field)
        plain = isinstance(default, tuple) and part[:1] in tuple(OPENING) and "'" not in part and '"' not in part
        settings.set_field(scratch, field, _inside(part) if plain else part)  # names in brackets need no quotes here
        values.append(settings.flat(scratch)[field])
    return tuple(values)


def _inside(text: str) -> str:
    return text[1:-1]
