"""A pickle of plain data, read without running it: lists, tuples, strings, numbers, arrays of bytes. Everything else is refused.

Python's own reader calls whatever a pickle names; restricting the names still leaves it calling numpy with a stranger's
arguments. Here a small machine of our own follows the published operations (Python's ``pickletools`` describes them), protocols 0
to 5 as written by Python 2 and 3 and by numpy 1 and 2. It knows seven functions by name and calls none: it does itself what they
would do with the arguments that these writers give.
"""

from __future__ import annotations

import codecs
import math
import os
import pickle
import pickletools
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple, NoReturn

from facemae_jax.types import FacemaeError

MAX_STEPS = 20_000_000  # operations; a set of 6,000 pairs takes some 100,000
SMALL = 256  # bytes that are kept; longer strings stay in the file
LONGEST_NUMBER = 40  # characters
FUNCTIONS = {
    ("numpy", "ndarray"): "ndarray",
    ("numpy", "dtype"): "dtype",
    ("numpy.core.multiarray", "_reconstruct"): "reconstruct",
    ("numpy._core.multiarray", "_reconstruct"): "reconstruct",
    ("numpy.core.multiarray", "scalar"): "scalar",
    ("numpy._core.multiarray", "scalar"): "scalar",
    ("numpy.core.numeric", "_frombuffer"): "frombuffer",
    ("numpy._core.numeric", "_frombuffer"): "frombuffer",
    ("_codecs", "encode"): "encode",
    ("__builtin__", "bytes"): "bytes",
    ("builtins", "bytes"): "bytes",
    ("__builtin__", "bytearray"): "bytes",
    ("builtins", "bytearray"): "bytes",
}
ARRAYS = {"u1": "u1", "uint8": "u1", "b1": "b1", "bool": "b1", "?": "b1"}
LATIN = ("latin1", "latin-1")


class Span(NamedTuple):
    """A byte string that was left in the file."""

    start: int
    stop: int


Raw = bytes | Span


class Array:
    """What an array of bytes or of truth values is before its numbers are looked at."""

    kind = ""  # u1 | b1
    shape: tuple[int, ...] = ()
    content: Raw = b""


class _Function(NamedTuple):
    name: str


class _Dtype(NamedTuple):
    kind: str


class _Damaged(Exception):
    """The bytes are no whole pickle."""


class _Refused(Exception):
    """The pickle asks for more than plain data."""


def read_pickle(file: BinaryIO, path: Path) -> Any:
    """The value of a pickle.

    Args:
        file: at its beginning, seekable, unbuffered content of ``path``.
        path: for errors.

    Returns:
        list, tuple, str, int, bool, None, bytes, :class:`Span` (bytes of length over 256, see :func:`content`) and :class:`Array`.

    Raises:
        FacemaeError: damaged, cut short, or it asks for anything else; names what it asked for.
    """
    try:
        return _Machine(file).run()
    except _Refused as refusal:
        raise FacemaeError(
            f"{path}: {refusal}, which plain data never does; nothing in it was run: do not trust this file, get it from where it was made."
        ) from None
    except (_Damaged, struct.error, IndexError, KeyError, ValueError, OverflowError) as error:
        raise FacemaeError(
            f"{path}: near byte {file.tell():,}: this is no whole pickle ({error}); copy or download the file again."
        ) from error


def content(file: BinaryIO, raw: Raw) -> bytes:
    """The bytes themselves. Safe in several threads."""
    if isinstance(raw, bytes):
        return raw
    return os.pread(file.fileno(), raw.stop - raw.start, raw.start)


def length(raw: Raw) -> int:
    """Number of bytes."""
    return len(raw) if isinstance(raw, bytes) else raw.stop - raw.start


def _damaged(text: str) -> NoReturn:
    raise _Damaged(text)


def _shown(name: object) -> str:
    return ascii(name)[1:-1][:80]


class _Machine:
    """The stack, the marks in it and the memo of one pickle."""

    def __init__(self, file: BinaryIO):
        self.file = file
        self.size = os.fstat(file.fileno()).st_size
        self.stack: list[Any] = []
        self.marks: list[int] = []
        self.memo: dict[int, Any] = {}
        self.encoded = 0  # bytes made from text, which a pickle could ask for again and again

    def run(self) -> Any:
        read = self.file.read
        for _ in range(MAX_STEPS):
            code = read(1)
            if code == pickle.STOP:
                return self.pop()
            step = STEPS.get(code)
            if step is None:
                known = pickletools.code2op.get(code.decode("latin1"))  # type: ignore[attr-defined]
                if known is None:
                    _damaged("it ends too early" if not code else f"0x{code.hex()} is no operation")
                if known.name == "INST":
                    self.function(self.text_line(), self.text_line())
                raise _Refused(f"this pickle uses the operation {known.name}")
            step(self)
        raise _Refused(f"this pickle takes more than {MAX_STEPS:,} operations")

    # what the operations are made of

    def number(self, form: str) -> int:
        value = struct.unpack("<" + form, self.file.read(struct.calcsize("<" + form)))[0]
        return int(value)

    def raw(self, count: int) -> Raw:
        start = self.file.tell()
        if count < 0 or start + count > self.size:
            _damaged(f"a string of {count:,} bytes reaches beyond its end")
        if count <= SMALL:
            return self.file.read(count)
        self.file.seek(count, os.SEEK_CUR)
        return Span(start, start + count)

    def text(self, count: int) -> str:
        return content(self.file, self.raw(count)).decode("utf-8", "surrogatepass")

    def line(self) -> bytes:
        line = self.file.readline()
        if not line.endswith(b"\n"):
            _damaged("it ends within a line")
        return line[:-1]

    def text_line(self) -> str:
        return self.line().decode("utf-8", "replace")

    def whole(self, line: bytes) -> int:
        if len(line) > LONGEST_NUMBER:
            _damaged("a number has too many digits")
        return int(line)

    def long(self, count: int) -> int:
        if count > 16:
            _damaged(f"a number takes {count:,} bytes")
        return int.from_bytes(self.file.read(count), "little", signed=True)

    def push(self, value: Any) -> None:
        self.stack.append(value)

    def pop(self) -> Any:
        if len(self.stack) <= (self.marks[-1] if self.marks else 0):
            _damaged("it takes a value from an empty stack")
        return self.stack.pop()

    def top(self) -> Any:
        self.push(value := self.pop())
        return value

    def above_mark(self) -> list[Any]:
        if not self.marks:
            _damaged("a mark is missing")
        start = self.marks.pop()
        values = self.stack[start:]
        del self.stack[start:]
        return values

    def extend(self, values: list[Any]) -> None:
        target = self.top()
        if type(target) is not list:
            _damaged("something is added to what is no list")
        target.extend(values)

    def last(self, count: int) -> tuple[Any, ...]:
        return tuple([self.pop() for _ in range(count)][::-1])

    def function(self, module: str, name: str) -> _Function:
        known = FUNCTIONS.get((module, name))
        if known is None:
            raise _Refused(f"this pickle asks for {_shown(module)}.{_shown(name)}")
        return _Function(known)

    def stack_function(self) -> _Function:
        module, name = self.last(2)
        if not isinstance(module, str) or not isinstance(name, str):
            _damaged("the name of a function is no text")
        return self.function(module, name)

    # what the seven functions would do

    def call(self) -> Any:
        arguments, function = self.pop(), self.pop()
        if not isinstance(function, _Function) or not isinstance(arguments, tuple):
            raise _Refused("this pickle calls what is no function")
        match function.name, arguments:
            case "reconstruct", (_Function("ndarray"), *_):
                return Array()
            case "dtype", (kind, *_):
                return _Dtype(self.kind(kind))
            case "scalar", (_Dtype(kind), raw) if isinstance(raw, Raw) and length(raw) == 1:
                value = content(self.file, raw)[0]
                return bool(value) if kind == "b1" else value
            case "frombuffer", (raw, _Dtype(kind), shape, *_):
                return self.filled(Array(), kind, shape, raw)
            case (("encode" | "bytes"), (str(text), code)) if self.name(code) in LATIN:
                return self.latin(text)
            case "bytes", ():
                return b""
            case "bytes", (raw,) if isinstance(raw, Raw):
                return raw
        raise _Refused(f"this pickle calls {function.name} in an unusual way")

    def latin(self, text: str) -> bytes:
        self.encoded += len(text)
        if self.encoded > self.size:
            raise _Refused("this pickle copies its own text over and over")
        return text.encode("latin1")

    def name(self, value: Any) -> str:
        if isinstance(value, str):
            return value
        return value.decode("latin1") if isinstance(value, bytes) else ""

    def kind(self, value: Any) -> str:
        name = self.name(value).lstrip("|<>=")
        if name not in ARRAYS:
            raise _Refused(f"this pickle holds an array of {'objects' if name in ('O', 'O8') else _shown(name or '?')}")
        return ARRAYS[name]

    def build(self) -> None:
        """The state of an array or of its type, given after it was made."""
        state, target = self.pop(), self.top()
        if isinstance(target, _Dtype) and isinstance(state, tuple) and state[2:5] == (None, None, None):
            return
        if isinstance(target, Array) and isinstance(state, tuple) and len(state) == 5 and isinstance(state[2], _Dtype):
            self.filled(target, state[2].kind, state[1], state[4])
            return
        raise _Refused("this pickle changes what it made in an unusual way")

    def filled(self, array: Array, kind: str, shape: Any, raw: Any) -> Array:
        if (
            not isinstance(raw, Raw)
            or not isinstance(shape, tuple)
            or not all(type(n) is int and n >= 0 for n in shape)
        ):
            _damaged("an array has no shape or no numbers")
        if len(shape) > 8 or math.prod(shape) != length(raw):
            _damaged("the shape of an array does not fit its numbers")
        array.kind, array.shape, array.content = kind, shape, raw
        return array


def _string_line(machine: _Machine) -> bytes:
    line = machine.line()
    if len(line) < 2 or line[:1] != line[-1:] or line[:1] not in (b"'", b'"'):
        _damaged("a string has no quotes")
    return codecs.escape_decode(line[1:-1])[0]


def _int_line(machine: _Machine) -> int | bool:
    line = machine.line()
    return {b"00": False, b"01": True}.get(line) if line in (b"00", b"01") else machine.whole(line)  # type: ignore[return-value]


def _remember(machine: _Machine, number: int) -> None:
    machine.memo[number] = machine.top()


def _pop(machine: _Machine) -> None:
    machine.pop()


def _pushing(value: Callable[[_Machine], Any]) -> Callable[[_Machine], None]:
    return lambda machine: machine.push(value(machine))


STEPS: dict[bytes, Callable[[_Machine], Any]] = {
    pickle.PROTO: lambda m: m.file.read(1),
    pickle.FRAME: lambda m: m.file.read(8),
    pickle.MARK: lambda m: m.marks.append(len(m.stack)),
    pickle.POP: _pop,
    pickle.POP_MARK: lambda m: m.above_mark(),
    pickle.DUP: _pushing(lambda m: m.top()),
    pickle.NONE: _pushing(lambda m: None),
    pickle.NEWTRUE: _pushing(lambda m: True),
    pickle.NEWFALSE: _pushing(lambda m: False),
    pickle.INT: _pushing(_int_line),
    pickle.BININT: _pushing(lambda m: m.number("i")),
    pickle.BININT1: _pushing(lambda m: m.number("B")),
    pickle.BININT2: _pushing(lambda m: m.number("H")),
    pickle.LONG: _pushing(lambda m: m.whole(m.line().removesuffix(b"L"))),
    pickle.LONG1: _pushing(lambda m: m.long(m.number("B"))),
    pickle.LONG4: _pushing(lambda m: m.long(m.number("i"))),
    pickle.STRING: _pushing(_string_line),
    pickle.BINSTRING: _pushing(lambda m: m.raw(m.number("i"))),
    pickle.SHORT_BINSTRING: _pushing(lambda m: m.raw(m.number("B"))),
    pickle.BINBYTES: _pushing(lambda m: m.raw(m.number("I"))),
    pickle.SHORT_BINBYTES: _pushing(lambda m: m.raw(m.number("B"))),
    pickle.BINBYTES8: _pushing(lambda m: m.raw(m.number("Q"))),
    pickle.BYTEARRAY8: _pushing(lambda m: m.raw(m.number("Q"))),
    pickle.UNICODE: _pushing(lambda m: m.line().decode("raw-unicode-escape")),
    pickle.BINUNICODE: _pushing(lambda m: m.text(m.number("I"))),
    pickle.SHORT_BINUNICODE: _pushing(lambda m: m.text(m.number("B"))),
    pickle.BINUNICODE8: _pushing(lambda m: m.text(m.number("Q"))),
    pickle.EMPTY_LIST: _pushing(lambda m: []),
    pickle.LIST: _pushing(lambda m: m.above_mark()),
    pickle.APPEND: lambda m: m.extend([m.pop()]),
    pickle.APPENDS: lambda m: m.extend(m.above_mark()),
    pickle.EMPTY_TUPLE: _pushing(lambda m: ()),
    pickle.TUPLE: _pushing(lambda m: tuple(m.above_mark())),
    pickle.TUPLE1: _pushing(lambda m: m.last(1)),
    pickle.TUPLE2: _pushing(lambda m: m.last(2)),
    pickle.TUPLE3: _pushing(lambda m: m.last(3)),
    pickle.PUT: lambda m: _remember(m, m.whole(m.line())),
    pickle.BINPUT: lambda m: _remember(m, m.number("B")),
    pickle.LONG_BINPUT: lambda m: _remember(m, m.number("I")),
    pickle.MEMOIZE: lambda m: _remember(m, len(m.memo)),
    pickle.GET: _pushing(lambda m: m.memo[m.whole(m.line())]),
    pickle.BINGET: _pushing(lambda m: m.memo[m.number("B")]),
    pickle.LONG_BINGET: _pushing(lambda m: m.memo[m.number("I")]),
    pickle.GLOBAL: _pushing(lambda m: m.function(m.text_line(), m.text_line())),
    pickle.STACK_GLOBAL: _pushing(lambda m: m.stack_function()),
    pickle.REDUCE: _pushing(lambda m: m.call()),
    pickle.BUILD: lambda m: m.build(),
}
