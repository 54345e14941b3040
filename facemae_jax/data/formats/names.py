"""What the names of files say: which are images of whom, which are left aside, and which must be refused.

Not for the images themselves: ``images`` finds out whether a file is what its name says.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Sequence

from facemae_jax.types import FacemaeError

ENDINGS = (".jpg", ".jpeg", ".png", ".webp", ".bmp")
MAX_FILE = 256 << 20  # bytes of one image file; 40 million pixels of 16-bit RGB are 240 MB


def why_ignored(key: str) -> str:
    """Why a file is no image of a person, in the plural, such as ".txt files"; "" if it is one.

    Args:
        key: path inside the source, parted by "/"; the folder that holds the file is the identity.
    """
    *folders, file = key.split("/")
    if "__MACOSX" in folders:
        return "files of __MACOSX"
    if any(part.startswith(".") for part in (*folders, file)):
        return "hidden files"
    _, dot, ending = file.rpartition(".")
    if not file.lower().endswith(ENDINGS):
        return f".{ending.lower()} files" if dot else "files without an ending"
    return "" if folders else "images outside the folders of identities"


def identity_of(key: str) -> str:
    """The identity of an image: everything before the last "/" of its key."""
    return key.rpartition("/")[0]


def check_names(keys: Sequence[str], identities: Iterable[str], where: str) -> None:
    """Refuse names that cannot be kept apart.

    Args:
        keys: sorted.
        identities: names of the people.
        where: the source, for the error.

    Raises:
        FacemaeError: a key stands twice, two names differ only in their Unicode form, or a name is no Unicode at all.
    """
    for one, two in zip(keys, keys[1:], strict=False):
        if one == two:
            raise FacemaeError(f"{where}: the name {one!r} stands twice; rename one of the two.")
    for names in (sorted(set(identities)), keys):
        if all(name.isascii() for name in names):
            continue
        known: dict[str, str] = {}
        for name in names:
            try:
                name.encode()
            except UnicodeEncodeError as error:
                raise FacemaeError(f"{where}: the file name {name!a} is not valid UTF-8; rename it.") from error
            other = known.setdefault(unicodedata.normalize("NFC", name), name)
            if other != name:
                raise FacemaeError(
                    f"{where}: the names {other!a} and {name!a} differ only in their Unicode form; rename or merge them."
                )
