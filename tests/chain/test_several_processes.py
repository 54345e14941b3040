"""Several processes as one run, through the door: killed, restarted with other devices, exported; against one process on one device.

The processes are real ones on this machine, with four CPU devices each, and find each other through JAX's own runtime.
"""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time

import numpy as np
import pytest

pytestmark = pytest.mark.slow  # two runs of two processes come before the first test

# With Adam, large margins or tiny batches a last bit grows tenfold in some steps, on one device as on many: so plain SGD.
# Recognizers and relations over several processes: launch/local_pod.sh.
MILD = (
    "--config.synthetic.images=8", "--config.mae.irm_weight=0", "--config.mae.optim.optimizer=sgd", "--config.mae.optim.batch=16",
    "--config.mae.optim.learning_rate=0.05", "--config.mae.optim.epochs=30", "--config.reconstruct.encoding=png",
)  # fmt: skip
VERBS = ("import-faces", "train-mae", "reconstruct")
DOOR = """
import sys
from facemae_jax.__main__ import main
verbs, arguments = sys.argv[1].split(","), sys.argv[2:]
for verb in verbs:
    if code := main([verb, *arguments]):
        sys.exit(code)
"""


def start(count, devices, verbs, workdir, tiny, *more):
    """``count`` processes of ``devices`` CPU devices each, which do the verbs one after another."""
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    cache = os.environ.get("FACEMAE_TEST_CACHE") or os.path.join(tempfile.gettempdir(), "facemae-jax-tests")
    env = os.environ | {"JAX_NUM_CPU_DEVICES": str(devices), "JAX_PLATFORMS": "cpu"}
    env["JAX_COMPILATION_CACHE_DIR"] = os.path.join(cache, "processes")
    command = [sys.executable, "-c", DOOR, ",".join(verbs), f"--config={tiny}", f"--workdir={workdir}", *MILD, *more]
    return [
        subprocess.Popen(
            command + ([f"--processes=localhost:{port},{count},{number}"] if count > 1 else []),
            env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )
        for number in range(count)
    ]  # fmt: skip


def ended(processes, timeout=240):
    """(exit code, stdout, stderr) of each; all are gone afterwards."""
    try:
        told = [process.communicate(timeout=timeout) for process in processes]
    finally:
        for process in processes:
            process.kill()
    return [(process.returncode, *said) for process, said in zip(processes, told, strict=True)]


def succeed(processes):
    found = ended(processes)
    assert [code for code, _, _ in found] == [0] * len(found), "\n".join(err for _, _, err in found)
    return found


def wait_for(pattern, workdir, processes):
    """Until a file of that pattern is there."""
    limit = time.monotonic() + 200
    while not list(workdir.glob(pattern)):
        assert time.monotonic() < limit, f"{pattern} never came"
        assert all(process.poll() is None for process in processes), ended(processes)
        time.sleep(0.01)


def metrics(workdir, stage):
    lines = next(workdir.glob(f"{stage}-*/metrics.jsonl")).read_text().splitlines()
    return [json.loads(line) for line in lines]


def release_bytes(workdir):
    return {
        path.name: path.read_bytes() for path in next(workdir.glob("reconstruct-*/faces/1.0.0")).glob("*array_record*")
    }


@pytest.fixture(scope="module")
def alone(tiny, tmp_path_factory):
    """A workdir made by one process on one device."""
    workdir = tmp_path_factory.mktemp("alone") / "w"
    succeed(start(1, 1, VERBS, workdir, tiny))
    return workdir


@pytest.fixture(scope="module")
def pod(tiny, alone, tmp_path_factory):
    """A workdir begun by two processes of four devices, one of which was killed; finished by one of two; exported by two of four."""
    workdir = tmp_path_factory.mktemp("pod") / "w"
    secret = f"--secret-file={alone / 'private' / 'secret'}"
    processes = start(2, 4, VERBS[:2], workdir, tiny, secret)
    wait_for("train-mae-*/checkpoints/4/_CHECKPOINT_METADATA", workdir, processes)
    processes[1].send_signal(signal.SIGKILL)
    time.sleep(0.5)
    processes[0].kill()  # as a scheduler does; by itself it ends when the others' heartbeat has failed, see below
    ended(processes)
    assert not list(workdir.glob("train-mae-*/done.json")), "it was not killed in the middle; make it longer"
    succeed(start(1, 2, ["train-mae"], workdir, tiny, secret))
    exported = succeed(start(2, 4, ["reconstruct"], workdir, tiny, secret))
    return workdir, exported


def test_the_curve_is_that_of_one_device(alone, pod):
    one, many = metrics(alone, "train-mae"), metrics(pod[0], "train-mae")
    assert [line["step"] for line in one] == [line["step"] for line in many]
    np.testing.assert_allclose([x["loss"] for x in many], [x["loss"] for x in one], atol=1e-5)
    assert len(one) > 50 and one[0]["loss"] > one[-1]["loss"] + 0.05


def test_the_survivor_of_a_killed_process_ends(tiny, tmp_path):
    processes = start(2, 1, VERBS[:2], tmp_path, tiny)
    wait_for("train-mae-*/checkpoints/4/_CHECKPOINT_METADATA", tmp_path, processes)
    processes[1].send_signal(signal.SIGKILL)
    (code, _, _), (killed, _, _) = ended(processes, timeout=200)
    assert killed == -signal.SIGKILL and code not in (0, -signal.SIGKILL)
    assert not list(tmp_path.glob("train-mae-*/done.json")), "it was not killed in the middle; make it longer"


def test_processes_export_what_one_exports(alone, pod):
    """Images differ by a grey level at most, for the MAE's weights differ in the last bits; keys, order and shards do not."""
    from facemae_jax.data.face_set import open_face_set
    from facemae_jax.data.images import decode_record

    one, many = (open_face_set(next(w.glob("reconstruct-*/faces"))) for w in (alone, pod[0]))
    assert len(release_bytes(alone)) == len(release_bytes(pod[0])) > 2
    assert one.keys() == many.keys() and (one.labels_n == many.labels_n).all()
    for left, right in zip(one, many, strict=True):
        pair = [decode_record(record.image, record.key).astype(int) for record in (left, right)]
        assert np.abs(pair[0] - pair[1]).max() <= 1


def test_only_the_first_process_tells(pod):
    (_, first, _), (_, second, err) = pod[1]
    said = [line for line in second.splitlines() if not line.startswith("[Gloo]")]  # which names itself on every rank
    assert "done in" in first and not said and "images/s" not in err


def test_a_signal_to_one_process_stops_all_after_the_same_step(tiny, alone, tmp_path):
    shutil.copytree(alone / "import-faces", tmp_path / "import-faces")
    processes = start(2, 1, ["train-mae"], tmp_path, tiny, "--config.mae.optim.save_every=1000")
    wait_for("train-mae-*/metrics.jsonl", tmp_path, processes)
    while not metrics(tmp_path, "train-mae"):
        time.sleep(0.01)
    processes[1].send_signal(signal.SIGTERM)
    found = ended(processes)
    assert [code for code, _, _ in found] == [143, 143], found
    checkpoints = next(tmp_path.glob("train-mae-*/checkpoints"))
    (saved,) = (int(path.name) for path in checkpoints.iterdir() if path.name.isdigit())
    assert f"got SIGTERM and saved step {saved} of" in found[0][2]
    assert saved < len(metrics(alone, "train-mae"))
    succeed(start(1, 1, ["train-mae"], tmp_path, tiny))
    many, one = metrics(tmp_path, "train-mae"), metrics(alone, "train-mae")
    np.testing.assert_allclose([x["loss"] for x in many], [x["loss"] for x in one], atol=1e-5)


def test_a_fault_of_one_process_ends_all_and_is_told_once(tiny, tmp_path):
    found = ended(
        start(2, 1, ["import-faces"], tmp_path, tiny, "--config.data.seen=/no/such/folder", "--config.data.terms=x")
    )
    assert [code for code, _, _ in found] == [2, 2]
    assert "/no/such/folder" in found[0][2]
