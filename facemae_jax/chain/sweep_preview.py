"""What a sweep would do, before it does it: which stages each point makes, reuses or shares, and a guess of the time."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from facemae_jax.chain import graph
from facemae_jax.chain.sweep import Shard, Sweep
from facemae_jax.stages.inputs import Ref


def dry_run(sweep: Sweep, shard: Shard) -> str:
    """Which stages each point would make, find finished, or get from an earlier point; and a guess of the time."""
    taken: dict[str, Ref] = {}
    counts = {"finished": set(), "made": set()}  # type: dict[str, set[str]]
    text = []
    for point in sweep.points:
        if not shard.takes(point):
            continue
        if point.chain is None:
            text.append(f"  {point.number:3d}  {point.label}: cannot be run: {point.error}")
            continue
        missing = point.chain.missing(point.targets)
        marks = {ref: point.chain.result(ref).fingerprint for ref in graph.in_order(point.chain.config, point.targets)}
        new = [ref for ref in missing if marks[ref] not in taken]
        taken |= {marks[ref]: ref for ref in new}
        found = [mark for ref, mark in marks.items() if ref not in missing]
        counts["finished"] |= set(found)
        named = f" ({', '.join(map(str, new))})" if new else ""
        shared = len(missing) - len(new)
        text.append(
            f"  {point.number:3d}  {point.label}: makes {len(new)}{named}, {len(found)} finished"
            + (f", {shared} from earlier points" if shared else "")
        )
    counts["made"] = set(taken)
    seconds, unknown = _guess(sweep.workdir, list(taken.values()))
    head = f"{len(text)} of {len(sweep.points)} points" if shard.of > 1 else f"{len(text)} points"
    tail = [f"{len(counts['made'])} stages to make, {len(counts['finished'])} finished ones to reuse; nothing was run."]
    if taken:
        kinds = list(dict.fromkeys(str(ref) for ref in taken.values()))
        of = [str(ref) for ref in taken.values()]
        tail.append("to make: " + ", ".join(f"{of.count(kind)} × {kind}" for kind in kinds))
    if seconds:
        but = f", without {', '.join(unknown)}, of which none is finished here" if unknown else ""
        tail.append(f"time, if each takes as long as its finished like in this workdir: {seconds / 60:.0f} min{but}")
    return "\n".join([f"sweep of {sweep.name}: {head}", *text, *tail])


def _guess(workdir: Path, refs: Sequence[Ref]) -> tuple[float, list[str]]:
    """Seconds that ``refs`` take by the mean of finished results of their kind, and the kinds of which there are none."""
    seconds, unknown = 0.0, []
    for ref in refs:
        name = f"{ref.stage}/{ref.variant}-*" if ref.variant else f"{ref.stage}-*"
        known = [json.loads(file.read_text())["seconds"] for file in workdir.glob(f"{name}/done.json")]
        if known:
            seconds += sum(known) / len(known)
        elif str(ref) not in unknown:
            unknown.append(str(ref))
    return seconds, unknown
