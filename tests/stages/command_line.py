"""Runs of ``python -m facemae_jax`` in processes of their own, which may be stopped on the way; for the tests of this folder."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import jax
import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
CONFIG = '''
from configs import base


def get_config():
    """Eight people, four of them seen: 16 images, two steps for each pass."""
    c = base.get_config()
    c.data.image_size = 32
    c.synthetic.update(dict(identities=8, images=4))
    c.verify.faces = ""
    training = dict(epochs={epochs}, batch=8, log_every=1, save_every=9)
    c.teacher.update(dict(network="cpu", embedding=16))
    c.teacher.optim.update(training)
    c.mae.update(dict(size="custom", width=16, depth=1, heads=2))
    c.mae.update(dict(decoder_width=16, decoder_depth=1, decoder_heads=2, irm_weight={irm_weight}, relation_from=0.5))
    c.mae.optim.update(training)
    return c
'''


class Command:
    """One stage of one config in one workdir, as a user runs it."""

    def __init__(self, verb: str, config: Path, workdir: Path, devices: int = 1):
        self.verb, self.config, self.workdir, self.devices = verb, config, workdir, devices

    @property
    def stage(self) -> Path:
        """The directory of the stage, once it was begun."""
        (found,) = self.workdir.glob(f"{self.verb}-*")
        return found

    def begin(self) -> subprocess.Popen:
        """The running process. What it compiles is kept with the tests' own programs."""
        environment = os.environ | {
            "JAX_PLATFORMS": "cpu",
            "JAX_NUM_CPU_DEVICES": str(self.devices),
            "JAX_COMPILATION_CACHE_DIR": jax.config.jax_compilation_cache_dir,
            "PYTHONPATH": str(REPOSITORY),
        }
        command = [
            sys.executable,
            "-m",
            "facemae_jax",
            self.verb,
            f"--config={self.config}",
            f"--workdir={self.workdir}",
        ]
        return subprocess.Popen(
            command, cwd=REPOSITORY, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )

    def finish(self) -> str:
        """Run to the end; what it said on stdout."""
        process = self.begin()
        said, errors = process.communicate(timeout=600)
        assert process.returncode == 0, errors
        return said

    def stop(self, number: signal.Signals, step: int, after: float = 0.0) -> tuple[int, str]:
        """Send a signal some seconds after ``step`` was logged; exit code and stderr."""
        process = self.begin()
        try:
            while self.steps() < step:
                if process.poll() is not None:
                    pytest.fail(f"the run ended with {process.returncode} before step {step}: {process.stderr.read()}")
                time.sleep(0.02)
            time.sleep(after)
            process.send_signal(number)
            _, errors = process.communicate(timeout=600)
        finally:
            process.kill()
        return process.returncode, errors

    def steps(self) -> int:
        """The last step that ``metrics.jsonl`` has a whole line of; a run that is killed may tear the last one."""
        for stage in self.workdir.glob(f"{self.verb}-*/metrics.jsonl"):
            lines = stage.read_text().split("\n")[:-1]
            return json.loads(lines[-1])["step"] if lines else 0
        return 0

    def checkpoints(self) -> list[int]:
        """The steps that are saved whole."""
        return sorted(int(path.name) for path in (self.stage / "checkpoints").iterdir() if path.name.isdigit())

    def result(self) -> tuple[str, str]:
        """Checksum of the weights, and all metrics."""
        return (self.stage / "model" / "weights.sha256").read_text(), (self.stage / "metrics.jsonl").read_text()
