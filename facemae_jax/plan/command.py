"""The verb ``plan``: its flags, its help, and the order of its work. It prints a table and touches no accelerator."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from facemae_jax import logs
from facemae_jax.plan.jobs import Faces, names
from facemae_jax.plan.machine import UTILISATION, Machine, nearest
from facemae_jax.plan.make import make_plan
from facemae_jax.plan.table import Plan, as_json, text
from facemae_jax.types import FacemaeError

SUMMARY = "what a machine would need for the trainings of a config: bytes, exchanges, days; nothing is run"
FLAGS = ("hardware", "training", "identities", "images", "program", "utilisation", "json")
HELP = """\
plan: {summary}

  python -m facemae_jax plan --config=configs/webface42m.py --hardware=v5p-128 [--config.FIELD=VALUE …]

  --hardware      a machine of configs/hardware.py: {machines}
  --training      teacher, mae or recognizer alone (default: all that the config trains)
  --identities    people in the face set (default: IDENTITIES of the config file, or its synthetic faces)
  --images        images in the face set (default: IMAGES of the config file, or its synthetic faces)
  --program       what bytes and exchanges are taken from:
                    topology  the step compiled for the real TPU slice; needs libtpu (pip install libtpu), no TPU
                    virtual   the step compiled for as many virtual CPU devices: exchanges as they will be, memory as on a CPU
                    none      shapes, shardings and the traced step alone: seconds
                    auto      topology for TPUs where libtpu is installed (minutes), else virtual (a minute; default)
  --utilisation   share of the peak FLOP/s reached while computing (default: {utilisation}; from published rates)
  --json          file that gets all numbers

The mesh is the config's: try --config.mesh.fsdp=8. The trainings are teacher, mae and one recognizer, as far as the config makes them.
Times are arithmetic from data sheets, not measurements; data loading is not part of them.
"""


def help_text(machines: Mapping[str, Machine]) -> str:
    """What ``plan --help`` prints."""
    shares = ", ".join(f"{share} for {job}s" for job, share in UTILISATION.items())
    return HELP.format(summary=SUMMARY, machines=", ".join(machines), utilisation=shares)


def serve(
    config: Any, spec: str, options: Mapping[str, str], machines: Mapping[str, Machine], known: Faces | None
) -> Plan:
    """Make, print and write the plan.

    Args:
        config: loaded and checked.
        spec: how it was named.
        options: flag → text, of :data:`FLAGS`.
        machines: of ``configs/hardware.py``.
        known: faces that the config file names.

    Raises:
        FacemaeError: a flag that is missing or wrong, a mesh or batch that does not fit the machine.
    """
    name = options.get("hardware", "")
    if name not in machines:
        raise (
            nearest(name, machines, "--hardware")
            if name
            else FacemaeError(f"--hardware is missing: choose one of {', '.join(machines)}.")
        )
    wanted = names(config)
    if not wanted:
        raise FacemaeError(
            f"{spec} trains nothing: teacher.source, mae.source and recognizer.variants leave no training to plan."
        )
    if "training" in options:
        if options["training"] not in wanted:
            raise nearest(options["training"], wanted, "--training")
        wanted = [options["training"]]
    made = make_plan(
        config, spec, machines[name], _faces(config, options, known), wanted=wanted, asked=options.get("program", "auto"),
        utilisation=_share(options["utilisation"]) if "utilisation" in options else None, say=logs.say,
    )  # fmt: skip
    logs.say(text(made))
    if "json" in options:
        Path(options["json"]).expanduser().write_text(as_json(made))
    return made


def _faces(config: Any, options: Mapping[str, str], known: Faces | None) -> Faces:
    """How many faces: the flags, then the config file, then its synthetic faces."""
    if known is None and config.data.seen == "synthetic" and config.data.unseen in ("", "synthetic"):
        known = Faces(config.synthetic.identities, config.synthetic.identities * config.synthetic.images)
    given = {name: _count(name, options[name]) for name in Faces._fields if name in options}
    missing = [f"--{name}" for name in Faces._fields if name not in given and known is None]
    if missing:
        raise FacemaeError(
            f"{' and '.join(missing)}: how many are in the face set? A config knows its faces only by name ({config.data.seen})."
        )
    faces = Faces(**((known._asdict() if known else {}) | given))
    if faces.images < faces.identities:
        raise FacemaeError(f"--images={faces.images} is less than one for each of --identities={faces.identities}.")
    return faces


def _count(name: str, text: str) -> int:
    number = text.replace("_", "").replace(",", "")
    if not number.isdigit() or not int(number):
        raise FacemaeError(f"--{name}={text}: give a whole number above 0, such as 2_059_906.")
    return int(number)


def _share(text: str) -> float:
    with contextlib.suppress(ValueError):
        if 0 < float(text) <= 1:
            return float(text)
    raise FacemaeError(f"--utilisation={text}: give a share of the peak above 0 and at most 1, such as 0.4.")
