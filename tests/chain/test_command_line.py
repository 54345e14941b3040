import pytest

from facemae_jax.chain.command_line import ALL_OWN_FLAGS, KNOWN, OWN_FLAGS, SWITCHES, WITHOUT_CONFIG, read_command
from facemae_jax.types import FacemaeError

VERBS = ("run", "report", "audit", "plan", "sweep", *WITHOUT_CONFIG)


def test_settings_may_stand_before_and_after():
    call = read_command(
        ["--config.seed=3", "run", "--config", "configs/demo.py", "--workdir=w", "--config.mae.patch", "4"], VERBS
    )
    assert (call.verb, call.spec, str(call.workdir)) == ("run", "configs/demo.py", "w")
    assert call.overrides == [("seed", "3"), ("mae.patch", "4")]


def test_runs_to_compare_follow_as_words():
    call = read_command(["report", "--compare", "a", "b", "c", "--out", "page.html"], VERBS)
    assert call.places == ("a", "b", "c") and call.own["out"] == "page.html"
    assert read_command(["report", "--config=x", "--workdir=y"], VERBS).places == ()


def test_a_verb_without_config_takes_places_and_its_own_flags():
    call = read_command(["export-faces", "FACES", "--to", "folder", "--allow-names", "--out=x"], VERBS)
    assert call.places == ("FACES",) and call.own == {"to": "folder", "allow-names": "", "out": "x"} and not call.help
    assert read_command(["make-bin", "--help"], VERBS).help


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["plan", "--to=folder", "--config=x"], "--to belongs to the verb export-faces or export-weights"),
        (["make-bin", "--workdir=x"], "--workdir: make-bin takes neither a config nor a workdir"),
        (["import-weights", "f", "--config.seed=1"], "--config.seed: import-weights takes neither"),
        (["export-faces", "--allow-names=yes"], "--allow-names takes no value"),
        (["make-bim"], "did you mean make-bin?"),
    ],
)
def test_what_belongs_to_another_verb_is_told(arguments, expected):
    with pytest.raises(FacemaeError) as told:
        read_command(arguments, VERBS)
    assert expected in str(told.value)


def test_no_flag_of_a_verb_is_one_of_all_verbs():
    assert not set(KNOWN) & set(ALL_OWN_FLAGS) and set(SWITCHES) <= set(ALL_OWN_FLAGS)
    assert set(WITHOUT_CONFIG) <= set(OWN_FLAGS)
