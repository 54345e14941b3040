"""The door: ``python -m facemae_jax VERB --config=FILE --workdir=DIR [--config.field=value …]``.

Reads the command line, sets up devices and quiet logs, hands over to ``chain``. Everything else is importable without it.
"""

from __future__ import annotations

import ctypes
import errno
import importlib.util
import os
import sys
import textwrap
import traceback
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import NamedTuple

from facemae_jax.types import FacemaeError

USAGE = """\
facemae_jax: a face dataset in, a privacy-preserving face dataset out, with the proof of its utility and its privacy.

  python -m facemae_jax VERB --config=FILE[:ARGUMENT] --workdir=DIR [--config.FIELD=VALUE …] [--secret-file=FILE]

  --config          a file of settings, from here or from the repository: {configs}
  --config.FIELD    one setting, for example --config.mae.mask_ratio=0.85; before or after --config
  --workdir         where results go; finished stages in it are reused, interrupted ones continued
  --secret-file     the secret that drives masks, keys and order of releases (default: DIR/private/secret, made once)
  --processes       this is one of several processes of one run: auto (SLURM, TPU pods, GKE, MPI), or HOST:PORT,COUNT,NUMBER;
                    all of them see the same --workdir (see launch/)

Verbs, in the order of the chain:
{verbs}
  run               the whole chain: everything above that the config asks for
  sweep             {sweep}
  plan              {plan}
  report --compare  DIR DIR … [--out=FILE]: {compare}
  VERB --help       what a stage does and the settings it reads

Start here:  launch/demo.sh   or   python -m facemae_jax run --config=configs/demo.py --workdir=runs/demo
"""


KNOWN = ("config", "workdir", "secret-file", "processes")
# Flags of one verb alone:
PLAN_FLAGS = ("hardware", "training", "identities", "images", "program", "utilisation", "json")
SWEEP_FLAGS = ("grid", "shard", "dry-run")
COMPARE_FLAGS = ("compare", "out")  # the runs follow --compare as words
OWN_FLAGS = (
    dict.fromkeys(PLAN_FLAGS, "plan") | dict.fromkeys(SWEEP_FLAGS, "sweep") | dict.fromkeys(COMPARE_FLAGS, "report")
)
SWITCHES = ("dry-run",)  # flags without a value


class Call(NamedTuple):
    """A command line, read."""

    verb: str
    spec: str
    workdir: Path
    overrides: list[tuple[str, str]]
    secret_file: Path | None
    processes: str
    help: bool
    own: dict[str, str] = {}  # flags of this verb alone
    runs: tuple[str, ...] = ()  # that report --compare puts side by side


def read_command(arguments: Sequence[str], verbs: Sequence[str]) -> Call:
    """The parts of a command line; a value may follow ``=`` or a space.

    Raises:
        FacemaeError: for a missing or unknown verb or flag.
    """
    import difflib

    words, flags, overrides = [], {}, []
    rest = list(arguments)
    while rest:
        word = rest.pop(0)
        if word in ("-h", "--help", "help"):
            flags["help"] = ""
        elif word.startswith("--"):
            name, equals, value = word[2:].partition("=")
            if not name.startswith("config.") and name not in (*KNOWN, *OWN_FLAGS):
                near = difflib.get_close_matches(name, (*KNOWN, *OWN_FLAGS), n=1)
                raise FacemaeError(
                    f"--{name}: unknown flag; did you mean --{near[0] if near else 'config.' + name}? See --help."
                )
            if name in SWITCHES and value:
                raise FacemaeError(f"--{name} takes no value.")
            if not equals and name not in SWITCHES:
                if not rest:
                    raise FacemaeError(f"--{name}: a value is missing; write --{name}=VALUE.")
                value = rest.pop(0)
            if name.startswith("config."):
                overrides.append((name.removeprefix("config."), value))
            else:
                flags[name] = value
        else:
            words.append(word)
    verb = words[0] if words else ""
    if verb and verb not in verbs:
        near = difflib.get_close_matches(verb, verbs, n=1)
        raise FacemaeError(
            f"{verb}: unknown verb; {f'did you mean {near[0]}?' if near else ''} Choose one of: {', '.join(verbs)}."
        )
    comparing = verb == "report" and "compare" in flags
    if len(words) > 1 and not comparing:
        raise FacemaeError(f"{words[1]}: one verb at a time; settings are written --config.field=value.")
    own = {name: flags.pop(name) for name in OWN_FLAGS if name in flags}
    for name in own:
        if verb and verb != (of := OWN_FLAGS[name]):
            raise FacemaeError(f"--{name} belongs to the verb {of}; see {of} --help.")
    if "out" in own and not comparing:
        raise FacemaeError("--out belongs to report --compare DIR DIR …; without it, a report goes into the workdir.")
    if "help" not in flags and verb and not comparing:
        for needed in ("config",) if verb == "plan" else ("config", "workdir"):
            if not flags.get(needed):
                raise FacemaeError(
                    f"--{needed} is missing; for example --{needed}={'configs/demo.py' if needed == 'config' else 'runs/mine'}."
                )
    secret = flags.get("secret-file")
    return Call(
        verb,
        flags.get("config", ""),
        Path(flags.get("workdir", ".")).expanduser(),
        overrides,
        Path(secret).expanduser() if secret else None,
        flags.get("processes", ""),
        "help" in flags or not verb,
        own,
        (own["compare"], *words[1:]) if comparing else (),
    )


def help_text(verb: str) -> str:
    """What ``--help`` prints, in general or for one verb."""
    from facemae_jax.chain import graph, settings
    from facemae_jax.chain.fingerprint import expand

    files = ", ".join(
        sorted(f"configs/{p.name}" for p in (settings.REPOSITORY / "configs").glob("*.py") if p.stem != "hardware")
    )
    if verb == "plan":
        from facemae_jax.plan import command

        return command.help_text(_python_file("configs/hardware.py").MACHINES)
    if verb == "sweep":
        from facemae_jax.chain import sweep_command

        return sweep_command.help_text()
    if verb in ("", "run"):
        verbs = "\n".join(f"  {name:17s} {module.SUMMARY}" for name, module in graph.STAGES.items())
        from facemae_jax.chain import compare, sweep_command
        from facemae_jax.plan.command import SUMMARY

        return USAGE.format(
            configs=files, verbs=verbs, sweep=sweep_command.SUMMARY, plan=SUMMARY, compare=compare.SUMMARY
        )
    module = graph.STAGES[verb]
    config = settings.load("configs/base.py")
    patterns = {name for fields in module.FIELDS.values() for name in fields} | set(module.UNHASHED)
    names, values, said = expand(config, patterns), settings.flat(config), settings.comments()
    lines = [
        f"{verb}: {module.SUMMARY}",
        "",
        textwrap.dedent(module.__doc__ or "").strip(),
        "",
        "Settings it reads (defaults of configs/base.py):",
    ]
    lines += [
        f"  --config.{name}={values[name]!r}".ljust(52) + f"  {said.get(name, '')}" for name in values if name in names
    ]
    return "\n".join(lines)


def keep_freed_memory() -> None:
    """Have glibc keep and reuse the memory of large arrays instead of giving it back to the system after every step.

    Giving it back and faulting it in again takes over a fifth of a training step on CPUs. Other C libraries are left as they are.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if mallopt is not None:
        trim_threshold, top_pad, mmap_max = -1, -2, -4  # names in <malloc.h>
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
    from facemae_jax.chain.runner import Chain, locked
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
    file = _python_file(call.spec.partition(":")[0])
    known = Faces(file.IDENTITIES, file.IMAGES) if hasattr(file, "IDENTITIES") else None
    command.serve(config, _spec(call), call.own, _python_file("configs/hardware.py").MACHINES, known)


def serve_sweep(call: Call) -> int:
    """The points of a grid; gives back the exit code."""
    from facemae_jax.chain import settings, sweep_command

    config = settings.load(call.spec, call.overrides)
    own_grid = getattr(_python_file(call.spec.partition(":")[0]), "GRID", "")
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
    places = [Path(run).expanduser() for run in call.runs]
    compare.serve(places, Path(call.own.get("out") or compare.DEFAULT).expanduser())


def _spec(call: Call) -> str:
    """The config as the command line named it."""
    return " ".join([call.spec, *(f"--config.{field}={value}" for field, value in call.overrides)])


def _python_file(name: str) -> ModuleType:
    """A file of ``configs/``, from the current directory first, executed."""
    from facemae_jax.chain import settings

    path = settings.find_file(name)
    spec = importlib.util.spec_from_file_location(f"facemae_file_{path.stem}", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.path.insert(0, str(settings.REPOSITORY))  # for `from configs import base`
    try:
        spec.loader.exec_module(module)
    finally:
        sys.path.remove(str(settings.REPOSITORY))
    return module


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

        call = read_command(sys.argv[1:] if arguments is None else arguments, [*graph.STAGES, "run", "sweep", "plan"])
        if call.help:
            print(help_text(call.verb))
            return 0
        from facemae_jax.train.loop import Interrupted

        try:
            if call.verb == "sweep":
                return serve_sweep(call)
            (serve_plan if call.verb == "plan" else serve_compare if call.runs else serve)(call)
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


def _failed(call: Call | None, code: int) -> int:
    """One of several processes ends at once: at its normal end it would wait for the others, and they may wait for it."""
    if call is not None and call.processes:
        from facemae_jax.processes import leave

        leave(code)
    return code


if __name__ == "__main__":
    sys.exit(main())
