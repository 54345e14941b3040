"""An image file as a record of a face set: JPEG, square, RGB. Byte for byte where it is so already, else encoded anew.

What decoding, cropping and encoding do is said in ``images``.
"""

from __future__ import annotations

import functools

import numpy as np
import simplejpeg

from facemae_jax.data.images import BadImage, check_size, decode, encode_jpeg, marked_turn, to_square
from facemae_jax.data.jpeg_parts import SEVERAL, START, Promise, promise


def as_jpeg(
    data: bytes, where: str, *, size: int, resize: bool, quality: int, max_pixels: int, check_pixels: bool = False
) -> tuple[bytes, bool]:
    """An image file as a record: JPEG, square, RGB.

    A whole 8-bit colour JPEG of the right size that needs no turning is passed through, byte for byte: encoding it again would
    only lose quality. Everything else is decoded, cropped and resized, and encoded.

    Whether a JPEG is whole is told by its parts where these are plain (``jpeg_parts``), else by decoding it. Pixels that were damaged without a
    trace in the parts then show something else, as any decoder paints it: ``check_pixels`` decodes every JPEG and refuses those.

    Args:
        data: the file.
        where: what to call it in an error.
        size: pixels per side.
        resize: False: an image of another size is refused.
        quality: of what is encoded.
        max_pixels: as in :func:`decode`.
        check_pixels: refuse a JPEG of whose coded pixels libjpeg says that anything is wrong.

    Returns:
        (JPEG bytes, whether they are the file's own).

    Raises:
        BadImage: as :func:`decode` and :func:`to_square`, and what ``check_pixels`` finds.
    """
    if check_pixels and data[:2] == START:
        _check_pixels(data, where, max_pixels)
    told = promise(data)
    if _passes(data, told, size):
        return data, True
    if size * size <= max_pixels and (made := _from_grey(data, told, size, quality)) is not None:
        return made, False
    square = to_square(decode(data, where, max_pixels), size, resize, where)
    return encode_jpeg(square, quality), False


def passes_through(data: bytes, size: int) -> bool:
    """Whether a file is a whole 8-bit colour JPEG of ``size`` × ``size`` pixels with one view that needs no turning."""
    return _passes(data, promise(data), size)


def _passes(data: bytes, told: Promise | None, size: int) -> bool:
    if told is not None:
        fits = told.height == told.width == size and told.colours in ("YCbCr", "RGB")
        return fits and (not told.special or _one_upright(data))
    if data[:2] != START:
        return False
    try:
        height, width, colours, _ = simplejpeg.decode_jpeg_header(data)
        if (height, width) != (size, size) or colours not in ("YCbCr", "RGB"):
            return False
        simplejpeg.decode_jpeg(data, "RGB")  # strict: a damaged file goes the other way, where it gets its error
    except ValueError:
        return False
    return _one_upright(data)


def _from_grey(data: bytes, told: Promise | None, size: int, quality: int) -> bytes | None:
    """What decoding and encoding makes of a whole grey JPEG that is upright and of the right size, without the way over RGB, which
    takes a sixth of the time; None for all others.
    """
    if told is None or told.colours != "Gray" or not told.height == told.width == size or told.special:
        return None
    try:
        luma_HW = simplejpeg.decode_jpeg(data, "GRAY")[..., 0]
    except ValueError:  # damaged: decode() tells how
        return None
    return simplejpeg.encode_jpeg_yuv_planes(luma_HW, _colourless(size), _colourless(size), quality)


@functools.cache
def _colourless(size: int) -> np.ndarray:
    """The colour planes of grey."""
    return np.full((size, size), 128, np.uint8)


def _one_upright(data: bytes) -> bool:
    return SEVERAL not in data and marked_turn(data, len(data)) is None


def _check_pixels(data: bytes, where: str, max_pixels: int) -> None:
    try:
        height, width, colours, _ = simplejpeg.decode_jpeg_header(data)
        check_size(width, height, where, max_pixels)
        # An eighth of the size: all that is coded is read, and little is computed of it.
        simplejpeg.decode_jpeg(data, "CMYK" if colours in ("CMYK", "YCCK") else "GRAY", min_height=1, min_width=1)
    except ValueError as error:
        raise BadImage(where, f"its pixels are damaged ({error})") from error
