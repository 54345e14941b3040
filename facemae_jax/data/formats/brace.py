"""Many files by one name: ``faces-{000000..000099}.tar`` counts, ``{train,test}.tar`` lists."""

from __future__ import annotations

import re
from pathlib import Path

from facemae_jax.types import FacemaeError

MOST = 100_000  # files
GROUP = re.compile(r"\{([^{}]*)\}")
COUNT = re.compile(r"(\d+)\.\.(\d+)")


def expand_braces(path: Path) -> list[Path]:
    """The files that a pattern names, in its order; a path without braces names itself.

    >>> [str(p) for p in expand_braces(Path("a-{08..10}.tar"))]
    ['a-08.tar', 'a-09.tar', 'a-10.tar']

    Raises:
        FacemaeError: a pattern that counts backwards, or names too many files.
    """
    texts = [str(path)]
    while (found := GROUP.search(texts[0])) is not None:
        parts = _parts(found[1], path)
        if len(texts) * len(parts) > MOST:
            raise FacemaeError(f"{path}: this pattern names more than {MOST:,} files; name the folder that holds them.")
        texts = [text.replace(found[0], part, 1) for part in parts for text in texts]
    return [Path(text) for text in sorted(texts)]


def _parts(text: str, path: Path) -> list[str]:
    if (found := COUNT.fullmatch(text)) is None:
        return text.split(",")
    first, last = int(found[1]), int(found[2])
    if last < first or last - first >= MOST:
        raise FacemaeError(f"{path}: {{{text}}} counts backwards or too far; write {{FIRST..LAST}}.")
    return [str(number).zfill(len(found[1])) for number in range(first, last + 1)]
