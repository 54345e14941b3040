import os
import signal
import time

import pytest
from import_help import SIZE, Odd, fill, gone

from facemae_jax.data import import_crew
from facemae_jax.data.import_crew import Crew, Worker, dismiss
from facemae_jax.data.shard_import import Shard, Target, Wanted
from facemae_jax.data.shard_writer import ShardWriter
from facemae_jax.types import FacemaeError


@pytest.fixture(autouse=True)
def alone():
    """No worker is left from other tests, and none for them."""
    dismiss()
    yield
    dismiss()


@pytest.fixture
def target(tmp_path) -> Target:
    (tmp_path / "out").mkdir()
    return Target(ShardWriter(tmp_path / "out", tmp_path, 10, ("array_record",), None), tmp_path / "out", Wanted(SIZE))


def shard(tmp_path, number: int = 0, **odd: bytes) -> Shard:
    folder = tmp_path / f"in-{number}"
    source = Odd(fill(folder, 6, **odd))
    return Shard(number, source.part(range(6)), range(6), range(6), [0] * 6)


def until_free(crew: Crew, count: int) -> list:
    heard = []
    while len(crew._free) < count:
        heard += crew.hear(20)
    return heard


def processes(crew: Crew) -> set[int]:
    return {worker.process.pid for worker in crew._all}


def test_a_shard_is_written_and_counted(tmp_path, target):
    with Crew(2, target, "toy") as crew:
        assert not crew.free() and crew.busy() == []
        until_free(crew, 2)
        crew.give(shard(tmp_path, 3))
        assert crew.free() and crew.busy() == [3]
        heard = until_free(crew, 2)
        assert {(number, kind) for number, kind, _ in heard} == {(3, "count")}
        assert sum(count for _, _, count in heard) == 6 and crew.busy() == []
    assert sorted(file.name for file in (tmp_path / "out").iterdir()) == [
        "00003.array_record",
        "00003.json",
        "00003.npz",
    ]


def test_free_workers_rest_and_serve_the_next_import(tmp_path, target):
    with Crew(2, target, "one") as crew:
        until_free(crew, 2)
        first = processes(crew)
    (tmp_path / "other").mkdir()
    other = target._replace(writer=target.writer._replace(folder=tmp_path / "other"), notes=tmp_path / "other")
    with Crew(1, other, "two") as crew:
        until_free(crew, 1)
        assert processes(crew) < first
        crew.give(shard(tmp_path))
        until_free(crew, 1)
    assert not list((tmp_path / "out").iterdir()) and len(list((tmp_path / "other").iterdir())) == 3
    dismiss()
    assert gone(first) and not import_crew._resting


@pytest.mark.parametrize("how", [lambda worker: None, lambda worker: worker.process.wait(20)], ids=["then", "before"])
def test_a_worker_that_left_meanwhile_is_replaced(target, how):
    with Crew(1, target, "one") as crew:
        until_free(crew, 1)
        before = processes(crew)
    (worker,) = import_crew._resting
    worker.process.send_signal(signal.SIGKILL)  # as if it had waited long enough
    how(worker)
    with Crew(1, target, "two") as crew:
        until_free(crew, 1)
        assert processes(crew).isdisjoint(before)


def test_a_resting_worker_leaves_by_itself(monkeypatch, target):
    code = import_crew.CODE.replace(
        "main(int", "import facemae_jax.data.import_worker as w; w.IDLE = 0.1; w.OFTEN = 0.1\nmain(int"
    )
    monkeypatch.setattr(import_crew, "CODE", code)
    with Crew(1, target, "one") as crew:
        until_free(crew, 1)
        time.sleep(0.3)
        assert crew._all[0].process.poll() is None, "an import goes on, and it waits for its part of it"
    assert import_crew._resting[0].process.wait(20) == 0


def test_busy_workers_end_with_the_block_and_leave_nothing(tmp_path, target):
    with Crew(1, target, "toy") as crew:
        until_free(crew, 1)
        crew.give(shard(tmp_path, n3=b"sleep"))
        while not list((tmp_path / "out").glob(".0*")):
            time.sleep(0.01)
        started = processes(crew)
    assert gone(started) and not import_crew._resting and not list((tmp_path / "out").iterdir())


def test_after_an_error_free_workers_end_too(target):
    with pytest.raises(KeyboardInterrupt), Crew(1, target, "toy") as crew:
        until_free(crew, 1)
        started = processes(crew)
        raise KeyboardInterrupt
    assert gone(started) and not import_crew._resting


def test_an_end_is_told(tmp_path, target):
    with pytest.raises(FacemaeError, match=r"toy: a process .* has ended \(signal 9, Killed\) in shard 0; if memory"):
        with Crew(1, target, "toy") as crew:
            until_free(crew, 1)
            crew.give(shard(tmp_path, n3=b"die"))
            until_free(crew, 1)


def test_an_end_is_told_when_something_is_given(tmp_path, target):
    with pytest.raises(FacemaeError, match=r"toy: a process .* has ended \(signal 9, Killed\) in shard 0; if memory"):
        with Crew(1, target, "toy") as crew:
            until_free(crew, 1)
            crew._all[0].process.send_signal(signal.SIGKILL)
            crew._all[0].process.wait(20)
            crew.give(shard(tmp_path))


def test_a_forked_process_leaves_the_workers_of_its_parent_alone(target):
    with Crew(1, target, "toy") as crew:
        until_free(crew, 1)
    process = os.fork()
    if not process:
        os._exit(len(import_crew._resting))
    assert os.waitpid(process, 0)[1] == 0 and len(import_crew._resting) == 1


def test_a_worker_that_cannot_start_is_told(monkeypatch, target):
    monkeypatch.setattr(import_crew, "CODE", "import sys; sys.exit(7)")
    with (
        pytest.raises(FacemaeError, match=r"toy: a process .* has ended \(exit code 7\); if"),
        Crew(1, target, "toy") as crew,
    ):
        until_free(crew, 1)


def test_all_are_ended_where_one_cannot_be_made(monkeypatch, target):
    made, make = [], Worker.__init__

    def twice(worker):
        if made:
            raise BlockingIOError(11, "Resource temporarily unavailable")
        make(worker)
        made.append(worker.process.pid)

    monkeypatch.setattr(Worker, "__init__", twice)
    with pytest.raises(BlockingIOError):
        Crew(2, target, "toy")
    assert gone(set(made)) and os.getpid() not in made
