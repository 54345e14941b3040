"""A run's figures with every attack in them, made by the functions that the audit calls, from embeddings drawn by chance."""

import functools

import numpy as np

from facemae_jax.audit.copy_detector import nearest_pixel, thumbnails, visible_share
from facemae_jax.audit.fusion_attack import fusion_attack
from facemae_jax.audit.linkage_attack import linkage_attack
from facemae_jax.audit.matching import matching
from facemae_jax.audit.membership_attack import membership_attack
from facemae_jax.audit.retrieval_attack import retrieval_attack
from facemae_jax.metrics.verification import paired_fold_difference, verification

PEOPLE, IMAGES = 12, 5
LABELS = np.repeat(np.arange(PEOPLE), IMAGES)
COUNT = len(LABELS)
VARIANTS = ("original", "mask", "blur@2", "blur@4", "reconstruction")
ATTACKS = ["fusion", "copy", "linkage", "membership", "aware", "inversion"]
NOISE = {"original": 0.0, "mask": 2.0, "blur@2": 0.3, "blur@4": 0.6, "reconstruction": 1.2}
MADE = dict(
    code="code abc", facts=[("hardware", "8 × cpu")], stages=[dict(name="audit", seconds="1.5", commit="abc")],
    settings=[("seed", "0"), ("mae.width", "192")],
)  # fmt: skip


def _rows(noise, seed):
    """Originals are a centre per person and something of their own; protected images add noise to these."""
    centres = np.random.default_rng(0).normal(size=(PEOPLE, 8))[LABELS]
    own = centres + 0.6 * np.random.default_rng(1).normal(size=(COUNT, 8))
    rows = own + noise * np.random.default_rng(seed).normal(size=(COUNT, 8))
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


@functools.cache
def audit(judges=("teacher", "recognizer:original"), attacks=tuple(ATTACKS)):
    """``audit.json`` of several judges."""
    gallery, truth = _rows(0.0, 1), dict(sources_Q=np.arange(COUNT), labels_G=LABELS)
    result = dict(subset="unseen", queries=COUNT, gallery=COUNT, identities=PEOPLE, seed=0, attacks=list(attacks))
    result["judges"] = [_judge(name, number, gallery, truth, attacks) for number, name in enumerate(judges)]
    if "copy" in attacks:
        result["pixels"] = {name: _pixels(number, truth) for number, name in enumerate(VARIANTS[1:])}
    if "membership" in attacks:
        losses = np.random.default_rng(7).normal(size=(60, 3)) + np.repeat([0.0, 1.5], 30)[:, None]
        result["membership"] = membership_attack(losses, np.repeat([True, False], 30), np.arange(60) // 3)
    return result


def _judge(name, number, gallery, truth, attacks):
    found = {}
    for step, variant in enumerate(VARIANTS):
        queries = _rows(NOISE[variant], 10 + 10 * number + step)
        plain = _searched(queries, gallery, truth)
        found[variant] = plain | dict(reverse=retrieval_attack(gallery, queries, **truth))
        if variant == "original":
            continue
        if "fusion" in attacks:
            found[variant]["fusion"] = fusion_attack(queries, gallery, draws=50, **truth)
        if variant not in ("blur@2", "reconstruction"):
            continue
        if "aware" in attacks:
            found[variant]["aware"] = dict(used="plain" if variant == "blur@2" else "aware") | _searched(
                _rows(NOISE[variant] / 4, 3), gallery, truth
            )
        if "inversion" in attacks:
            found[variant]["inversion"] = dict(psnr=dict(input=12.5, inverted=15.25)) | _searched(
                _rows(5.0, 4), gallery, truth
            )
    if "linkage" in attacks:
        second = _rows(NOISE["reconstruction"], 99)
        found["reconstruction"]["linkage"] = linkage_attack(
            _rows(NOISE["reconstruction"], 14), second, gallery, sources_P=np.arange(COUNT), draws=50, **truth
        )
    return dict(
        name=name, kind="teacher", independent=bool(number), reason=f"reason {number}",
        ceiling=retrieval_attack(gallery, gallery, **truth), variants=found,
    )  # fmt: skip


def _searched(queries, gallery, truth):
    return dict(retrieval=retrieval_attack(queries, gallery, **truth), matching=matching(queries, gallery, **truth))


def _pixels(number, truth):
    random = np.random.default_rng(5)
    sources = random.integers(0, 256, (COUNT, 16, 16, 3), np.uint8)
    shown = random.integers(0, 256, (COUNT, 16, 16, 3), np.uint8)
    shown[:, :8, : 8 * (number % 2 + 1)] = sources[:, :8, : 8 * (number % 2 + 1)]  # a quarter, a half
    return dict(
        visible=visible_share(shown, sources, LABELS, patch=8, draws=50),
        nearest=nearest_pixel(thumbnails(shown), thumbnails(sources), draws=50, **truth),
    )


@functools.cache
def verify(names=VARIANTS):
    """``verify.json`` of a recognizer per variant, and the teacher."""
    random = np.random.default_rng(2)
    same, fold = np.tile([True, False], 200), np.repeat(np.arange(5), 80)
    rows = [
        dict(name=name, kind="recognizer" if name != "teacher" else "teacher")
        | verification(same * 0.5 + random.normal(scale=0.25 + 0.1 * NOISE.get(name, 0), size=400), same, fold)
        for name in (*names, "teacher")
    ]
    folds = {row["name"]: row["accuracy"]["folds"] for row in rows}
    differences = {
        base: {name: paired_fold_difference(folds[name], folds[base]) for name in folds if name != base}
        for base in ("mask", "original")
        if base in folds
    }
    protocol = dict(pairs="generated", count=400, positive=200, folds=5, images=60, flip=True)
    return dict(protocol=protocol, rows=rows, differences=differences)


def painted(count=5, size=16):
    """Images to show, drawn by chance."""
    return np.random.default_rng(4).integers(0, 256, (count, size, size, 3), np.uint8)


def given(**changes):
    """Everything that ``page.render`` takes."""
    base = dict(
        name="toy run", verify=verify(), audit=audit(), images_nHWC=painted(), originals_nHWC=None, made=MADE,
        reconstruction=dict(images=60, identities=PEOPLE, visible_share=0.25, composition="full", people=1),
        training={"train-mae": [dict(step=step, loss=2.0 / step, pixel=1.0 / step) for step in range(1, 20)]},
    )  # fmt: skip
    return base | changes
