"""What a file of PyTorch may say in its pickles: dictionaries of tensors, described, and what training runs leave beside them, by name alone.

``pickles`` reads them without running anything: every name that stands for a function is one of ours here, which builds data; every other
one is refused, and said. Source: ``torch.save``'s output, looked at.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, BinaryIO, NamedTuple

import ml_dtypes
import numpy as np

from facemae_jax.pickles import reader
from facemae_jax.pickles.operations import OBJECTS, dictionary
from facemae_jax.pickles.vocabulary import Damaged, Name, NoFunction, Refused, UnknownName, UnknownOperation, Vocabulary
from facemae_jax.types import FacemaeError

AXES = 64  # of a tensor, at most
NUMBERS: dict[str, Any] = dict(
    float64="<f8", float32="<f4", float16="<f2", bfloat16=ml_dtypes.bfloat16, int64="<i8", int32="<i4", int16="<i2",
    int8="i1", uint8="u1", bool="?",
)  # fmt: skip
STORAGES = dict(
    Double="float64", Float="float32", Half="float16", BFloat16="bfloat16", Long="int64", Int="int32", Short="int16",
    Char="int8", Byte="uint8", Bool="bool", Untyped="uint8",
)  # fmt: skip


class Storage(NamedTuple):
    """Numbers that tensors are cut from: which, their type, how many."""

    key: str
    dtype: np.dtype
    length: int


class Tensor(NamedTuple):
    """Where the numbers of a tensor lie; lengths are counted in numbers."""

    storage: Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


class _Kept:
    """An object that is of no use here."""


def read_pickle(file: BinaryIO, *, where: str, persistent: Callable[[Any], Any]) -> Any:
    """The data of one pickle; ``file`` then stands behind it. Sets come as lists, attributes of objects are dropped.

    Args:
        file: at the beginning of a pickle.
        where: told in errors.
        persistent: id of a storage → what stands for it, see :func:`storage_of`.

    Raises:
        FacemaeError: a name that has no place among weights, a call of what is none, an operation that no file of weights needs, or a damaged pickle.
    """
    try:
        return reader.read_pickle(file, Vocabulary(OBJECTS, MEANINGS, _build, text=True, persistent=persistent))
    except UnknownName as name:
        raise FacemaeError(
            f"{where} names {name}, which has no place among weights: nothing was run, and it was not read; if you trust it, save its "
            "state_dict alone, as a dictionary of tensors."
        ) from None
    except Refused as refusal:
        match refusal:
            case UnknownOperation():
                said = f"holds the pickle instruction {refusal}"
            case NoFunction():
                said = f"calls {refusal}"
            case _:
                said = str(refusal)
        raise FacemaeError(f"{where} {said}, which no file of weights needs: it was not read.") from None
    except Damaged as error:
        raise FacemaeError(f"{where} is damaged ({error}): copy or download it again.") from error


def _rebuilt(storage: Any, offset: int, shape: Any, strides: Any, *_: Any) -> Tensor:
    if len(shape) > AXES or len(strides) > AXES:
        raise ValueError("a tensor has too many axes")
    return Tensor(_expect_storage(storage), int(offset), tuple(map(int, shape)), tuple(map(int, strides)))


def _rebuilt_with_type(
    storage: Any, offset: int, shape: Any, strides: Any, gradient: Any, hooks: Any, kind: Any, *_: Any
) -> Tensor:
    raw = _expect_storage(storage)
    dtype = np.dtype(NUMBERS[kind.full.removeprefix("torch.")])
    typed = raw._replace(dtype=dtype, length=raw.length * raw.dtype.itemsize // dtype.itemsize)
    return _rebuilt(typed, offset, shape, strides)


def _expect_storage(value: Any) -> Storage:
    if not isinstance(value, Storage):
        raise ValueError("a tensor is made of what is no storage")
    return value


def _dictionary(pairs: Any = (), *_: Any) -> dict[Any, Any]:
    return dictionary(pairs.items() if isinstance(pairs, dict) else pairs)


MEANINGS: Mapping[str, Callable[..., Any] | None] = {
    "collections.OrderedDict": _dictionary,
    "collections.defaultdict": lambda _=None, *given: _dictionary(*given),
    "torch.Size": lambda *given: tuple(*given),
    "torch._utils._rebuild_tensor": _rebuilt,
    "torch._utils._rebuild_tensor_v2": _rebuilt,
    "torch._utils._rebuild_tensor_v3": _rebuilt_with_type,
    "torch._utils._rebuild_parameter": lambda data, *_: data,
    # What training runs leave beside their weights:
    **{
        name: lambda *_: _Kept()
        for name in (
            "argparse.Namespace", "torch.device", "pathlib.Path", "pathlib.PosixPath", "pathlib._local.PosixPath",
            "builtins.set", "__builtin__.set", "numpy.dtype", "numpy.core.multiarray.scalar", "numpy._core.multiarray.scalar", "_codecs.encode",
        )
    },
    **{f"{module}.{name}": None for name in ("dict", "list", "int", "float") for module in ("builtins", "__builtin__")},
    **{f"torch.{name}": None for name in NUMBERS},
    **{
        f"{module}.{name}Storage": None for name in STORAGES for module in ("torch", "torch.cuda", "torch.storage")
    },
}  # fmt: skip


def _build(target: Any, _: Any) -> None:
    """Attributes are of no use here, and reach nothing."""
    if not isinstance(target, _Kept | dict):
        raise ValueError("attributes are given to what has none")


def storage_of(given: Any) -> Storage:
    """What the pickle says of a storage: a word, a class, its key, its device, its count; then, in the older form, the part of it that is meant."""
    kind, name, key, _, count, *part = given
    if kind != "storage" or not isinstance(name, Name) or not name.full.endswith("Storage"):
        raise ValueError("a thing outside of the pickle that is no storage")
    if not isinstance(key, str | int):
        raise ValueError("a storage has no name")
    if part and part[0] is not None:
        raise ValueError("a part of a storage stands for a whole one, as PyTorch before 0.4 did it")
    return Storage(
        str(key), np.dtype(NUMBERS[STORAGES[name.full.rpartition(".")[2].removesuffix("Storage")]]), int(count)
    )
