"""The door: ``python -m facemae_jax VERB --config=FILE --workdir=DIR [--config.field=value …]``.

Reads the command line, sets up devices and quiet logs, hands over to ``chain``. Everything else is importable without it.
"""

from __future__ import annotations

import ctypes
import errno
import os
import sys
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from facemae_jax.types import FacemaeError

USAGE = """\
facemae_jax: a face dataset in, a privacy-preserving face dataset out, with the proof of its utility and its privacy.

  python -m facemae_jax VERB --config=FILE[:ARGUMENT] --workdir=DIR [--config.FIELD=VALUE …] [--secret-file=FILE]

  --config          a file of settings, from here or from the repository: {configs}
  --config.FIELD    one setting, for example --config.mae.mask_ratio=0.85; before or after --config
  --workdir         where results go; finished stages in it are reused, interrupted ones continued
  --secret-file     the secret that drives masks, keys and order of releases (default: DIR/private/secret, made once)

Verbs, in the order of the chain:
{verbs}
  run               the whole chain: everything above that the config asks for
  VERB --help       what a stage does and the settings it reads

Start here:  launch/demo.sh   or   python -m facemae_jax run --config=configs/demo.py --workdir=runs/demo
"""


class Call(NamedTuple):
    """A command line, read."""

    verb: str
    spec: str
    workdir: Path
    overrides: list[tuple[str, str]]
    secret_file: Path | None
    help: bool


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
            if not name.startswith("config.") and name not in ("config", "workdir", "secret-file"):
                near = difflib.get_close_matches(name, ("config", "workdir", "secret-file"), n=1)
                raise FacemaeError(
                    f"--{name}: unknown flag; did you mean --{near[0] if near else 'config.' + name}? See --help."
                )
            if not equals:
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
    if len(words) > 1:
        raise FacemaeError(f"{words[1]}: one verb at a time; settings are written --config.field=value.")
    if "help" not in flags and verb:
        for needed in ("config", "workdir"):
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
        "help" in flags or not verb,
    )


def help_text(verb: str) -> str:
    """What ``--help`` prints, in general or for one verb."""
    from facemae_jax.chain import graph, settings
    from facemae_jax.chain.fingerprint import expand

    files = ", ".join(
        sorted(f"configs/{p.name}" for p in (settings.REPOSITORY / "configs").glob("*.py") if p.stem != "__init__")
    )
    if verb in ("", "run"):
        verbs = "\n".join(f"  {name:17s} {module.SUMMARY}" for name, module in graph.STAGES.items())
        return USAGE.format(configs=files, verbs=verbs)
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


def prepare(workdir: Path) -> None:
    """Quiet logs, memory that is kept, and compiled programs kept in the workdir. Before the first use of a device."""
    keep_freed_memory()
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    os.environ.setdefault("GRPC_VERBOSITY", "ERROR")
    import jax

    from facemae_jax import logs

    logs.quiet()
    if not os.environ.get("JAX_COMPILATION_CACHE_DIR"):
        jax.config.update("jax_compilation_cache_dir", str(workdir.absolute() / "private" / "compiled"))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.5)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)


def serve(call: Call) -> None:
    """Do what the command line asks for."""
    from facemae_jax import logs
    from facemae_jax.chain import graph, rules, settings
    from facemae_jax.chain.runner import Chain, locked

    config = settings.load(call.spec, call.overrides)
    rules.check(config)
    prepare(call.workdir)
    config = rules.resolve(config)
    call.workdir.mkdir(parents=True, exist_ok=True)
    spec = " ".join([call.spec, *(f"--config.{field}={value}" for field, value in call.overrides)])
    with locked(call.workdir):
        chain = Chain(config, call.workdir, spec=spec, secret_file=call.secret_file)
        if call.verb == "run":
            chain.run(graph.targets(config), with_upstream=True)
            last = chain.result(graph.Ref("report"))
            logs.say(((last.done or {})["summary"]["table"]).rstrip())
            release = chain.result(graph.Ref("publish"))
            logs.say(f"release: {release.path / graph.STAGES['publish'].RELEASE}\nreport:  {last.path / 'report.html'}")
        else:
            chain.run(graph.results(config, call.verb), with_upstream=False)


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit code: 0 done, 2 the user's mistake or a full disk, 130 / 143 stopped by a signal with everything saved."""
    try:
        from facemae_jax.chain import graph

        call = read_command(sys.argv[1:] if arguments is None else arguments, [*graph.STAGES, "run"])
        if call.help:
            print(help_text(call.verb))
            return 0
        from facemae_jax.train.loop import Interrupted

        try:
            serve(call)
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
        return 2
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            print(
                f"error: the disk is full while writing {error.filename or 'a result'}: free some space and run the same command again; "
                "nothing finished is lost.",
                file=sys.stderr,
            )
            return 2
        raise


if __name__ == "__main__":
    sys.exit(main())
