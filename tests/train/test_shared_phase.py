"""Runs that share their first steps: the later ones equal those that trained everything themselves."""

import numpy as np
import pytest
from walk import STEP, feed, lines, run, saved, walk, weights

from facemae_jax.train import shared_phase
from facemae_jax.train.loop import Phase
from facemae_jax.train.shared_phase import SharedPhase

UNTIL, STEPS = 6, 11
LATER = walk(0.7)  # another second part


def untouched(state, batch):
    pytest.fail("the shared part was trained again")


def two(first, second):
    return [Phase(UNTIL, first), Phase(STEPS, second)]


def broken_off(tmp_path, shared, at):
    """A run in ``tmp_path/broken`` that saves every fourth step and ends before batch ``at``."""

    def crash():
        raise RuntimeError("gone")

    def batches(start):
        return feed(start, at=at, do=crash)

    with pytest.raises(RuntimeError):
        run(tmp_path / "broken", phases=two(STEP, LATER), shared=shared, batches=batches, save_every=4)


@pytest.fixture
def shared(tmp_path):
    return SharedPhase(tmp_path / "phases", ["pixels", 3], UNTIL)


def test_a_run_from_the_end_of_anothers_part_equals_a_run_alone(tmp_path, shared, capsys):
    alone = run(tmp_path / "alone", phases=two(STEP, LATER))
    first = run(tmp_path / "first", phases=two(STEP, STEP), shared=shared)
    np.testing.assert_array_equal(weights(first), weights(run(tmp_path / "plain")))
    begun = []
    capsys.readouterr()
    second = run(
        tmp_path / "second", phases=two(untouched, LATER), shared=shared,
        state=lambda: pytest.fail("a fresh state was made"), batches=lambda start: begun.append(start) or feed(start),
    )  # fmt: skip
    assert begun == [UNTIL]
    out = capsys.readouterr()
    assert f"steps 1 to {UNTIL} are those of another run" in out.out + out.err
    np.testing.assert_array_equal(weights(second), weights(alone))
    assert not np.array_equal(weights(second), weights(first))
    assert lines(tmp_path / "second") == lines(tmp_path / "alone")


def test_the_part_is_kept_once_whatever_the_cadence(tmp_path, shared):
    run(tmp_path / "first", phases=two(STEP, STEP), shared=shared)
    run(tmp_path / "second", phases=two(untouched, LATER), shared=shared)
    (place,) = shared.folder.iterdir()
    assert saved(place) == [UNTIL]
    assert saved(tmp_path / "first") == [5, 10, 11] and saved(tmp_path / "second") == [10, 11]
    assert [line["step"] for line in lines(place)] == [3, 6]


@pytest.mark.parametrize("other", ["parts", "until", "devices"])
def test_another_part_is_trained_by_itself(tmp_path, shared, other):
    run(tmp_path / "first", phases=two(STEP, STEP), shared=shared)
    theirs = {"parts": shared._replace(parts=["pixels", 4]), "until": shared._replace(until=UNTIL + 1)}.get(
        other, shared
    )
    begun = []
    run(
        tmp_path / "second", phases=[Phase(theirs.until, STEP), Phase(STEPS, LATER)], shared=theirs,
        mesh_name="4x2" if other == "devices" else "8x1", batches=lambda start: begun.append(start) or feed(start),
    )  # fmt: skip
    assert begun == [0] and len(list(shared.folder.iterdir())) == 2


def test_a_run_that_broke_off_goes_on_from_its_own_checkpoint(tmp_path, shared):
    whole = run(tmp_path / "whole", phases=two(STEP, LATER))
    broken_off(tmp_path, shared, at=10)
    begun = []
    state = run(
        tmp_path / "broken", phases=two(untouched, LATER), shared=shared,
        batches=lambda start: begun.append(start) or feed(start), save_every=4,
    )  # fmt: skip
    assert begun == [8]
    np.testing.assert_array_equal(weights(state), weights(whole))


def test_a_run_that_broke_off_before_the_end_of_the_part_takes_it_when_another_run_was_faster(tmp_path, shared):
    whole = run(tmp_path / "whole", phases=two(STEP, LATER))
    broken_off(tmp_path, shared, at=5)
    run(tmp_path / "first", phases=two(STEP, STEP), shared=shared)
    state = run(tmp_path / "broken", phases=two(untouched, LATER), shared=shared, save_every=4)
    np.testing.assert_array_equal(weights(state), weights(whole))
    assert lines(tmp_path / "broken") == lines(tmp_path / "whole")


def test_a_damaged_part_is_told_and_trained_again(tmp_path, shared, capsys):
    run(tmp_path / "first", phases=two(STEP, STEP), shared=shared)
    (place,) = shared.folder.iterdir()
    for file in (place / shared_phase.STEPS / str(UNTIL)).rglob("*"):
        if file.is_file():
            file.write_bytes(b"")
    capsys.readouterr()
    state = run(tmp_path / "second", phases=two(STEP, STEP), shared=shared)
    assert "It is trained again" in capsys.readouterr().err
    np.testing.assert_array_equal(weights(state), weights(run(tmp_path / "plain")))
    run(tmp_path / "third", phases=two(untouched, STEP), shared=shared)


def test_a_part_that_was_being_kept_is_not_taken_for_whole(tmp_path, shared, monkeypatch):
    monkeypatch.setattr(shared_phase.shutil, "copyfile", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "killed", phases=two(STEP, STEP), shared=shared)
    monkeypatch.undo()
    assert [path.suffix for path in shared.folder.iterdir()] == [".partial"]
    begun = []
    run(
        tmp_path / "second", phases=two(STEP, LATER), shared=shared, fingerprint="other",
        batches=lambda start: begun.append(start) or feed(start),
    )  # fmt: skip
    assert begun == [0] and len([path for path in shared.folder.iterdir() if not path.suffix]) == 1
