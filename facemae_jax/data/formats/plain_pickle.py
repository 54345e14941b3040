"""Pickles of plain data: lists, tuples, strings, whole numbers, arrays of bytes, as Python 2 and 3 and numpy 1 and 2 write them.

``pickles`` reads them without running anything. Of functions only those may be named by which these writers make arrays and strings of bytes;
none is called: what they would do with the arguments that the writers give is done here, and any other call is refused.
"""

from __future__ import annotations

import math
import pickle
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO

from facemae_jax.pickles import reader
from facemae_jax.pickles.operations import ROWS
from facemae_jax.pickles.vocabulary import (
    Damaged,
    Name,
    NoFunction,
    Raw,
    Refused,
    UnknownName,
    UnknownOperation,
    Vocabulary,
    length,
)
from facemae_jax.types import FacemaeError

FUNCTIONS = {
    "numpy.ndarray": "ndarray",
    "numpy.dtype": "dtype",
    "numpy.core.multiarray._reconstruct": "reconstruct",
    "numpy._core.multiarray._reconstruct": "reconstruct",
    "numpy.core.multiarray.scalar": "scalar",
    "numpy._core.multiarray.scalar": "scalar",
    "numpy.core.numeric._frombuffer": "frombuffer",
    "numpy._core.numeric._frombuffer": "frombuffer",
    "_codecs.encode": "encode",
    "__builtin__.bytes": "bytes",
    "builtins.bytes": "bytes",
    "__builtin__.bytearray": "bytes",
    "builtins.bytearray": "bytes",
}
ARRAYS = {"u1": "u1", "uint8": "u1", "b1": "b1", "bool": "b1", "?": "b1"}
LATIN = ("latin1", "latin-1")


class Array:
    """What an array of bytes or of truth values is before its numbers are looked at."""

    kind = ""  # u1 | b1
    shape: tuple[int, ...] = ()
    content: Raw = b""


class _Dtype:
    def __init__(self, kind: str):
        self.kind = kind


def read_pickle(file: BinaryIO, path: Path) -> Any:
    """The value of a pickle of plain data.

    Args:
        file: at its beginning, the content of ``path``.
        path: for errors.

    Returns:
        list, tuple, str, int, bool, None, bytes, ``Span`` (bytes that were left in the file) and :class:`Array`.

    Raises:
        FacemaeError: damaged, cut short, or it asks for anything else; names what it asked for.
    """
    try:
        return reader.read_pickle(file, VOCABULARY)
    except Refused as refusal:
        raise FacemaeError(
            f"{path}: this pickle {_said(refusal)}, which plain data never does; nothing in it was run: do not trust this file, get it from "
            "where it was made."
        ) from None
    except Damaged as error:
        raise FacemaeError(
            f"{path}: near byte {file.tell():,}: this is no whole pickle ({error}); copy or download the file again."
        ) from error


def _said(refusal: Refused) -> str:
    match refusal:
        case UnknownName():
            return f"asks for {refusal}"
        case UnknownOperation():
            return f"uses the operation {refusal}"
        case NoFunction():
            return "calls what is no function"
    return str(refusal)


def _called(function: str, *arguments: Any) -> Any:
    """What the functions would do."""
    match function, arguments:
        case "reconstruct", (Name("numpy.ndarray"), *_):
            return Array()
        case "dtype", (kind, *_):
            return _Dtype(_kind(kind))
        case "scalar", (_Dtype(kind=kind), bytes(raw)) if len(raw) == 1:
            return bool(raw[0]) if kind == "b1" else raw[0]
        case "frombuffer", (raw, _Dtype(kind=kind), shape, *_):
            return _fill(Array(), kind, shape, raw)
        case (("encode" | "bytes"), (str(text), code)) if _word(code) in LATIN:
            return text.encode("latin1")
        case "bytes", ():
            return b""
        case "bytes", (raw,) if isinstance(raw, Raw):
            return raw
    raise Refused(f"calls {function} in an unusual way")


def _build(target: Any, state: Any) -> None:
    """The state of an array or of its type, given after it was made."""
    if not isinstance(state, tuple):
        state = ()
    if isinstance(target, Array) and len(state) == 5 and isinstance(state[2], _Dtype):
        _fill(target, state[2].kind, state[1], state[4])
    elif not isinstance(target, _Dtype) or state[2:5] != (None, None, None):
        raise Refused("changes what it made in an unusual way")


def _fill(array: Array, kind: str, shape: Any, raw: Any) -> Array:
    if not isinstance(raw, Raw) or not isinstance(shape, tuple) or not all(type(n) is int and n >= 0 for n in shape):
        raise Damaged("an array has no shape or no numbers")
    if len(shape) > 8 or math.prod(shape) != length(raw):
        raise Damaged("the shape of an array does not fit its numbers")
    array.kind, array.shape, array.content = kind, shape, raw
    return array


def _kind(value: Any) -> str:
    name = _word(value).lstrip("|<>=")
    if name not in ARRAYS:
        raise Refused(f"holds an array of {'objects' if name in ('O', 'O8') else reader.shown(name or '?')}")
    return ARRAYS[name]


def _word(value: Any) -> str:
    if isinstance(value, str):
        return value
    return value.decode("latin1") if isinstance(value, bytes) else ""


def _inst(machine: reader.Machine) -> None:
    """INST is never of use, but what it asks for is told."""
    ROWS[pickle.GLOBAL](machine)
    raise UnknownOperation("INST")


VOCABULARY = Vocabulary(
    {**ROWS, pickle.INST: _inst}, {full: partial(_called, name) for full, name in FUNCTIONS.items()}, _build
)
