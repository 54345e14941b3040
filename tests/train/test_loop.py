import os
import signal

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from walk import STEP, feed, fresh, lines, pixels, run, saved, walk, weights

from facemae_jax.checkpoint import Checkpoints
from facemae_jax.train import loop
from facemae_jax.train.loop import Interrupted, Phase
from facemae_jax.types import FacemaeError


def term():
    signal.raise_signal(signal.SIGTERM)


def test_metrics_and_checkpoints_have_their_own_cadence(tmp_path):
    state = run(tmp_path)
    assert int(state.step) == 11
    assert saved(tmp_path) == [5, 10, 11]
    assert [line["step"] for line in lines(tmp_path)] == [3, 6, 9, 11]
    for line in lines(tmp_path):
        mean = pixels(line["step"] - 1).images_BHWC.mean()  # of the batch that made this step, of no other
        assert line["loss"] == pytest.approx(mean, rel=1e-6) and line["grad_norm"] == pytest.approx(2 * mean, rel=1e-6)


def test_a_run_that_broke_off_and_goes_on_equals_an_unbroken_one(tmp_path):
    unbroken = run(tmp_path / "whole")

    def crash():
        raise RuntimeError("the machine is gone")

    with pytest.raises(RuntimeError, match="gone"):
        run(tmp_path / "broken", batches=lambda start: feed(start, at=8, do=crash))
    assert saved(tmp_path / "broken") == [5]
    begun = []
    state = run(
        tmp_path / "broken",
        batches=lambda start: begun.append(start) or feed(start),
        state=lambda: pytest.fail("a fresh state was made although there is a checkpoint"),
    )
    assert begun == [5]
    np.testing.assert_array_equal(weights(state), weights(unbroken))
    assert lines(tmp_path / "broken") == lines(tmp_path / "whole")


def test_a_run_that_only_lacks_its_end_does_no_step(tmp_path):
    whole = run(tmp_path)
    state = run(tmp_path, phases=[Phase(11, None)])
    np.testing.assert_array_equal(weights(state), weights(whole))
    assert [line["step"] for line in lines(tmp_path)] == [3, 6, 9, 11]


def test_a_checkpoint_goes_on_over_other_devices(tmp_path, capsys):
    whole = run(tmp_path / "whole")
    with pytest.raises(Interrupted):
        run(tmp_path / "moved", batches=lambda start: feed(start, at=4, do=term))
    capsys.readouterr()
    state = run(tmp_path / "moved", mesh_name="4x2")
    assert state.params["w"].sharding.mesh.shape == {"data": 4, "fsdp": 2}
    np.testing.assert_allclose(weights(state), weights(whole), atol=1e-5)
    assert "mesh 8 × 1 → 4 × 2" in capsys.readouterr().err


def test_the_next_batch_is_asked_for_after_the_save(tmp_path, monkeypatch):
    told, save = [], Checkpoints.save
    monkeypatch.setattr(
        Checkpoints, "save", lambda self, step, *rest: told.append(f"save {step}") or save(self, step, *rest)
    )

    def batches(start):
        for step in range(start, 7):
            told.append(f"batch of step {step + 1}")
            yield pixels(step)

    run(tmp_path, steps=7, batches=batches, save_every=2)
    expected = []
    for step in range(1, 8):
        expected += [f"batch of step {step}"] + [f"save {step}"] * (step in (2, 4, 6, 7))
    assert told == expected


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_saves_and_says_how_to_go_on(tmp_path, number):
    before = signal.getsignal(number)
    with pytest.raises(Interrupted) as stop:
        run(tmp_path, batches=lambda start: feed(start, at=6, do=lambda: signal.raise_signal(number)))
    name = signal.Signals(number).name
    assert str(stop.value) == f"walk got {name} and saved step 7 of 11; the same command goes on from there."
    assert stop.value.signal == number
    assert saved(tmp_path) == [5, 7]
    assert signal.getsignal(number) == before
    np.testing.assert_array_equal(weights(run(tmp_path)), weights(run(tmp_path / "whole")))
    assert lines(tmp_path) == lines(tmp_path / "whole")


def test_a_signal_at_the_last_moment_of_a_step_is_no_lie(tmp_path):
    """It comes when the step has already decided not to save: then the next one saves, and says its own number."""

    class Late(int):
        def __rmod__(self, done):
            if done == 7:
                term()
            return done % int(self)

    with pytest.raises(Interrupted, match="saved step 8 of 11"):
        run(tmp_path, log_every=Late(3))
    assert saved(tmp_path) == [5, 8]


def test_a_signal_in_the_last_step_lets_the_run_end(tmp_path):
    state = run(tmp_path, batches=lambda start: feed(start, at=10, do=term))
    assert int(state.step) == 11 and saved(tmp_path) == [5, 10, 11]


def test_a_second_signal_acts_as_if_we_were_not_here(tmp_path, request):
    # Shells have what they start in the background ignore SIGINT, and then nothing would be there to act.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    request.addfinalizer(lambda: signal.signal(signal.SIGINT, before))

    def twice():
        for _ in range(2):
            signal.raise_signal(signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, batches=lambda start: feed(start, at=6, do=twice))
    assert saved(tmp_path) == [5]


def poisoned(from_step, name):
    """A step whose metric ``name`` is no number from a step on."""

    def step(state, batch):
        state, metrics = STEP(state, batch)
        if int(state.step) >= from_step:
            metrics = metrics | {name: jnp.float32(np.nan)}
        return state, metrics

    return step


@pytest.mark.parametrize("name", ["loss", "grad_norm"])
def test_a_loss_that_is_no_number_stops_the_run_and_keeps_the_last_good_state(tmp_path, name):
    with pytest.raises(FacemaeError) as stop:
        run(tmp_path, phases=[Phase(11, poisoned(8, name))])
    assert f"walk: {name} became nan between steps 7 and 9: lower optim.learning_rate" in str(stop.value)
    assert "the checkpoint of step 5 is kept" in str(stop.value)
    assert saved(tmp_path) == [5]
    state = run(tmp_path)  # the reason is taken away: the run goes on from there
    np.testing.assert_array_equal(weights(state), weights(run(tmp_path / "whole")))


def test_a_step_that_went_wrong_is_never_saved(tmp_path):
    """The step that is due for saving is the first bad one."""
    with pytest.raises(FacemaeError, match="loss became nan between steps 4 and 5.*no checkpoint was saved yet"):
        run(tmp_path, phases=[Phase(11, poisoned(5, "loss"))])
    assert saved(tmp_path) == []


def test_a_checkpoint_of_another_run_is_refused(tmp_path):
    run(tmp_path, steps=5)
    with pytest.raises(FacemaeError, match=f"{tmp_path / 'checkpoints'} belongs to another run"):
        run(tmp_path, fingerprint="theirs")
    assert saved(tmp_path) == [5] and [line["step"] for line in lines(tmp_path)] == [3, 5]


def abacus(name, value, patch):
    """This process believes to run on another machine."""
    if name == "threads":
        patch.setattr(os, "sched_getaffinity", lambda _: range(value))
    elif name == "jax":
        patch.setattr(jax, "__version__", value)
    else:
        meta = loop._meta
        patch.setattr(loop, "_meta", lambda *given: meta(*given) | {name: value})


@pytest.mark.parametrize(("name", "value"), [("device", "abacus"), ("threads", 97), ("jax", "0.0.1")])
def test_other_conditions_are_warned_about(tmp_path, monkeypatch, capsys, name, value):
    with monkeypatch.context() as patch:
        abacus(name, value, patch)
        run(tmp_path / "stage", steps=5)
    capsys.readouterr()
    run(tmp_path / "stage", steps=7)
    here = dict(device=jax.devices()[0].device_kind, threads=len(os.sched_getaffinity(0)), jax=jax.__version__)
    said = capsys.readouterr().err
    assert f"warning: stage goes on under other conditions ({name} {value} → {here[name]})" in said
    run(tmp_path / "stage", steps=9)
    assert "warning" not in capsys.readouterr().err  # the checkpoint of step 7 was made here


def test_phases_follow_each_other_on_one_state(tmp_path):
    phases = [Phase(4, walk(0.1)), Phase(4, walk(99.0)), Phase(11, walk(0.5))]  # the second has no step
    state = run(tmp_path, phases=phases)
    expected = fresh()
    for step in range(11):
        expected, _ = walk(0.1 if step < 4 else 0.5)(expected, pixels(step))
    np.testing.assert_array_equal(weights(state), weights(expected))
    # A phase that begins after the checkpoint is met at its own step.
    for begun in (3, 4, 6):
        out = tmp_path / str(begun)
        with pytest.raises(Interrupted):
            run(out, phases=phases, batches=lambda start, at=begun - 1: feed(start, at=at, do=term))
        np.testing.assert_array_equal(weights(run(out, phases=phases)), weights(expected))


def test_the_best_checkpoint_stays(tmp_path):
    losses = [pixels(step - 1).images_BHWC.mean() for step in range(1, 10)]
    run(tmp_path, steps=9, save_every=1, keep_latest=2, keep_best=1)
    assert saved(tmp_path) == sorted({1 + int(np.argmin(losses)), 8, 9})
