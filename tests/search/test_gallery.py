"""How a gallery is spread; over two real processes too, each of which holds only its own slice."""

import json
import os
import socket
import subprocess
import sys
import tempfile

import numpy as np
from full_ranking import MESHES, brute_force, faces, mesh_of, some_excluded, whole_numbers

from facemae_jax.search.gallery import CHUNK, place

SLICES = (300, 151)  # rows of each process
ONE_OF_TWO = """
import json, sys
import jax, numpy as np
sys.path.insert(0, sys.argv[3])
from full_ranking import some_excluded, whole_numbers
from facemae_jax import processes, search
from facemae_jax.mesh import make_mesh
from facemae_jax.types import FacemaeError

processes.join(sys.argv[1])
start, stop = json.loads(sys.argv[2])
mesh, queries_QE, slice_GE = make_mesh(2, 2), whole_numbers(40, seed=1), whole_numbers(451, seed=2)[start:stop]
exclude_Q = some_excluded(40, 451) * 11 % 451
scores_Qk, positions_Qk = search.top_k(queries_QE, slice_GE, 6, block=64, exclude_Q=exclude_Q, mesh=mesh)
ranks_Qk = search.rank_of(queries_QE, slice_GE, positions_Qk, block=64, exclude_Q=exclude_Q, mesh=mesh)
told = ""
try:
    search.top_k(queries_QE, np.where(start == 0, slice_GE, np.nan), 6, mesh=mesh)  # the second one's slice is bad
except FacemaeError as error:
    told = str(error)
found = scores_Qk.tolist(), positions_Qk.tolist(), ranks_Qk.tolist(), told
print("FOUND" + json.dumps(found), flush=True)
"""


def test_each_device_holds_its_share_and_little_padding():
    gallery_GE = faces(1111)
    for name in MESHES:
        gallery = place(gallery_GE, mesh_of(name), 64, 8)
        devices = gallery.mesh.size
        assert gallery.size == 1111 and gallery.columns <= 64
        assert len(gallery.rows_GE) - 1111 < devices * (CHUNK * -(-1111 // devices // gallery.columns) + CHUNK)
        held = [np.asarray(shard.data) for shard in gallery.rows_GE.addressable_shards]
        assert {len(rows) for rows in held} == {len(gallery.rows_GE) // devices}
        first_d, count_d = np.asarray(gallery.first_d), np.asarray(gallery.count_d)
        rows_dgE = np.asarray(gallery.rows_GE).reshape(devices, -1, 8)
        for first, count, rows_gE in zip(first_d, count_d, rows_dgE, strict=True):
            np.testing.assert_array_equal(rows_gE[:count], gallery_GE[first : first + count])
            assert not rows_gE[count:].any()
        assert count_d.sum() == 1111


def test_two_processes_with_a_slice_each_find_what_one_finds_in_all(repository):
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    cache = os.environ.get("FACEMAE_TEST_CACHE") or os.path.join(tempfile.gettempdir(), "facemae-jax-tests")
    env = os.environ | {"JAX_NUM_CPU_DEVICES": "2", "JAX_PLATFORMS": "cpu", "PYTHONPATH": str(repository)}
    env["JAX_COMPILATION_CACHE_DIR"] = os.path.join(cache, "processes")
    bounds = [[0, SLICES[0]], [SLICES[0], sum(SLICES)]]
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", ONE_OF_TWO, f"localhost:{port},2,{number}", json.dumps(part), os.path.dirname(__file__)],
            env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )
        for number, part in enumerate(bounds)
    ]  # fmt: skip
    try:
        said = [process.communicate(timeout=120) for process in processes]
    finally:
        for process in processes:
            process.kill()
    found = []
    for process, (out, err) in zip(processes, said, strict=True):
        assert process.returncode == 0, err
        found.append(json.loads(out.split("FOUND")[1].splitlines()[0]))
    queries_QE, gallery_GE = whole_numbers(40, seed=1), whole_numbers(451, seed=2)
    right_scores, right_positions = brute_force(queries_QE, gallery_GE, some_excluded(40, 451) * 11 % 451)
    for scores_Qk, positions_Qk, ranks_Qk, _ in found:
        np.testing.assert_array_equal(positions_Qk, right_positions[:, :6])
        np.testing.assert_array_equal(scores_Qk, right_scores[:, :6])
        np.testing.assert_array_equal(ranks_Qk, [np.arange(6) + 1] * 40)
    assert "another process" in found[0][3] and "gallery hold NaN" in found[1][3]
