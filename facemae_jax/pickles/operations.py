"""What the operations of a pickle do on the machine, in two tables: those of rows of plain values, and those that dictionaries and objects add.

What is in no table is refused. So are, in both, INST and OBJ (calls without a tuple of arguments), the extension registry, text
ids of things outside of the pickle, and buffers outside of it.
"""

from __future__ import annotations

import codecs
import pickle
import struct
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from facemae_jax.pickles.reader import Machine
from facemae_jax.pickles.vocabulary import Damaged, Raw, Step

KEY_PARTS = 256  # of a tuple that is a key: finding it takes as many steps, and nested ones recurse


def dictionary(pairs: Iterable[Any]) -> dict[Any, Any]:
    """A dictionary of (key, value).

    Raises:
        Damaged: a key is a tuple with more than 256 things in it and in what it holds; deep ones would end the process.
        TypeError, ValueError: no pairs, or a key that cannot be one.
    """
    found = {}
    for key, value in pairs:
        parts = [key]
        for _ in range(KEY_PARTS):
            if not parts:
                break
            if isinstance(one := parts.pop(), tuple):
                parts.extend(one)
        else:
            raise Damaged("a key has too many parts")
        found[key] = value
    return found


def _pairs(items: list[Any]) -> dict[Any, Any]:
    return dictionary(zip(items[::2], items[1::2], strict=True))


def _extend(machine: Machine, values: Iterable[Any]) -> None:
    if type(target := machine.top()) is not list:
        raise Damaged("something is added to what is no list")
    target.extend(values)


def _update(machine: Machine, items: list[Any]) -> None:
    if type(target := machine.top()) is not dict:
        raise Damaged("something is put into what is no dictionary")
    target.update(_pairs(items))


def _string_line(machine: Machine) -> Raw | str:
    line = machine.line()
    if len(line) < 2 or line[:1] != line[-1:] or line[:1] not in (b"'", b'"'):
        raise Damaged("a string has no quotes")
    string = codecs.escape_decode(line[1:-1])[0]
    return string.decode("latin1") if machine.vocabulary.text else string


def _int_line(machine: Machine) -> int | bool:
    line = machine.number_line()
    return line == b"01" if line in (b"00", b"01") else int(line)


def _text_line(machine: Machine) -> str:
    return machine.line().decode("utf-8", "replace")


def _text(machine: Machine, count: int) -> str:
    return machine.take(count).decode("utf-8", "surrogatepass")


def _remember(machine: Machine, number: int) -> None:
    machine.memo[number] = machine.top()


def _build(machine: Machine) -> None:
    state = machine.pop()
    machine.vocabulary.build(machine.top(), state)


def _outside(machine: Machine) -> Any:
    assert machine.vocabulary.persistent is not None  # whose vocabulary has this operation has its meaning
    return machine.vocabulary.persistent(machine.pop())


def _pushing(value: Callable[[Machine], Any]) -> Step:
    return lambda machine: machine.push(value(machine))


ROWS: Mapping[bytes, Step] = {
    pickle.PROTO: lambda m: m.take(1),
    pickle.FRAME: lambda m: m.take(8),
    pickle.MARK: lambda m: m.marks.append(len(m.stack)),
    pickle.POP: lambda m: m.pop(),
    pickle.POP_MARK: lambda m: m.above_mark(),
    pickle.DUP: _pushing(lambda m: m.top()),
    pickle.NONE: _pushing(lambda m: None),
    pickle.NEWTRUE: _pushing(lambda m: True),
    pickle.NEWFALSE: _pushing(lambda m: False),
    pickle.INT: _pushing(_int_line),
    pickle.BININT: _pushing(lambda m: m.number("i")),
    pickle.BININT1: _pushing(lambda m: m.number("B")),
    pickle.BININT2: _pushing(lambda m: m.number("H")),
    pickle.LONG: _pushing(lambda m: m.whole()),
    pickle.LONG1: _pushing(lambda m: m.long(m.number("B"))),
    pickle.LONG4: _pushing(lambda m: m.long(m.number("i"))),
    pickle.STRING: _pushing(_string_line),
    pickle.BINSTRING: _pushing(lambda m: m.string(m.number("i"))),
    pickle.SHORT_BINSTRING: _pushing(lambda m: m.string(m.number("B"))),
    pickle.BINBYTES: _pushing(lambda m: m.raw(m.number("I"))),
    pickle.SHORT_BINBYTES: _pushing(lambda m: m.raw(m.number("B"))),
    pickle.BINBYTES8: _pushing(lambda m: m.raw(m.number("Q"))),
    pickle.BYTEARRAY8: _pushing(lambda m: m.raw(m.number("Q"))),
    pickle.UNICODE: _pushing(lambda m: m.line().decode("raw-unicode-escape")),
    pickle.BINUNICODE: _pushing(lambda m: _text(m, m.number("I"))),
    pickle.SHORT_BINUNICODE: _pushing(lambda m: _text(m, m.number("B"))),
    pickle.BINUNICODE8: _pushing(lambda m: _text(m, m.number("Q"))),
    pickle.EMPTY_LIST: _pushing(lambda m: []),
    pickle.LIST: _pushing(lambda m: m.above_mark()),
    pickle.APPEND: lambda m: _extend(m, m.last(1)),
    pickle.APPENDS: lambda m: _extend(m, m.above_mark()),
    pickle.EMPTY_TUPLE: _pushing(lambda m: ()),
    pickle.TUPLE: _pushing(lambda m: tuple(m.above_mark())),
    pickle.TUPLE1: _pushing(lambda m: m.last(1)),
    pickle.TUPLE2: _pushing(lambda m: m.last(2)),
    pickle.TUPLE3: _pushing(lambda m: m.last(3)),
    pickle.PUT: lambda m: _remember(m, m.whole()),
    pickle.BINPUT: lambda m: _remember(m, m.number("B")),
    pickle.LONG_BINPUT: lambda m: _remember(m, m.number("I")),
    pickle.MEMOIZE: lambda m: _remember(m, len(m.memo)),
    pickle.GET: _pushing(lambda m: m.memo[m.whole()]),
    pickle.BINGET: _pushing(lambda m: m.memo[m.number("B")]),
    pickle.LONG_BINGET: _pushing(lambda m: m.memo[m.number("I")]),
    pickle.GLOBAL: _pushing(lambda m: m.name(_text_line(m), _text_line(m))),
    pickle.STACK_GLOBAL: _pushing(lambda m: m.name(*m.last(2))),
    pickle.REDUCE: _pushing(lambda m: m.call()),
    pickle.BUILD: _build,
}
OBJECTS: Mapping[bytes, Step] = {
    **ROWS,
    pickle.FLOAT: _pushing(lambda m: float(m.number_line())),
    pickle.BINFLOAT: _pushing(lambda m: struct.unpack(">d", m.take(8))[0]),
    pickle.EMPTY_DICT: _pushing(lambda m: {}),
    pickle.DICT: _pushing(lambda m: _pairs(m.above_mark())),
    pickle.SETITEM: lambda m: _update(m, list(m.last(2))),
    pickle.SETITEMS: lambda m: _update(m, m.above_mark()),
    pickle.EMPTY_SET: _pushing(lambda m: []),  # a set comes as a list
    pickle.FROZENSET: _pushing(lambda m: m.above_mark()),
    pickle.ADDITEMS: lambda m: _extend(m, m.above_mark()),
    pickle.NEWOBJ: _pushing(lambda m: m.call()),
    pickle.BINPERSID: _pushing(_outside),
}
