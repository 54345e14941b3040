import subprocess
import sys
import time
from multiprocessing import Pipe

import pytest
from import_help import SIZE, Odd, fill

from facemae_jax.data import import_worker
from facemae_jax.data.images import BadImage
from facemae_jax.data.import_worker import _portable, _serve
from facemae_jax.data.shard_import import Shard, Target, Wanted
from facemae_jax.data.shard_writer import ShardWriter

HEAVY = ("jax", "jaxlib", "flax", "tensorflow", "tensorflow_datasets", "grain", "matplotlib", "pyarrow")


def test_a_worker_imports_what_it_needs_and_no_more(repository):
    formats = ("archive", "folder", "parquet", "recordio", "tar")
    code = (
        "import sys, facemae_jax.data.import_worker\n"
        + "\n".join(f"import facemae_jax.data.formats.{name}" for name in formats)
        + f"\nprint([name for name in {HEAVY} if name in sys.modules])"
    )
    told = subprocess.run([sys.executable, "-c", code], cwd=repository, capture_output=True, text=True, check=True)
    assert told.stdout == "[]\n"


class Strange(Exception):
    """It is pickled with its text alone, of which it cannot be made."""

    def __init__(self, one: int, two: int):
        super().__init__(f"{one} and {two}")


@pytest.mark.parametrize(
    ("error", "kind", "text"),
    [
        (BadImage("a/1.jpg", "it is spoiled"), BadImage, "a/1.jpg: it is spoiled"),
        (OSError(28, "No space left on device", "/x"), OSError, "No space left"),
        (Strange(1, 2), RuntimeError, "Strange: 1 and 2"),
    ],
    ids=["bad image", "full disk", "unpicklable"],
)
def test_errors_come_back_as_they_are(tmp_path, monkeypatch, error, kind, text):
    def fail(*_):
        raise error

    monkeypatch.setattr(import_worker, "import_shard", fail)
    ours, theirs = Pipe()
    with ours, theirs:
        _serve(Shard(5, None, [], [], []), None, theirs)
        what, value = ours.recv()
    assert what == "failed" and type(value) is kind and text in str(value)
    assert getattr(value, "errno", 28) == 28 and getattr(value, "reason", "it is spoiled") == "it is spoiled"


def test_where_an_error_arose_goes_along():
    try:
        raise ValueError("x")
    except ValueError as error:
        assert "test_import_worker.py" in _portable(error).__notes__[0]


def test_images_are_counted_now_and_then(tmp_path, monkeypatch):
    source = Odd(fill(tmp_path / "in", 9))
    target = Target(ShardWriter(tmp_path, tmp_path, 9, ("array_record",), None), tmp_path, Wanted(SIZE))
    shard = Shard(0, source, range(9), range(9), [0] * 9)
    counts = {}
    for often in (0.0, 60.0):
        monkeypatch.setattr(import_worker, "OFTEN", often)
        ours, theirs = Pipe()
        with ours, theirs:
            _serve(shard, target, theirs)
            counts[often] = []
            while ours.poll():
                counts[often].append(ours.recv()[1])
    assert sum(counts[0.0]) == 9 and len(counts[0.0]) == 10 and counts[60.0] == [9]


def test_the_end_of_the_connection_ends_it():
    ours, theirs = Pipe()
    code = f"from facemae_jax.data.import_worker import main; main({theirs.fileno()})"
    with ours, subprocess.Popen([sys.executable, "-c", code], pass_fds=[theirs.fileno()]) as process:
        theirs.close()
        time.sleep(0.1)
        assert process.poll() is None
        ours.close()
        assert process.wait(20) == 0


def test_what_cannot_be_understood_ends_it(capfd):
    ours, theirs = Pipe()
    code = f"from facemae_jax.data.import_worker import main; main({theirs.fileno()})"
    with ours, subprocess.Popen([sys.executable, "-c", code], pass_fds=[theirs.fileno()]) as process:
        theirs.close()
        ours.send_bytes(b"no pickle")
        assert process.wait(20) == 1
    assert "UnpicklingError" in capfd.readouterr().err
