"""The door: what it reads, what it refuses, and in which words. The chain itself is run in tests/chain/test_runner.py."""

import ctypes
import errno
import os
import subprocess
import sys

import pytest

from facemae_jax import __main__ as door
from facemae_jax.chain import graph, settings
from facemae_jax.types import FacemaeError

VERBS = [*graph.STAGES, "run"]


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["rum", "--config=x", "--workdir=y"], "did you mean run?"),
        (["run", "--confg=x"], "did you mean --config"),
        (["run", "--config=x"], "--workdir is missing"),
        (["run", "--workdir=x"], "--config is missing"),
        (["run", "--config"], "a value is missing"),
        (["run", "audit", "--config=x", "--workdir=y"], "one verb at a time"),
        (["report", "audit", "--config=x", "--workdir=y"], "one verb at a time"),
        (["run", "--compare", "a"], "--compare belongs to the verb report"),
        (["report", "--out=x.html", "--config=x", "--workdir=y"], "--out belongs to report --compare"),
        (["report", "--compare", "no-such-folder"], "at least two runs"),
        (["report", "--compare", "no-such-folder", "other", "--out", "x.html"], "no-such-folder: no such folder"),
    ],
)
def test_a_wrong_command_line_is_told_in_one_sentence(arguments, expected, capsys):
    assert door.main(arguments) == 2
    said = capsys.readouterr().err
    assert expected in said and said.startswith("error: ") and "Traceback" not in said


def test_help_names_every_verb_and_every_setting(capsys):
    assert door.main(["--help"]) == 0
    said = capsys.readouterr().out
    assert all(verb in said for verb in VERBS) and "configs/demo.py" in said
    assert door.main(["train-mae", "--help"]) == 0
    said = capsys.readouterr().out
    assert "--config.mae.irm_weight=2.0" in said and "instance relation matching" in said
    assert "--config.verify.count" not in said


def test_without_a_verb_the_door_teaches(capsys):
    assert door.main([]) == 0
    assert "Start here" in capsys.readouterr().out


def test_a_full_disk_is_no_traceback(monkeypatch, capsys, tmp_path):
    def full(call):
        raise OSError(errno.ENOSPC, "No space left on device", "shard-00000")

    monkeypatch.setattr(door, "serve", full)
    assert door.main(["run", "--config=configs/demo.py", f"--workdir={tmp_path}"]) == 2
    assert "the disk is full while writing shard-00000" in capsys.readouterr().err


def test_bad_settings_leave_no_workdir_behind(tmp_path, capsys):
    workdir = tmp_path / "w"
    assert door.main(["run", "--config=configs/demo.py", f"--workdir={workdir}", "--config.mae.patch=7"]) == 2
    assert "mae.patch=7 does not divide" in capsys.readouterr().err
    assert not workdir.exists()


def test_a_stage_whose_input_is_missing_names_the_command(tmp_path, capsys):
    assert door.main(["train-mae", "--config=configs/demo.py", f"--workdir={tmp_path}"]) == 2
    assert "python -m facemae_jax import-faces --config=configs/demo.py" in capsys.readouterr().err


def test_the_door_opens_from_any_directory(tmp_path, repository):
    command = [sys.executable, "-m", "facemae_jax", "import-faces", "--help"]
    done = subprocess.run(
        command, cwd=tmp_path, env={"PYTHONPATH": str(repository), "PATH": ""}, capture_output=True, text=True
    )
    assert done.returncode == 0 and "--config.data.image_size" in done.stdout
    assert done.stderr == ""


def test_every_verb_has_a_summary_and_a_docstring():
    for module in graph.MODULES:
        assert module.SUMMARY and module.__doc__ and module.VERSION >= 1
    with pytest.raises(FacemaeError):
        settings.load("configs/base.py", [("nothing", "1")])


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "mallopt"), reason="only glibc can be told to keep freed memory")
@pytest.mark.parametrize("where", ["main thread", "other thread"])
def test_freed_memory_is_kept_for_the_next_step(where):
    # Page faults of twenty pairs of large arrays made and dropped: with the setting only the first ones fault their pages in.
    run = "work()" if where == "main thread" else "t = threading.Thread(target=work); t.start(); t.join()"
    code = (
        "import resource, sys, threading, numpy; from facemae_jax.__main__ import keep_freed_memory; "
        "keep_freed_memory() if sys.argv[1] == 'keep' else None; numpy.ones(1); "
        "work = lambda: [numpy.ones(1 << 22).sum() + numpy.ones(1 << 23).sum() for _ in range(20)]; "
        "faults = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_minflt; before = faults(); "
        f"{run}; print(faults() - before)"
    )
    counts = {}
    for what in ("keep", "leave"):
        done = subprocess.run(
            [sys.executable, "-c", code, what], env=os.environ | {"NUMPY_MADVISE_HUGEPAGE": "0"},
            capture_output=True, text=True, check=True,
        )  # fmt: skip
        counts[what] = int(done.stdout)
    assert counts["keep"] < counts["leave"] / 4, counts
