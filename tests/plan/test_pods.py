"""The promise behind sharding: on 8, 16 and 64 devices nothing of 1 MB or more moves that the plan does not list.

Full-size steps are compiled, by the verb itself, for virtual CPU devices, and for TPU slices where libtpu is installed: programs for CPUs
prove nothing about those for TPUs.
"""

import importlib.util
import json
import os
import subprocess
import sys

import pytest

pytestmark = pytest.mark.slow
TWO_MILLION = (
    "--training=recognizer",
    "--identities=2_059_906",
    "--images=42_474_558",
    "--config.recognizer.faces=FACES",
)
RECOGNIZER = (*TWO_MILLION, "--config.recognizer.optim.batch=1024")
MAE = ("--training=mae",)
MIB = 2**20
libtpu = pytest.mark.skipif(importlib.util.find_spec("libtpu") is None, reason="compiles for TPUs: pip install libtpu")


def planned(tmp_path, repository, hardware, program, arguments):
    file = tmp_path / "plan.json"
    command = [
        sys.executable, "-m", "facemae_jax", "plan", "--config=configs/casia.py", f"--hardware={hardware}",
        f"--program={program}", f"--json={file}", *arguments,
    ]  # fmt: skip
    environment = {name: value for name, value in os.environ.items() if name != "XLA_FLAGS"}
    done = subprocess.run(command, cwd=repository, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return json.loads(file.read_text()), done.stdout


CASES = [
    *(("virtual", hardware, fsdp) for hardware in ("h100x8", "v5e-16", "v5p-128") for fsdp in (1, 8)),
    *(pytest.param("topology", hardware, 8, marks=libtpu) for hardware in ("v5e-16", "v5p-128")),
]


@pytest.mark.parametrize(("program", "hardware", "fsdp"), CASES)
@pytest.mark.parametrize(
    "arguments", [MAE, RECOGNIZER], ids=["mae-b with relations", "iresnet50 with two million people"]
)
def test_nothing_large_moves_unplanned(tmp_path, repository, program, hardware, fsdp, arguments):
    plan, said = planned(tmp_path, repository, hardware, program, (*arguments, f"--config.mesh.fsdp={fsdp}"))
    assert plan["news"] == [[]], said
    (estimate,), (compiled,) = plan["estimates"], plan["programs"]
    counts = estimate["counts"]
    large = [one for one in compiled["collectives"] if one["size"] >= MIB]
    widest = max(one["size"] for one in large)
    if arguments is RECOGNIZER:
        devices = plan["machine"]["devices"]
        assert counts["memory"]["centres"] == -(-2_059_906 // devices) * 512 * 4
        assert widest < counts["memory"]["centres"]  # neither centres nor logits are gathered
    assert widest < counts["parameters"] * 4 / 2  # nor is the network, at once
    state = sum(counts["memory"][name] for name in ("weights", "optimizer", "centres", "centres_optimizer", "frozen"))
    assert state < compiled["arguments"] < 1.05 * state + counts["memory"]["batch"] + MIB

    if program == "topology":  # the arithmetic is close to what the real compiler needs
        paper, _ = planned(tmp_path, repository, hardware, "none", (*arguments, f"--config.mesh.fsdp={fsdp}"))
        assert 0.9 < estimate["needed"] / paper["estimates"][0]["needed"] < 1.15
