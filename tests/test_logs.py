import io
import json
import logging
import math
import sys

import numpy as np
import pytest
from tensorboardX.proto.event_pb2 import Event

from facemae_jax import logs
from facemae_jax.logs import MetricWriter, progress, quiet, read_metrics, say, warn


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.fixture
def clock(monkeypatch):
    """Seconds that pass when the test says so."""
    now = [100.0]
    monkeypatch.setattr(logs.time, "monotonic", lambda: now[0])
    return now


def test_lines_go_where_they_belong(capsys):
    say("wrote a.json")
    warn("2 images left out")
    said = capsys.readouterr()
    assert (said.out, said.err) == ("wrote a.json\n", "warning: 2 images left out\n")


def test_without_a_terminal_a_line_now_and_then(capsys, clock):
    with progress(4000, "train", initial=1000) as bar:
        for _ in range(30):
            clock[0] += 1.0
            bar.note(loss=0.25, step=7)
            bar.update(100)
    lines = capsys.readouterr().err.splitlines()
    assert lines == [
        "train: 2,500/4,000 images (62 %), 100 images/s, 15.0 s left, loss=0.25, step=7",
        "train: 4,000/4,000 images (100 %), 100 images/s, 0.0 s left, loss=0.25, step=7",
        "train: 4,000 images (1,000 of them before) in 30.0 s, 100 images/s, loss=0.25, step=7",
    ]


def test_an_interrupted_one_does_not_claim_the_end(capsys, clock):
    with pytest.raises(KeyboardInterrupt):
        with progress(10, "embed", unit="pairs") as bar:
            bar.update(5)
            clock[0] += 4000
            raise KeyboardInterrupt
    assert capsys.readouterr().err == "embed: stopped at 5 of 10 pairs in 1 h 06 min, 0.0013 pairs/s\n"


def test_nothing_to_do(capsys, clock):
    with progress(0, "embed"):
        clock[0] += 75
    assert capsys.readouterr().err == "embed: 0 images in 1 min 15 s\n"


def test_a_terminal_gets_a_bar_that_lines_do_not_break(monkeypatch):
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setattr(sys, "stdout", terminal)
    with progress(100, "train") as bar:
        bar.note(loss=1.5)
        bar.update(50)
        bar._bar.refresh()
        say("saved step 50")
    shown = terminal.getvalue()
    assert "train:  50%" in shown and "50/100" in shown and "loss=1.5" in shown
    before, _, after = shown.partition("saved step 50\n")
    assert before.endswith("\r")  # the bar was wiped before the line
    assert "50/100" in after  # and drawn again below it
    assert "train: 50 of 100 images in" in after.splitlines()[-1]


def test_quiet_sends_the_ground_rooms_warnings_to_the_user_once(capsys):
    logger = logging.getLogger("facemae_jax")
    state = (logger.propagate, list(logger.handlers))
    levels = {name: logging.getLogger(name).level for name in logs.CHATTY}
    root = logging.Handler()  # such as absl puts there
    root.emit = lambda record: warn(record.getMessage())
    logging.getLogger().addHandler(root)
    try:
        quiet()
        quiet()
        logger.warning("%d arrays lie whole", 3)
        logging.getLogger("absl").warning("chatter")
        assert capsys.readouterr().err == "warning: 3 arrays lie whole\n"
    finally:
        logging.getLogger().removeHandler(root)
        logger.propagate, logger.handlers = state
        for name, level in levels.items():
            logging.getLogger(name).setLevel(level)


def events(directory):
    """(step, tag, value) of TensorBoard files: records framed by length, checksum, content, checksum."""
    found = []
    for path in sorted((directory / "tensorboard").iterdir()):
        content, at = path.read_bytes(), 0
        while at < len(content):
            size = int.from_bytes(content[at : at + 8], "little")
            event = Event.FromString(content[at + 12 : at + 12 + size])
            found += [(event.step, value.tag, value.simple_value) for value in event.summary.value]
            at += 16 + size
    return found


def test_metrics_are_written_twice(tmp_path):
    writer = MetricWriter(tmp_path / "run", resume_step=0)
    writer.write(10, {"loss": np.float32(0.5), "rate": 3})
    assert read_metrics(tmp_path / "run") == [{"step": 10, "loss": 0.5, "rate": 3.0}]  # before it is closed
    writer.write(20, {"loss": math.nan})
    writer.close()
    writer.close()
    lines = (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()
    assert json.loads(lines[1]) == {"step": 20, "loss": None}
    assert math.isnan(read_metrics(tmp_path / "run")[1]["loss"])
    assert events(tmp_path / "run") == [(10, "loss", 0.5), (10, "rate", 3.0)]


@pytest.mark.parametrize(
    "tail", ["", '{"step": 30, "lo', '{"step": 15, "loss": 1.0}'], ids=["whole", "torn", "no newline"]
)
def test_a_resumed_run_cuts_what_lies_beyond(tmp_path, tail):
    lines = "".join(f'{{"step": {step}, "loss": {step / 10}}}\n' for step in (5, 10, 15, 20))
    (tmp_path / "metrics.jsonl").write_text(lines + tail)
    writer = MetricWriter(tmp_path, resume_step=15 if not tail else 20)
    writer.write(25, {"loss": 9.0})
    writer.close()
    kept = [5, 10, 15] if not tail else [5, 10, 15, 20]
    assert [values["step"] for values in read_metrics(tmp_path)] == [*kept, 25]
    assert (tmp_path / "metrics.jsonl").read_text().startswith("".join(lines.splitlines(keepends=True)[: len(kept)]))


def test_damaged_lines_are_told(tmp_path, capsys):
    (tmp_path / "metrics.jsonl").write_text('{"step": 1}\n{"st\n{"step": 3}\n')
    assert read_metrics(tmp_path) == [{"step": 1}]
    assert "metrics.jsonl: a damaged line and all after it are left out" in capsys.readouterr().err
    assert read_metrics(tmp_path / "nowhere") == []
