"""What the names of files say: which are images of whom, which are left aside, and which must be refused.

Not for the images themselves: ``images`` finds out whether a file is what its name says.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Sequence
from itertools import pairwise

from facemae_jax.types import FacemaeError

ENDINGS = (".jpg", ".jpeg", ".png", ".webp", ".bmp")
STARTS = {b"\xff\xd8": "jpg", b"\x89PNG": "png", b"BM": "bmp"}  # how image files begin
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


def number_name(label: int, top: int) -> str:
    """The name of an identity that is only a number: as many digits as ``top`` has, so that sorted names keep the order of the labels.

    >>> number_name(7, 120)
    '007'
    """
    return str(label).zfill(len(str(top)))


def ending_of(image: bytes, where: str) -> str:
    """The ending that fits encoded image bytes: jpg, png, webp or bmp.

    >>> ending_of(bytes.fromhex("ffd8ffe0"), "x")
    'jpg'

    Raises:
        FacemaeError: none of these.
    """
    if image[:4] == b"RIFF" and image[8:12] == b"WEBP":
        return "webp"
    for start, ending in STARTS.items():
        if image.startswith(start):
            return ending
    raise FacemaeError(f"{where}: this is no JPEG, PNG, WebP or BMP; import the faces again.")


def file_for(key: str, identity: str, ending: str, where: str) -> str:
    """Where a record lies in a folder of people: ``IDENTITY/FILE``, the key without the identity before it, and an ending that fits.

    >>> file_for("ada/1.jpeg", "ada", "jpg", "x"), file_for("9f3c", "0007", "png", "x"), file_for("b/old/2.bmp", "b", "jpg", "x")
    ('ada/1.jpeg', '0007/9f3c.png', 'b/old_2.bmp.jpg')

    Raises:
        FacemaeError: names that would lead out of the folder.
    """
    parts = identity.split("/")
    file = key.removeprefix(f"{identity}/").replace("/", "_")
    file = f"_{file}" if file.startswith(".") else file  # hidden files are left aside when a folder is read
    if any(part in ("", ".", "..") or "\0" in part for part in (*parts, file)):
        raise FacemaeError(
            f"{where}: the name {identity!r} or the key {key!r} cannot be a path in a folder; export without --allow-names."
        )
    fits = {ending, "jpeg"} if ending == "jpg" else {ending}
    return f"{identity}/{file}" if file.rpartition(".")[2].lower() in fits else f"{identity}/{file}.{ending}"


def check_names(keys: Sequence[str], identities: Iterable[str], where: str) -> None:
    """Refuse names that cannot be kept apart. Memory: the names of the people, and those keys that are in no normal form of Unicode.

    Args:
        keys: sorted.
        identities: names of the people.
        where: the source, for the error.

    Raises:
        FacemaeError: a key stands twice, two names differ only in their Unicode form, or a name is no Unicode at all.
    """
    for one, two in pairwise(keys):
        if one == two:
            raise FacemaeError(f"{where}: the name {one!r} stands twice; rename one of the two.")
    for names in (sorted(set(identities)), keys):
        _check_forms(names, where)


def _check_forms(names: Sequence[str], where: str) -> None:
    # Only names that are not in the normal form are kept: of two that differ in their form alone, one is such a name.
    known: dict[str, str] = {}
    for name in names:
        if name.isascii():
            continue
        try:
            name.encode()
        except UnicodeEncodeError as error:
            raise FacemaeError(f"{where}: the file name {name!a} is not valid UTF-8; rename it.") from error
        if not unicodedata.is_normalized("NFC", name):
            other = known.setdefault(unicodedata.normalize("NFC", name), name)
            if other != name:
                _same(other, name, where)
    if known:
        for name in names:
            if known.get(name, name) != name:
                _same(known[name], name, where)


def _same(one: str, two: str, where: str) -> None:
    raise FacemaeError(
        f"{where}: the names {one!a} and {two!a} differ only in their Unicode form; rename or merge them."
    )
