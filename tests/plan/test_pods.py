"""The promise behind sharding: on 8, 16 and 64 devices nothing of 1 MiB or more moves that the plan does not list.

Full-size steps are compiled by the verb itself: for virtual CPU devices, and (marker ``tpu``) for TPU slices that are not here, since a
program for CPUs proves nothing about one for TPUs. Deep MAEs are compiled as one scanned layer, as such machines would run them.
"""

import json
import os
import subprocess
import sys

import pytest

MIB = 2**20
RECOGNIZER = (
    "--config=configs/casia.py", "--training=recognizer", "--identities=2_059_906", "--images=42_474_558",
    "--config.recognizer.faces=FACES", "--config.audit.judges=teacher", "--config.recognizer.optim.batch=1024",
)  # fmt: skip
MAE = ("--config=configs/casia.py", "--training=mae")
SCANNED = (*MAE, "--config.mae.scan=True", "--config.mae.remat=True")
LARGE, HUGE = ((*SCANNED, f"--config.mae.size={size}") for size in ("large", "huge"))
# Bytes of the largest single matrix: that much of the network may be on a device at once, in float32.
CLASSIFIER, BASE_MLP, LARGE_MLP, HUGE_MLP = (
    4 * numbers for numbers in (25_088 * 512, 768 * 3072, 1024 * 4096, 1280 * 5120)
)
VIRTUAL = {
    "IResNet-50 with two million people, 8 × 1": (RECOGNIZER, "h100x8", 1, CLASSIFIER),
    "IResNet-50 with two million people, 2 × 8": (RECOGNIZER, "v5e-16", 8, CLASSIFIER),
    "IResNet-50 with two million people, 64 × 1": (RECOGNIZER, "v5p-128", 1, CLASSIFIER),
    "MAE-B with relations, 8 × 1": (MAE, "h100x8", 1, BASE_MLP),
    "MAE-B with relations, 1 × 8": (MAE, "h100x8", 8, BASE_MLP),
    "MAE-B with relations, 16 × 1": (SCANNED, "v5e-16", 1, BASE_MLP),
    "MAE-B with relations, 8 × 8": (SCANNED, "v5p-128", 8, BASE_MLP),
    "MAE-L with relations, 2 × 8": (LARGE, "v5e-16", 8, LARGE_MLP),
    "MAE-H with relations, 8 × 8": (HUGE, "v5p-128", 8, HUGE_MLP),
}
SLICES = {
    "IResNet-50 with two million people, v5e": (RECOGNIZER, "v5e-16", 1, CLASSIFIER),
    "MAE-B with relations, v5p": (SCANNED, "v5p-128", 8, BASE_MLP),
}


def planned(tmp_path, repository, program, arguments, hardware, fsdp):
    """The plan as numbers, and as it was printed."""
    file = tmp_path / "plan.json"
    command = [
        sys.executable, "-m", "facemae_jax", "plan", f"--hardware={hardware}", f"--config.mesh.fsdp={fsdp}", f"--program={program}",
        f"--json={file}", *arguments,
    ]  # fmt: skip
    environment = {name: value for name, value in os.environ.items() if name != "XLA_FLAGS"}
    done = subprocess.run(command, cwd=repository, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return json.loads(file.read_text()), done.stdout


def nothing_large_moves_unplanned(plan, said, matrix):
    """One training was planned and compiled; what is large in it was foreseen."""
    assert plan["news"] == [[]], said
    (estimate,), (compiled,) = plan["estimates"], plan["programs"]
    assert not compiled["failure"], compiled["failure"]
    counts, devices = estimate["counts"], plan["machine"]["devices"]
    gathered = max(one["size"] for one in compiled["collectives"] if one["kind"] == "all-gather")
    assert 0 < gathered <= matrix  # never the network, the centres or the logits at once
    if counts["centres"]:
        assert counts["memory"]["centres"] == -(-2_059_906 // devices) * 512 * 4
        assert matrix < counts["memory"]["centres"]
    state = sum(counts["memory"][name] for name in ("weights", "optimizer", "centres", "centres_optimizer", "frozen"))
    assert state < compiled["arguments"] < 1.05 * state + counts["memory"]["batch"] + MIB
    return estimate, compiled


@pytest.mark.slow
@pytest.mark.parametrize("case", VIRTUAL)
def test_nothing_large_moves_unplanned(tmp_path, repository, case):
    arguments, hardware, fsdp, matrix = VIRTUAL[case]
    nothing_large_moves_unplanned(*planned(tmp_path, repository, "virtual", arguments, hardware, fsdp), matrix)


@pytest.mark.tpu
@pytest.mark.parametrize("case", SLICES)
def test_nothing_large_moves_unplanned_on_a_slice(tmp_path, repository, case):
    arguments, hardware, fsdp, matrix = SLICES[case]
    estimate, compiled = nothing_large_moves_unplanned(
        *planned(tmp_path, repository, "topology", arguments, hardware, fsdp), matrix
    )
    assert compiled["temporaries"] > 0
    paper, _ = planned(tmp_path, repository, "none", arguments, hardware, fsdp)
    # The arithmetic is an estimate: fusions keep less, copies take more (measured: 0.73 to 1.23 of it).
    assert 2 / 3 < estimate["needed"] / paper["estimates"][0]["needed"] < 3 / 2
