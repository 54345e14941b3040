"""The figures of many points: one row per point, variant and judge; means over seeds; CSV and Markdown. Numbers in, numbers and text out.

All rates are shares of 1; ± after a mean over seeds is their standard deviation (n − 1), and n is their number.
"""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Mapping, Sequence
from typing import Any

from facemae_jax.chain.grid import Axis, shown

# Figure → what it is; the order of the columns. *_se: one standard error within a run.
FIGURES = {
    "utility": "verification accuracy of a recognizer trained on the variant",
    "utility_se": "its standard error over folds",
    "same_image_rank_1": "protected images whose own source is found first",
    "same_image_rank_1_se": "standard error",
    "same_identity_rank_1": "protected images whose person is found first, own source left out",
    "same_identity_rank_1_se": "standard error",
    "same_identity_map": "mean average precision of that search",
    "cosine_to_source": "mean cosine of protected image and own source",
    "matching_auc": "area under the ROC curve of matching with the own source",
    "matching_eer": "its equal error rate",
    "chance_same_image": "same image, blind guess",
    "chance_same_identity": "same identity, blind guess",
    "ceiling_same_identity": "same identity, originals as queries",
}
AVERAGED = tuple(name for name in FIGURES if not name.endswith("_se"))


def measured(verify: Mapping[str, Any] | None, audit: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The rows of one point.

    Args:
        verify: ``verify.json``, or None when nothing was verified.
        audit: ``audit.json``.

    Returns:
        ``variant``, ``judge``, ``independent`` and every figure of :data:`FIGURES`, None where it was not measured.
    """
    rows = verify["rows"] if verify else []
    utility = {row["name"]: row["accuracy"] for row in rows if row["kind"] == "recognizer"}
    found = []
    for judge in audit["judges"]:
        ceiling = judge["ceiling"]["same_identity"]
        for variant in dict.fromkeys([*judge["variants"], *utility]):
            row: dict[str, Any] = dict.fromkeys(FIGURES)
            if variant in utility:
                row |= {"utility": utility[variant]["mean"], "utility_se": utility[variant]["standard_error"]}
            if variant in judge["variants"]:
                row |= _leakage(judge["variants"][variant]) | {
                    "ceiling_same_identity": ceiling and ceiling["rank"]["1"]
                }
            found.append({"variant": variant, "judge": judge["name"], "independent": judge["independent"]} | row)
    return found


def _leakage(attacked: Mapping[str, Any]) -> dict[str, Any]:
    figures: dict[str, Any] = {}
    for question in ("same_image", "same_identity"):
        if asked := attacked["retrieval"][question]:
            figures[f"{question}_rank_1"] = asked["rank"]["1"]
            figures[f"{question}_rank_1_se"] = asked["standard_error"]["rank_1"]
            figures[f"chance_{question}"] = asked["chance"]["rank"]["1"]
            if question == "same_identity":
                figures["same_identity_map"] = asked["map"]
    matching = attacked["matching"]
    return figures | {
        "cosine_to_source": matching["mated"]["mean"],
        "matching_auc": matching["auc"],
        "matching_eer": matching["eer"],
    }


def rows(
    axes: Sequence[Axis], points: Sequence[tuple[int, Mapping[str, Any], Sequence[dict[str, Any]]]]
) -> list[dict[str, Any]]:
    """Rows of many points.

    Args:
        axes: of the grid.
        points: (number, field → value, rows of :func:`measured`).

    Returns:
        ``point``; ``setting``: field → value of the fields that are no repetition, ``repetition``: of the others; the rest as in
        :func:`measured`.
    """
    repeated = {field for axis in axes if axis.repeats for field in axis.fields}
    found = []
    for number, values, own in points:
        told = {field: value if isinstance(value, int | float) else shown(value) for field, value in values.items()}
        where = {
            "point": number,
            "setting": {field: value for field, value in told.items() if field not in repeated},
            "repetition": {field: value for field, value in told.items() if field in repeated},
        }
        found += [where | row for row in own]
    return found


def mean_std(values: Sequence[float | None]) -> dict[str, Any] | None:
    """``mean``, ``std`` (over n − 1; None for one value) and ``n`` of what was measured; None when nothing was."""
    known = [value for value in values if value is not None]
    if not known:
        return None
    mean = math.fsum(known) / len(known)
    std = math.sqrt(math.fsum((value - mean) ** 2 for value in known) / (len(known) - 1)) if len(known) > 1 else None
    return {"mean": mean, "std": std, "n": len(known)}


def untouched(table: Sequence[Mapping[str, Any]]) -> list[str]:
    """Variants for which the grid changes no figure but by its seeds, such as a blur in a sweep of the MAE."""
    seen: dict[tuple[Any, ...], set[tuple[Any, ...]]] = {}
    for row in table:
        key = (row["variant"], row["judge"], *row["repetition"].items())
        seen.setdefault(key, set()).add(tuple(row[name] for name in AVERAGED))
    several = len({tuple(row["setting"].items()) for row in table}) > 1
    touched = {key[0] for key, figures in seen.items() if len(figures) > 1}
    names = dict.fromkeys(row["variant"] for row in table)
    return [name for name in names if several and name not in touched and name != "reconstruction"]


def summary(table: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Means over seeds, one per setting, variant and judge, in order of appearance.

    A variant that the grid does not touch comes once, first, with ``setting`` None: its repetitions are counted once each.

    Returns:
        ``setting``, ``variant``, ``judge``, ``independent``, ``n`` (points), and figure → ``mean_std`` for :data:`AVERAGED`.
    """
    same = untouched(table)
    groups: dict[tuple[Any, ...], dict[tuple[Any, ...], Mapping[str, Any]]] = {}
    for row in table:
        setting = None if row["variant"] in same else tuple(row["setting"].items())
        group = groups.setdefault((setting, row["variant"], row["judge"]), {})
        group.setdefault(tuple(row["repetition"].items()), row)
    found = []
    for (setting, variant, judge), group in groups.items():
        members = list(group.values())
        figures = {name: mean_std([row[name] for row in members]) for name in AVERAGED}
        found.append(
            {
                "setting": None if setting is None else dict(setting),
                "variant": variant,
                "judge": judge,
                "independent": all(row["independent"] for row in members),
                "n": len(members),
            }
            | figures
        )
    return sorted(found, key=lambda group: group["setting"] is not None)  # stable: otherwise as they came


def csv_text(table: Sequence[Mapping[str, Any]], axes: Sequence[Axis]) -> str:
    """One line per row: point, every swept field, variant, judge, figures; an empty cell where nothing was measured."""
    fields = [field for axis in axes for field in axis.fields]
    heads = ["point", *fields, "variant", "judge", "independent", *FIGURES]
    file = io.StringIO()
    writer = csv.DictWriter(file, heads, extrasaction="ignore", lineterminator="\n")
    writer.writeheader()
    writer.writerows({**row, **row["setting"], **row["repetition"]} for row in table)
    return file.getvalue()


def percent(figure: Mapping[str, Any] | None) -> str:
    """Mean ± standard deviation in percent; an en dash where nothing was measured."""
    if figure is None:
        return "–"
    return f"{100 * figure['mean']:.1f}" + ("" if figure["std"] is None else f" ± {100 * figure['std']:.1f}")


def lines(groups: Sequence[Mapping[str, Any]]) -> list[list[str]]:
    """The cells of the table for people, its heading first: setting, variant, n, utility, and two per judge."""
    judges = list(dict.fromkeys(group["judge"] for group in groups))
    fields = list(dict.fromkeys(field for group in groups for field in group["setting"] or ()))
    heads = [*fields, "trained on", "n", "utility"]
    heads += [f"{judge}: {question}" for judge in judges for question in ("same image", "same identity")]
    found: dict[tuple[Any, ...], list[str]] = {}
    for group in groups:
        setting = group["setting"]
        key = (group["variant"], None if setting is None else tuple(setting.items()))
        if key not in found:
            cells = ["any" if setting is None else str(setting[field]) for field in fields]
            found[key] = [*cells, group["variant"], str(group["n"]), percent(group["utility"])] + ["–"] * 2 * len(
                judges
            )
        at = len(fields) + 3 + 2 * judges.index(group["judge"])
        found[key][at : at + 2] = [percent(group["same_image_rank_1"]), percent(group["same_identity_rank_1"])]
    return [heads, *found.values()]


def markdown(groups: Sequence[Mapping[str, Any]], title: str, notes: Sequence[str]) -> str:
    """``sweep.md``."""
    heads, *cells = lines(groups) if groups else [["nothing is complete yet"]]
    table = [heads, ["---"] * len(heads), *cells]
    drawn = ["| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in table]
    said = "\n".join(f"- {note}" for note in notes)
    return f"# {title}\n\n" + "\n".join(drawn) + f"\n\n{said}\n"
