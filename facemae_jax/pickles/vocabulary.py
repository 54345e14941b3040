"""What a kind of file may say in a pickle (:class:`Vocabulary`), the words for it, and the ways to say that a pickle said more."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import Any, BinaryIO, NamedTuple


class Span(NamedTuple):
    """A byte string that was left in the file."""

    start: int
    stop: int


Raw = bytes | Span


def content(file: BinaryIO, raw: Raw) -> bytes:
    """The bytes themselves, of a file of the system. Safe in several threads."""
    if isinstance(raw, bytes):
        return raw
    return os.pread(file.fileno(), raw.stop - raw.start, raw.start)


def length(raw: Raw) -> int:
    """Number of bytes."""
    return len(raw) if isinstance(raw, bytes) else raw.stop - raw.start


class Name(NamedTuple):
    """A name that stands in a pickle, such as torch.FloatStorage. Nothing is behind it."""

    full: str


class Damaged(Exception):
    """The bytes are no whole pickle."""


class Refused(Exception):
    """The pickle asks for more than data; says what it does, such as "copies its own text over and over"."""


class UnknownName(Refused):
    """It names what the vocabulary lacks; its text is the name."""


class UnknownOperation(Refused):
    """It uses an operation that this kind of file does not; its text is the operation."""


class NoFunction(Refused):
    """It calls what has no meaning when called; its text says what."""


Step = Callable[[Any], Any]  # of reader.Machine


class Vocabulary(NamedTuple):
    """What a kind of file may say.

    Attributes:
        steps: byte of an operation → what it does.
        meanings: full name → what calling it builds; None: it may stand there, uncalled. No meaning may make of its arguments what is longer than
            they are, and one that copies them returns the copy itself, so that it is counted.
        build: gives a thing (first argument) its state (second).
        text: whether strings of Python 2 are text (latin1), not bytes.
        persistent: id of a thing outside of the pickle → what stands for it.
    """

    steps: Mapping[bytes, Step]
    meanings: Mapping[str, Callable[..., Any] | None]
    build: Callable[[Any, Any], None]
    text: bool = False
    persistent: Callable[[Any], Any] | None = None
