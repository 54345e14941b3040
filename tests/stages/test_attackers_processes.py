"""All attacks of an audit on several real processes, against one; the processes find each other through JAX's own runtime."""

import json
import os
import pathlib
import socket
import subprocess
import sys
import tempfile

import attackers_help
import pytest


def leaves(found, place=()):
    """(place, value) of all that stands in a result."""
    inside = found.items() if isinstance(found, dict) else enumerate(found) if isinstance(found, list) else None
    if inside is None:
        yield place, found
        return
    for name, part in inside:
        yield from leaves(part, (*place, name))


@pytest.mark.slow
def test_two_processes_find_what_one_finds(tmp_path, repository):
    world, out = attackers_help.build(tmp_path / "world"), tmp_path / "two" / "audit"
    alone = attackers_help.run(world, tmp_path / "one")
    out.parent.mkdir()
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    help_file = pathlib.Path(attackers_help.__file__)
    cache = os.environ.get("FACEMAE_TEST_CACHE") or os.path.join(tempfile.gettempdir(), "facemae-jax-tests")
    env = os.environ | {"JAX_PLATFORMS": "cpu", "JAX_NUM_CPU_DEVICES": "2", "PYTHONPATH": str(repository)}
    env["JAX_COMPILATION_CACHE_DIR"] = os.path.join(cache, "processes")
    started = [
        subprocess.Popen(
            [sys.executable, help_file, f"localhost:{port},2,{number}", world, out],
            env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )
        for number in range(2)
    ]  # fmt: skip
    try:
        told = [process.communicate(timeout=600) for process in started]
    finally:
        for process in started:
            process.kill()
    assert [process.returncode for process in started] == [0, 0], "\n".join(err for _, err in told)
    assert "audit of" in told[0][0] and "audit of" not in told[1][0]
    assert sorted(path.name for path in out.iterdir()) == ["audit.json"]
    one, two = (dict(leaves(result)) for result in (alone, json.loads((out / "audit.json").read_text())))
    assert set(one) == set(two) and len(one) > 2000
    apart = {
        place: (one[place], value)
        for place, value in two.items()
        if (abs(one[place] - value) > 0.02 if isinstance(value, float) else one[place] != value)
    }
    # What trained attackers find may change by an image or two: sums are taken in another order.
    assert not {place: pair for place, pair in apart.items() if not {"aware", "inversion"} & set(place)}
    assert len(apart) < 0.02 * len(two), apart
