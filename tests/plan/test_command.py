"""The verb, from its flags to its table."""

import json
import os
import subprocess
import sys

import pytest
from plan_help import PEOPLE

from facemae_jax import __main__ as door
from facemae_jax.chain import command_line
from facemae_jax.plan.command import FLAGS, help_text, serve
from facemae_jax.plan.jobs import Faces
from facemae_jax.types import FacemaeError

FACES = Faces(4 * PEOPLE, 1600)


def test_what_does_not_fit_says_what_would(tiny, eight, capsys):
    def planned(memory):
        machines = {"small": eight._replace(memory=memory)}
        plan = serve(tiny, "tiny", {"hardware": "small", "program": "none"}, machines, Faces(4000, 20_000))
        return {one.counts.name: one for one in plan.estimates}, capsys.readouterr().out

    found, said = planned(20_000)
    for name, one in found.items():
        assert not one.fits and f"{name}: weights" in said and "too much (90% of 19.5 KiB on a chip)." in said
        assert f"{name}: would fit with one of these or several: more devices, or mesh.fsdp above 1" in said
    assert "mae.remat=True" in said and "recognizer.head.sample=0.1" in said

    memory = found["recognizer"].counts.memory
    half = round((memory.fixed + 0.6 * (memory.activations + memory.batch)) / 0.9)
    found, said = planned(half)
    assert found["recognizer"].largest_batch == 8  # of the 16, in whole images per device
    assert (
        "recognizer: would fit with one of these or several: recognizer.optim.batch ≤ 8; recognizer.optim.accumulate=2;"
        in said
    )


@pytest.mark.parametrize(
    ("options", "known", "said"),
    [
        ({}, FACES, "--hardware is missing: choose one of eight"),
        ({"hardware": "eigth"}, FACES, "--hardware=eigth: did you mean eight"),
        ({"hardware": "eight"}, None, "--identities and --images: how many are in the face set?"),
        ({"hardware": "eight", "identities": "10"}, None, "--images: how many"),
        ({"hardware": "eight", "identities": "many"}, FACES, "--identities=many: give a whole number"),
        ({"hardware": "eight", "images": "7"}, FACES, "--images=7 is less than one for each of --identities=80"),
        ({"hardware": "eight", "utilisation": "40"}, FACES, "--utilisation=40: give a share"),
        ({"hardware": "eight", "training": "teach"}, FACES, "--training=teach: did you mean teacher"),
        ({"hardware": "eight", "program": "topology"}, FACES, "--program=topology is for TPUs"),
    ],
)
def test_a_wrong_flag_is_told_in_one_sentence(tiny, eight, options, known, said):
    tiny.data.seen = "FACES/real"
    with pytest.raises(FacemaeError) as error:
        serve(tiny, "tiny", options, {"eight": eight}, known)
    assert said in str(error.value)


def test_numbers_of_faces_come_from_flags_then_file_then_synthetic_faces(tiny, eight):
    def people(options, known):
        plan = serve(tiny, "tiny", {"hardware": "eight", "program": "none"} | options, {"eight": eight}, known)
        return plan.estimates[2].counts[1:3]

    assert people({}, FACES) == (40, 800)
    assert people({"identities": "1_000"}, FACES) == (500, 800)
    tiny.synthetic.update(dict(identities=300, images=10))
    assert people({}, None) == (150, 1500)


def test_a_config_that_trains_nothing_is_told(tiny, eight):
    tiny.teacher.source, tiny.mae.source, tiny.recognizer.variants = "onnx:x", "checkpoint:y", ()
    with pytest.raises(FacemaeError, match="tiny trains nothing"):
        serve(tiny, "tiny", {"hardware": "eight"}, {"eight": eight}, FACES)


def test_help_teaches_and_names_every_flag(eight):
    said = help_text({"eight": eight})
    assert all(f"--{flag}" in said for flag in FLAGS) and "eight" in said and "configs/hardware.py" in said
    assert FLAGS == command_line.PLAN_FLAGS


def test_the_door_knows_the_verb(capsys):
    assert door.main(["plan", "--help"]) == 0
    assert "v5p-128" in capsys.readouterr().out
    assert door.main(["--help"]) == 0
    assert "plan  " in capsys.readouterr().out
    for arguments, said in (
        (["plan", "--hardware=cpu"], "--config is missing"),
        (["plan", "--config=configs/demo.py", "--hardware=v5p-12"], "did you mean v5p-128"),
        (["run", "--config=configs/demo.py", "--workdir=w", "--hardware=cpu"], "--hardware belongs to the verb plan"),
        (["plan", "--config=configs/demo.py", "--hardwar=cpu"], "did you mean --hardware"),
    ):
        assert door.main(arguments) == 2
        assert said in capsys.readouterr().err


def test_a_pod_is_planned_from_anywhere_without_a_workdir(tmp_path, repository):
    """Sixty-four devices on paper, in a process of its own, with the numbers of people taken from the config file."""
    file = tmp_path / "plan.json"
    command = [
        sys.executable, "-m", "facemae_jax", "plan", "--config=configs/webface42m.py", "--hardware=v5p-128", "--program=none",
        "--training=recognizer", f"--json={file}", "--config.recognizer.network=mobilefacenet",
    ]  # fmt: skip
    done = subprocess.run(
        command, cwd=tmp_path, env=os.environ | {"PYTHONPATH": str(repository)}, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert "64 × TPU v5p, 95 GiB each, 16 hosts, 1 slice" in done.stdout
    (found,) = json.loads(file.read_text())["estimates"]
    assert found["counts"]["identities"] == round(0.9 * 2_059_906) and found["counts"]["mesh"] == [64, 1]
    assert [path.name for path in tmp_path.iterdir()] == ["plan.json"]
