"""PyTorch's ``.pth``, ``.pt`` and ``.bin`` files as numpy arrays, without PyTorch, and without running what is inside.

Both containers of ``torch.save`` are read. The zip holds ``data.pkl``, which describes tensors, and one file of bytes per storage; the older
form is a row of pickles (magic number, version, machine, the object, the order of storages) followed by the storages.
Tensors are read when they are asked for: what else a training run saved costs nothing. Source: ``torch.save``'s output, looked at.
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable
from contextlib import ExitStack
from functools import lru_cache
from math import prod
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from facemae_jax.models.weights.inert_pickle import Storage, Tensor, read_pickle, storage_of
from facemae_jax.types import FacemaeError

MAGIC = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."  # the older form begins with the number 0x1950a86a20f9469cfc6c as a pickle
VERSION = 1001
WRAPPERS = ("model", "state_dict", "model_state_dict", "state_dict_backbone")  # where trainers put the weights
BIG_ENDIAN = "{} was saved on a big-endian machine: save it again on a little-endian one."
DEPTH = 3  # of wrappers in wrappers
PREFIXES = ("module.", "_orig_mod.")  # of DistributedDataParallel and torch.compile


def read_pth(path: Path) -> dict[str, np.ndarray]:
    """The weights of a file, name → array of its own type (bfloat16 as ``ml_dtypes.bfloat16``); see :func:`state_dict_of`.

    Raises:
        FacemaeError: no such file, not PyTorch's, a whole program, a name that has no place among weights, damage, or no weights in it.
    """
    path = Path(path).expanduser()
    if not path.is_file():
        raise FacemaeError(f"{path}: no such file; correct the path.")
    with ExitStack() as opened:
        file: BinaryIO = opened.enter_context(path.open("rb"))
        value, bytes_of = (_open_zip if zipfile.is_zipfile(file) else _open_row)(file, path, opened)
        found = state_dict_of(value, str(path))
        bytes_of = lru_cache(maxsize=1)(bytes_of)  # several tensors may be views of one storage
        try:
            return {name: _array(tensor, bytes_of) for name, tensor in found.items()}
        except (KeyError, ValueError, OSError, OverflowError, zipfile.BadZipFile) as error:
            raise FacemaeError(f"{path} is damaged ({str(error)[:150]}): copy or download it again.") from error


def state_dict_of(value: Any, where: str) -> dict[str, Tensor]:
    """The tensors of what was saved: taken out of the usual wrappers (``model``, ``state_dict`` …), names without ``module.``.

    Raises:
        FacemaeError: when there are none.
    """
    for _ in range(DEPTH):
        inner = [value[name] for name in WRAPPERS if isinstance(value, dict) and isinstance(value.get(name), dict)]
        value = inner[0] if inner else value
    items = value.items() if isinstance(value, dict) else ()
    found = {name: item for name, item in items if isinstance(name, str) and isinstance(item, Tensor)}
    if not found:
        names = list(value)[:8] if isinstance(value, dict) else []
        told = f"a dictionary of {', '.join(map(str, names))}" if names else f"a {type(value).__name__}"
        raise FacemaeError(f"{where} holds no weights by name, but {told}: save the model's state_dict().")
    for prefix in PREFIXES:
        if all(name.startswith(prefix) for name in found):
            found = {name.removeprefix(prefix): tensor for name, tensor in found.items()}
    return found


def _array(tensor: Tensor, bytes_of: Callable[[Storage], bytes]) -> np.ndarray:
    storage, offset, shape, strides = tensor
    numbers = np.frombuffer(bytes_of(storage), storage.dtype)
    if len(numbers) != storage.length:
        raise ValueError(f"storage {storage.key} has {len(numbers)} numbers where {storage.length} were saved")
    last = (
        offset + sum((length - 1) * stride for length, stride in zip(shape, strides, strict=True)) if prod(shape) else 0
    )
    if min((offset, *shape, *strides)) < 0 or last >= max(storage.length, 1) or prod(shape) > storage.length:
        raise ValueError(f"a tensor lies outside of storage {storage.key}")
    in_bytes = [stride * storage.dtype.itemsize for stride in strides]
    return np.lib.stride_tricks.as_strided(numbers[offset:], shape, in_bytes).copy()


def _open_zip(file: BinaryIO, path: Path, opened: ExitStack) -> tuple[Any, Callable[[Storage], bytes]]:
    try:
        archive = opened.enter_context(zipfile.ZipFile(file))
        entries = {entry.filename: entry for entry in archive.infolist()}
        roots = [
            name.removesuffix("data.pkl") for name in entries if name.count("/") == 1 and name.endswith("/data.pkl")
        ]
        if len(roots) != 1:
            raise FacemaeError(f"{path} is a zip file, but not one of PyTorch's: it has no data.pkl.")
        (root,) = roots
        if f"{root}constants.pkl" in entries:
            raise FacemaeError(
                f"{path} is a TorchScript program, which would have to be run: save the model's state_dict()."
            )
        if any(entry.compress_type != zipfile.ZIP_STORED for entry in entries.values()):
            # PyTorch never compresses, and a few bytes could become gigabytes.
            raise FacemaeError(
                f"{path} is a compressed zip file, which PyTorch does not write: save it again with torch.save."
            )
        if f"{root}byteorder" in entries and archive.read(f"{root}byteorder") != b"little":
            raise FacemaeError(BIG_ENDIAN.format(path))
        pickled = io.BytesIO(archive.read(f"{root}data.pkl"))
    except (zipfile.BadZipFile, OSError, NotImplementedError) as error:
        raise FacemaeError(f"{path} is damaged ({error}): copy or download it again.") from error
    value = read_pickle(pickled, where=str(path), persistent=storage_of)
    return value, lambda storage: archive.read(f"{root}data/{storage.key}")


def _open_row(file: BinaryIO, path: Path, opened: ExitStack) -> tuple[Any, Callable[[Storage], bytes]]:
    sizes: dict[str, int] = {}  # bytes of a number, by storage

    def noted(given: Any) -> Storage:
        storage = storage_of(given)
        sizes[storage.key] = storage.dtype.itemsize
        return storage

    def pickled() -> Any:
        return read_pickle(file, where=str(path), persistent=noted)

    file.seek(0)
    if not file.read(len(MAGIC)) == MAGIC or pickled() != VERSION:
        raise FacemaeError(
            f"{path} is not a file of PyTorch (neither its zip nor its older form): check that the download is whole."
        )
    machine = pickled()
    if isinstance(machine, dict) and machine.get("little_endian") is False:
        raise FacemaeError(BIG_ENDIAN.format(path))
    value, keys = pickled(), pickled()
    places: dict[str, int] = {}
    begin, end = file.tell(), path.stat().st_size
    if not isinstance(keys, list) or not all(isinstance(key, str | int) for key in keys):
        raise FacemaeError(f"{path} is damaged (its storages have no names): copy or download it again.")
    for key in map(str, keys):
        file.seek(begin)
        count = int.from_bytes(file.read(8), "little")
        places[key] = begin + 8
        begin += 8 + count * sizes.get(key, 0)
        if key not in sizes or begin > end:
            raise FacemaeError(f"{path} is damaged (at storage {key}): copy or download it again.")

    def bytes_of(storage: Storage) -> bytes:
        file.seek(places[storage.key])
        return file.read(storage.length * storage.dtype.itemsize)

    return value, bytes_of
