import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from import_help import SIZE, Odd, alive, fill, gone, listed, workers

from facemae_jax import logs
from facemae_jax.data import face_import, import_sharing
from facemae_jax.data.face_import import Wanted, import_source
from facemae_jax.data.face_set import FaceSet, open_face_set
from facemae_jax.data.formats.folder import FolderSource
from facemae_jax.data.images import BadImage
from facemae_jax.data.import_crew import Crew
from facemae_jax.data.shard_import import Target
from facemae_jax.data.shard_writer import ShardWriter
from facemae_jax.types import FacemaeError


@pytest.fixture(autouse=True)
def small_shards(monkeypatch):
    monkeypatch.setattr(face_import, "SHARD_RECORDS", 4)
    monkeypatch.setattr(face_import, "FEW", 0)


@pytest.fixture
def ready(tmp_path):
    """Two workers are there, so that they have shards as soon as an import begins."""
    (tmp_path / "warm").mkdir()
    target = Target(ShardWriter(tmp_path / "warm", tmp_path, 1, ("array_record",), None), tmp_path, Wanted(SIZE))
    with Crew(2, target, "warm") as crew:
        while len(crew._free) < 2:
            crew.hear(None)


def run(tmp_path: Path, source: FolderSource, out: str = "out", **wanted) -> tuple[face_import.Imported, FaceSet]:
    (tmp_path / out).mkdir(exist_ok=True)
    version = tmp_path / out / "faces" / "1.0.0"
    imported = import_source(source, version, tmp_path / out / "notes", Wanted(SIZE, **wanted), "toy")
    return imported, open_face_set(version)


def files(tmp_path: Path, out: str) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in (tmp_path / out / "faces" / "1.0.0").iterdir()}


def test_files_do_not_depend_on_the_number_of_processes(tmp_path, ready):
    folder = fill(tmp_path / "in", 42, n5=b"", n30=b"text")
    told = [
        run(tmp_path, Odd(folder, 0.02), str(threads), threads=threads, on_bad_record="skip")[0]
        for threads in (1, 2, 3)
    ]
    assert files(tmp_path, "1") == files(tmp_path, "2") == files(tmp_path, "3") and len(files(tmp_path, "1")) == 11 + 5
    assert told[0] == told[1] == told[2] and [position for position, _ in told[0].skipped] == [5, 30]
    assert len(workers(tmp_path)) == 2, "both workers have read images"
    assert listed(tmp_path) <= {2, 4}, "they are sent the images of a shard"


def test_small_sources_and_single_threads_start_no_process(tmp_path, monkeypatch):
    monkeypatch.setattr(face_import, "share_out", lambda *_: pytest.fail("a process was started"))
    folder = fill(tmp_path / "in", 20)
    run(tmp_path, FolderSource(folder), "a", threads=1)
    monkeypatch.setattr(face_import, "FEW", 20)
    run(tmp_path, FolderSource(folder), "b", threads=2)
    monkeypatch.setattr(face_import, "FEW", 19)
    monkeypatch.setattr(FolderSource, "divisible", lambda _: False)
    run(tmp_path, FolderSource(folder), "c", threads=2)


def test_first_bad_image_in_order_stops_the_import_whoever_reads_it(tmp_path, ready):
    folder = fill(tmp_path / "in", 40, **{f"n{number}": b"" for number in range(9, 40)})
    for attempt in range(3):
        with pytest.raises(BadImage, match=r"p0/009\.jpg: the file is empty .*on_bad_record=skip"):
            run(tmp_path, Odd(folder, 0.01), threads=3)
        notes = sorted(file.name for file in (tmp_path / "out" / "notes").iterdir())
        assert notes == ["00000.json", "00001.json"], attempt
    assert not (tmp_path / "out" / "faces" / "1.0.0").exists()
    assert not list((tmp_path / "out").rglob(".0*")), "nothing half-written is left"


class Scripted:
    """One worker that is free at first; ``told`` is what it tells of shard 0, in ``looks`` or when it is waited for."""

    looks, told = 10**9, BadImage("low", "bad")

    def __init__(self, *_):
        self.writing: list[int] = []
        self.begun = 0

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass

    def free(self) -> bool:
        return not self.begun

    def busy(self) -> list[int]:
        return self.writing

    def give(self, number) -> None:
        self.begun, self.writing = 1, [number]

    def hear(self, seconds):
        self.looks -= 1
        if self.begun and self.writing and (seconds is None or self.looks <= 0):
            self.writing = []
            return [(0, "failed", self.told)] if self.told else []
        return []


def share(crew, monkeypatch, write_here) -> None:
    monkeypatch.setattr(import_sharing, "Crew", crew)
    import_sharing.share_out(range(3), 1, None, lambda shard: shard, write_here, lambda count: None, "toy")


@pytest.mark.parametrize("told", [BadImage("low", "bad"), None])
def test_shards_below_one_that_failed_are_waited_for(monkeypatch, told):
    written = []

    def write_here(shard, attend):
        written.append(shard)
        raise BadImage("high", "bad")

    with pytest.raises(BadImage, match="low: bad" if told else "high: bad"):
        share(type("Late", (Scripted,), {"told": told}), monkeypatch, write_here)
    assert written == [1], "and no further one is begun"


def test_shards_above_one_that_failed_are_given_up(monkeypatch):
    looked = []

    def write_here(shard, attend):
        for look in range(1000):
            looked.append(look)
            time.sleep(0.002)
            attend()

    with pytest.raises(BadImage, match="low: bad"):
        share(type("Soon", (Scripted,), {"looks": 5}), monkeypatch, write_here)
    assert len(looked) < 100


def test_bad_image_in_a_worker_reaches_the_caller(tmp_path, ready):
    folder = fill(tmp_path / "in", 40, n6=b"text")
    with pytest.raises(BadImage, match=r"p0/006\.jpg: this is no image") as caught:
        run(tmp_path, Odd(folder, 0.2), threads=3)
    assert workers(tmp_path) and caught.value.reason.startswith("this is no image")


def test_killed_worker_is_told_and_whole_shards_are_kept(tmp_path, ready):
    folder = fill(tmp_path / "in", 40, **{f"n{number}": b"die" for number in range(12, 40)})
    with pytest.raises(
        FacemaeError, match=r"toy: a process .* ended \(signal 9, Killed\) in shard \d.*data\.threads lower"
    ):
        run(tmp_path, Odd(folder, 0.01), threads=3)
    assert gone(workers(tmp_path))
    whole = list((tmp_path / "out").rglob("0*.npz"))
    assert 0 < len(whole) <= 3 and not list((tmp_path / "out").rglob(".0*")), "nothing half-written is left"
    seen = Odd(folder)
    reads = []
    seen.read = lambda position: reads.append(position) or Odd.read(seen, position)  # type: ignore[method-assign]
    _, faces = run(tmp_path, seen, threads=1)
    assert len(faces) == 40 and len(reads) == 40 - 4 * len(whole), "no finished shard is repeated"


def test_what_nobody_thought_of_keeps_its_name_and_place(tmp_path, ready):
    folder = fill(tmp_path / "in", 40, **{f"n{number}": b"stray" for number in range(40)})
    with pytest.raises(ZeroDivisionError, match="nobody thought") as caught:
        run(tmp_path, Odd(folder, 0.05), threads=2)
    assert "import_help.py" in caught.value.__notes__[0]


def test_full_disk_in_a_worker_is_one(tmp_path, ready, monkeypatch):
    folder, written = fill(tmp_path / "in", 40), face_import.FaceSetWriter.__init__

    def nowhere(writer, *arguments, **options):
        written(writer, *arguments, **options)
        writer.shard_writer = writer.shard_writer._replace(folder=tmp_path / "nowhere")

    monkeypatch.setattr(face_import.FaceSetWriter, "__init__", nowhere)

    def wait(shard, target, finished):  # the caller writes nothing, and a worker gets its turn
        for _ in range(300):
            finished(0)
            time.sleep(0.01)

    monkeypatch.setattr(face_import, "import_shard", wait)
    with pytest.raises(FileNotFoundError, match="nowhere"):
        run(tmp_path, FolderSource(folder), threads=2)


def test_progress_counts_what_workers_do(tmp_path, ready, monkeypatch):
    counted, update = [], logs.Progress.update
    monkeypatch.setattr(logs.Progress, "update", lambda bar, count: counted.append(count) or update(bar, count))
    run(tmp_path, Odd(fill(tmp_path / "in", 42), 0.01), threads=3)
    assert sum(counted) == 42 and workers(tmp_path)


CODE = """
import signal, sys
from pathlib import Path
signal.signal(signal.SIGINT, signal.default_int_handler)  # what is started in the background of a script ignores it
sys.path.insert(0, sys.argv[2])
from import_help import Odd
from facemae_jax.data import face_import
face_import.SHARD_RECORDS, face_import.FEW = 4, 0
out = Path(sys.argv[1])
wanted = face_import.Wanted(8, threads=3)
try:
    face_import.import_source(Odd(out / "in", 0.1), out / "faces" / "1.0.0", out / "notes", wanted, "toy")
except KeyboardInterrupt:
    sys.exit(130)
"""


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, -15), (signal.SIGKILL, -9)])
def test_workers_end_with_the_caller(tmp_path, repository, number, code):
    fill(tmp_path / "in", 400, **{f"n{number}": b"sleep" for number in range(400)})
    command = [sys.executable, "-c", CODE, str(tmp_path), str(Path(__file__).parent)]
    with subprocess.Popen(command, cwd=repository, stderr=subprocess.DEVNULL) as process:
        end = time.monotonic() + 60
        while len(workers(tmp_path)) < 2:
            assert process.poll() is None and time.monotonic() < end, "no worker has begun"
            time.sleep(0.02)
        started = workers(tmp_path)
        assert all(map(alive, started))
        process.send_signal(number)
        assert process.wait(20) == code
    assert gone(started)


def test_interrupted_import_goes_on_with_the_missing_shards(tmp_path, ready, monkeypatch):
    folder, update = fill(tmp_path / "in", 40), logs.Progress.update

    def stop(bar, count):
        update(bar, count)
        if bar.done >= 20:
            raise KeyboardInterrupt

    monkeypatch.setattr(logs.Progress, "update", stop)
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, Odd(folder, 0.01), threads=3)
    assert gone(workers(tmp_path)), "after an error all are ended"
    monkeypatch.undo()
    monkeypatch.setattr(face_import, "SHARD_RECORDS", 4)
    before = {file: file.stat().st_mtime_ns for file in (tmp_path / "out" / "notes").iterdir()}
    _, faces = run(tmp_path, FolderSource(folder), threads=1)
    assert before and all(file.stat().st_mtime_ns == time for file, time in before.items()) and len(faces) == 40
    assert [len(json.loads(file.read_text())["skipped"]) for file in before] == [0] * len(before)
