"""Files of landmarks: five points for each image, in any of the forms that are about.

============================================= ==============================================================================
``path,x1,y1,…,x5,y5`` with such a header       CSV of one's own
``path x1 y1 … x5 y5``                          text of InsightFace's and SphereFace's LFW; CelebA's list, two lines of header
``path label x1 y1 … x5 y5``                    SphereFace's CASIA
``aligned path label x0 y0 x1 y1 x1…x5 y1…y5``  InsightFace's ``.lst``, whose points come as five x, then five y
============================================= ==============================================================================

Points are pixels of the image, (0, 0) the middle of its first pixel, in the order of ``align.TEMPLATE_52``.
"""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from facemae_jax.data.image_lists import EITHER, Keyed, find_images, lines_of
from facemae_jax.types import FacemaeError

HEADER = ["path", *(f"{axis}{point}" for point in range(1, 6) for axis in "xy")]
GIVE = f"give a CSV file with the header {','.join(HEADER)}, or lines 'path x1 y1 … x5 y5'"


class Landmarks(NamedTuple):
    """What a file says of the images of a source."""

    points_n52: np.ndarray  # float64; of images without any: nan
    listed_n: np.ndarray  # bool


def read_landmarks(path: str | Path, faces: Keyed) -> Landmarks:
    """Read the file and find its images; what it says of others is passed over.

    Args:
        path: of the file; tells the form by its first line.
        faces: whose keys end in the file's names, with the extension or without.

    Raises:
        FacemaeError: a file that cannot be read, a malformed line, a name that may be either of two images or stands twice, or none of
            the images.
    """
    path = Path(path)
    names, numbers, points = _read(path)
    position_n = find_images(names, faces)
    count = len(faces.keys())
    points_n52 = np.full((count, 5, 2), np.nan)
    line_of: dict[int, int] = {}
    for name, number, found, position in zip(names, numbers, points, position_n.tolist(), strict=True):
        if position == EITHER:
            raise FacemaeError(f"{path}, line {number}: {name} may be either of two images; name more of its path.")
        if position < 0:
            continue
        if position in line_of:
            raise FacemaeError(
                f"{path}, line {number}: {name} stands in line {line_of[position]} already; leave one out."
            )
        line_of[position] = number
        points_n52[position] = found
    if not line_of:
        raise FacemaeError(
            f"{path} names none of the {count:,} images; the first name in it is {names[0] if names else 'missing'!r}: paths are those "
            "inside the folder or archive."
        )
    listed_n = np.zeros(count, bool)
    listed_n[list(line_of)] = True
    return Landmarks(points_n52, listed_n)


def _read(path: Path) -> tuple[list[str], list[int], list[np.ndarray]]:
    lines = lines_of(path, give=GIVE, field="data.landmarks=")
    rows: list[tuple[int, list[str]]] = []
    if lines and "," in lines[0]:
        reader = csv.reader(lines)
        rows = [(reader.line_num, [cell.strip() for cell in row]) for row in reader if row]
        if rows[0][1] != HEADER:
            raise FacemaeError(f"{path}, line 1: expected the header {','.join(HEADER)}, found {lines[0]!r}.")
        rows = rows[1:]
    else:
        rows = [(n, _cells(line)) for n, line in enumerate(lines, 1) if line.strip()]
        if (
            len(rows) > 1 and len(rows[0][1]) == 1 and rows[0][1][0].isdecimal()
        ):  # CelebA: a count, the names of the columns
            rows = rows[2:]
    names, numbers, points = [], [], []
    for number, cells in rows:
        name, found = _points(cells, path, number)
        names.append(name)
        numbers.append(number)
        points.append(found)
    return names, numbers, points


def _cells(line: str) -> list[str]:
    """Parted by tabs, where there are any: a path may have blanks."""
    parts = line.strip().split("\t")
    return [part.strip() for part in parts] if len(parts) > 2 else line.split()


def _points(cells: Sequence[str], path: Path, number: int) -> tuple[str, np.ndarray]:
    match len(cells):
        case 11:
            name, values = cells[0], cells[1:]
        case 12:
            name, values = cells[0], cells[2:]
        case 17:
            name, values = cells[1], [cells[at] for point in range(5) for at in (7 + point, 12 + point)]
        case count:
            raise FacemaeError(f"{path}, line {number}: {count} columns are no five points: {GIVE}.")
    try:
        return name, np.array([float(value) for value in values]).reshape(5, 2)
    except ValueError:
        raise FacemaeError(f"{path}, line {number}: a coordinate is no number ({' '.join(values)}): {GIVE}.") from None
