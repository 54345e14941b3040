"""Files in PyTorch's layouts, written byte by byte without it, to say in a test what torch.save would never say."""

import io
import pickle
import struct
import zipfile
from typing import Any, NamedTuple

MAGIC = 0x1950A86A20F9469CFC6C


class Call(NamedTuple):
    """module name, name, arguments: what a pickle asks its reader to call."""

    module: str
    name: str
    arguments: tuple | None = None  # None: the name alone


class Outside(NamedTuple):
    """A persistent id."""

    given: tuple


class Raw(NamedTuple):
    """Instructions as they are."""

    code: bytes


def dumped(value: Any) -> bytes:
    """A pickle of protocol 2."""
    return b"\x80\x02" + _code(value) + b"."


def _code(value: Any) -> bytes:
    if isinstance(value, Raw):
        return value.code
    if isinstance(value, Call):
        named = b"c" + f"{value.module}\n{value.name}\n".encode()
        return named if value.arguments is None else named + _code(value.arguments) + b"R"
    if isinstance(value, Outside):
        return _code(value.given) + b"Q"
    if isinstance(value, dict):
        return b"}(" + b"".join(_code(name) + _code(item) for name, item in value.items()) + b"u"
    if isinstance(value, tuple):
        return b"(" + b"".join(map(_code, value)) + b"t"
    return pickle.dumps(value, 2)[2:-1].replace(b"q\x00", b"")


def tensor(
    key="0", length=6, offset=0, shape=(2, 3), strides=(3, 1), kind="FloatStorage", rebuild="_rebuild_tensor_v2"
):
    """As torch writes it."""
    storage = Outside(("storage", Call("torch", kind), key, "cpu", length))
    return Call(
        "torch._utils", rebuild, (storage, offset, shape, strides, False, Call("collections", "OrderedDict", ()))
    )


def zip_file(path, pickled: bytes, storages: dict[str, bytes], compression=zipfile.ZIP_STORED, **more: bytes):
    """The newer container."""
    with zipfile.ZipFile(path, "w", compression) as archive:
        archive.writestr("archive/data.pkl", pickled)
        for name, content in more.items():
            archive.writestr(f"archive/{name}", content)
        for key, content in storages.items():
            archive.writestr(f"archive/data/{key}", content)
    return path


def row_file(path, pickled: bytes, storages: dict[str, bytes], size=4, machine=None):
    """The older container; ``size`` bytes in a number."""
    row = io.BytesIO()
    for value in (MAGIC, 1001, machine or {"little_endian": True, "protocol_version": 1001}):
        pickle.dump(value, row, 2)
    row.write(pickled)
    pickle.dump(list(storages), row, 2)
    for content in storages.values():
        row.write(struct.pack("<q", len(content) // size) + content)
    path.write_bytes(row.getvalue())
    return path
