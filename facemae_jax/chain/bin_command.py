"""The verb ``make-bin``: its flags, its help, and the images and pairs that go into the file. Neither a config nor a device is needed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from pathlib import Path

import numpy as np

from facemae_jax import logs
from facemae_jax.data.formats.source import Source, open_source
from facemae_jax.data.formats.verification_bin import is_bin, write_bin
from facemae_jax.data.images import decode, encode_png, to_square
from facemae_jax.data.jpeg_record import as_jpeg
from facemae_jax.data.protocols import PROTOCOLS, read_protocol
from facemae_jax.types import FacemaeError

VERB = "make-bin"
SUMMARY = "faces and a list of pairs as InsightFace's verification file (lfw.bin)"
FLAGS = ("faces", "pairs", "protocol", "image-size", "out")
SIZE, MAX_PIXELS = 112, 40_000_000
HELP = f"""\
make-bin: {SUMMARY}

  python -m facemae_jax make-bin --faces=FACES --pairs=PAIRS --out=lfw.bin [--protocol=lfw] [--image-size={SIZE}]

  --faces       the aligned images: a folder, a zip, a face set directory, and whatever else import-faces reads
  --pairs       the list: a file; of CFP the folder Protocol
  --protocol    its form: {" | ".join(PROTOCOLS)}
  --image-size  pixels per side; images of another size are cropped to their middle square and resized
  --out         the .bin file to make; it must not be there, and appears only when it is whole

The file is a pickle of (2·n encoded images, n truth values), pair after pair, fold after fold, as InsightFace's and others' trainers
read it. JPEG files of the right size go in byte for byte, all others as PNG, so that no pixel changes. The same faces and list give the
same bytes.
"""


def help_text() -> str:
    """What ``make-bin --help`` prints."""
    return HELP


def serve(places: Sequence[str], options: Mapping[str, str]) -> None:
    """Write one file, and say what is in it.

    Args:
        places: the words after the verb: none.
        options: flag → text, of :data:`FLAGS`.

    Raises:
        FacemaeError: a word or flag that is missing or wrong; whatever is wrong with the list or with an image.
    """
    if places:
        raise FacemaeError(
            f"{VERB} takes no word, found {places[0]}: write --faces=FACES --pairs=PAIRS --out=FILE.bin."
        )
    for needed in ("faces", "pairs", "out"):
        if not options.get(needed):
            raise FacemaeError(f"--{needed} is missing; see {VERB} --help.")
    size, out = options.get("image-size", str(SIZE)), Path(options["out"]).expanduser()
    if not (size.isdecimal() and int(size)):
        raise FacemaeError(f"--image-size={size}: give a number of pixels, such as {SIZE}.")
    if not is_bin(out):
        raise FacemaeError(f"--out={out}: by the ending .bin such a file is known; name one like lfw.bin.")
    if out.exists():
        raise FacemaeError(f"--out={out} is there already; name another file, or remove it.")
    if not out.parent.is_dir():
        raise FacemaeError(f"--out={out}: there is no folder {out.parent}; make it first, or name another file.")
    with closing(open_source(Path(options["faces"]).expanduser())) as source:
        pairs = read_protocol(options.get("protocol", "lfw"), Path(options["pairs"]).expanduser(), _Keys(source))
        order = np.argsort(pairs.fold_n, kind="stable")  # readers cut consecutive tenths
        places_n2 = np.stack([pairs.left_n, pairs.right_n], 1)[order]
        same_n = pairs.same_n[order]
        with logs.progress(places_n2.size, f"writing {out.name}") as progress:
            write_bin(out, _images(source, places_n2.ravel().tolist(), int(size), progress), same_n.tolist())
    logs.say(
        f"{VERB}: {out} ({len(same_n):,} pairs, {np.count_nonzero(same_n):,} of them of one person; images of {size}×{size} pixels)"
    )


class _Keys:
    def __init__(self, source: Source):
        self._keys = list(source.keys)

    def keys(self) -> Sequence[str]:
        return self._keys


def _images(source: Source, positions: Sequence[int], size: int, progress: logs.Progress) -> Iterator[bytes]:
    for position in positions:
        yield encoded(source.read(position), source.where(position), size)
        progress.update(1)


def encoded(found: bytes | np.ndarray, where: str, size: int) -> bytes:
    """An image as it goes into the file: a plain JPEG of the right size as it is, everything else as PNG of the right size.

    Raises:
        BadImage: in the name of ``where``.
    """
    if isinstance(found, bytes):
        if found[:2] == b"\xff\xd8":
            _, own = as_jpeg(found, where, size=size, resize=True, quality=95, max_pixels=MAX_PIXELS)
            if own:
                return found
        found = decode(found, where, MAX_PIXELS)
    return encode_png(to_square(found, size, True, where))
