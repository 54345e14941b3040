"""A chain of four tiny stages that counts what it makes, and the files that verify and audit would write."""

import json
from types import SimpleNamespace

from facemae_jax.stages.inputs import Ref

CHANCE = {"rank": {"1": 0.01}, "map": 0.02}


def verify_json(seed, ratio):
    """Accuracies: those of distortions depend on the seed alone."""
    names = {"original": 0.9, "mask": 0.7, "reconstruction": 0.95 - 0.2 * ratio}
    accuracy = {name: {"mean": value + 0.01 * seed, "standard_error": 0.005} for name, value in names.items()}
    rows = [{"name": name, "kind": "recognizer", "accuracy": found} for name, found in accuracy.items()]
    return {"rows": [*rows, {"name": "teacher", "kind": "teacher", "accuracy": {"mean": 0.99, "standard_error": 0.0}}]}


def audit_json(seed, ratio, judges=("teacher", "recognizer:original")):
    """Leakage: falls with the ratio."""

    def attacked(rate):
        asked = {
            "rank": {"1": rate},
            "map": rate / 2,
            "standard_error": {"rank_1": 0.02, "map": 0.01},
            "chance": CHANCE,
        }
        matching = {
            "tar_at_far": {},
            "mated": {"mean": rate},
            "non_mated": {"mean": 0.0},
            "auc": 0.5 + rate / 2,
            "eer": 0.5 - rate / 2,
        }
        return {"retrieval": {"same_image": asked, "same_identity": asked}, "matching": matching}

    rates = {"original": 0.8, "mask": 0.05, "reconstruction": 0.9 - 0.8 * ratio}
    ceiling = {"same_image": None, "same_identity": {"rank": {"1": 0.8}, "map": 0.5}}
    found = [
        {"name": name, "kind": "teacher", "independent": name != "teacher", "ceiling": dict(ceiling)} for name in judges
    ]
    variants = [{name: attacked(rate + 0.01 * seed) for name, rate in rates.items()} for _ in judges]
    return {"judges": [judge | {"variants": own} for judge, own in zip(found, variants, strict=True)]}


class Fakes(dict):
    """verb → stage; ``made`` lists (verb, seed, mask ratio) in the order of making, ``before`` is called with each before it is made."""

    def __init__(self):
        super().__init__()
        self.made = []
        self.before = lambda verb, seed, ratio: None
        seed, ratio = ("seed",), ("seed", "mae.mask_ratio")
        self._add("train-teacher", seed, {}, None)
        self._add("train-mae", ratio, {"teacher": Ref("train-teacher")}, None)
        self._add("verify", ratio, {"mae": Ref("train-mae")}, verify_json)
        self._add("audit", ratio, {"mae": Ref("train-mae"), "teacher": Ref("train-teacher")}, audit_json)

    def _add(self, verb, fields, upstream, content):
        def run(config, inputs, out, variant):
            at = (verb, config.seed, config.mae.mask_ratio if "mae" in config else None)
            assert set(upstream) == set(inputs)
            self.before(*at)
            self.made.append(at)
            if content:
                (out / f"{verb}.json").write_text(json.dumps(content(*at[1:])))
            return {}

        self[verb] = SimpleNamespace(
            VERB=verb, VERSION=1, ALONE=True, SUMMARY=verb, FIELDS={"": fields}, UNHASHED=(), run=run,
            variants=lambda config: ("",), reads=lambda config, variant: upstream, outside=lambda config, variant: {},
        )  # fmt: skip
