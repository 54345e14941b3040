"""What a run tells: lines and progress for the person who waits, metrics for the files.

Not for results: those are written by the stage that finds them.
"""

from __future__ import annotations

import json
import logging
import math
import os
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tqdm import tqdm

LOG = logging.getLogger("facemae_jax")
CHATTY = (
    "absl",
    "orbax",
    "grain",
    "jax",
    "jax._src",
    "tensorflow",
    "tensorboardX",
    "tensorstore",
    "etils",
    "PIL",
    "matplotlib",
)
LINE_EVERY = 15.0  # seconds between lines where the output is no terminal
_silent = False  # in all processes of a run but the first


def say(line: str) -> None:
    """One line (or a small table) for the user, on stdout, from the first process; a running bar moves out of its way."""
    if _silent:
        return
    tqdm.write(line, file=sys.stdout)
    sys.stdout.flush()


def warn(line: str) -> None:
    """One line about something the user should look at, on stderr, from the first process."""
    if _silent:
        return
    tqdm.write(f"warning: {line}", file=sys.stderr)
    sys.stderr.flush()


class _Told(logging.Handler):
    """Warnings of rooms that may not import this one come through the logger "facemae_jax"."""

    def emit(self, record: logging.LogRecord) -> None:
        warn(record.getMessage())


def silence(silent: bool = True) -> None:
    """From here on nothing is shown: what several processes of one run tell is told by the first."""
    global _silent
    _silent = silent


def quiet() -> None:
    """Silence the libraries' chatter below errors, and send the package's own warnings through :func:`warn`.

    Called once, by the door.
    """
    for variable, value in (("TF_CPP_MIN_LOG_LEVEL", "2"), ("GRPC_VERBOSITY", "ERROR")):
        os.environ.setdefault(variable, value)
    for name in CHATTY:
        logging.getLogger(name).setLevel(logging.ERROR)
    if not any(isinstance(handler, _Told) for handler in LOG.handlers):
        LOG.addHandler(_Told())
    LOG.propagate = False  # absl may have put a handler on the root, which would say it twice


class Progress:
    """Counts finished units, and shows them as a bar or as a line now and then. Made by :func:`progress`."""

    def __init__(self, total: int, label: str, unit: str, initial: int):
        self.total, self.label, self.unit, self.initial = total, label, unit, initial
        self.done = initial
        self._notes: dict[str, Any] = {}
        self._start = self._told = time.monotonic()
        self._bar = None
        if sys.stderr.isatty() and not _silent:
            self._bar = tqdm(
                total=total,
                desc=label,
                unit=f" {unit}",
                initial=initial,
                dynamic_ncols=True,
                leave=False,
                file=sys.stderr,
            )

    def update(self, count: int) -> None:
        """``count`` more units are finished."""
        self.done += count
        if self._bar is not None:
            self._bar.update(count)
        elif time.monotonic() - self._told >= LINE_EVERY and not _silent:
            self._told = time.monotonic()
            print(self._line(), file=sys.stderr, flush=True)

    def note(self, **values: Any) -> None:
        """Values shown at the end of the bar, such as the loss."""
        self._notes.update(values)
        if self._bar is not None:
            self._bar.set_postfix_str(self._noted(), refresh=False)

    def finish(self, failed: bool) -> None:
        """Take the bar away and leave one line: how many units, in which time, how fast."""
        if _silent:
            return
        if self._bar is not None:
            self._bar.close()
        seconds = time.monotonic() - self._start
        where = f"{self.done:,}" if self.done == self.total else f"{self.done:,} of {self.total:,}"
        resumed = f" ({self.initial:,} of them before)" if self.initial else ""
        line = f"{self.label}: {'stopped at ' if failed else ''}{where} {self.unit}{resumed} in {_clock(seconds)}"
        new = self.done - self.initial
        if new and seconds > 0:
            line += f", {_rate(new / seconds)} {self.unit}/s"
        tqdm.write(line + (f", {self._noted()}" if self._notes else ""), file=sys.stderr)
        sys.stderr.flush()

    def _line(self) -> str:
        rate = (self.done - self.initial) / max(time.monotonic() - self._start, 1e-9)
        line = f"{self.label}: {self.done:,}/{self.total:,} {self.unit}"
        if self.total:
            line += f" ({100 * self.done / self.total:.0f} %)"
        if rate:
            line += f", {_rate(rate)} {self.unit}/s, {_clock((self.total - self.done) / rate)} left"
        return line + (f", {self._noted()}" if self._notes else "")

    def _noted(self) -> str:
        return ", ".join(f"{k}={v:.4g}" if isinstance(v, float) else f"{k}={v}" for k, v in self._notes.items())


@contextmanager
def progress(total: int, label: str, unit: str = "images", initial: int = 0) -> Iterator[Progress]:
    """A bar with rate and time left on a terminal; elsewhere a line every 15 seconds. Both end in one line.

    Args:
        total: units of the whole work.
        label: what is being done, such as "train-mae".
        unit: what is counted, in the plural.
        initial: units finished by an earlier run; they count in the total, not in the rate.
    """
    shown = Progress(total, label, unit, initial)
    try:
        yield shown
    except BaseException:
        shown.finish(failed=True)
        raise
    shown.finish(failed=False)


class MetricWriter:
    """Metrics of one run: ``metrics.jsonl``, the truth, and TensorBoard events. Only the first process writes.

    On resume, lines beyond ``resume_step`` are cut away, and with them a last line that a kill tore.
    """

    def __init__(self, directory: Path, resume_step: int):
        import jax  # takes a third of a second, which processes that only list or convert need not wait for

        self._file = None
        if jax.process_index() != 0:
            return
        from tensorboardX import SummaryWriter  # takes a third of a second, which --help need not wait for

        directory.mkdir(parents=True, exist_ok=True)
        path = directory / "metrics.jsonl"
        kept = [line for line, values in _lines(path) if values["step"] <= resume_step]
        partial = path.with_name(path.name + ".partial")
        partial.write_text("".join(kept))
        os.replace(partial, path)
        self._file = path.open("a")
        self._board = SummaryWriter(str(directory / "tensorboard"), purge_step=resume_step + 1, write_to_disk=True)

    def write(self, step: int, values: Mapping[str, float]) -> None:
        """One line of ``values`` (numbers or arrays of one number); non-finite ones become null in JSON."""
        if self._file is None:
            return
        numbers = {name: float(value) for name, value in values.items()}
        finite = {name: value if math.isfinite(value) else None for name, value in numbers.items()}
        self._file.write(json.dumps({"step": int(step)} | finite) + "\n")
        self._file.flush()  # a kill loses at most the line being written
        for name, value in finite.items():
            if value is not None:
                self._board.add_scalar(name, value, int(step))

    def close(self) -> None:
        """Flush and close both files; closing twice is harmless."""
        if self._file is not None:
            self._file.close()
            self._board.close()
            self._file = None


def read_metrics(directory: Path) -> list[dict[str, float]]:
    """The lines of ``directory/metrics.jsonl`` in order, null as NaN; empty when there is no such file."""
    found = [values for _, values in _lines(directory / "metrics.jsonl")]
    return [{name: math.nan if value is None else value for name, value in values.items()} for values in found]


def _lines(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """Whole lines, as text and parsed; ends at a torn one."""
    if not path.is_file():
        return
    with path.open() as file:
        for line in file:
            if not line.endswith("\n"):
                return
            try:
                values = json.loads(line)
            except json.JSONDecodeError:
                warn(f"{path}: a damaged line and all after it are left out")
                return
            yield line, values


def _clock(seconds: float) -> str:
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes = int(seconds) // 60
    return f"{minutes} min {int(seconds) % 60:02d} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02d} min"


def _rate(per_second: float) -> str:
    return f"{per_second:,.0f}" if per_second >= 10 else f"{per_second:.2g}"
