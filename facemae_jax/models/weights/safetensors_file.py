"""The safetensors form, read and written: eight bytes of length, a JSON header (name → type, shape, place), then the numbers, little-endian.

Written by hand because it is this small, so that no further package is needed; a file cannot contain anything to run. Places are checked
against the file before a number is read. Format: https://github.com/huggingface/safetensors, section Format of its README.
"""

from __future__ import annotations

import json
import os
from math import prod
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np

from facemae_jax.types import FacemaeError

TYPES: dict[str, Any] = dict(
    F64="<f8", F32="<f4", F16="<f2", BF16=ml_dtypes.bfloat16, I64="<i8", I32="<i4", I16="<i2", I8="i1",
    U64="<u8", U32="<u4", U16="<u2", U8="u1", BOOL="?",
)  # fmt: skip
LONGEST_HEADER = 100_000_000  # bytes, as the format's own reader allows
ALIGNED = 8  # bytes


def read_safetensors(path: Path) -> dict[str, np.ndarray]:
    """All tensors, name → array of its own type (BF16 as ``ml_dtypes.bfloat16``).

    Raises:
        FacemaeError: no such file, another form, an unknown type, or places that the file does not have.
    """
    path = Path(path).expanduser()
    if not path.is_file():
        raise FacemaeError(f"{path}: no such file; correct the path.")
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if not 2 <= length <= min(LONGEST_HEADER, path.stat().st_size - 8):
            raise FacemaeError(f"{path} is no safetensors file, or torn: check that the download is whole.")
        try:
            header = json.loads(file.read(length))
            header.pop("__metadata__", None)
            places = [(*map(int, told["data_offsets"]), name) for name, told in header.items()]
            wanted = [_size(told) for told in header.values()]
        except KeyError as error:
            raise FacemaeError(f"{path}: {error} is no part of the safetensors form that is read here.") from error
        except (ValueError, TypeError, AttributeError) as error:
            raise FacemaeError(f"{path} is no safetensors file ({str(error)[:100]}): check the download.") from error
        if [end - begin for begin, end, _ in places] != wanted or not _gapless(
            places, path.stat().st_size - 8 - length
        ):
            raise FacemaeError(f"{path} is damaged or torn: its tensors do not fill it; copy or download it again.")
        found = {}
        for begin, end, name in places:
            file.seek(8 + length + begin)
            numbers = np.frombuffer(file.read(end - begin), TYPES[header[name]["dtype"]])
            found[name] = numbers.reshape(header[name]["shape"]).copy()
    return found


def write_safetensors(path: Path, arrays: dict[str, np.ndarray], metadata: dict[str, str] | None = None) -> None:
    """Write, whole or not at all.

    Args:
        path: of the file; an older one is replaced.
        arrays: name → array of a type in :data:`TYPES`.
        metadata: words about them; Hugging Face's readers want {"format": "pt"}.
    """
    kinds = {np.dtype(kind): name for name, kind in TYPES.items()}
    ordered = sorted(
        arrays.items(), key=lambda pair: (-pair[1].dtype.itemsize, pair[0])
    )  # wide ones first stay aligned
    header: dict[str, Any] = {"__metadata__": metadata} if metadata else {}
    begin = 0
    for name, array in ordered:
        shape = list(array.shape)
        header[name] = dict(dtype=kinds[array.dtype], shape=shape, data_offsets=[begin, begin + array.nbytes])
        begin += array.nbytes
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % ALIGNED)
    partial = path.with_name(path.name + ".partial")
    with partial.open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for _, array in ordered:
            file.write(np.ascontiguousarray(array).tobytes())
    os.replace(partial, path)


def _size(told: dict[str, Any]) -> int:
    if any(length < 0 for length in told["shape"]):
        raise ValueError("a negative length")
    return prod(told["shape"]) * np.dtype(TYPES[told["dtype"]]).itemsize


def _gapless(places: list[tuple[int, int, str]], held: int) -> bool:
    """Whether the places follow one another from 0 to the end, as the form asks for."""
    at = 0
    for begin, end, _ in sorted(places):
        if begin != at:
            return False
        at = end
    return at == held
