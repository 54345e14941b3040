"""How fast an import is, beside what the machine can do: ``python -m facemae_jax.bench.import_speed --folder=DIR``.

In one run, each import right after its measure, the whole round several times:

- JPEGs of the right size, which pass through, beside **plain copying**: one thread reads the form from front to back by the plainest means
  (``plain_copy``) and writes ``tf.train.Example`` into ArrayRecord, what a face set consists of, with no check, digest or index.
- Images that are encoded anew, beside the machine's **ceiling**: the same encoded images in memory, decoded (JPEG by simplejpeg, PNG by
  Pillow), resized by Pillow where the import does, and encoded by simplejpeg, in as many threads as there are cores, nothing read or written.

An import is all from opening the source to the finished face set, the start of its helping processes among it; not in it: starting Python, and
the checksum of the source that a chain takes to name its stage, which is told by itself. Files come from the page cache. Images are rendered
people, and repeat.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import os
import platform
import shutil
import statistics
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import simplejpeg
from PIL import Image

from facemae_jax import logs
from facemae_jax.bench.plain_copy import FORMS, Form, copy, write_face_set
from facemae_jax.data.face_import import Wanted, import_source
from facemae_jax.data.face_set import open_face_set
from facemae_jax.data.formats.names import check_names
from facemae_jax.data.formats.source import open_source
from facemae_jax.data.images import encode_jpeg, encode_png
from facemae_jax.data.import_crew import dismiss
from facemae_jax.data.synthetic import people

SIZE, LARGE = 112, 250  # pixels per side of what passes through, and of what is resized
PER_PERSON = 20
DIFFERENT = 256  # images that differ
QUALITY = 95


class Case(NamedTuple):
    """An import and what it is held against; both return how many images they did."""

    name: str
    against: str
    measure: Callable[[Path], int]
    imported: Callable[[Path], int]


class Row(NamedTuple):
    """Images per second, of every round."""

    case: Case
    measure: list[float]
    imported: list[float]

    def ratio(self, pick: Callable[[Sequence[float]], float]) -> float:
        """Import as a share of its measure, by the best or the median round of each."""
        return pick(self.imported) / pick(self.measure)


def measure(folder: Path, images: int, repeats: int, threads: int, cases: Sequence[str] = ()) -> list[Row]:
    """Make the sources below ``folder`` (which must not exist), and time every case ``repeats`` times, in turn.

    Args:
        folder: scratch; some 15 copies of the images at most.
        images: that pass through, or are grey; a quarter as many of those that take longer.
        repeats: rounds.
        threads: ``data.threads`` of the import, and threads of the ceiling.
        cases: names; none = all.
    """
    folder.mkdir(parents=True)
    rows = [Row(case, [], []) for case in _cases(folder, images, threads) if not cases or case.name in cases]
    for turn in range(repeats):
        for row in rows:
            for work, rates in ((row.case.measure, row.measure), (row.case.imported, row.imported)):
                out = folder / f"out-{turn}"
                dismiss()  # processes that wait for another import, as a command of its own finds none
                start = time.perf_counter()
                count = work(out)
                rates.append(count / (time.perf_counter() - start))
                shutil.rmtree(out, ignore_errors=True)
    return rows


def table(rows: Sequence[Row]) -> str:
    """A Markdown table of images per second."""
    lines = [
        "| import of | beside | images/s: best (median) | beside: best (median) | share: best (median) |",
        "|---|---|---|---|---|",
    ]
    for row in rows:
        own, other = (f"{max(rates):,.0f} ({statistics.median(rates):,.0f})" for rates in (row.imported, row.measure))
        share = f"{row.ratio(max):.2f} ({row.ratio(statistics.median):.2f})"
        lines.append(f"| {row.case.name} | {row.case.against} | {own} | {other} | {share} |")
    return "\n".join(lines)


def _cases(folder: Path, images: int, threads: int) -> list[Case]:
    pixels = _pixels()
    plain = [encode_jpeg(image, QUALITY) for image in pixels]
    faces = open_face_set(write_face_set(plain, images, PER_PERSON, SIZE, folder / "faces"))
    cases = []
    for name, form in FORMS.items():
        path = folder / (f"{name}.{name}" if name in ("zip", "tar") else name)
        form.make(faces, path)
        cases.append(
            Case(f"{name}, {SIZE}×{SIZE} JPEG passed through", "plain copying",
                 partial(_copy, form, path), partial(_import, path, threads=threads))
        )  # fmt: skip
    wide = [np.asarray(Image.fromarray(image).resize((LARGE, LARGE), Image.Resampling.BICUBIC)) for image in pixels]
    anew = {
        f"{SIZE}×{SIZE} grey JPEG": [_grey(image) for image in pixels],
        f"{SIZE}×{SIZE} PNG": [encode_png(image) for image in pixels],
        f"{LARGE}×{LARGE} JPEG": [encode_jpeg(image, QUALITY) for image in wide],
    }
    for number, (name, files) in enumerate(anew.items()):
        path = folder / f"anew-{number}"
        count = max(images if "grey" in name else images // 4, 2 * PER_PERSON)
        for n in range(count):
            file = path / f"{n // PER_PERSON:05d}" / f"{n % PER_PERSON:04d}.{'png' if 'PNG' in name else 'jpg'}"
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(files[n % len(files)])
        steps = "decode, resize, encode" if str(LARGE) in name else "decode, encode"
        cases.append(
            Case(f"folder, {name}", f"{steps} in memory",
                 partial(_ceiling, files, count, threads), partial(_import, path, threads=threads))
        )  # fmt: skip
    return cases


def _pixels() -> list[np.ndarray]:
    rendered = people(DIFFERENT // 8, 8, seed=0, size=SIZE, difficulty=1.0, first=0)
    return [rendered[position][1] for position in range(DIFFERENT)]


def _grey(image: np.ndarray) -> bytes:
    return simplejpeg.encode_jpeg(np.ascontiguousarray(image[..., 1:2]), QUALITY, "GRAY", "444")


def _copy(form: Form, path: Path, out: Path) -> int:
    return copy(form.read(path), out)


def _import(path: Path, out: Path, threads: int) -> int:
    with closing(open_source(path)) as source:
        check_names(source.keys, map(source.identity, range(len(source.keys))), str(path))
        out.mkdir()
        import_source(source, out / "faces" / "1.0.0", out / "notes", Wanted(SIZE, threads=threads), "faces")
        return len(source.keys)


def _ceiling(files: Sequence[bytes], count: int, threads: int, out: Path) -> int:
    def work(first: int) -> None:
        for number in range(first, count, threads):
            data = files[number % len(files)]
            if data[:2] == b"\xff\xd8":
                pixels = simplejpeg.decode_jpeg(data, "RGB")
            else:
                pixels = np.asarray(Image.open(io.BytesIO(data)))
            if pixels.shape[0] != SIZE:
                pixels = np.asarray(Image.fromarray(pixels).resize((SIZE, SIZE), Image.Resampling.BICUBIC))
            simplejpeg.encode_jpeg(pixels, QUALITY, "RGB", "444")

    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(work, range(threads)))
    return count


def _context(folder: Path) -> str:
    """What reading the largest single file costs by other means."""
    path = folder / "recordio" / "train.rec"
    size = path.stat().st_size
    start = time.perf_counter()
    shutil.copyfile(path, folder / "copied")
    copied = time.perf_counter() - start
    start = time.perf_counter()
    with open(path, "rb") as file:
        hashlib.file_digest(file, "sha256")
    hashed = time.perf_counter() - start
    return (
        f"train.rec has {size / 1e6:,.0f} MB: cp {size / copied / 1e6:,.0f} MB/s; the checksum that names a stage "
        f"{size / hashed / 1e6:,.0f} MB/s"
    )


def main() -> None:
    """Measure and tell."""
    parser = argparse.ArgumentParser(prog="python -m facemae_jax.bench.import_speed", description="Speed of imports.")
    parser.add_argument(
        "--folder", type=Path, required=True, help="scratch that must not exist; it is removed at the end"
    )
    parser.add_argument(
        "--images",
        type=int,
        default=40_000,
        help="that pass through, or are grey; a quarter as many of those that take longer",
    )
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--cases", nargs="*", default=(), help="names of rows; none = all")
    asked = parser.parse_args()
    logs.quiet()
    try:
        rows = measure(asked.folder, asked.images, asked.repeats, asked.threads, asked.cases)
        logs.say(
            f"{asked.images:,} images, {asked.repeats} rounds, {asked.threads} threads, {os.cpu_count()} cores ({platform.machine()}), "
            f"Python {platform.python_version()}, simplejpeg {simplejpeg.__version__}, Pillow {Image.__version__}\n"
            f"{table(rows)}\n{_context(asked.folder)}"
        )
    finally:
        shutil.rmtree(asked.folder, ignore_errors=True)


if __name__ == "__main__":
    main()
