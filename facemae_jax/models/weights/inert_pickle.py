"""A pickle as plain data: its instructions are followed on a stack of our own, and no name in it is ever looked up.

Python's unpickler imports what a file names and calls it, so that a file of weights can run anything. Here a name stays a word. It may be
"called" only where the caller gave it a meaning, a function of ours that builds data; every other name is refused, and said.
The instructions are those of the standard library's ``pickletools``, which reads them without acting on them.
"""

from __future__ import annotations

import pickletools
from collections.abc import Callable, Mapping
from typing import Any, BinaryIO, NamedTuple

from facemae_jax.types import FacemaeError

Meanings = Mapping[
    str, Callable[..., Any] | None
]  # full name → what calling it builds; None: it may stand there, uncalled

LITERALS = (
    "INT BININT BININT1 BININT2 LONG LONG1 LONG4 FLOAT BINFLOAT STRING BINSTRING SHORT_BINSTRING UNICODE BINUNICODE SHORT_BINUNICODE "
    "BINUNICODE8 BINBYTES SHORT_BINBYTES BINBYTES8"
).split()
FRESH: dict[str, Callable[[], Any]] = dict(
    NONE=lambda: None, NEWTRUE=lambda: True, NEWFALSE=lambda: False,
    EMPTY_TUPLE=tuple, EMPTY_LIST=list, EMPTY_DICT=dict, EMPTY_SET=list,
)  # fmt: skip
TUPLES = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}


class Name(NamedTuple):
    """A name that stands in a pickle, such as torch.FloatStorage. Nothing is behind it."""

    full: str


class Kept:
    """An object that is of no use here, kept by the name of its class."""

    def __init__(self, full: str):
        self.full = full


def keep(full: str) -> Callable[..., Kept]:
    """The meaning of a class whose objects are of no use here."""
    return lambda *_: Kept(full)


def read_pickle(file: BinaryIO, *, where: str, meanings: Meanings, persistent: Callable[[Any], Any]) -> Any:
    """The data of one pickle; ``file`` then stands behind it. Sets come as lists, attributes of objects are dropped.

    Args:
        file: at the beginning of a pickle.
        where: told in errors.
        meanings: of the names that may occur.
        persistent: id of a thing outside of the pickle → what stands for it.

    Raises:
        FacemaeError: a name without a meaning, a call of something else than a name, or a damaged pickle.
    """
    machine = _Machine(where, meanings, persistent)
    try:
        for operation, argument, _ in pickletools.genops(file):
            machine.step(operation.name, argument)
        return machine.stack.pop()
    except (
        ValueError,
        IndexError,
        KeyError,
        TypeError,
        AttributeError,
        MemoryError,
        OverflowError,
        RecursionError,
    ) as error:
        raise FacemaeError(
            f"{where} is damaged ({type(error).__name__}: {str(error)[:100]}): copy or download it again."
        ) from error


class _Machine:
    def __init__(self, where: str, meanings: Meanings, persistent: Callable[[Any], Any]):
        self.where, self.meanings, self.persistent = where, meanings, persistent
        self.stack: list[Any] = []
        self.below: list[list[Any]] = []  # stacks under marks
        self.memo: dict[int, Any] = {}

    def step(self, operation: str, argument: Any) -> None:
        """Follow one instruction."""
        stack = self.stack
        if operation in LITERALS:
            stack.append(argument)
        elif operation in FRESH:
            stack.append(FRESH[operation]())
        elif operation in TUPLES:
            count = TUPLES[operation]
            stack[-count:] = [tuple(self._last(count))]
        elif operation in ("PROTO", "FRAME", "STOP"):
            pass
        elif operation == "MARK":
            self.below.append(stack)
            self.stack = []
        elif operation in ("TUPLE", "LIST", "FROZENSET", "DICT"):
            items = self._from_mark()
            self.stack.append(_pairs(items) if operation == "DICT" else tuple(items) if operation == "TUPLE" else items)
        elif operation in ("APPENDS", "ADDITEMS", "SETITEMS"):
            items = self._from_mark()
            self._put_in(items) if operation == "SETITEMS" else self._append(items)
        elif operation == "APPEND":
            self._append([stack.pop()])
        elif operation == "SETITEM":
            value, key = stack.pop(), stack.pop()
            self._put_in([key, value])
        elif operation in ("PUT", "BINPUT", "LONG_BINPUT"):
            self.memo[argument] = stack[-1]
        elif operation == "MEMOIZE":
            self.memo[len(self.memo)] = stack[-1]
        elif operation in ("GET", "BINGET", "LONG_BINGET"):
            stack.append(self.memo[argument])
        elif operation == "POP":
            stack.pop()
        elif operation == "POP_MARK":
            self._from_mark()
        elif operation == "DUP":
            stack.append(stack[-1])
        elif operation == "GLOBAL":
            stack.append(self._name(argument.replace(" ", ".", 1)))
        elif operation == "STACK_GLOBAL":
            name, module = stack.pop(), stack.pop()
            stack.append(self._name(f"{module}.{name}"))
        elif operation in ("REDUCE", "NEWOBJ"):
            arguments, called = stack.pop(), stack.pop()
            stack.append(self._call(called, arguments))
        elif operation == "BUILD":
            stack.pop()  # attributes of what lies below
            if not isinstance(stack[-1], Kept | dict):
                raise ValueError("attributes are given to what has none")
        elif operation == "BINPERSID":
            stack.append(self.persistent(stack.pop()))
        else:
            raise FacemaeError(
                f"{self.where} holds the pickle instruction {operation}, which no file of weights needs: it was not read."
            )

    def _name(self, full: str) -> Name:
        if full not in self.meanings:
            raise FacemaeError(
                f"{self.where} names {full}, which has no place among weights: nothing was run, and it was not read; if you trust it, save its "
                "state_dict alone, as a dictionary of tensors."
            )
        return Name(full)

    def _call(self, called: Any, arguments: Any) -> Any:
        meaning = self.meanings[called.full] if isinstance(called, Name) else None
        if meaning is None or not isinstance(arguments, tuple):
            told = called.full if isinstance(called, Name) else f"a {type(called).__name__}"
            raise FacemaeError(f"{self.where} calls {told}, which no file of weights needs: it was not read.")
        return meaning(*arguments)

    def _last(self, count: int) -> list[Any]:
        if len(self.stack) < count:
            raise IndexError("too few items")
        return self.stack[-count:]

    def _from_mark(self) -> list[Any]:
        items, self.stack = self.stack, self.below.pop()
        return items

    def _append(self, items: list[Any]) -> None:
        if not isinstance(self.stack[-1], list):
            raise ValueError("items are added to what is no list")
        self.stack[-1].extend(items)

    def _put_in(self, items: list[Any]) -> None:
        if not isinstance(self.stack[-1], dict):
            raise ValueError("items are put into what is no dictionary")
        self.stack[-1].update(_pairs(items))


def _pairs(items: list[Any]) -> dict[Any, Any]:
    return dict(zip(items[::2], items[1::2], strict=True))
