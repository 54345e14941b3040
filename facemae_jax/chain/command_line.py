"""A command line, word by word: verb, config, overrides, and the flags that belong to one verb alone. Nothing is looked up or run here."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from facemae_jax.types import FacemaeError

KNOWN = ("config", "workdir", "secret-file", "processes")
# Flags of one verb alone:
PLAN_FLAGS = ("hardware", "training", "identities", "images", "program", "utilisation", "json")
SWEEP_FLAGS = ("grid", "shard", "dry-run")
COMPARE_FLAGS = ("compare", "out")  # the runs follow --compare as words
EXPORT_FLAGS = ("to", "out", "allow-names")  # the face set is a word
BIN_FLAGS = ("faces", "pairs", "protocol", "image-size", "out")
IMPORT_WEIGHTS_FLAGS = (
    "out",
    "image-size",
    "patch",
    "decoder",
    "heads",
    "norm-pix",
    "network",
    "faces",
)  # the file is a word
EXPORT_WEIGHTS_FLAGS = ("to", "out")  # the model is a word
OWN_FLAGS = {
    "plan": PLAN_FLAGS, "sweep": SWEEP_FLAGS, "report": COMPARE_FLAGS, "export-faces": EXPORT_FLAGS, "make-bin": BIN_FLAGS,
    "import-weights": IMPORT_WEIGHTS_FLAGS, "export-weights": EXPORT_WEIGHTS_FLAGS,
}  # fmt: skip
ALL_OWN_FLAGS = tuple(dict.fromkeys(flag for flags in OWN_FLAGS.values() for flag in flags))
SWITCHES = ("dry-run", "allow-names")  # flags without a value
WITHOUT_CONFIG = (
    "export-faces",
    "make-bin",
    "import-weights",
    "export-weights",
)  # verbs that are told their places; no config and no workdir


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
    places: tuple[
        str, ...
    ] = ()  # runs that report --compare puts side by side; the face set, file or model of a verb without a config


def read_command(arguments: Sequence[str], verbs: Sequence[str]) -> Call:
    """The parts of a command line; a value may follow ``=`` or a space.

    Raises:
        FacemaeError: for a missing or unknown verb or flag.
    """
    words, flags, overrides = [], {}, []
    rest = list(arguments)
    while rest:
        word = rest.pop(0)
        if word in ("-h", "--help", "help"):
            flags["help"] = ""
        elif word.startswith("--"):
            name, equals, value = word[2:].partition("=")
            if not name.startswith("config.") and name not in (*KNOWN, *ALL_OWN_FLAGS):
                near = difflib.get_close_matches(name, (*KNOWN, *ALL_OWN_FLAGS), n=1)
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
    free = comparing or verb in WITHOUT_CONFIG
    if len(words) > 1 and not free:
        raise FacemaeError(f"{words[1]}: one verb at a time; settings are written --config.field=value.")
    own = {name: flags.pop(name) for name in ALL_OWN_FLAGS if name in flags}
    for name in own:
        owners = [of for of, flags_of in OWN_FLAGS.items() if name in flags_of]
        if verb and verb not in owners:
            raise FacemaeError(f"--{name} belongs to the verb {' or '.join(owners)}; see {owners[0]} --help.")
    if "out" in own and verb == "report" and not comparing:
        raise FacemaeError("--out belongs to report --compare DIR DIR …; without it, a report goes into the workdir.")
    if verb in WITHOUT_CONFIG and (
        needless := [*(name for name in KNOWN if name in flags), *(f"config.{name}" for name, _ in overrides)]
    ):
        raise FacemaeError(f"--{needless[0]}: {verb} takes neither a config nor a workdir; see {verb} --help.")
    if "help" not in flags and verb and not free:
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
        (own["compare"], *words[1:]) if comparing else tuple(words[1:]),
    )
