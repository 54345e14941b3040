"""The exchanges in a compiled program, read from its text. Compilers move, join and add them, so only this text is the truth."""

from __future__ import annotations

import math
import re
from collections import defaultdict

import numpy as np

from facemae_jax.plan.machine import Collective

KINDS = ("all-gather", "all-reduce", "reduce-scatter", "all-to-all", "collective-permute")
BYTES = {"pred": 1, "bf16": 2, "f8e4m3fn": 1, "f8e5m2": 1} | {f"{t}{n}": n // 8 for t in "fsu" for n in (8, 16, 32, 64)}

COMPUTATION = re.compile(r"^(ENTRY )?%?([\w.\-]+) \(.*\) -> .* \{")
INSTRUCTION = re.compile(rf"^\s+(?:ROOT )?%?([\w.\-]+) = (.+?) ({'|'.join(KINDS)})(-start)?\(")
SHAPE = re.compile(r"\b([a-z]\w*)\[([\d,]*)\]")
CALLED = re.compile(r"(?:calls|to_apply|body|condition|true_computation|false_computation)=%?([\w.\-]+)")
BRANCHES = re.compile(r"branch_computations=\{([^}]*)\}")
ORDER = r"\[[\d,]+\](?:T\([\d,]+\))?"
AXIS = r"'(\w+)'(?::\((\d+)\)(\d+))?"
TRIPS = re.compile(r'"known_trip_count":\{"n":"(\d+)"\}')
CONDITION = re.compile(r" while\(.*condition=%?([\w.\-]+)")
COUNT = re.compile(r" s32\[\](?:\{.*?\})? constant\((\d+)\)")


def collectives(text: str, mesh: tuple[int, int]) -> list[Collective]:
    """Every exchange of a step, one entry per array, in the order of the text.

    Args:
        text: ``compiled.as_text()``.
        mesh: (data, fsdp); device number = row · fsdp + column.
    """
    found: list[tuple[str, Collective]] = []
    repeated: set[str] = set()  # computations in which an exchange that began elsewhere goes on or ends
    calls: dict[str, list[tuple[str, int]]] = defaultdict(list)
    counts = _counts(text)
    computation = entry = ""
    for line in text.splitlines():
        if match := COMPUTATION.match(line):
            computation = match[2]
            entry = computation if match[1] else entry
            repeated |= {computation} if computation.startswith("async_collective_fusion") else set()
            continue
        if "AsyncCollectiveDone" in line:
            repeated.add(computation)
        trips, condition = TRIPS.search(line), CONDITION.search(line)
        times = (int(trips[1]) if trips else counts.get(condition[1], 1)) if condition else 1
        branches = BRANCHES.search(line)
        listed = re.findall(r"[\w.\-]+", branches[1]) if branches else []
        calls[computation] += [(name, times) for name in CALLED.findall(line) + listed]
        if match := INSTRUCTION.match(line):
            found += [(computation, one) for one in _read(match, line, mesh)]
    runs = _runs(calls, entry)
    return [one._replace(times=runs.get(place, 1)) for place, one in found if place not in repeated]


def _counts(text: str) -> dict[str, int]:
    """Computation → its one whole number, where it compares with ``<``: as a loop's condition, how often that loop runs.

    Programs for TPUs do not say how often their loops run.
    """
    found: dict[str, int] = {}
    name, compares = "", False
    numbers: list[int] = []
    for line in text.splitlines():
        if match := COMPUTATION.match(line):
            name, numbers, compares = match[2], [], False
        elif line.startswith("}") and compares and len(numbers) == 1:
            found[name] = numbers[0]
        else:
            numbers += map(int, COUNT.findall(line))
            compares |= "direction=LT" in line
    return found


def _read(match: re.Match[str], line: str, mesh: tuple[int, int]) -> list[Collective]:
    """The arrays of one instruction."""
    name, result, kind, started = match.groups()
    shapes = [
        math.prod(map(int, filter(None, dims.split(",")))) * BYTES[t] for t, dims in SHAPE.findall(result) if t in BYTES
    ]
    if started and kind != "all-reduce":  # an asynchronous start gives its inputs, then its outputs, then counters
        shapes = [size for size in shapes if size > 4] or shapes
        shapes = shapes[len(shapes) // 2 :]
    axes = group_axes(line, mesh)
    devices = math.prod(dict(zip(("data", "fsdp"), mesh, strict=True))[axis] for axis in axes)
    scale = devices if kind == "reduce-scatter" else 1  # sizes are those of the whole array
    label = re.search(r'op_name="([^"]*)"', line)
    return [Collective(label[1] if label else name, kind, axes, size * scale) for size in shapes]


def group_axes(line: str, mesh: tuple[int, int]) -> tuple[str, ...]:
    """Along which axes of the mesh an instruction exchanges; both where its groups are no axis."""
    data, fsdp = mesh
    first = _first_group(line, data * fsdp)
    grid = np.arange(data * fsdp).reshape(data, fsdp)
    varied = np.argwhere(np.isin(grid, first))
    rows, columns = len(set(varied[:, 0])), len(set(varied[:, 1]))
    if rows == 1 and columns > 1:
        return ("fsdp",)
    if columns == 1 and rows > 1:
        return ("data",)
    return ("data", "fsdp") if len(first) > 1 else ()


def _first_group(line: str, devices: int) -> list[int]:
    """The devices of the first group; of a permute, its first pair.

    Groups are written ``{{0,1},{2,3}}``, ``[2,2]<=[4]``, ``[2,2]<=[2,2]T(1,0)``, or as axes of a mesh:
    ``mesh['a'=2,'b'=2], device_ids=([2,2]T(1,0)) {'b'}``.
    """
    if match := re.search(r"source_target_pairs=\{\{(\d+),(\d+)\}", line):
        return [int(match[1]), int(match[2])]
    if match := re.search(r"replica_groups=\{\{([\d,]+)\}", line):
        return [int(number) for number in match[1].split(",")]
    if match := re.search(rf"replica_groups=\[([\d,]+)\]<=({ORDER})", line):
        shape = _numbers(match[1])
        return _ordered(match[2]).reshape(shape[0], -1)[0].tolist()
    if match := re.search(rf"replica_groups=mesh\[(.*?)\](?:, device_ids=\(({ORDER})\))? \{{(.*?)\}}", line):
        sizes = dict(re.findall(r"'(\w+)'=(\d+)", match[1]))
        numbers = _ordered(match[2]) if match[2] else np.arange(devices)
        # Of an axis 'a':(2)4 only the part of size 4 is meant, behind one of size 2.
        meant = {
            name: (int(before or 1), int(size or sizes[name])) for name, before, size in re.findall(AXIS, match[3])
        }
        shape, take = [], []
        for name, size in sizes.items():
            before, inner = meant.get(name, (1, 1))
            shape += [before, inner, int(size) // before // inner]
            take += [0, slice(None) if name in meant else 0, 0]
        return numbers.reshape(shape)[tuple(take)].reshape(-1).tolist()
    return list(range(devices))


def _numbers(text: str) -> list[int]:
    return [int(part) for part in text.split(",")]


def _ordered(text: str) -> np.ndarray:
    """``[2,4]T(1,0)``: the numbers from 0 in that shape, turned, flat."""
    shape, _, turn = text.partition("T")
    sizes = _numbers(shape.strip("[]"))
    numbers = np.arange(math.prod(sizes)).reshape(sizes)
    return (numbers.transpose(_numbers(turn.strip("()"))) if turn else numbers).reshape(-1)


def _runs(calls: dict[str, list[tuple[str, int]]], entry: str) -> dict[str, int]:
    """How often a step runs each computation."""
    runs: dict[str, int] = defaultdict(int)

    def visit(name: str, times: int) -> None:
        runs[name] += times
        for called, inner in calls.get(name, []):
            visit(called, times * inner)

    visit(entry, 1)
    return runs
