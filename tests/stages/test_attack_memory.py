"""Attacks on distortions are run once per workdir; those on reconstructions always."""

from collections import Counter

import pytest
from attackers_help import build, run

from facemae_jax.stages import audit
from facemae_jax.stages.attack_memory import remembered
from facemae_jax.stages.attackers import Attackers


def test_figures_come_back_as_they_were(tmp_path):
    ran = []

    def attack():
        ran.append(1)
        return {"rank": {"1": 0.1 + 0.2}, "used": "aware"}

    first = remembered(tmp_path, ["aware", "judge", 3], attack)
    assert remembered(tmp_path, ["aware", "judge", 3], attack) == first == {"rank": {"1": 0.1 + 0.2}, "used": "aware"}
    assert len(ran) == 1
    remembered(tmp_path, ["aware", "judge", 4], attack)
    assert len(ran) == 2 and len(list(tmp_path.iterdir())) == 2


def test_an_attack_that_fails_leaves_nothing(tmp_path):
    def attack():
        raise RuntimeError("no memory")

    with pytest.raises(RuntimeError):
        remembered(tmp_path / "attacks", ["x"], attack)
    assert not list(tmp_path.rglob("*.*"))


def test_damaged_figures_are_made_anew(tmp_path, capsys):
    remembered(tmp_path, ["x"], lambda: {"a": 1})
    (file,) = tmp_path.iterdir()
    file.write_text('{"a"')
    assert remembered(tmp_path, ["x"], lambda: {"a": 2}) == {"a": 2}
    out = capsys.readouterr()
    assert "is damaged" in out.out + out.err and "run again" in out.out + out.err


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    return build(tmp_path_factory.mktemp("world"))


def test_a_second_audit_attacks_what_may_have_changed(world, tmp_path, monkeypatch):
    ran = Counter()

    def pretended(kind):
        def attack(self, frozen, name, variant, *rest):
            ran[kind, variant] += 1
            return {"number": ran.total()}

        return attack

    for kind in ("aware", "inversion"):
        monkeypatch.setattr(Attackers, f"_{kind}", pretended(kind))
    monkeypatch.setattr(audit, "table", str)  # it would show the figures of true attacks
    asked = dict(attacks=("aware", "inversion"), trained_on=("blur", "reconstruction"))
    results = [run(world, tmp_path / name, **asked) for name in ("first", "second")]
    assert ran == {
        ("aware", "blur"): 1, ("inversion", "blur"): 1, ("aware", "reconstruction"): 2, ("inversion", "reconstruction"): 2,
    }  # fmt: skip
    blur = [result["judges"][0]["variants"]["blur"] for result in results]
    assert blur[0] == blur[1]
    for changes in (dict(attack_steps=4), dict(attack_learning_rate=0.5), dict(seed=1)):
        run(world, tmp_path / "third", **asked, **changes)
        assert ran["aware", "blur"] == ran["inversion", "blur"] > 1, changes
        ran["aware", "blur"] = ran["inversion", "blur"] = 1
    monkeypatch.setattr("facemae_jax.stages.train_recognizer.Distortion.__repr__", lambda self: "another strength")
    run(world, tmp_path / "fourth", **asked)
    assert ran["aware", "blur"] == 2
