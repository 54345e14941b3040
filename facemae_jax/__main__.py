"""The door: ``python -m facemae_jax VERB --config=FILE --workdir=DIR [--config.field=value …]``.

Reads the command line, sets up devices and quiet logs, hands over to ``chain``. Everything else is importable without it.
"""

from __future__ import annotations

import ctypes
import errno
import os
import sys
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path

from facemae_jax.chain.command_line import WITHOUT_CONFIG, Call, read_command
from facemae_jax.help import help_text, placed, python_file
from facemae_jax.types import FacemaeError


def keep_freed_memory() -> None:
    """Have glibc keep and reuse the memory of large arrays instead of giving it back to the system after every step.

    Giving it back and faulting it in again takes up to a third of a training step on CPUs. Threads share one arena, because those
    of their own are given back whatever the thresholds say. Other C libraries are left as they are.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if mallopt is not None:
        trim_threshold, top_pad, mmap_max, arena_max = -1, -2, -4, -8  # names in <malloc.h>
        mallopt(arena_max, 1)
        mallopt(mmap_max, 0)
        mallopt(trim_threshold, 2**31 - 1)
        mallopt(top_pad, 64 << 20)


def prepare(workdir: Path, processes: str = "") -> None:
    """Quiet logs, memory that is kept, compiled programs kept in the workdir, and the other processes found. Before the first use of
    a device."""
    keep_freed_memory()
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    os.environ.setdefault("GRPC_VERBOSITY", "ERROR")
    import jax

    from facemae_jax import logs
    from facemae_jax.processes import first, join

    logs.quiet()
    join(processes)
    logs.silence(bool(processes) and not first())
    if not os.environ.get("JAX_COMPILATION_CACHE_DIR"):
        jax.config.update("jax_compilation_cache_dir", str(workdir.absolute() / "private" / "compiled"))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.5)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)


def serve(call: Call) -> None:
    """Do what the command line asks for."""
    from facemae_jax import logs
    from facemae_jax.chain import graph, rules, settings
    from facemae_jax.chain.locks import locked
    from facemae_jax.chain.runner import Chain
    from facemae_jax.processes import barrier

    config = settings.load(call.spec, call.overrides)
    rules.check(config)
    prepare(call.workdir, call.processes)
    config = rules.resolve(config)
    call.workdir.mkdir(parents=True, exist_ok=True)
    _check_shared(call.workdir)
    spec = _spec(call)
    with locked(call.workdir):
        chain = Chain(config, call.workdir, spec=spec, secret_file=call.secret_file)
        if call.verb == "run":
            chain.run(graph.targets(config), with_upstream=True)
            last = chain.result(graph.Ref("report"))
            barrier("facemae report is there")
            logs.say(((last.done or {})["summary"]["table"]).rstrip())
            release = chain.result(graph.Ref("publish"))
            logs.say(f"release: {release.path / graph.STAGES['publish'].RELEASE}\nreport:  {last.path / 'report.html'}")
        else:
            chain.run(graph.results(config, call.verb), with_upstream=False)


def serve_plan(call: Call) -> None:
    """Print what a machine would need; neither a workdir nor an accelerator is touched."""
    from facemae_jax import logs
    from facemae_jax.chain import rules, settings
    from facemae_jax.plan import command
    from facemae_jax.plan.jobs import Faces

    config = settings.load(call.spec, call.overrides)
    rules.check(config)
    logs.quiet()
    file = python_file(call.spec.partition(":")[0])
    known = Faces(file.IDENTITIES, file.IMAGES) if hasattr(file, "IDENTITIES") else None
    command.serve(config, _spec(call), call.own, python_file("configs/hardware.py").MACHINES, known)


def serve_sweep(call: Call) -> int:
    """The points of a grid; gives back the exit code."""
    from facemae_jax.chain import settings, sweep_command

    config = settings.load(call.spec, call.overrides)
    own_grid = getattr(python_file(call.spec.partition(":")[0]), "GRID", "")
    overridden = tuple(field for field, _ in call.overrides)
    sweep_command.read_axes(config, call.own, own_grid, overridden)  # a mistake here leaves no workdir behind
    prepare(call.workdir, call.processes)
    if "dry-run" not in call.own:
        call.workdir.mkdir(parents=True, exist_ok=True)
        _check_shared(call.workdir)
    return sweep_command.serve(
        config, _spec(call), call.workdir, call.own, own_grid=own_grid, overridden=overridden, secret_file=call.secret_file
    )  # fmt: skip


def serve_compare(call: Call) -> None:
    """Several finished runs on one page; no config, no device."""
    from facemae_jax import logs
    from facemae_jax.chain import compare

    logs.quiet()
    places = [Path(run).expanduser() for run in call.places]
    compare.serve(places, Path(call.own.get("out") or compare.DEFAULT).expanduser())


def serve_placed(call: Call) -> None:
    """A verb that is told its places: no config, no workdir."""
    from facemae_jax import logs

    logs.quiet()
    placed(call.verb).serve(call.places, call.own)


def _spec(call: Call) -> str:
    """The config as the command line named it."""
    return " ".join([call.spec, *(f"--config.{field}={value}" for field, value in call.overrides)])


def _check_shared(workdir: Path) -> None:
    """Refuse a workdir that the processes of a run do not share."""
    from facemae_jax.processes import everywhere, from_first

    def mark() -> str:
        private = workdir / "private"
        private.mkdir(parents=True, exist_ok=True, mode=0o700)
        (private / "shared").write_text(text := os.urandom(8).hex())
        return text

    import jax

    if jax.process_count() == 1:
        return
    text, file = from_first(mark), workdir / "private" / "shared"
    if not everywhere(file.is_file() and file.read_text() == text):
        raise FacemaeError(
            f"--workdir={workdir} is not the same folder on every machine: name one on a disk they share."
        )


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit code: 0 done, 1 points of a sweep failed, 2 the user's mistake or a full disk, 130 / 143 stopped by a signal with everything saved."""
    call: Call | None = None
    try:
        from facemae_jax.chain import graph

        call = read_command(
            sys.argv[1:] if arguments is None else arguments, [*graph.STAGES, "run", "sweep", "plan", *WITHOUT_CONFIG]
        )
        if call.help:
            print(help_text(call.verb))
            return 0
        from facemae_jax.train.loop import Interrupted

        try:
            if call.verb == "sweep":
                return serve_sweep(call)
            _server(call)(call)
        except Interrupted as stop:
            print(f"stopped: {stop}", file=sys.stderr)
            return 128 + stop.signal
        except KeyboardInterrupt:
            print(
                "stopped: the interrupted stage continues where it can when the same command runs again.",
                file=sys.stderr,
            )
            return 130
        return 0
    except FacemaeError as error:
        print(f"error: {error}", file=sys.stderr)
        return _failed(call, 2)
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            print(
                f"error: the disk is full while writing {error.filename or 'a result'}: free some space and run the same command again; "
                "nothing finished is lost.",
                file=sys.stderr,
            )
            return _failed(call, 2)
        if call is None or not call.processes:
            raise
        traceback.print_exc()
        return _failed(call, 1)
    except Exception:
        if call is not None and call.processes:
            traceback.print_exc()
            return _failed(call, 1)
        raise


def _server(call: Call) -> Callable[[Call], None]:
    """Who does what the command line asks for."""
    if call.verb == "report" and "compare" in call.own:
        return serve_compare
    if call.verb in WITHOUT_CONFIG:
        return serve_placed
    return serve_plan if call.verb == "plan" else serve


def _failed(call: Call | None, code: int) -> int:
    """One of several processes ends at once: at its normal end it would wait for the others, and they may wait for it."""
    if call is not None and call.processes:
        from facemae_jax.processes import leave

        leave(code)
    return code


if __name__ == "__main__":
    sys.exit(main())
