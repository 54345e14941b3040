import os
import signal
import subprocess
import sys
import time

import numpy as np

from facemae_jax.data.formats import synthetic_source
from facemae_jax.data.formats.synthetic_source import SyntheticSource
from facemae_jax.data.synthetic import people, render


def test_keys_identities_and_pixels():
    source = SyntheticSource(people(2, 3, seed=5, size=16, first=7))
    assert source.keys == [f"person-{person:05d}/{image:04d}" for person in (7, 8) for image in range(3)]
    assert source.identity(4) == "person-00008" and source.where(0) == "synthetic person-00007/0000"
    np.testing.assert_array_equal(source.read(4), render(8, 1, seed=5, size=16))
    assert not source.ignored


def test_keys_are_sorted_where_the_numbers_grow_longer():
    source = SyntheticSource(people(2, 1, seed=0, size=16, first=99_999))
    assert source.keys == ["person-100000/0000", "person-99999/0000"]
    np.testing.assert_array_equal(source.read(0), render(100_000, 0, seed=0, size=16))


def test_processes_render_the_same(monkeypatch):
    monkeypatch.setattr(synthetic_source, "FEW", 3)
    alone, helped = (SyntheticSource(people(2, 2, seed=0, size=16), processes) for processes in (1, 2))
    for position in range(4):
        np.testing.assert_array_equal(alone.read(position), helped.read(position))
    helped.close()


KILLED = """
from facemae_jax.data.formats import synthetic_source
from facemae_jax.data.synthetic import people
if __name__ == "__main__":
    synthetic_source.FEW = 0
    source = synthetic_source.SyntheticSource(people(1, 1, seed=0, size=16), 2)
    source.read(0)
    print(*source._pool._processes, flush=True)
    input()
"""


def test_processes_end_with_a_killed_caller(tmp_path, repository):
    (tmp_path / "main.py").write_text(KILLED)
    command, environment = [sys.executable, str(tmp_path / "main.py")], os.environ | {"PYTHONPATH": str(repository)}
    with subprocess.Popen(command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as caller:
        children = [int(number) for number in caller.stdout.readline().split()]
        assert children and all(alive(child) for child in children)
        caller.send_signal(signal.SIGKILL)
    for _ in range(100):
        if not any(alive(child) for child in children):
            return
        time.sleep(0.1)
    raise AssertionError("rendering processes outlive their caller")


def alive(process: int) -> bool:
    """Whether a process runs; one that has ended but was not waited for yet does not."""
    try:
        with open(f"/proc/{process}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False
