"""configs/hardware.py: loadable without devices, consistent, and a chooser of meshes."""

import subprocess
import sys

import pytest

from configs import hardware
from facemae_jax.plan.machine import GIB, JOBS, mesh_sizes
from facemae_jax.types import FacemaeError


@pytest.mark.parametrize("machine", hardware.MACHINES.values(), ids=hardware.MACHINES)
def test_every_machine_is_whole(machine):
    assert machine.devices % machine.slices == 0 and machine.devices % machine.hosts == 0
    assert machine.hosts % machine.slices == 0
    assert set(machine.meshes) == set(JOBS)
    for sizes in machine.meshes.values():
        assert mesh_sizes(machine, *sizes) == sizes and sizes[1] <= machine.per_slice
    assert machine.bfloat16 >= machine.float32 > 1e11 and machine.memory >= 16 * GIB
    assert (machine.between > 0) or machine.slices == 1
    assert bool(machine.topology) == (machine.platform == "tpu")


def test_names_count_as_the_vendors_do():
    devices = {name: hardware.MACHINES[name].devices for name in ("v5p-128", "v5e-16", "v5e-256", "v6e-256", "h100x32")}
    assert devices == {"v5p-128": 64, "v5e-16": 16, "v5e-256": 256, "v6e-256": 256, "h100x32": 32}
    for machine in hardware.MACHINES.values():
        if machine.topology:
            chips = 1
            for side in machine.topology.partition(":")[2].split("x"):
                chips *= int(side)
            assert chips == machine.per_slice


def test_the_mesh_of_a_machine():
    assert hardware.mesh_for("h100x32") == (4, 8)
    assert hardware.mesh_for("h100x32", "recognizer") == (32, 1)
    with pytest.raises(FacemaeError, match="hardware=h100x33: did you mean h100x3"):
        hardware.mesh_for("h100x33")
    with pytest.raises(FacemaeError, match="job=maes: did you mean mae"):
        hardware.mesh_for("cpu", "maes")


def test_no_device_is_touched_by_loading(repository):
    code = (
        "from configs import hardware; from jax._src import xla_bridge; hardware.mesh_for('v5p-128'); "
        "print(xla_bridge.backends_are_initialized())"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=repository, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
