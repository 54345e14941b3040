"""Means of a sweep made by hand, in the form of ``sweep_table.summary``: a few points, or a crowd."""

import random

from facemae_jax.chain import sweep_table
from facemae_jax.report.leakages import LEAKAGES, OVERALL

RATIO = "mae.mask_ratio"


def figure(mean, std=0.01, n=2):
    return None if mean is None else {"mean": mean, "std": std, "n": n}


def group(variant, setting, utility, leak, judge="teacher", std=0.01, best=None, attackers=2, n=2, below=0.0, **more):
    """One setting, variant and judge: every question leaks the same, but for ``more``; ``best``: distortion at that leakage."""
    found = dict.fromkeys(sweep_table.AVERAGED) | dict(setting=setting, variant=variant, judge=judge, n=n)
    found |= dict(independent=judge != "teacher", worst_by=["teacher, plain search"], gaps={})
    leaks = ("same_identity_rank_1", "same_image_rank_1", "strongest_same_identity_rank_1", "worst")
    found |= {name: figure(leak, std) for name in leaks} | {"utility": figure(utility, std)}
    found |= {"attackers": figure(attackers, 0.0), "chance_same_identity": figure(0.02, 0.0)}
    if variant == "reconstruction":
        gap = None if best is None else utility - best
        found["gaps"] = {
            name: dict(best=figure(best, std), gap=figure(gap, std), below=figure(below, std)) for name in LEAKAGES
        }
        found |= {"best_distortion": figure(best, std), "gap": figure(gap, std)}
    return found | {name: figure(value, std) for name, value in more.items()}


def ratios(judge="teacher"):
    """Two distortions, one of them at two strengths; two settings of the reconstruction."""
    return [
        group("original", None, 0.9, 0.8, judge),
        group("blur@4", None, 0.85, 0.6, judge),
        group("blur@2", None, 0.88, 0.7, judge),
        group("mask", None, 0.7, 0.05, judge),
        group("reconstruction", {RATIO: 0.9}, 0.78, 0.2, judge, best=0.74),
        group("reconstruction", {RATIO: 0.5}, 0.86, 0.5, judge, best=0.87),
    ]


def crowd(judges=(OVERALL, "teacher", "recognizer:original")):
    """Three distortions at five strengths, and thirteen settings, many on one spot."""
    found = []
    for at, judge in enumerate(judges):
        draw = random.Random(at)
        found += [group("original", None, 0.93, 0.9, judge), group("mask", None, 0.7, 0.05, judge)]
        for place, kind in enumerate(("blur", "pixelate", "noise")):
            found += [
                group(f"{kind}@{2 << step}", None, 0.9 - 0.03 * (step + place), 0.8 - 0.12 * step - 0.04 * place, judge)
                for step in range(5)
            ]
        for step in range(13):
            leak, useful = 0.5 + draw.gauss(0, 0.02), 0.86 + draw.gauss(0, 0.01)
            found.append(
                group(
                    "reconstruction",
                    {RATIO: round(0.35 + 0.05 * step, 2)},
                    useful,
                    leak,
                    judge,
                    best=0.85 if step else None,
                )
            )
    return found
