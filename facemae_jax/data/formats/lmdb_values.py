"""What the values of an LMDB set of faces are: encoded images, or MessagePack lists that begin with one and end with a label."""

from __future__ import annotations

from pathlib import Path

from facemae_jax.data.formats.msgpack_parts import items
from facemae_jax.types import FacemaeError

IMAGE = (b"\xff\xd8", b"\x89PNG", b"BM", b"RIFF")  # how encoded images begin


def is_bare(value: memoryview, file: Path) -> bool:
    """Whether values are images themselves, told from the first one; else they are lists.

    Raises:
        FacemaeError: they are neither, or pickled.
    """
    start = bytes(value[:12])
    if start.startswith(IMAGE):
        return True
    if len(start) > 1 and start[0] == 0x80 and start[1] <= 5:
        raise FacemaeError(
            f"{file}: its values are pickled, and to read them could run any code; write them again as encoded images, or as MessagePack "
            "lists of image and label."
        )
    if not (0x90 <= start[:1].ljust(1)[0] <= 0x9F or start[:1] in (b"\xdc", b"\xdd")):
        raise FacemaeError(
            f"{file}: its values are neither encoded images nor MessagePack lists of image and label (they begin with "
            f"{start.hex(' ')}); write them again as one of these."
        )
    return False


def image_and_label(value: memoryview) -> tuple[memoryview, int | memoryview]:
    """The first and the last item of a list.

    Raises:
        ValueError: it is no such list, or the label is no number of a person.
    """
    found = items(value)
    if len(found) < 2 or not isinstance(found[0], memoryview) or not len(found[0]):
        raise ValueError("no list that begins with an image")
    if isinstance(found[-1], int) and not 0 <= found[-1] < 2**31:
        raise ValueError(f"the label {found[-1]}")
    return found[0], found[-1]


def person_in(value: memoryview, known: dict[str, int]) -> int:
    """The number of the person in a value, −1 where it cannot be read; texts are counted in ``known``."""
    try:
        _, label = image_and_label(value)
        return label if isinstance(label, int) else known.setdefault(bytes(label).decode(), len(known))
    except ValueError:
        return -1
