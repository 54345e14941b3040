"""From ``--config=FILE[:ARGUMENT]`` and ``--config.field=value`` to one locked ConfigDict.

Knows files, names and types of fields. What values mean and which contradict each other is in ``chain.rules``.
"""

from __future__ import annotations

import ast
import difflib
import importlib
import importlib.util
import inspect
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from facemae_jax.types import FacemaeError

REPOSITORY = Path(__file__).resolve().parents[2]


def find_file(name: str) -> Path:
    """The config file ``name``: from the current directory first, then from the repository."""
    for folder in (Path.cwd(), REPOSITORY):
        path = folder / name
        if path.is_file():
            return path
    known = ", ".join(
        sorted(f"configs/{p.name}" for p in (REPOSITORY / "configs").glob("*.py") if p.stem != "__init__")
    )
    raise FacemaeError(f"--config={name}: no such file here or in {REPOSITORY}; choose one of {known}, or give a path.")


def load(spec: str, overrides: Sequence[tuple[str, str]] = ()) -> ConfigDict:
    """The configuration a command line asks for.

    Args:
        spec: ``FILE.py`` or ``FILE.py:ARGUMENT``; the argument goes to the file's ``get_config``.
        overrides: (dotted field, text) pairs, in order.

    Raises:
        FacemaeError: for a missing file, an unknown field or argument, or a value of the wrong type.
    """
    name, _, argument = spec.partition(":")
    path = find_file(name)
    module_spec = importlib.util.spec_from_file_location(f"facemae_config_{path.stem}", path)
    assert module_spec is not None and module_spec.loader is not None
    module = importlib.util.module_from_spec(module_spec)
    # A config file says `from configs import base`: that must be ours, wherever the user stands.
    sys.path.insert(0, str(REPOSITORY))
    try:
        module_spec.loader.exec_module(module)
        get_config = module.get_config
        takes_argument = bool(inspect.signature(get_config).parameters)
        if argument and not takes_argument:
            raise FacemaeError(f"--config={spec}: {name} takes no argument after the colon; leave out {argument!r}.")
        config = get_config(argument) if takes_argument and argument else get_config()
    except FacemaeError:
        raise
    except Exception as error:
        raise FacemaeError(f"--config={spec}: {path} failed with {type(error).__name__}: {error}") from error
    finally:
        sys.path.remove(str(REPOSITORY))
    for field, text in overrides:
        set_field(config, field, text)
    config.lock()
    return config


def flat(config: ConfigDict, prefix: str = "") -> dict[str, Any]:
    """Dotted field → value, in the order of the file."""
    fields: dict[str, Any] = {}
    for name, value in config.items():
        if isinstance(value, ConfigDict):
            fields.update(flat(value, f"{prefix}{name}."))
        else:
            fields[prefix + name] = value
    return fields


def set_field(config: ConfigDict, field: str, text: str) -> None:
    """Give one dotted field the value that ``text`` spells, in the type the field already has."""
    known = flat(config)
    if field not in known:
        section, _, leaf = field.rpartition(".")
        siblings = [name.rpartition(".")[2] for name in known if name.rpartition(".")[0] == section]
        same_leaf = [name for name in known if name.rpartition(".")[2] == leaf]
        near = [name for name in siblings if leaf in name or name in leaf] or difflib.get_close_matches(leaf, siblings)
        near = same_leaf[:4] or [f"{section}.{name}" if section else name for name in near]
        if not siblings:
            near = near or difflib.get_close_matches(field, known, n=1, cutoff=0.5)
        hint = f"did you mean {' or '.join(near)}?" if near else "see configs/base.py."
        if section and siblings and not near:
            hint = f"{section} has: {', '.join(siblings)}."
        if any(name.startswith(field + ".") for name in known):
            hint = f"it is a section; name one of its fields, such as {next(n for n in known if n.startswith(field + '.'))}."
        raise FacemaeError(f"--config.{field}: there is no such field; {hint}")
    parent: Any = config
    *sections, leaf = field.split(".")
    for section in sections:
        parent = parent[section]
    with config.unlocked():
        parent[leaf] = parse(field, text, known[field])


def parse(field: str, text: str, default: Any) -> Any:
    """``text`` as the type of ``default``."""
    try:
        if isinstance(default, bool):
            return {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}[text.lower()]
        if isinstance(default, int):
            return int(text.replace("_", ""))
        if isinstance(default, float):
            return float(text)
        if isinstance(default, tuple):
            text = text.strip()
            values = (
                ast.literal_eval(text)
                if text[:1] in "(["
                else [part.strip() for part in text.split(",") if part.strip()]
            )
            if default and not isinstance(default[0], str):
                values = [type(default[0])(value) for value in values]
            return tuple(values)
        return text
    except (KeyError, ValueError, SyntaxError, TypeError) as error:
        wanted = {bool: "true or false", int: "a whole number", float: "a number", tuple: "values parted by commas"}
        kind = next(text for cls, text in wanted.items() if isinstance(default, cls))
        raise FacemaeError(f"--config.{field}={text}: expected {kind}, such as {default!r}.") from error


def comments() -> dict[str, str]:
    """Dotted field → what ``configs/base.py`` says about it; helper calls such as ``optim()`` are followed."""
    source = (REPOSITORY / "configs" / "base.py").read_text().splitlines()
    helpers: dict[str, dict[str, str]] = {}
    found: dict[str, str] = {}
    helper = section = ""

    def keep(fields: dict[str, str]) -> None:
        if helper == "get_config":
            found.update({f"{section}.{name}": text for name, text in fields.items()})
        else:
            helpers[helper].update(fields)

    for line in source:
        if match := re.match(r"def (\w+)\(", line):
            helper, section = match[1], ""
            helpers.setdefault(helper, {})
        elif match := re.match(r"    c\.(\w+) = ConfigDict\($", line):
            section = match[1]
        elif match := re.match(r"    c\.(\w+) = [^#]+#\s*(.+)$", line):
            found[match[1]] = match[2]
        elif match := re.match(r"\s+(\w+)=(\w+)\(.*\),$", line):
            keep({f"{match[1]}.{name}": text for name, text in helpers.get(match[2], {}).items()})
        elif match := re.match(r"\s+(\w+)=.+,\s+#\s*(.+)$", line):
            keep({match[1]: match[2]})
    return found
