"""Whether two workdirs of one config hold the same results: curves, keys, labels and shards painted, accuracies, leakage.

python launch/compare_runs.py LEFT RIGHT. Prints what was compared, and last one line that says "the same" or "DIFFERENT"; exit code 0 or 1.
"""

import argparse
import json
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from facemae_jax.types import FacemaeError

CURVES = ("train-teacher", "train-mae", "train-recognizer/original")  # one on reconstructions sees what JPEG rounds
# Of audit.json: ranks in places, and what follows from what is compared.
UNCOMPARED = ("median_rank", "standard_error", "cmc", "roc", "histogram")


def only(workdir: Path, pattern: str) -> Path:
    """The one path of that pattern in a workdir."""
    found = sorted(workdir.glob(pattern))
    if len(found) != 1:
        raise FacemaeError(f"{len(found)} of {pattern} in {workdir}")
    return found[0]


def curves(left: Path, right: Path, stage: str, tolerance: float) -> str:
    """Compare metrics.jsonl of a training: the same steps and names, values equal to ``tolerance``, absolute plus relative."""
    one, other = (
        [json.loads(line) for line in only(w, f"{stage}-*/metrics.jsonl").read_text().splitlines()]
        for w in (left, right)
    )
    if [line["step"] for line in one] != [line["step"] for line in other] or not one:
        raise FacemaeError(f"{stage}: {len(one)} and {len(other)} logged steps, or others")
    worst = 0.0
    for a, b in zip(one, other, strict=True):
        if a.keys() != b.keys():
            raise FacemaeError(f"{stage}, step {a['step']}: {sorted(a)} and {sorted(b)} were logged")
        for name in a:
            gap = abs(a[name] - b[name])
            if not gap <= tolerance * (1 + abs(a[name])):  # a NaN is different
                raise FacemaeError(f"{stage}, step {a['step']}: {name} is {a[name]} and {b[name]}")
            worst = max(worst, gap)
    return f"{stage}: {len(one)} logged steps, at most {worst:.1e} apart"


def reconstructions(left: Path, right: Path) -> str:
    """Compare the keys, labels and number of shards of the reconstructed face sets."""
    from facemae_jax.data.face_set import open_face_set

    sets = [open_face_set(only(w, "reconstruct-*/faces")) for w in (left, right)]
    shards = [len([p for p in faces.path.iterdir() if "array_record" in p.name]) for faces in sets]
    if shards[0] != shards[1]:
        raise FacemaeError(f"reconstruct: {shards[0]} and {shards[1]} shards")
    for what, (one, other) in {
        "keys": [faces.keys() for faces in sets],
        "labels": [faces.labels_n.tolist() for faces in sets],
    }.items():
        if one != other:
            raise FacemaeError(f"reconstruct: other {what} ({len(one)} and {len(other)})")
    return f"reconstruct: {len(sets[0])} records with the same keys and labels in {shards[0]} shards"


def accuracies(left: Path, right: Path, tolerance: float) -> str:
    """Compare the accuracy of every row of verify.json."""
    one, other = (
        {
            row["name"]: row["accuracy"]["mean"]
            for row in json.loads(only(w, "verify-*/verify.json").read_text())["rows"]
        }
        for w in (left, right)
    )
    if one.keys() != other.keys():
        raise FacemaeError(f"verify: {', '.join(one)} and {', '.join(other)} were verified")
    gaps = {name: abs(one[name] - other[name]) for name in one}
    for name, gap in gaps.items():
        if not gap <= tolerance:
            raise FacemaeError(f"verify: {name} reaches {one[name]:.4f} and {other[name]:.4f}")
    return f"verify: {len(gaps)} accuracies, at most {max(gaps.values()):.4f} apart"


def figures(node: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """(place, value) of every leaf of audit.json that is compared; a judge's place has its name, of other lists their order."""
    if isinstance(node, list):
        for number, inner in enumerate(node):
            name = inner.get("name", number) if isinstance(inner, dict) else number
            yield from figures(inner, f"{path}/{name}")
    elif isinstance(node, dict):
        for key, inner in node.items():
            if key not in UNCOMPARED:
                yield from figures(inner, f"{path}/{key}" if path else key)
    else:
        yield path, node


def leakage(left: Path, right: Path, tolerance: float) -> str:
    """Compare every judge's figures in audit.json: numbers to ``tolerance``, so that counts are equal, and all else exactly."""
    one, other = (dict(figures(json.loads(only(w, "audit-*/audit.json").read_text()))) for w in (left, right))
    if one.keys() != other.keys():
        raise FacemaeError(f"audit: only one has {', '.join(sorted(one.keys() ^ other.keys()))}")
    worst, numbers = 0.0, 0
    for place, value in one.items():
        numeric = all(isinstance(v, (int, float)) for v in (value, other[place]))
        gap = abs(value - other[place]) if numeric else float(value != other[place])
        if not gap <= (tolerance if numeric else 0):
            raise FacemaeError(f"audit: {place} is {value} and {other[place]}")
        worst, numbers = max(worst, gap), numbers + numeric
    if not numbers:
        raise FacemaeError("audit: no figures")
    return f"audit: {numbers} figures, at most {worst:.4f} apart"


def compare(left: Path, right: Path, tolerance: float, accuracy: float, leaked: float) -> Iterator[tuple[bool, str]]:
    """(same, what was found) of each part."""
    parts = [partial(curves, left, right, stage, tolerance) for stage in CURVES]
    parts += [partial(reconstructions, left, right), partial(accuracies, left, right, accuracy)]
    parts += [partial(leakage, left, right, leaked)]
    for part in parts:
        try:
            yield True, part()
        except (FacemaeError, OSError, ValueError, KeyError, TypeError) as error:  # half a result is a difference too
            yield False, str(error)


def main() -> int:
    """Compare and print; the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("left", type=Path)
    parser.add_argument("right", type=Path)
    parser.add_argument("--curves", type=float, default=1e-5, help="largest difference, absolute plus relative")
    parser.add_argument("--accuracy", type=float, default=0.02, help="largest difference of an accuracy")
    parser.add_argument(
        "--leakage", type=float, default=0.03, help="largest difference of an audit's figure: 1 of 48 queries"
    )
    parser.add_argument("--name", default="runs", help="what the last line calls this comparison")
    given = parser.parse_args()
    found = list(compare(given.left, given.right, given.curves, given.accuracy, given.leakage))
    for same, text in found:
        print(f"{'same' if same else 'DIFFERENT'}  {text}")
    different = [text for same, text in found if not same]
    print(f"{given.name}: {'DIFFERENT' if different else 'the same'}: {'; '.join(different or [t for _, t in found])}")
    return bool(different)


if __name__ == "__main__":
    sys.exit(main())
