"""One run in a workdir, one call on a result."""

import threading

import pytest

from facemae_jax.chain import locks
from facemae_jax.types import FacemaeError


def test_a_workdir_is_for_one_run_and_says_who_holds_it(tmp_path):
    with locks.locked(tmp_path):
        with pytest.raises(FacemaeError, match=r"in use by process \d+"), locks.locked(tmp_path):
            pass
        with pytest.raises(FacemaeError, match="in use"), locks.locked(tmp_path, shared=True):
            pass
    with locks.locked(tmp_path):
        pass  # it went with its holder


def test_those_that_share_a_workdir_keep_out_who_wants_it_alone(tmp_path):
    with locks.locked(tmp_path, shared=True), locks.locked(tmp_path, shared=True):
        with pytest.raises(FacemaeError, match="in use"), locks.locked(tmp_path):
            pass


def test_a_claim_waits_for_the_other(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(locks, "CLAIM_EVERY", 0.01)
    file, order = tmp_path / "claims" / "stage", []
    waits = threading.Event()

    def second():
        with locks.claimed(file, "stage"):
            order.append("second")

    monkeypatch.setattr(locks.time, "sleep", lambda seconds: waits.set() or threading.Event().wait(seconds))
    with locks.claimed(file, "stage"):
        other = threading.Thread(target=second)
        other.start()
        assert waits.wait(10)
        order.append("first")
    other.join(10)
    assert order == ["first", "second"] and "stage: another call is making it; waiting" in capsys.readouterr().out
