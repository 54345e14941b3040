"""A pickle, read without running it: its operations are followed on a stack of our own, and no name in it is ever looked up.

Python's own reader imports what a pickle names and calls it; restricting the names still leaves it calling their functions with a
stranger's arguments. Here a name stays a word. It may stand only where the vocabulary of the kind of file has it, and "calling" it
calls a function of ours that builds data. Source: the published operations, protocols 0 to 5 (Python's ``pickletools`` describes them).
"""

from __future__ import annotations

import os
import pickle
import pickletools
import struct
from typing import Any, BinaryIO

from facemae_jax.pickles.vocabulary import (
    Damaged,
    Name,
    NoFunction,
    Raw,
    Refused,
    Span,
    UnknownName,
    UnknownOperation,
    Vocabulary,
)

MAX_STEPS = 20_000_000  # operations; a set of 6,000 pairs takes some 100,000
SMALL = 256  # bytes that are kept; longer strings of bytes stay in the file
LONGEST_LINE = 160  # characters of a number
LONGEST_NUMBER = 64  # bytes; the state of a random number generator takes 17


def read_pickle(file: BinaryIO, vocabulary: Vocabulary) -> Any:
    """The value of one pickle; ``file`` then stands behind it.

    Args:
        file: at the beginning of a pickle; seekable.
        vocabulary: of this kind of file.

    Returns:
        list, tuple, dict, str, int, float, bool, None, bytes, :class:`Span` (bytes of length over 256, see :func:`content`), :class:`Name`, and what
        the vocabulary makes. It may hold itself, and be deeper than Python recurses.

    Raises:
        Refused: it asks for more than the vocabulary has, or for more work or memory than its size explains.
        Damaged: cut short, or it makes no sense.
    """
    try:
        return Machine(file, vocabulary).run()
    except (
        struct.error,
        IndexError,
        KeyError,
        ValueError,
        TypeError,
        AttributeError,
        MemoryError,
        OverflowError,
        RecursionError,
    ) as error:
        raise Damaged(f"{type(error).__name__}: {str(error)[:100]}") from error


def shown(name: object) -> str:
    """A stranger's text, fit for a message."""
    return ascii(name)[1:-1][:80]


class Machine:
    """The stack, the marks in it and the memo of one pickle, and what operations are made of."""

    def __init__(self, file: BinaryIO, vocabulary: Vocabulary):
        self.file, self.vocabulary = file, vocabulary
        start = file.tell()
        self.size = file.seek(0, os.SEEK_END)
        file.seek(start)
        self.stack: list[Any] = []
        self.marks: list[int] = []
        self.memo: dict[int, Any] = {}
        self.copied = 0  # bytes and items made by calls, which a pickle could ask for again and again

    def run(self) -> Any:
        """Follow the operations to the last one."""
        read, steps = self.file.read, self.vocabulary.steps
        for _ in range(MAX_STEPS):
            code = read(1)
            if code == pickle.STOP:
                return self.pop()
            step = steps.get(code)
            if step is None:
                known = pickletools.code2op.get(code.decode("latin1"))  # type: ignore[attr-defined]
                if known is None:
                    raise Damaged("it ends too early" if not code else f"0x{code.hex()} is no operation")
                raise UnknownOperation(known.name)
            step(self)
        raise Refused(f"takes more than {MAX_STEPS:,} operations")

    # of the file

    def number(self, form: str) -> int:
        """An integer in binary."""
        value = struct.unpack("<" + form, self.file.read(struct.calcsize("<" + form)))[0]
        return int(value)

    def long(self, count: int) -> int:
        """An integer of so many bytes."""
        if not 0 <= count <= LONGEST_NUMBER:
            raise Damaged(f"a number takes {count:,} bytes")
        return int.from_bytes(self.take(count), "little", signed=True)

    def line(self) -> bytes:
        """The rest of a line."""
        line = self.file.readline()
        if not line.endswith(b"\n"):
            raise Damaged("it ends within a line")
        return line[:-1]

    def number_line(self) -> bytes:
        """The line of a number."""
        line = self.line()
        if len(line) > LONGEST_LINE:
            raise Damaged("a number has too many digits")
        return line

    def whole(self) -> int:
        """An integer in text."""
        return int(self.number_line().removesuffix(b"L"))

    def take(self, count: int) -> bytes:
        """The next bytes."""
        if count < 0 or self.file.tell() + count > self.size:
            raise Damaged(f"a string of {count:,} bytes reaches beyond its end")
        return self.file.read(count)

    def raw(self, count: int) -> Raw:
        """A string of bytes, if long left where it is."""
        if count <= SMALL:
            return self.take(count)
        start = self.file.tell()
        if start + count > self.size:
            raise Damaged(f"a string of {count:,} bytes reaches beyond its end")
        self.file.seek(count, os.SEEK_CUR)
        return Span(start, start + count)

    def string(self, count: int) -> Raw | str:
        """A string of Python 2."""
        return self.take(count).decode("latin1") if self.vocabulary.text else self.raw(count)

    # of the stack

    def push(self, value: Any) -> None:
        """Put on top."""
        self.stack.append(value)

    def pop(self) -> Any:
        """Take the top, of what lies above the last mark."""
        if len(self.stack) <= (self.marks[-1] if self.marks else 0):
            raise Damaged("it takes a value from an empty stack")
        return self.stack.pop()

    def top(self) -> Any:
        """Look at the top."""
        self.push(value := self.pop())
        return value

    def last(self, count: int) -> tuple[Any, ...]:
        """Take so many."""
        return tuple([self.pop() for _ in range(count)][::-1])

    def above_mark(self) -> list[Any]:
        """Take all above the last mark, and it."""
        if not self.marks:
            raise Damaged("a mark is missing")
        start = self.marks.pop()
        values = self.stack[start:]
        del self.stack[start:]
        return values

    # of the vocabulary

    def name(self, module: Any, name: Any) -> Name:
        """A name, if the vocabulary has it."""
        if not isinstance(module, str) or not isinstance(name, str):
            raise Damaged("a name is no text")
        if (full := f"{module}.{name}") not in self.vocabulary.meanings:
            raise UnknownName(f"{shown(module)}.{shown(name)}")
        return Name(full)

    def call(self) -> Any:
        """What calling the thing under the top, with the top, means."""
        called, arguments = self.last(2)
        meaning = self.vocabulary.meanings[called.full] if isinstance(called, Name) else None
        if meaning is None or type(arguments) is not tuple:
            raise NoFunction(called.full if isinstance(called, Name) else f"a {type(called).__name__}")
        made = meaning(*arguments)
        if type(made) in (bytes, str, list, tuple, dict) and not any(made is one for one in arguments):
            self.copied += len(made)
            if self.copied > self.size:
                raise Refused("copies its own text over and over")
        return made
