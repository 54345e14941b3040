"""Group labels of people (as of age, skin tone or sex), from a CSV file with the header ``identity,group``.

Whoever measures a recognizer per group brings these labels; nothing here guesses them.
"""

from __future__ import annotations

import csv
import unicodedata
from collections.abc import Sequence
from pathlib import Path

from facemae_jax.data.image_lists import lines_of, some
from facemae_jax.types import FacemaeError

HEADER = ["identity", "group"]


def read_groups(path: str | Path, identity_names_K: Sequence[str]) -> list[str]:
    """``group_K``: the group of each identity of a face set; "" for those that the file does not name.

    Args:
        path: of the file, UTF-8. It may name more people than the face set holds.
        identity_names_K: name of each label, as in ``FaceSet.identity_names``.

    Raises:
        FacemaeError: a file that cannot be read, another header, a malformed line, a person in two groups, or none of the people.
    """
    path = Path(path)
    rows = csv.reader(lines_of(path, give=f"give a CSV file with the header {','.join(HEADER)}"))
    header = [name.strip() for name in next(rows, [])]
    if header != HEADER:
        raise FacemaeError(f"{path}, line 1: expected the header {','.join(HEADER)}, found {','.join(header)!r}.")
    groups: dict[str, str] = {}
    for row in rows:
        cells = [unicodedata.normalize("NFC", cell.strip()) for cell in row]
        if not any(cells):
            continue
        if len(cells) != 2 or not all(cells):
            raise FacemaeError(f"{path}, line {rows.line_num}: expected '{','.join(HEADER)}', found {','.join(row)!r}.")
        if groups.setdefault(cells[0], cells[1]) != cells[1]:
            raise FacemaeError(
                f"{path}, line {rows.line_num}: {cells[0]} is in group {cells[1]} here and in {groups[cells[0]]} above: leave one."
            )
    group_K = [groups.get(unicodedata.normalize("NFC", name), "") for name in identity_names_K]
    if not any(group_K):
        raise FacemaeError(
            f"{path} names none of the {len(group_K)} people of the face set ({some(list(identity_names_K))}), "
            f"but {len(groups)} others ({some(list(groups))}): write their names as the face set has them."
        )
    return group_K
