"""The figures of many points: one row per point, variant and judge, and means over seeds. Numbers in, numbers out.

All rates are shares of 1; ± after a mean over seeds is their standard deviation (n − 1), and n is their number.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from facemae_jax.chain.grid import Axis, shown
from facemae_jax.report.equal_leakage import below_all, best_at
from facemae_jax.report.leakages import LEAKAGES, OVERALL, SINGLE, STRONGEST, worst
from facemae_jax.report.measured import Measure, measures
from facemae_jax.report.results import OURS

# Figure → what it is; the order of the columns. *_se: one standard error within a run.
FIGURES = {
    "utility": "verification accuracy of a recognizer trained on the variant",
    "utility_se": "its standard error over folds",
    "worst": "people found first by the strongest attacker with single images, over all judges; own source left out",
    "worst_se": "its standard error",
    "attackers": "how many attackers (judge and attack) the worst was taken over",
    "best_distortion": "utility that the distortions of the same point reach at this worst or less, on lines between them",
    "gap": "utility less that",
    STRONGEST: "the same as worst, by this judge",
    "same_image_rank_1": "protected images whose own source is found first",
    "same_image_rank_1_se": "standard error",
    "same_identity_rank_1": "protected images whose person is found first, own source left out",
    "same_identity_rank_1_se": "standard error",
    "same_identity_map": "mean average precision of that search",
    "cosine_to_source": "mean cosine of protected image and own source",
    "matching_auc": "area under the ROC curve of matching with the own source",
    "matching_eer": "its equal error rate",
    "aware_same_image_rank_1": "same image, attacker that learned from pairs of seen people",
    "aware_same_identity_rank_1": "same identity, the same attacker",
    "inversion_same_image_rank_1": "same image, after a network painted the original back",
    "inversion_same_identity_rank_1": "same identity, the same",
    "fusion_n": "images of a person fused, the most that enough people have",
    "fusion_rank_1": "people found first with so many images fused, sources left out",
    "linkage_same_image_d_sys": "D_sys of two releases, paintings of one original (0 … 1)",
    "linkage_same_identity_d_sys": "D_sys of two releases, originals of one person (0 … 1)",
    "membership_auc": "area under the ROC curve of telling the MAE's training images, whatever the judge",
    "visible_share": "patches that are copies of the original's, whatever the judge",
    "chance_same_image": "same image, blind guess",
    "chance_same_identity": "same identity, blind guess",
    "ceiling_same_identity": "same identity, originals as queries",
}
AVERAGED = tuple(name for name in FIGURES if not name.endswith("_se"))
TOLD = ("worst_judge", "worst_attack")  # columns of words
# Figure → attack, question and figure of report.measured; the last two whatever the judge.
SOURCES = {
    "same_image_rank_1": ("retrieval", "same_image", "rank_1"),
    "same_identity_rank_1": ("retrieval", "same_identity", "rank_1"),
    "same_identity_map": ("retrieval", "same_identity", "map"),
    "cosine_to_source": ("matching", "same_image", "cosine_mated"),
    "matching_auc": ("matching", "same_image", "auc"),
    "matching_eer": ("matching", "same_image", "eer"),
    "aware_same_image_rank_1": ("aware", "same_image", "rank_1"),
    "aware_same_identity_rank_1": ("aware", "same_identity", "rank_1"),
    "inversion_same_image_rank_1": ("inversion", "same_image", "rank_1"),
    "inversion_same_identity_rank_1": ("inversion", "same_identity", "rank_1"),
    "linkage_same_image_d_sys": ("linkage", "same_image", "d_sys"),
    "linkage_same_identity_d_sys": ("linkage", "same_identity", "d_sys"),
    "visible_share": ("copy", "patches", "visible"),
    "membership_auc": ("membership", "training", "auc"),
}


def measured(verify: Mapping[str, Any] | None, audit: dict[str, Any]) -> list[dict[str, Any]]:
    """The rows of one point.

    Args:
        verify: ``verify.json``, or None when nothing was verified.
        audit: ``audit.json``.

    Returns:
        ``variant``, ``judge``, ``independent``, every figure of :data:`FIGURES`, None where it was not measured, :data:`TOLD`, and ``gaps``:
        of the reconstruction, leakage → ``best`` (utility of distortions at that leakage) and ``gap``. After the judges' rows, one row per
        variant with the judge :data:`OVERALL`: of every leakage the highest over all judges.
    """
    utility = {row["name"]: row["accuracy"] for row in verify["rows"] if row["kind"] == "recognizer"} if verify else {}
    found, rows = measures(audit), []
    variants = dict.fromkeys([*(name for judge in audit["judges"] for name in judge["variants"]), *utility])
    for judge in audit["judges"]:
        for variant in variants:
            mine = [one for one in found if one.judge in ("", judge["name"]) and one.variant in ("", variant)]
            row: dict[str, Any] = dict.fromkeys([*FIGURES, *TOLD]) | _figures(mine, variant)
            if variant in utility:
                row |= {"utility": utility[variant]["mean"], "utility_se": utility[variant]["standard_error"]}
            if most := worst(found, variant):
                row |= {"worst": most.value, "worst_se": most.error, "attackers": most.among}
                row |= {"worst_judge": most.judge, "worst_attack": SINGLE[most.attack]}
            if own := worst(found, variant, judge["name"]):
                row[STRONGEST] = own.value
            rows.append({"variant": variant, "judge": judge["name"], "independent": judge["independent"]} | row)
    rows += [_over_judges([row for row in rows if row["variant"] == variant]) for variant in variants]
    for row in rows:
        row["gaps"] = _gaps(row, rows) if row["variant"] == OURS else {}
    overall = {row["variant"]: row["gaps"].get(STRONGEST, {}) for row in rows if row["judge"] == OVERALL}
    for row in rows:
        row |= {"best_distortion": overall[row["variant"]].get("best"), "gap": overall[row["variant"]].get("gap")}
    return rows


def _figures(mine: Sequence[Measure], variant: str) -> dict[str, Any]:
    """What one judge found behind one variant, and what was found without a judge."""
    by = {(one.attack, one.question, one.figure): one for one in mine if one.n is None}
    figures: dict[str, Any] = {name: by[source].value for name, source in SOURCES.items() if source in by}
    if variant != OURS:
        figures.pop("membership_auc", None)  # of the MAE, which painted nothing else
    for question in ("same_image", "same_identity"):
        if one := by.get(("retrieval", question, "rank_1")):
            figures |= {f"{question}_rank_1_se": one.error, f"chance_{question}": one.chance}
            if question == "same_identity":
                figures["ceiling_same_identity"] = one.ceiling
    fused = [
        one for one in mine
        if (one.attack, one.question, one.figure) == ("fusion", "same_identity", "rank_1") and one.n
    ]  # fmt: skip
    if fused:
        most = max(fused, key=lambda one: one.n or 0)
        figures |= {"fusion_n": most.n, "fusion_rank_1": most.value}
    return figures


def _over_judges(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Of one variant, the highest of every leakage; what no judge has a say in stays."""
    same = ("utility", "utility_se", "worst", "worst_se", "attackers", "membership_auc", "visible_share", "fusion_n")
    chances = ("chance_same_image", "chance_same_identity", "ceiling_same_identity")
    row = dict(rows[0]) | dict.fromkeys(name for name in FIGURES if name not in same)
    for name in (*LEAKAGES, *chances):
        row[name] = max((own[name] for own in rows if own[name] is not None), default=None)
    return row | {"judge": OVERALL, "independent": all(own["independent"] for own in rows)}


def _gaps(row: Mapping[str, Any], rows: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, float | None]]:
    others = [one for one in rows if one["judge"] == row["judge"] and one["variant"] not in (OURS, "original")]
    found: dict[str, dict[str, float | None]] = {}
    for leakage in LEAKAGES:
        points = [(one[leakage], one["utility"]) for one in others if None not in (one[leakage], one["utility"])]
        if None not in (row[leakage], row["utility"]):
            best = best_at(points, row[leakage])
            found[leakage] = {
                "best": best,
                "gap": None if best is None else row["utility"] - best,
                "below": float(
                    below_all(points, row[leakage])
                ),  # that of the least leaking distortion, which leaks more
            }
    return found


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
    return [name for name in names if several and name not in touched and name != OURS]


def summary(table: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Means over seeds, one per setting, variant and judge, in order of appearance.

    A variant that the grid does not touch comes once, first, with ``setting`` None: its repetitions are counted once each.

    Returns:
        ``setting``, ``variant``, ``judge``, ``independent``, ``n`` (points), figure → ``mean_std`` for :data:`AVERAGED`, ``worst_by``: who was
        the strongest attacker, the most frequent first, and ``gaps``: leakage → ``best``, ``gap`` and ``below`` (1 where every distortion
        leaks more), each ``mean_std``.
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
        by = Counter(f"{row['worst_judge']}, {row['worst_attack']}" for row in members if row["worst"] is not None)
        gaps = {leakage: [row["gaps"].get(leakage, {}) for row in members] for leakage in LEAKAGES}
        found.append(
            {
                "setting": None if setting is None else dict(setting),
                "variant": variant,
                "judge": judge,
                "independent": all(row["independent"] for row in members),
                "n": len(members),
                "worst_by": [name for name, _ in by.most_common()],
                "gaps": {
                    leakage: {key: mean_std([one.get(key) for one in own]) for key in ("best", "gap", "below")}
                    for leakage, own in gaps.items()
                    if any(own)
                },
            }
            | {name: mean_std([row[name] for row in members]) for name in AVERAGED}
        )
    return sorted(found, key=lambda group: group["setting"] is not None)  # stable: otherwise as they came
