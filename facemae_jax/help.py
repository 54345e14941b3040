"""What ``--help`` prints, and what stands behind the verbs that take no config. Text out; nothing runs here."""

from __future__ import annotations

import functools
import importlib.util
import sys
import textwrap
from collections.abc import Callable
from types import ModuleType
from typing import NamedTuple

from facemae_jax.chain.command_line import WITHOUT_CONFIG

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
  export-faces      {export}
  make-bin          {bin}
  import-weights    {import_weights}
  export-weights    {export_weights}
  VERB --help       what a stage does and the settings it reads

Start here:  launch/demo.sh   or   python -m facemae_jax run --config=configs/demo.py --workdir=runs/demo
"""


def help_text(verb: str) -> str:
    """What ``--help`` prints, in general or for one verb."""
    from facemae_jax.chain import graph, settings
    from facemae_jax.chain.fingerprint import expand

    files = ", ".join(
        sorted(f"configs/{p.name}" for p in (settings.REPOSITORY / "configs").glob("*.py") if p.stem != "hardware")
    )
    if verb == "plan":
        from facemae_jax.plan import command

        return command.help_text(python_file("configs/hardware.py").MACHINES)
    if verb == "sweep":
        from facemae_jax.chain import sweep_command

        return sweep_command.help_text()
    if verb in WITHOUT_CONFIG:
        return placed(verb).help_text()
    if verb in ("", "run"):
        verbs = "\n".join(f"  {name:17s} {module.SUMMARY}" for name, module in graph.STAGES.items())
        from facemae_jax.chain import compare, sweep_command
        from facemae_jax.plan.command import SUMMARY

        summaries = {name: placed(name).summary for name in WITHOUT_CONFIG}

        return USAGE.format(
            configs=files, verbs=verbs, sweep=sweep_command.SUMMARY, plan=SUMMARY, compare=compare.SUMMARY,
            export=summaries["export-faces"], bin=summaries["make-bin"], import_weights=summaries["import-weights"],
            export_weights=summaries["export-weights"],
        )  # fmt: skip
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


def python_file(name: str) -> ModuleType:
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


class Placed(NamedTuple):
    """A verb without a config."""

    summary: str
    help_text: Callable[[], str]
    serve: Callable[[tuple[str, ...], dict[str, str]], None]


def placed(verb: str) -> Placed:
    """The verb without a config of this name."""
    from facemae_jax.chain import bin_command, export_command, weights_command

    for module in (bin_command, export_command):
        if verb == module.VERB:
            return Placed(module.SUMMARY, module.help_text, module.serve)
    return Placed(
        weights_command.SUMMARY[verb],
        functools.partial(weights_command.help_text, verb),
        functools.partial(weights_command.serve, verb),
    )
