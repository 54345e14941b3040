"""Image files in, square RGB crops out, and back into JPEG or PNG: one image at a time.

Finding and cropping faces is not done here: images are taken as they are aligned. Colour profiles are ignored.
"""

from __future__ import annotations

import io
import struct

import numpy as np
import simplejpeg
from PIL import ExifTags, Image

from facemae_jax.data.jpeg_parts import MAYBE_TURNED, START, header_end
from facemae_jax.types import FacemaeError

FORMATS = ("JPEG", "PNG", "WEBP", "BMP")
BACKDROP = (128, 128, 128)  # mid-grey, under transparent images
ORIENTATION = ExifTags.Base.Orientation
TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}

# Pillow warns at a size of its own and refuses at twice that; every image here is held to max_pixels before decoding.
Image.MAX_IMAGE_PIXELS = None


class BadImage(FacemaeError):
    """A file that cannot become a record; ``reason`` alone is for lists of what was skipped."""

    def __init__(self, where: str, reason: str):
        super().__init__(
            f"{where}: {reason}; replace or remove it, or set data.on_bad_record=skip to leave such images out."
        )
        self.where, self.reason = where, reason

    def __reduce__(self) -> tuple[type[BadImage], tuple[str, str]]:
        # Else it is pickled with its text alone, of which it cannot be made.
        return type(self), (self.where, self.reason)


def decode(data: bytes, where: str, max_pixels: int) -> np.ndarray:
    """Pixels of a JPEG, PNG, WebP or BMP file.

    Grey becomes RGB; CMYK is converted (JPEG stores it inverted, as Adobe does); transparency is laid over mid-grey; the
    EXIF orientation is applied. 16-bit samples are scaled to 8 bit: grey rounded, colour by its high byte, which is at
    most one grey level less.

    Args:
        data: the file.
        where: what to call it in an error.
        max_pixels: larger images are refused from the header, before any pixel is decoded.

    Returns:
        uint8 RGB ``[height, width, 3]``.

    Raises:
        BadImage: empty, truncated, damaged, too large, animated, or no such image at all.
    """
    if not data:
        raise BadImage(where, "the file is empty (0 bytes)")
    plain = _decode_plain(data, where, max_pixels)
    if plain is not None:
        return plain
    try:
        with Image.open(io.BytesIO(data), formats=FORMATS) as image:
            _check_header(image, where, max_pixels)
            image.load()
            turn = _turn(image)
            return np.array(_to_rgb(image if turn is None else image.transpose(turn)))
    except (BadImage, MemoryError):
        raise
    except Image.UnidentifiedImageError as error:
        raise BadImage(where, "this is no image that can be read (JPEG, PNG, WebP, BMP)") from error
    except (
        Exception
    ) as error:  # on damaged data Pillow raises whatever its parsers raise: OSError, SyntaxError, struct.error …
        raise BadImage(where, f"the image is truncated or damaged ({error})") from error


def _decode_plain(data: bytes, where: str, max_pixels: int) -> np.ndarray | None:
    """Pixels of a JPEG by simplejpeg, which gives Pillow's in two thirds of the time; None where Pillow has to look at it."""
    start = header_end(data)
    if not start:
        return None
    try:
        height, width, colours, _ = simplejpeg.decode_jpeg_header(data)
        check_size(width, height, where, max_pixels)
        if colours not in ("YCbCr", "RGB", "Gray"):
            return None
        pixels = simplejpeg.decode_jpeg(data, "RGB")
    except ValueError:  # damaged, or merely odd: Pillow tells which
        return None
    turn = marked_turn(data, start)
    return pixels if turn is None else np.array(Image.fromarray(pixels).transpose(turn))


def marked_turn(data: bytes, start: int) -> Image.Transpose | None:
    """The turn that a JPEG's segments ask for, which end at ``start``."""
    if all(data.find(marker, 0, start) < 0 for marker in MAYBE_TURNED):
        return None
    with Image.open(io.BytesIO(data), formats=FORMATS) as image:
        return _turn(image)


def check_size(width: int, height: int, where: str, max_pixels: int) -> None:
    """Refuse more pixels than ``max_pixels`` as a :class:`BadImage`."""
    if width * height > max_pixels:
        raise BadImage(
            where, f"{width}×{height} is {width * height:,} pixels, more than data.max_pixels={max_pixels:,}"
        )


def _check_header(image: Image.Image, where: str, max_pixels: int) -> None:
    check_size(*image.size, where, max_pixels)
    # A camera's MPO file is a JPEG with further views behind it: the first one is the photograph.
    if getattr(image, "is_animated", False) and image.format != "MPO":
        raise BadImage(where, f"it is animated ({getattr(image, 'n_frames', 2)} pictures)")


def _turn(image: Image.Image) -> Image.Transpose | None:
    try:
        return TURNS.get(image.getexif().get(ORIENTATION, 1))
    except Exception:  # an unreadable EXIF block (Pillow: SyntaxError, struct.error …) says nothing of the pixels
        return None


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I"):  # 16-bit grey; Pillow's own conversion would clip it at 255
        grey_HW = np.clip(np.asarray(image, np.int64), 0, 65535)
        image = Image.fromarray(((grey_HW + 128) // 257).astype(np.uint8))
    if image.has_transparency_data:
        front = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", front.size, (*BACKDROP, 255)), front).convert("RGB")
    return image.convert("RGB")


def to_square(image_HWC: np.ndarray, size: int, resize: bool, where: str) -> np.ndarray:
    """The centre of an image as ``size`` × ``size`` pixels: centre crop to a square, then an antialiased bicubic resize.

    Args:
        image_HWC: uint8 RGB.
        size: pixels per side.
        resize: False: an image of another size is refused.
        where: what to call it in an error.

    Raises:
        BadImage: another size, and ``resize`` is off.
    """
    height, width = image_HWC.shape[:2]
    if (height, width) == (size, size):
        return image_HWC
    if not resize:
        raise BadImage(where, f"it has {width}×{height} pixels, not {size}×{size}, and data.resize is off")
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    crop = Image.fromarray(np.ascontiguousarray(image_HWC[top : top + side, left : left + side]))
    return np.array(crop.resize((size, size), Image.Resampling.BICUBIC))


def encode_jpeg(image_HWC: np.ndarray, quality: int) -> bytes:
    """JPEG bytes of a uint8 RGB image, colours at full resolution (4:4:4). The same image gives the same bytes."""
    return simplejpeg.encode_jpeg(np.ascontiguousarray(image_HWC), quality, "RGB", "444")


def encode_png(image_HWC: np.ndarray) -> bytes:
    """PNG bytes of a uint8 RGB image: every pixel is kept. The same image gives the same bytes."""
    file = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(image_HWC)).save(file, "PNG")
    return file.getvalue()


def decode_record(data: bytes, where: str = "a record of the face set") -> np.ndarray:
    """Pixels of a record of a face set, uint8 RGB ``[size, size, 3]``: simplejpeg for JPEG, Pillow for the rest.

    Raises:
        BadImage: damaged bytes, in the name of ``where``.
    """
    if data[:2] == START:
        try:
            return simplejpeg.decode_jpeg(data, "RGB")
        except ValueError:  # damaged, or merely odd (CMYK, bytes between its segments): Pillow tells which
            pass
    try:
        with Image.open(io.BytesIO(data), formats=FORMATS) as image:
            return np.array(_to_rgb(image))
    except (OSError, SyntaxError, ValueError, struct.error) as error:
        raise BadImage(where, f"the image is damaged ({error})") from error
