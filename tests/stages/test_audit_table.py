"""The figures of an audit as text."""

import numpy as np

from facemae_jax.audit.matching import matching
from facemae_jax.audit.retrieval_attack import retrieval_attack
from facemae_jax.metrics.set_quality import set_quality
from facemae_jax.stages.audit_table import table

LABELS = np.repeat(np.arange(12), 4)


def result(people=12):
    """``audit.json`` of noisy queries of the first people."""
    random = np.random.default_rng(0)
    rows = random.normal(size=(12, 8))[LABELS] + 0.7 * random.normal(size=(48, 8))
    noisy = rows + 1.5 * random.normal(size=rows.shape)
    gallery, queries = (
        (part / np.linalg.norm(part, axis=1, keepdims=True)).astype(np.float32) for part in (rows, noisy)
    )
    asked = np.arange(4 * people)
    truth = dict(sources_Q=asked, labels_G=LABELS)
    found = dict(
        retrieval=retrieval_attack(queries[asked], gallery, **truth), matching=matching(queries[asked], gallery, **truth),
        set=dict(far=0.01) | set_quality(queries[asked], LABELS[asked], threshold=0.5),
    )  # fmt: skip
    judge = dict(
        name="teacher", independent=False, reason="it is", ceiling=retrieval_attack(gallery[asked], gallery, **truth), variants=dict(blur=found),
    )  # fmt: skip
    apart = dict(blur=dict(ratio=0.25), mask=None)
    return dict(queries=len(asked), gallery=48, identities=12, judges=[judge], set=apart), found


def row(text, name):
    (line,) = [line for line in text.splitlines() if line.strip().startswith(name)]
    return " ".join(line.split())


def test_rates_stand_with_their_intervals():
    audit, found = result()
    text = table(audit)
    image, person, match = found["retrieval"]["same_image"], found["retrieval"]["same_identity"], found["matching"]

    def bounded(value, interval):
        return f"{100 * value:.1f} ({100 * interval[0]:.1f}…{100 * interval[1]:.1f})"

    assert row(text, "blur") == " ".join(
        [
            "blur", bounded(image["rank"]["1"], image["interval"]["rank"]["1"]), f"{100 * image['rank']['10']:.1f}",
            bounded(person["rank"]["1"], person["interval"]["rank"]["1"]), f"{100 * person['rank']['10']:.1f}", f"{100 * person['map']:.1f}",
            f"{match['mated']['mean']:.2f}", bounded(match["tar_at_far"]["0.01"], match["interval"]["tar_at_far"]["0.01"]),
        ]
    )  # fmt: skip
    assert "(" not in row(text, "chance") and row(text, "ceiling").count("(") == 2
    heads = [line for line in text.splitlines() if "rank-1" in line]
    assert len(heads) == 1 and len(heads[0]) == len(
        [line for line in text.splitlines() if line.startswith("    blur")][0]
    )


def test_one_person_has_no_interval():
    text = table(result(people=1)[0])
    assert "(" not in row(text, "blur") and "nan" not in text


def test_what_the_set_is_worth():
    audit, found = result()
    text, one = table(audit), found["set"]
    assert f"(threshold: 1 % of strangers): blur {100 * one['uniqueness']:.1f} / {100 * one['consistency']:.1f}" in text
    assert "diversity within a person (light, colour, background; originals 1): blur 0.25" in text
    audit["judges"][0]["variants"]["blur"]["set"] = None
    assert "as a set" not in table(audit)
