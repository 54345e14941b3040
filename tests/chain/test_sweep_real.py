"""One real sweep in small: from a finished chain, killed by the system in the middle, started again. Minutes: slow."""

import contextlib
import csv
import io
import os
import signal
import subprocess
import sys
import time

import jax
import pytest

from facemae_jax import __main__ as door

GRID = "--grid=mae.mask_ratio=0.5;seed=0,1"


def through_the_door(*arguments):
    said = io.StringIO()
    with contextlib.redirect_stdout(said):
        assert door.main([str(argument) for argument in arguments]) == 0
    return said.getvalue()


def finished(workdir):
    """Stage directory → when its done.json was written."""
    files = [
        *workdir.glob("*/done.json"),
        *workdir.glob("*/*/done.json"),
    ]  # deeper down, folders come and go while it runs
    return {file.parent.relative_to(workdir).as_posix(): file.stat().st_mtime_ns for file in files}


@pytest.mark.slow
def test_a_killed_sweep_goes_on_from_a_finished_chain_and_repeats_nothing(tiny, tmp_path):
    workdir = tmp_path / "w"
    call = [f"--config={tiny}", f"--workdir={workdir}"]
    through_the_door("run", *call)
    before = finished(workdir)
    assert len(before) == 13
    said = through_the_door("sweep", *call, GRID, "--dry-run")
    # Of seed 0 only the MAE and what follows it; of seed 1 everything but the faces.
    assert "14 stages to make, 6 finished ones to reuse" in said
    devices = {
        "JAX_NUM_CPU_DEVICES": "8",
        "JAX_PLATFORMS": "cpu",
        "JAX_COMPILATION_CACHE_DIR": jax.config.jax_compilation_cache_dir,
    }
    process = subprocess.Popen(
        [sys.executable, "-m", "facemae_jax", "sweep", *call, GRID], env=os.environ | devices,
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    limit = time.monotonic() + 300
    while process.poll() is None and len(finished(workdir)) < 19 and time.monotonic() < limit:
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    killed = finished(workdir)
    assert 19 <= len(killed) < 27, "it was not killed in the middle"
    said = through_the_door("sweep", *call, GRID)
    after = finished(workdir)
    assert {name: after[name] for name in killed} == killed and len(after) == 13 + 14
    assert "2 of 2 points are complete" in said
    assert len(list(workdir.glob("train-mae-*"))) == 3 and len(list(workdir.glob("train-teacher-*"))) == 2
    assert len(list(workdir.glob("publish-*"))) == len(list(workdir.glob("report-*"))) == 1  # those of the run
    (folder,) = workdir.glob("sweep-*")
    lines = list(csv.DictReader((folder / "sweep.csv").open()))
    assert {line["variant"] for line in lines} == {"original", "mask", "blur", "reconstruction"}
    assert all(line["utility"] and line["same_image_rank_1"] for line in lines) and len(lines) == 2 * 4 * 2
    page = (folder / "report.html").read_text()
    assert page.count("<svg") >= 9 and str(tmp_path) not in page
