"""Which column of a table, or feature of a record, holds what: the one the user names, or the one that is called as usual."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence

from facemae_jax.types import FacemaeError

# Names found in published sets and converters, in the order of preference.
IMAGES = (
    "image", "image/encoded", "jpg", "jpeg", "png", "webp", "img", "image_bytes", "image_raw", "encoded_image", "encoded", "image/bytes",
)  # fmt: skip
LABELS = (
    "label", "identity", "image/class/label", "class", "cls", "class_id", "label_id", "identity_id", "person", "person_id", "subject",
    "subject_id", "name", "id", "image/class/text", "y",
)  # fmt: skip
KEYS = ("key", "__key__", "image/filename", "filename", "file_name", "path")


def choose(what: str, present: Iterable[str], told: str, usual: Sequence[str], where: str) -> str:
    """The column for ``what``.

    >>> choose("image", ["y", "png"], "", IMAGES, "x")
    'png'

    Args:
        what: for the error, such as "label".
        present: names of the columns that may be it.
        told: the user's choice, or "".
        usual: names it often has, preferred ones first.
        where: the source, for the error.

    Raises:
        FacemaeError: the named one is not there, or none has a usual name and there is more than one.
    """
    names = sorted(present)
    if told:
        if told in names:
            return told
        near = difflib.get_close_matches(told, names, n=1)
        hint = f" (did you mean {near[0]}?)" if near else ""
        raise FacemaeError(f"{where}: there is no {what} called {told}{hint}; there are: {', '.join(names) or 'none'}.")
    found = next((name for name in usual if name in names), names[0] if len(names) == 1 else "")
    if not found:
        raise FacemaeError(
            f"{where}: which of {', '.join(names) or 'its fields (there is none that fits)'} is the {what} cannot be told from their names; "
            f"rename it to {usual[0]}."
        )
    return found
