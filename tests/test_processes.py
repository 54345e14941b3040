"""Alone, and as one of two threads that stand for processes; real ones: tests/chain/test_several_processes.py."""

import threading

import pytest
from two_processes import as_two

from facemae_jax import processes
from facemae_jax.types import FacemaeError


def test_alone_there_is_nobody_to_wait_for():
    assert processes.first()
    assert processes.everywhere(True) and not processes.everywhere(False)
    processes.barrier("returns at once")
    processes.join("")
    processes.leave(3)  # returns: only one of several ends here


@pytest.mark.parametrize("call", [processes.from_first, processes.together])
def test_work_is_done_here_and_its_errors_are_its_own(call):
    assert call(lambda: {"path": 1}) == {"path": 1}
    with pytest.raises(ZeroDivisionError):
        call(lambda: 1 / 0)


@pytest.mark.parametrize(
    ("how", "said"),
    [
        ("localhost", "give auto"),
        ("localhost:1", "give auto"),
        ("localhost:1,2", "give auto"),
        ("localhost:1,2,x", "give auto"),
        ("localhost:1,2,2", "numbers go from 0 to 1"),
    ],
)
def test_another_form_is_named_before_anything_starts(how, said):
    with pytest.raises(FacemaeError, match=said) as error:
        processes.join(how)
    assert f"--processes={how}" in str(error.value)


def test_two_agree_and_the_first_is_one_of_them(monkeypatch):
    assert as_two(monkeypatch, lambda number: processes.first()) == [True, False]
    for good, agreed in (((True, True), True), ((True, False), False), ((False, True), False), ((False, False), False)):
        assert as_two(monkeypatch, lambda number, good=good: processes.everywhere(good[number])) == [agreed, agreed]


def test_a_barrier_holds_the_one_who_comes_first(monkeypatch):
    arrived, passed = [], threading.Event()

    def work(number):
        if number == 1:
            passed.wait(0.2)  # long enough for the other to run through, if nothing held it
            arrived.append(number)
        processes.barrier("x")
        passed.set()
        return list(arrived)

    assert as_two(monkeypatch, work) == [[1], [1]]


def test_the_first_alone_works_and_all_hear_of_it(monkeypatch):
    worked = []

    def work(number):
        worked.append(number)
        return {"path": "é" * 300, "number": number}

    found = as_two(monkeypatch, lambda number: processes.from_first(lambda: work(number)))
    assert found == [{"path": "é" * 300, "number": 0}] * 2 and worked == [0]


def test_an_error_of_the_first_is_its_own_there_and_told_to_the_others(monkeypatch):
    own, told = as_two(monkeypatch, lambda number: processes.from_first(lambda: 1 / 0))
    assert isinstance(own, ZeroDivisionError)
    assert isinstance(told, FacemaeError) and "the first process stopped: ZeroDivisionError: division" in str(told)


def test_work_of_all_counts_when_it_succeeded_everywhere(monkeypatch):
    assert as_two(monkeypatch, lambda number: processes.together(lambda: 10 / (number + 1))) == [10, 5]
    for fails in range(2):
        found = as_two(monkeypatch, lambda number, fails=fails: processes.together(lambda: 1 / (number - fails)))
        assert isinstance(found[fails], ZeroDivisionError)
        assert isinstance(found[1 - fails], FacemaeError) and "another process of this run" in str(found[1 - fails])


def test_one_of_several_ends_at_once_with_its_code(monkeypatch):
    ended = []
    monkeypatch.setattr(processes.os, "_exit", ended.append)
    as_two(monkeypatch, lambda number: processes.leave(3 + number))
    assert sorted(ended) == [3, 4]


@pytest.fixture
def asked(monkeypatch):
    """What JAX's runtime is asked for, which is not started."""
    found = {}
    monkeypatch.setattr(processes.jax.config, "update", found.__setitem__)
    monkeypatch.setattr(processes.jax.distributed, "initialize", lambda **given: found.update(given))
    return found


def test_processes_find_each_other_as_told(asked):
    processes.join("host:12,3,1")
    cpus = {"jax_cpu_collectives_implementation": "gloo"}  # without it, CPUs of several processes cannot sum
    beat = {"heartbeat_timeout_seconds": processes.HEARTBEAT}
    assert asked == cpus | beat | dict(coordinator_address="host:12", num_processes=3, process_id=1)
    asked.clear()
    processes.join("auto")
    assert asked == cpus | beat


@pytest.mark.parametrize("error", [ValueError, RuntimeError])
def test_processes_that_do_not_find_each_other_are_told(asked, monkeypatch, error):
    def refuse(**given):
        raise error("timed out\nand more")

    monkeypatch.setattr(processes.jax.distributed, "initialize", refuse)
    with pytest.raises(FacemaeError, match=r"--processes=auto: .* do not find each other \(timed out\)"):
        processes.join("auto")
